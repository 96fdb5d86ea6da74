"""The periodic work of a process (lease, sweep, stops requested elsewhere, announcements, schedules), and its start and end."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections as db_connections
from django.utils.module_loading import import_string

from chat.cases import runner as set_runner
from chat.catalog import tool_servers
from chat.catalog.budgets import BudgetLoader
from chat.catalog.model_facts import FactsLoader
from chat.catalog.prices import PriceLoader
from chat.live import connections
from chat.live import registry as feed_registry
from chat.protocol import Close, encode_frame, group_messages
from chat.protocol.frame_data import AnnouncementData
from chat.runs import deciding, dispatch, erasure, live_runs, queue_watch, recovery, retention
from chat.runs import registry as run_registry
from chat.runs import state as run_state
from chat.runtime import background, clock, database, groups
from chat.runtime.each_row import EachRow
from chat.schedules import handover, ticker
from chat.serving import mail_delivery, webhook_delivery
from chat.serving.heartbeat import Heartbeat
from chat.store import drafts, selectors, step_log

if TYPE_CHECKING:
    from chat.traces.exporter import TraceExporter

logger = logging.getLogger(__name__)

TICK_S = 1.0
#: How many seconds a stopping process waits for the ends of interrupted runs to be stored; then it stores them itself.
_STOP_S = 2.0
_CLOSE_S = 2.0
#: How often expired data are searched, in seconds.
_EXPIRE_S = 60.0
#: How long, in seconds, the event loop waits for a database thread to release the interpreter (Python's default: 5 ms).
_SWITCH_S = 0.0002


@dataclass(slots=True)
class _Process:
    """The state of this process: the event loop that it serves on, and whether it is about to stop."""

    loop: asyncio.AbstractEventLoop | None = None
    draining: bool = False
    traces: "TraceExporter | None" = None


this_process = _Process()


def start_clockwork(look: Callable[[], Awaitable[None]] = queue_watch.start_waiting) -> None:
    """Start this process's periodic work on the running loop; may be called again. ``look``, called every second, starts queued runs."""
    loop = asyncio.get_running_loop()
    if this_process.loop is loop:
        return
    this_process.loop = loop
    sys.setswitchinterval(_SWITCH_S)
    run_registry.start_accepting()
    heart.start()
    background.spawn(drafts.save_for_ever(), "save drafts")
    background.spawn(feed_registry.poll_forever(), "watch feeds")
    background.spawn(_tick_for_ever(look), "tick")
    background.spawn(ticker.tick_for_ever(), "schedules")
    background.spawn(set_runner.run_for_ever(), "sets")
    background.spawn(_erase_for_ever(), "erase")
    background.spawn(_expire_for_ever(), "retention")
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        background.spawn(_send_traces(), "traces")
    if settings.OIDC_ISSUER and settings.OIDC_RECHECK_S:
        background.spawn(_recheck_for_ever(), "ask provider")


async def _send_traces() -> None:
    """Start sending traces. OpenTelemetry is imported only if traces are sent, in a thread."""
    began_at = clock.now()
    exporter: type[TraceExporter] = await asyncio.to_thread(import_string, "chat.traces.exporter.TraceExporter")
    this_process.traces = exporter(run_registry.PROCESS, began_at)
    this_process.traces.start()


def serving_loop() -> asyncio.AbstractEventLoop | None:
    """The serving event loop, for synchronous code that needs something done there; None if there is none."""
    return this_process.loop


def is_draining() -> bool:
    """Whether the process is about to stop, and accepts no further clients."""
    return this_process.draining


def misses_database() -> bool:
    """Whether the database did not answer this process's last heartbeat."""
    return heart.missed


async def stop_clockwork() -> None:
    """Accept no further clients and runs, let runs finish their current step, notify the clients, release everything."""
    this_process.draining = True
    run_registry.stop_accepting()
    if not await run_registry.wait_ended(settings.SHUTDOWN_S):
        run_registry.interrupt_all()
        await run_registry.wait_ended(_STOP_S)
    # A database that does not answer is waited for once.
    close_s = _CLOSE_S
    try:
        async with asyncio.timeout(close_s):
            left = await database.read(live_runs.owned_by, run_registry.PROCESS)
            await EachRow("Ending run").do(left, recovery.interrupt)
    except (DatabaseError, TimeoutError) as problem:
        close_s = 0.0 if isinstance(problem, TimeoutError) else _CLOSE_S
        logger.warning(
            "Some runs could not be ended; another process ends them when their lease has expired", exc_info=True
        )
    await feed_registry.close_all(Close.RESTARTING, _CLOSE_S)
    await asyncio.to_thread(heart.stop, close_s)
    if this_process.traces is not None:
        await asyncio.to_thread(this_process.traces.stop, _CLOSE_S)
        this_process.traces = None
    await background.drain(2.0)
    try:
        async with asyncio.timeout(close_s):
            await tool_servers.forget(run_registry.PROCESS)
            await database.write(connections.forget_process, run_registry.PROCESS)
    except (DatabaseError, TimeoutError):
        logger.warning(
            "The closed sockets could not be stored; other processes notice it by the heartbeat", exc_info=True
        )
    await asyncio.to_thread(database.close, close_s)
    this_process.loop = None
    this_process.draining = False


def force_stop() -> None:
    """While `stop_clockwork` is running: do not wait for the current steps."""
    run_registry.interrupt_all()


def recover_runs() -> int:
    """Before a process that serves alone answers its first page: end the runs that its predecessor left. Returns how many."""
    connections.forget_all()
    step_log.forget_ended_drafts()
    ended = 0
    for run_id in live_runs.all_live():
        try:
            ended += recovery.interrupt_orphan(run_id)
        except Exception:
            logger.exception("Run %s, which an earlier process left, could not be ended", run_id)
    return ended


heart = Heartbeat()


async def _tick_for_ever(look: Callable[[], Awaitable[None]]) -> None:
    await groups.GroupSubscription(groups.EVERYONE, _handle_message).open()
    announcements, sweeps = _Announcements(), _Sweeps()
    tool_servers_here = tool_servers.Publisher(run_registry.PROCESS)
    deliverer, mailer = webhook_delivery.Deliverer(), mail_delivery.MailDeliverer()
    facts, prices, budgets = FactsLoader(), PriceLoader(), BudgetLoader()
    chores = (
        facts.load_in_time,
        prices.load_in_time,
        budgets.load_in_time,
        compare_runs,
        announcements.send_changes,
        look,
        tool_servers_here.publish,
        sweeps.sweep_in_time,
        deliverer.send_due,
        mailer.send_due,
        deciding.expire_due,
    )
    while True:
        # One by one, so that a failure of one does not stop the others.
        for chore in chores:
            try:
                await chore()
            except Exception:
                logger.exception("A periodic task could not be completed; trying again in a second")
        await asyncio.sleep(TICK_S)


async def compare_runs() -> None:
    """Compare the runs that this process executes with those that belong to it by the table."""
    if run_registry.is_starting():
        # A run may be in the table but not registered here yet; the next comparison will tell.
        return
    here = dict(run_registry.running)
    there = await database.read(live_runs.owned_by, run_registry.PROCESS)
    for run_id, owned in there.items():
        if owned.stop_reason is not None:
            run_registry.stop_local_run(run_id, owned.stop_reason)
    for run_id, number, cut_reason in await database.read(live_runs.words_for, run_registry.PROCESS) if here else ():
        run_registry.steer_local_run(run_id, number, cut_reason)
    if within := run_registry.waiting_within():
        run_registry.wake_local_runs(await database.read(run_state.ready_among, within))
    for run_id in here.keys() - there.keys():
        # Not whatever executes the run by now: it may have waited for people meanwhile, and was resumed.
        here[run_id].stop("The run is no longer this process's.")
    if not run_registry.is_starting() and run_registry.is_open():
        lost = there.keys() - run_registry.running_ids()
        await _lost_runs.do([(run_id, there[run_id].fence) for run_id in lost], _find_again)


async def _find_again(lost: tuple[UUID, int]) -> None:
    """A run, with its fence, that belongs to this process but is not executed: start it or, if it has already begun, end it."""
    run_id, fence = lost
    if not await dispatch.adopt_run(run_id, fence) and run_id not in run_registry.running_ids():
        await recovery.interrupt(run_id, fence)


_lost_runs = EachRow("Finding run")
_silent_runs = EachRow("Ending silent run")


async def _erase_for_ever() -> None:
    """Delete marked rows in batches; after each one, other writers get as much time."""
    pace = erasure.Pace()
    while True:
        took_s: float | None = None
        try:
            if await database.read(erasure.is_any):
                took_s = await database.write(erasure.erase_batch, pace)
        except Exception:
            logger.exception("Rows of deleted sessions or accounts could not be removed; trying again")
        await asyncio.sleep(TICK_S if took_s is None else took_s)


async def _expire_for_ever() -> None:
    """Delete expired data, if it is this process's turn, in batches, between which others write."""
    while True:
        is_more = False
        try:
            # Left by a process that has died.
            await handover.move_index()
            is_more = (
                await retention.expire_some() | await retention.purge_audit() | await retention.sweep_request_keys()
            )
        except Exception:
            logger.exception("Expired data could not be deleted; trying again")
        await asyncio.sleep(TICK_S if is_more else _EXPIRE_S)


async def _recheck_for_ever() -> None:
    """Ask the OpenID provider again about users who logged in through it, in a thread; a refused user's login ends at once."""
    # Imported only with a provider: other installations need none of it.
    rechecks = await asyncio.to_thread(import_module, "chat.security.oidc.rechecks")
    while True:
        try:
            if await database.read(rechecks.is_due) and await asyncio.to_thread(
                _with_own_connection, rechecks.check_due
            ):
                await groups.publish(groups.EVERYONE, group_messages.LOGINS_CHANGED)
        except Exception:
            logger.exception("Logins could not be checked with the provider; trying again")
        await asyncio.sleep(TICK_S)


def _with_own_connection(check: Callable[[], bool]) -> bool:
    try:
        return check()
    finally:
        db_connections.close_all()


class _Announcements:
    """Sends announcements of the operators to all open sockets."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._is_withdrawn = False

    async def send_changes(self) -> None:
        """Send the announcements that came since the last time; if the last one was deleted instead, that it is withdrawn."""
        if self._last is None:
            self._last = await database.read(selectors.last_announcement)
            self._is_withdrawn = not self._last
        found = await database.read(selectors.announcements_from, self._last)
        for pk, announcement in found:
            if pk > self._last:
                self._last, self._is_withdrawn = pk, False
                self._send(announcement)
        if not found and not self._is_withdrawn:
            self._is_withdrawn = True
            self._send({"message": "", "level": "info"})

    def _send(self, announcement: AnnouncementData) -> None:
        feed_registry.send_to_everyone(encode_frame({"type": "announcement", "data": announcement}))


class _Sweeps:
    """Sweeps several times within the length of a lease."""

    def __init__(self) -> None:
        self._swept_at = asyncio.get_running_loop().time()

    async def sweep_in_time(self) -> None:
        """Sweep if it is due, unless this process's own heartbeat had a gap: then the silence of others means nothing."""
        now = asyncio.get_running_loop().time()
        if now - self._swept_at > settings.RUN_LEASE_S / 3:
            database_time = await database.read(clock.read_database)
            if heart.is_steady(database_time.timestamp()):
                self._swept_at = now
                await sweep()


async def sweep() -> None:
    """End the runs of processes that have been silent for longer than the lease, and forget their sockets."""
    since = await database.read(clock.read_database) - timedelta(seconds=settings.RUN_LEASE_S)
    silent = await database.read(live_runs.silent_since, since)
    here = run_registry.running_ids()
    await _silent_runs.do([run_id for run_id in silent if run_id not in here], recovery.interrupt)
    await database.write(step_log.forget_ended_drafts)
    for session_id in await database.write(connections.forget_silent, run_registry.PROCESS, since):
        await groups.publish(groups.of_session(session_id), group_messages.PEOPLE_CHANGED)


def _handle_message(received: groups.Message) -> None:
    message = group_messages.read_process_message(received)
    if message is None:
        return
    match message["type"]:
        case "stop":
            run_registry.stop_local_run(UUID(message["run_id"]), message["because"])
        case "steer":
            run_registry.steer_local_run(UUID(message["run_id"]), message["number"], message["reason"])
        case "wake":
            run_registry.wake_local_runs([UUID(message["run_id"])])
        case "logins":
            background.spawn(feed_registry.check_logins(), "check logins")
        case "restart_tool_server":
            background.spawn(tool_servers.connect_anew(message["name"]), "connect tool server")
        case "notification":
            feed_registry.send_to_user(
                message["user_id"], encode_frame({"type": "notification", "data": message["data"]})
            )
