"""The runs that this process executes: which ones, how to stop one, and when all have ended."""

import asyncio
import os
import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ParamSpec, TypeVar, cast
from uuid import UUID

from django.conf import settings

import agents
from chat.protocol import group_messages
from chat.protocol.group_messages import SteerRun, StopRun, WakeRun
from chat.runtime import database, groups

P = ParamSpec("P")
T = TypeVar("T")

#: The name of this process, as the owner of runs and connections.
PROCESS = f"{socket.gethostname()[:80]}:{os.getpid()}:{secrets.token_hex(3)}"
_MOST_EARLY_STOPS = 1_000
#: Why runs are interrupted here, for people and for the model.
RESTARTING = "The server is restarting."


class RunHandle:
    """A run that this process executes."""

    def __init__(self, ended: asyncio.Event) -> None:
        self.stream: agents.AgentRun | None = None
        self.stopped_because = ""
        self.pausing = False
        self._words: list[tuple[int, str]] = []
        self.ended = ended
        self.waiting: Mapping[str, UUID] = {}
        """The runs within it that wait for people, by the calls that have started them."""

    def begun(self, stream: agents.AgentRun) -> None:
        """The agent has started: pass on stops and steering words that came before."""
        self.stream = stream
        if self.pausing:
            stream.pause(RESTARTING)
        for word in self._words:
            stream.steer(*word)
        if self.stopped_because:
            stream.cancel(self.stopped_because)

    @property
    def newest_word(self) -> int:
        """The number of the newest steering word that came before the agent started; 0 if there was none."""
        return max((number for number, _ in self._words), default=0)

    def steer(self, number: int, reason: str) -> None:
        """There are steering words for the run up to this number. ``reason``: if given, the run is interrupted for it."""
        if self.stream is not None:
            self.stream.steer(number, reason)
        else:
            self._words.append((number, reason))

    def stop(self, reason: str) -> None:
        """Stop the run; the first reason stays."""
        if self.stopped_because:
            return
        self.stopped_because = reason
        if self.stream is not None:
            self.stream.cancel(reason)

    def pause(self) -> None:
        """Let the run finish its current model call and tools, and then stop."""
        self.pausing = True
        if self.stream is not None:
            self.stream.pause(RESTARTING)


running: dict[UUID, RunHandle] = {}
#: Running transactions that may give this process a run; each is set when it is over and the run is registered.
starting_writes: set[asyncio.Event] = set()
#: Stops that arrived before their run was started here.
early_stops: OrderedDict[UUID, str] = OrderedDict()
#: Set while this process starts runs; cleared before it stops.
accepting = threading.Event()
accepting.set()


async def write_and_start(
    start: Callable[[T], object], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call a function that may claim a run, and call ``start`` with its result, on the event loop, as soon as it is committed.

    Atomic: even if the caller is cancelled, no run is claimed without being started.
    """
    under_way = asyncio.Event()
    starting_writes.add(under_way)

    def settled(result: T | None, error: BaseException | None) -> None:
        starting_writes.discard(under_way)
        try:
            if error is None:
                start(cast(T, result))
        finally:
            under_way.set()

    return await database.write_settled(settled, function, *args, **kwargs)


def running_ids() -> list[UUID]:
    """The runs that this process executes. A live run that it owns and that is missing was claimed by a commit whose result was lost."""
    return list(running)


def executes_runs() -> bool:
    """Whether this process now starts runs that it finds by polling."""
    return accepting.is_set() and not settings.BROKER_URL


def is_starting() -> bool:
    """Whether this process may own runs that are not yet among `running_ids`."""
    return bool(starting_writes)


def is_open() -> bool:
    """Whether this process has not begun to stop."""
    return accepting.is_set()


async def stop_run(run_id: UUID, reason: str) -> None:
    """Stop a run here, or notify the process that executes it."""
    handle = running.get(run_id)
    if handle is not None:
        handle.stop(reason)
        return
    early_stops[run_id] = reason
    while len(early_stops) > _MOST_EARLY_STOPS:
        early_stops.popitem(last=False)
    message: StopRun = {
        "version": group_messages.VERSION,
        "type": "stop",
        "run_id": str(run_id),
        "because": reason,
    }
    await groups.publish(groups.EVERYONE, message)


def add_within(run_id: UUID, handle: RunHandle) -> None:
    """Register a run within another one that is running here."""
    running[run_id] = handle
    if not accepting.is_set():
        handle.pause()


async def wake_runs(run_ids: Sequence[UUID]) -> None:
    """Notify the running runs that have started these: the runs within them wait no more, or may continue. Here and in other processes."""
    wake_local_runs(run_ids)
    for run_id in run_ids:
        message: WakeRun = {"version": group_messages.VERSION, "type": "wake", "run_id": str(run_id)}
        await groups.publish(groups.EVERYONE, message)


def wake_local_runs(run_ids: Collection[UUID]) -> None:
    """Wake those of the runs that this process executes."""
    for handle in list(running.values()):
        for call_id, run_id in list(handle.waiting.items()):
            if run_id in run_ids and handle.stream is not None:
                handle.stream.wake(call_id)


def waiting_within() -> list[UUID]:
    """The runs that wait for people within running runs here."""
    return [run_id for handle in running.values() for run_id in handle.waiting.values()]


async def steer_run(run_id: UUID, number: int, reason: str) -> None:
    """Notify a run here, or the process that executes it, of steering words; see `RunHandle.steer`."""
    if run_id in running:
        steer_local_run(run_id, number, reason)
        return
    message: SteerRun = {
        "version": group_messages.VERSION,
        "type": "steer",
        "run_id": str(run_id),
        "number": number,
        "reason": reason,
    }
    await groups.publish(groups.EVERYONE, message)


def steer_local_run(run_id: UUID, number: int, reason: str) -> None:
    """Notify a run of steering words, if this process executes it."""
    handle = running.get(run_id)
    if handle is not None:
        handle.steer(number, reason)


def stop_local_run(run_id: UUID, reason: str) -> None:
    """Stop a run if this process executes it."""
    handle = running.get(run_id)
    if handle is not None:
        handle.stop(reason)


def start_accepting() -> None:
    """Start runs from now on, also again after `stop_accepting`."""
    accepting.set()


def stop_accepting() -> None:
    """Start no more runs; running ones finish their current model call and tools, and are then interrupted."""
    accepting.clear()
    for handle in running.values():
        handle.pause()


def interrupt_all() -> None:
    """After `stop_accepting`: do not wait for the running ones any longer."""
    for handle in list(running.values()):
        handle.stop(RESTARTING)


async def wait_ended(timeout_s: float) -> bool:
    """Wait until the end of every run here is stored, at most ``timeout_s`` seconds. Returns whether it is."""
    try:
        async with asyncio.timeout(timeout_s):
            while waited_for := [*starting_writes, *(handle.ended for handle in running.values())]:
                await waited_for[0].wait()
    except TimeoutError:
        return False
    return True
