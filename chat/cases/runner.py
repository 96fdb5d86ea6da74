"""Makes the moves of all runs of sets, by polling, in any process that serves."""

import asyncio
import logging
from uuid import UUID

from django.db import Error as DatabaseError

from chat.cases import judging, set_runs
from chat.cases.judging import Judged
from chat.cases.set_runs import EndedCase, Stopped
from chat.models import CaseVerdict
from chat.runs import commands as run_commands
from chat.runs import dispatch, publisher
from chat.runs import registry as run_registry
from chat.runs import state as run_state
from chat.runtime import background, database
from chat.runtime.each_row import EachRow
from chat.store import selectors

logger = logging.getLogger(__name__)

#: Seconds between polls if no set is running, and if one is.
IDLE_S, BUSY_S = 1.0, 0.2
#: Answers that are judged at a time here: a rule may take seconds.
_JUDGED_AT_ONCE = 4
#: For how many seconds a result that could not be judged is skipped.
_AGAIN_S = 60.0


class Runner:
    """One process's part of asking sets."""

    def __init__(self) -> None:
        self._judging: set[int] = set()
        self._asking = EachRow("Asking the cases of set run")
        self._stopping = EachRow("Stopping the run of case")
        self._is_away = False

    async def run(self) -> None:
        """Process everything that is due, again and again, until cancelled. If the database does not answer, it retries."""
        while True:
            is_busy = False
            try:
                is_busy = await self.move_on()
                self._is_away = False
            except DatabaseError as error:
                if not self._is_away:
                    logger.warning("The database does not answer; sets of cases wait: %s", " ".join(str(error).split()))
                self._is_away = True
            except Exception:
                logger.exception("The sets of cases could not be handled; trying again")
            await asyncio.sleep(BUSY_S if is_busy else IDLE_S)

    async def move_on(self) -> bool:
        """Process everything that is due, once. Returns whether a set is running."""
        found = await database.read(set_runs.find_due_moves)
        await self._stopping.do(found.waiting, _stop_waiting)
        for result_id in found.ended:
            if result_id not in self._judging and len(self._judging) < _JUDGED_AT_ONCE:
                self._judging.add(result_id)
                background.spawn(self._settle(result_id), f"judge {result_id}")
        await self._asking.do(found.set_runs, _ask)
        return bool(found.set_runs)

    async def _settle(self, result_id: int) -> None:
        """Judge one answer and store the result."""
        try:
            ended = await database.read(set_runs.ended_case, result_id)
            if ended is not None:
                await database.write(set_runs.settle, ended, await _judge(ended))
        except Exception:
            logger.exception("Result %d could not be judged; it is left alone for a while", result_id)
            await asyncio.sleep(_AGAIN_S)
        finally:
            self._judging.discard(result_id)


async def _judge(ended: EndedCase) -> Judged:
    known = ended.judged_by_end()
    if known is not None or ended.run is None:
        return known or Judged(CaseVerdict.ERROR)
    frames = await database.read(selectors.run_frames, ended.run)
    answer, steps = judging.answer_and_steps(str(ended.run.pk), frames)
    # A rule is waited for on a thread of its own: the database's are needed by others.
    return await asyncio.to_thread(judging.judge, ended.expected, ended.rule, answer, steps)


async def _ask(set_run_id: UUID) -> None:
    for accepted in await database.write(set_runs.ask_next, set_run_id):
        await run_commands.dispatch_accepted(accepted)


async def _stop_waiting(result_id: int) -> None:
    stopped = await database.write(set_runs.stop_waiting, result_id)
    if stopped is not None:
        await end_runs(stopped)


async def end_runs(stopped: Stopped) -> None:
    """Stop the runs that a transaction has stopped, where they are executed, and publish their events."""
    for run_id in stopped.running:
        await run_registry.stop_run(run_id, run_state.stopped_by(stopped.by))
    for session_id, events in stopped.events.items():
        await publisher.publish_events(session_id, events)
        await publisher.publish_queue(session_id)
        background.spawn(dispatch.dispatch_next(session_id), f"dispatch {session_id}")


async def run_for_ever() -> None:
    """Run the sets of this installation, at the same time as other processes do."""
    await Runner().run()
