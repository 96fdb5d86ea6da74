"""``manage.py tick``: handles the schedules, and nothing else, in a process of its own."""

import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand

from chat.runs import registry as run_registry
from chat.runtime import background, database
from chat.schedules import ticker

_CLOSE_S = 2.0


class Command(BaseCommand):
    """Queue the runs of schedules that are due; other processes execute them."""

    help = "See to the schedules in a process of its own. Any number may do so; each process that serves does it too."

    def handle(self, *args: Any, **options: Any) -> None:
        """Tick until SIGTERM, SIGHUP or Ctrl-C."""
        # Other processes execute the runs.
        run_registry.stop_accepting()
        asyncio.run(self._tick())

    async def _tick(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        background.spawn(ticker.tick_for_ever(), "schedules")
        self.stdout.write("Thinkaloud handles the schedules.")
        self.stdout.flush()
        await stop.wait()
        await background.drain(_CLOSE_S)
        await asyncio.to_thread(database.close, _CLOSE_S)
