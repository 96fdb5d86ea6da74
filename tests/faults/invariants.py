"""What must hold whatever breaks.

Each rule returns a sentence for each place where it is violated; `check` applies all of them. Every client has each event once, in order,
as the database has it; all clients show the same, and the same as one that has just loaded everything; nothing that was ever shown is
missing; each message became one run; a run has one beginning, one end and nothing after it, and no two runs of a session were executed at
the same time; nobody received what belongs to others; no log shows a traceback. No process has used more memory than the windows of its
sockets and a little more, and no other client was kept waiting.
"""

import asyncio
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tests.faults.bystander import Bystander
from tests.faults.oracle import Oracle
from tests.faults.world import Database, StoredEvent, StoredRun, World
from tests.serving import Server

UNFINISHED = ("queued", "running", "cancelling")
MB = 1024 * 1024
#: How much a client may be sent that it has not acknowledged, and how much memory a process may use in addition to that.
WINDOW_BYTES, SPARE_BYTES = MB, 50 * MB
#: How often the product compares itself with its database: the most that a lost group message may delay an event.
POLL_S = 1.0
#: What must never be in a log.
ALARMS = re.compile(r"Traceback \(most recent|exception was never retrieved|database is locked|Unhandled")


async def check(
    world: World,
    session_id: str,
    clients: Sequence[Oracle],
    *,
    timeout_s: float = 60.0,
    logs_may: str = "",
    restored: bool = False,
    others: Bystander | None = None,
    sockets: int = 0,
) -> list[StoredEvent]:
    """Wait until no run is at work and every client is up to date, then assert every rule; returns the session's events.

    ``logs_may``: an expression for lines of the log that are allowed here. ``restored``: the database was set back, so what was shown
    before may be gone. ``others``: a client on another session, which must not be affected. ``sockets``: how many further sockets there
    are.
    """
    head = await world.quiet(session_id, timeout_s)
    # The end of the last run and the end of the queue are published one after the other.
    for client in clients:
        await client.until(lambda client=client: client.state.seq >= head and not client.state.queue, timeout_s)  # type: ignore[misc]
    async with world.client(session_id, name="fresh") as fresh:
        await fresh.until(lambda: fresh.is_connected and fresh.state.seq >= head, timeout_s)
    events = await asyncio.to_thread(world.database.events, session_id)
    runs = await asyncio.to_thread(world.database.runs, session_id)
    entries = await world.everything(session_id)
    everybody = [*clients, fresh]
    broken = [
        *(violation for client in everybody for violation in client.violations),
        *in_order(events, world.database.head(session_id)),
        *(words for client in everybody for words in has_all(client, events)),
        *same_as(fresh, clients),
        *(
            []
            if [e["seq"] for e in entries] == [e.seq for e in events]
            else ["the API tells other events than the database has"]
        ),
        *([] if restored else (words for client in clients for words in nothing_lost(client, events))),
        *one_run_a_message([] if restored else clients, runs),
        *lifecycles(events, runs),
        *([] if restored else nobody_elses(everybody, runs)),
        *quiet_logs(world.output, logs_may),
        *await costs(world.servers, len(everybody) + sockets, others),
    ]
    assert not broken, "\n".join(broken[:20])
    return events


async def check_costs(server: Server, sockets: int, others: Bystander | None = None) -> None:
    """Assert that a process used bounded memory and kept nobody else waiting, whatever its clients did."""
    broken = await costs([server], sockets, others)
    assert not broken, "\n".join(broken)


async def costs(servers: Sequence[Server], sockets: int, others: Bystander | None) -> list[str]:
    """The violations of the two rules on memory and waiting, for this many sockets."""
    broken: list[str] = []
    for server in servers:
        if server.process is not None and server.process.poll() is None:
            assert await asyncio.to_thread(server.loaded.wait, 60), "a process has not loaded its agents"
            broken += bounded_memory(server.most_taken, sockets)
    if others is not None:
        broken += nobody_waits(others.calm, await others.meanwhile())
    return broken


def bounded_memory(used: int, sockets: int) -> Iterator[str]:
    """A process uses at most a window of memory for each socket, and a little more."""
    if used > sockets * WINDOW_BYTES + SPARE_BYTES:
        yield f"{used / MB:.0f} MB were used for {sockets} sockets"


def nobody_waits(calm: Sequence[float], meanwhile: Sequence[float]) -> Iterator[str]:
    """On other sessions answers take as long as before, or little longer."""
    usual, slow = _p99(calm), _p99(meanwhile)
    if slow > 2 * usual + POLL_S:
        yield f"somebody else waited {slow:.2f} s, and {usual:.3f} s before"


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def in_order(events: Sequence[StoredEvent], head: int) -> Iterator[str]:
    """The log is 1, 2, 3 … up to the session's counter."""
    if [event.seq for event in events] != list(range(1, head + 1)):
        yield f"the log's numbers are not 1 to {head}: {_holes([event.seq for event in events])}"


def has_all(client: Oracle, events: Sequence[StoredEvent]) -> Iterator[str]:
    """A client has each event once, in order, as the database has it."""
    mine = [(f["seq"], f["id"], f["run_id"], f["type"], f["data"]) for f in client.state.stored()]
    theirs = [(e.seq, e.id, e.run_id, e.event, e.data) for e in events]
    if mine != theirs:
        first = next(
            (i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs))
        )
        yield f"{client.name} has {len(mine)} events, the database {len(theirs)}; they differ from event {first + 1} on"


def same_as(fresh: Oracle, clients: Iterable[Oracle]) -> Iterator[str]:
    """All clients show the same, and the same as one that has just loaded everything."""
    wanted = fresh.state.shown()
    for client in clients:
        shown = client.state.shown()
        for part, value in wanted.items():
            if shown[part] != value:
                yield f"{client.name} shows another {part} than a fresh load does: {shown[part]!r:.300} instead of {value!r:.300}"


def nothing_lost(client: Oracle, events: Sequence[StoredEvent]) -> Iterator[str]:
    """Whatever was once shown is in the database, as it was shown."""
    stored = {(event.seq, event.id): event.data for event in events}
    for key, frame in client.seen.items():
        if key not in stored:
            yield f"{client.name} was shown event {key[0]}, which is not in the database"
        elif stored[key] != frame["data"]:
            yield f"{client.name} was shown event {key[0]} with other data than the database has"


def one_run_a_message(clients: Iterable[Oracle], runs: Sequence[StoredRun]) -> Iterator[str]:
    """One message is one run, the one that its sender was told."""
    for key, count in Counter((run.user_id, run.client_message_id) for run in runs).items():
        if count > 1:
            yield f"message {key[1]} became {count} runs"
    by_id = {run.id: run.client_message_id for run in runs}
    for client in clients:
        for own_id, run_id in client.accepted.items():
            if by_id.get(run_id) != own_id:
                yield f"{client.name} was told that message {own_id} is run {run_id}, which the database does not know"


def lifecycles(events: Sequence[StoredEvent], runs: Sequence[StoredRun]) -> Iterator[str]:
    """Each run has one beginning, has ended as its last event says, and no other run was executed meanwhile."""
    at_work: str | None = None
    ended: dict[str, str] = {}
    begun: set[str] = set()
    for event in events:
        kind = event.event.replace("child_", "reasoning_")
        is_first = kind == "reasoning_start"
        if event.run_id in ended:
            yield f"event {event.seq} comes after its run's end"
        if is_first == (event.run_id in begun):
            yield f"event {event.seq} {'begins its run again' if is_first else 'comes before its run has begun'}"
        begun.add(event.run_id)
        is_within = kind != event.event
        # One that is removed from the queue starts and ends while another one is executed, and so does a run within a run.
        at_work = at_work or event.run_id
        if kind == "reasoning_complete":
            ended[event.run_id] = event.data["status"]
            at_work = None if at_work == event.run_id else at_work
        elif not is_first and event.run_id != at_work and not is_within:
            yield f"event {event.seq} comes while another run is at work"
    for run in runs:
        if run.status in UNFINISHED:
            yield f"run {run.number} is {run.status} for ever"
        elif ended.get(run.id) != run.status:
            yield f"run {run.number} is {run.status}, its last event says {ended.get(run.id)}"


def nobody_elses(clients: Iterable[Oracle], runs: Sequence[StoredRun]) -> Iterator[str]:
    """A client received events of its own session's runs only."""
    own = {run.id for run in runs}
    for client in clients:
        for run_id in {frame["run_id"] for frame in client.seen.values()} - own:
            yield f"{client.name} was told of run {run_id}, which is not of its session"


def quiet_logs(lines: Iterable[str], may: str = "") -> Iterator[str]:
    """No log shows a traceback, a task whose exception nobody read, or a lock that was given up."""
    printed = list(lines)
    for number, line in enumerate(printed):
        if ALARMS.search(line) and not (may and re.search(may, line)):
            yield "a process printed: " + "".join(printed[max(0, number - 1) : number + 40])[:3000]
            return


def idle_database(database: Database, session_id: str) -> Iterator[str]:
    """No text in progress is stored once no run is at work."""
    drafts = database.rows(
        "SELECT run_id FROM chat_draft WHERE run_id IN (SELECT id FROM chat_run WHERE session_id = ?)", session_id
    )
    if drafts:
        yield f"{len(drafts)} texts in progress are left of runs that have ended"


def _holes(numbers: Sequence[int]) -> str:
    missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
    return f"missing {missing[:5]}, {len(numbers) - len(set(numbers))} twice"
