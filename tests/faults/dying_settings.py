"""The product's settings for a process that dies when it has told of so many events as the file ``dies_after`` in its data folder says.

It counts from when the file has changed; empty or missing: never.
"""

import os
from collections.abc import Sequence
from pathlib import Path
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

        telling, told = executor.publish_events, Path(os.environ["DATA_DIR"], "dies_after")
        seen, count = "", 0

        def is_over(more: int) -> bool:
            nonlocal seen, count
            words = told.read_text() if told.exists() else ""
            seen, count = words, (count if words == seen else 0) + more
            return bool(words) and count >= int(words.split()[0])

        async def publish(session_id: UUID, events: Sequence[object]) -> None:
            if is_over(len(events)):
                os._exit(9)
            await telling(session_id, events)

        executor.publish_events = recorder.publish_events = publish
