"""The loop of the schedules. Any number of processes may run it: each due time is claimed in the database."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import Error as DatabaseError

from chat.protocol import group_messages
from chat.protocol.group_messages import UserNotified
from chat.runs import commands as run_commands
from chat.runtime import clock, database, groups
from chat.runtime.each_row import EachRow
from chat.runtime.together import Together
from chat.schedules import notifications, occurrences
from chat.schedules.occurrences import TickResult

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]
Handler = Callable[[UUID, datetime], TickResult]

TICK_S = 1.0
#: How many due schedules are read at a time; a random share of them is processed before the next read.
_BATCH = 200
_SHARE = 50
#: How many schedules are processed at the same time, so that one that waits for a database thread does not delay the others; on SQLite,
#: which has one writer, in one transaction.
_AT_ONCE = 8
#: While more schedules are due, occurrences whose runs have ended are settled only every so many rounds: that is not urgent.
_PUT_OFF = 20
_MEASURE_S = 10.0


class Ticker:
    """Processes due schedules by a clock, which tests may replace."""

    def __init__(self, now: Clock = clock.now) -> None:
        self._clock = now
        self._measured_at: float | None = None
        self._each = {
            handle.__name__: EachRow(f"{handle.__name__} of schedule", at_once=_AT_ONCE)
            for handle in (occurrences.claim, occurrences.settle, occurrences.start_waiting)
        }
        self._together = Together()
        self._put_off = 0
        self._is_away = False

    async def run(self, pause_s: float = TICK_S) -> None:
        """Tick for ever. Waits for a database that does not answer."""
        while True:
            try:
                is_more = await self.tick()
                if self._is_away:
                    logger.warning("The database answers again; due schedules are started")
                self._is_away = False
            except DatabaseError as error:
                is_more = False
                if not self._is_away:
                    logger.warning("The database does not answer; schedules wait: %s", " ".join(str(error).split()))
                self._is_away = True
            except Exception:
                is_more = False
                logger.exception("The due schedules could not be handled; trying again")
            await asyncio.sleep(0 if is_more else pause_s)

    async def tick(self) -> bool:
        """Process everything that is due, once. Returns whether more may be due already."""
        is_more = False
        if self._measured_at is None or time.monotonic() - self._measured_at > _MEASURE_S:
            # Due times are compared with the database's clock, so that machines whose clocks differ process them at the same time.
            await database.read(clock.measure)
            self._measured_at = time.monotonic()
        for look, handle in (
            (lambda: occurrences.due_schedules(self._clock(), _BATCH), occurrences.claim),
            (occurrences.ended_schedules, occurrences.settle),
            (occurrences.waiting_schedules, occurrences.start_waiting),
        ):
            found = await database.read(look)
            # A random share, because other processes process the same ones at the same time.
            share = random.sample(found, min(len(found), _SHARE))
            result = await self._process_all(share, handle)
            is_more = is_more or (result and len(found) > len(share))
            if handle is occurrences.claim and is_more and self._put_off < _PUT_OFF:
                self._put_off += 1
                return True
        self._put_off = 0
        return is_more

    async def _process_all(self, schedule_ids: Sequence[UUID], handle: Handler) -> bool:
        """Call a function for each schedule, several at the same time. Returns whether anything was done."""
        return any(await self._each[handle.__name__].do(schedule_ids, partial(self._process, handle)))

    async def _process(self, handle: Handler, schedule_id: UUID) -> bool:
        """Call a function in a transaction of its own, and publish the result. Returns whether anything was done."""
        result = await self._together.write(handle, schedule_id, self._clock())
        if result.accepted is not None:
            await run_commands.dispatch_accepted(result.accepted)
        for settled in result.settled:
            await notify_owner(settled)
        return result != TickResult()


async def notify_owner(occurrence_id: int) -> None:
    """Notify the owner's open pages of how an occurrence has ended."""
    notification = await database.read(notifications.notification, occurrence_id)
    if notification is not None:
        user_id, data = notification
        message: UserNotified = {
            "version": group_messages.VERSION,
            "type": "notification",
            "user_id": user_id,
            "data": data,
        }
        await groups.publish(groups.EVERYONE, message)


async def tick_for_ever() -> None:
    """Run a `Ticker` by the database's clock, for ever."""
    await Ticker().run()
