"""The product's settings for a process that exits after it has published as many events as the file ``dies_after`` in its data folder says.

It counts from when the file was last changed; with an empty or missing file it never exits. Where the file says ``at NUMBER SESSION``, it
exits before it publishes that event of that session, whichever of several processes stores the event.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from django.apps import AppConfig

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

if TYPE_CHECKING:
    from chat.store.step_log import Stored

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.dying_settings.Dying"]


class Dying(AppConfig):
    """Counts the published events of runs, once all applications are loaded."""

    name = "tests.faults"
    label = "dying"

    def ready(self) -> None:
        """Begin to count."""
        from chat.runs import executor, publisher, recorder  # noqa: PLC0415 - their models exist only now

        publish_events, marker = executor.publish_events, Path(os.environ["DATA_DIR"], "dies_after")
        seen, count = "", 0

        def is_over(session_id: UUID, events: "Sequence[Stored]") -> bool:
            nonlocal seen, count
            words = marker.read_text() if marker.exists() else ""
            if words.startswith("at "):
                _, number, session = words.split()
                return session == str(session_id) and any(event.seq == int(number) for event in events)
            seen, count = words, (count if words == seen else 0) + len(events)
            return bool(words) and count >= int(words.split()[0])

        async def publish(session_id: UUID, events: "Sequence[Stored]") -> None:
            if is_over(session_id, events):
                os._exit(9)
            await publish_events(session_id, events)

        executor.publish_events = recorder.publish_events = publisher.publish_events = publish
