"""The product's settings for a process that dies when it has told of so many events, which the variable ``DIES_AFTER`` says; 0: never."""

import itertools
import os
from collections.abc import Sequence
from uuid import UUID

from django.apps import AppConfig

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.dying_settings.Dying"]


class Dying(AppConfig):
    """Counts the events of runs at work, once all of the product is there."""

    name = "tests.faults"
    label = "dying"

    def ready(self) -> None:
        """Do it."""
        from chat.runs import executor, recorder  # noqa: PLC0415 - their models exist only now

        telling, count, last = executor.publish_events, itertools.count(1), int(os.environ["DIES_AFTER"])

        async def publish(session_id: UUID, events: Sequence[object]) -> None:
            if any(next(count) == last for _ in events):
                os._exit(9)
            await telling(session_id, events)

        executor.publish_events = recorder.publish_events = publish
