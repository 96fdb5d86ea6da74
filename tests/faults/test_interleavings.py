"""Whatever is late or fails on the way from the log to a client: each client gets each event once, in order, and soon."""

import asyncio
import logging
import os
import random
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from channels.layers import channel_layers
from django.utils import timezone

from chat import consumers, models
from chat.access import Role
from chat.live import connections, feed, subscriber
from chat.live import registry as feed_registry
from chat.live.connections import Grant, OpenSocket
from chat.live.handshake import Login
from chat.runs import publisher
from chat.runtime import background, database, groups
from chat.serving import supervisor
from chat.store import drafts, reconcile, selectors, step_log
from chat.store.drafts import Draft
from chat.store.reconcile import SessionFingerprint
from chat.store.selectors import SessionView
from chat.store.step_log import Stored
from tests.chat import making
from tests.faults.interleaving import (
    DELAYS,
    DOUBLED,
    FAILS,
    LOST,
    OVERTAKEN,
    STUCK,
    Database,
    Hot,
    Layer,
    Points,
    VirtualLoop,
    Watcher,
    event,
)

#: What happens in a scenario: when, to which client, what. ``joins 3`` is with ``last_seq`` 3; without a number it is the real one.
SCENARIOS = {
    "one after the other": "0 a joins 0; 0.7 b joins 7; 1.5 c joins 0",
    "at once": "0 a joins 0; 0 b joins 12; 0 c joins 5",
    "come and go": "0 a joins 0; 0.6 a goes; 0.6 b joins 0; 1.3 b goes; 1.3 a joins; 2.4 b joins",
    "resume": "0 a joins 0; 0 b joins 3; 0.9 a resumes 2; 1.8 b resumes 0; 1.9 b resumes 4; 2 a resumes 1",
    "alone": "0 a joins 0; 1.1 a goes; 1.2 a joins",
    "when all is written": "6 a joins 0; 6.1 b joins 4; 9 b resumes 0",
}
#: Scenarios in which another process executes the run, so that its text in progress comes through the channel layer.
ELSEWHERE = ("one after the other", "come and go")
#: How many events the log begins with, how many are added, and the seconds in between. The windows are small in the same proportion.
BEGINS_WITH, ADDED, EVERY_S = 12, 14, 0.4
KEPT, READ_AT_ONCE = 6, 5
#: The seconds after the last fault: a poll each second, and its work; a client whose socket was closed has to reconnect first.
WITHIN_S, COMING_BACK_S = 2.0, 4.0
OF_ALL = (*DELAYS, FAILS, STUCK, LOST, DOUBLED, OVERTAKEN)
#: A plan of faults to repeat, as printed by a failed test: ``PLAN='{12: "fails"}'``.
PLAN = literal_eval(os.environ.get("PLAN", "None"))


class MemoryLog:
    """A session's log in memory, with the answers that `selectors` and `sockets` would give."""

    def __init__(self) -> None:
        self.owner_id = 1
        self.session_id, self.run_id = uuid4(), uuid4()
        self.events: list[Stored] = []
        self.line: list[dict[str, Any]] = []
        self.people: dict[UUID, int] = {}
        self.draft: Draft | None = None
        self._opened = 0
        #: Calls for which it has no answer.
        self.unknown: set[str] = set()
        self.user = SimpleNamespace(pk=1, is_staff=False)

    def append(self) -> Stored:
        self.events.append(event(len(self.events) + 1, self.run_id))
        return self.events[-1]

    @property
    def head(self) -> int:
        return self.events[-1].seq if self.events else 0

    def answer(self, function: Any, *args: Any, **_: Any) -> Any:
        """The answer to a function that was passed to `database.read` or `database.write`."""
        if function.__name__ == "<lambda>":  # expired logins, withdrawn rights
            return set(), []
        if not hasattr(self, function.__name__):
            self.unknown.add(function.__name__)
        return getattr(self, function.__name__)(*args)

    def find_access(self, _scope: Any, _session_id: UUID) -> tuple[Login, Grant]:
        return Login(self.user, "key"), Grant(Role.OWNER, 0)  # type: ignore[arg-type]

    def store_connections(self, _process: str, opened: Sequence[OpenSocket], closed: Sequence[UUID]) -> None:
        for open_socket in opened:
            self._opened += 1
            self.people.setdefault(open_socket.connection_id, self._opened)
        for connection_id in closed:
            self.people.pop(connection_id, None)

    def stored_after(self, _session_id: UUID, after: int, limit: int) -> list[Stored]:
        return [stored for stored in self.events if stored.seq > after][:limit]

    def view_and_drafts(self, session_id: UUID) -> tuple[SessionView, list[Draft]]:
        return self.session_view(session_id), [self.draft] if self.draft else []

    def fingerprints_of(self, session_ids: Sequence[UUID]) -> list[SessionFingerprint | None]:
        opened = self.people.values()
        people = (len(opened), min(opened), max(opened)) if opened else reconcile.NOTHING
        line = (len(self.line), 1, self.line[-1]["number"]) if self.line else reconcile.NOTHING
        return [SessionFingerprint(self.head, line, people, is_live=True, owner_id=self.owner_id) for _ in session_ids]

    def saved_drafts(self, session_ids: Sequence[UUID]) -> list[tuple[UUID, Draft]]:
        return [(session_id, self.draft) for session_id in session_ids] if self.draft else []

    def queue(self, _session_id: UUID) -> list[dict[str, Any]]:
        return list(self.line)

    def pending_messages(self, session_id: UUID) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return self.queue(session_id), []

    def presence(self, _session_id: UUID) -> list[dict[str, Any]]:
        return [{"user": "ada", "role": "owner", "sockets": len(self.people)}] if self.people else []

    def session_view(self, _session_id: UUID) -> SessionView:
        return SessionView("", "researcher", self.head, None, list(self.line), None, 1, [], [])

    def event_id_at(self, _session_id: UUID, _seq: int) -> None:
        return None


class Course:
    """One run of a scenario, with faults at some of its points."""

    def __init__(self, name: str, faults: Mapping[int, str]) -> None:
        scenario, self.is_elsewhere = SCENARIOS[name], name in ELSEWHERE
        self.loop = VirtualLoop()
        self.points = Points(self.loop, faults)
        self.log = MemoryLog()
        for _ in range(BEGINS_WITH):
            self.log.append()
        self.watchers = {name: Watcher(self.points, self.log.session_id, name) for name in "abc"}
        self.acts = [act.split() for act in scenario.split("; ")]
        #: When the data that clients should have were last changed.
        self.changed_at = 0.0

    def run(self, patch: pytest.MonkeyPatch) -> Points:
        """Run the scenario; raises AssertionError if a client was not sent what it should be."""
        door, clock = (
            Database(self.points, self.log.answer),
            SimpleNamespace(monotonic=self.loop.time, time=self.loop.time),
        )
        patch.setattr(database, "read", door.call)
        patch.setattr(database, "write", door.call)
        for module in (feed, subscriber, feed_registry, groups, consumers):
            patch.setattr(module, "time", clock)
        channel_layers.set("default", Layer(self.points))
        try:
            self.loop.run_until_complete(self._go())
        finally:
            self.loop.run_until_complete(self._stop())
            self.loop.close()
            channel_layers.backends.pop("default", None)
            for known in (
                feed_registry.open_feeds,
                feed_registry.open_sockets,
                drafts.cells,
                drafts.watchers,
                drafts.unsaved,
            ):
                known.clear()
        return self.points

    async def _go(self) -> None:
        background.spawn(feed_registry.poll_forever(), "watch")
        await asyncio.gather(self._act(), self._write())
        while True:
            settled_at = max(self.changed_at, self.points.last_fault_at)
            late_at = max(settled_at + WITHIN_S, *(each.closed_at + COMING_BACK_S for each in self.watchers.values()))
            if self.loop.time() >= late_at:
                break
            await asyncio.sleep(late_at - self.loop.time())
        assert not self.log.unknown, f"the log in memory has no answer to {self.log.unknown}"
        for watcher in self.watchers.values():
            assert not watcher.complaints, watcher.complaints
            if watcher.is_here:
                assert watcher.seq == self.log.head, f"{watcher.name} was sent nothing after {watcher.seq}"
                assert watcher.line == self.log.line, f"{watcher.name} does not know the line"
                assert watcher.people == len(self.log.people), f"{watcher.name} does not know who is here"
                assert watcher.text == "the end", f"{watcher.name} was not shown what is being written"

    async def _act(self) -> None:
        for at, who, what, *number in self.acts:
            await asyncio.sleep(max(0.0, float(at) - self.loop.time()))
            getattr(self.watchers[who], what)(*map(int, number))
            self.changed_at = max(self.changed_at, self.loop.time())

    async def _write(self) -> None:
        """Store and publish events as a run in another process; at the end the queue and the text in progress change as well."""
        for number in range(ADDED):
            await asyncio.sleep(EVERY_S)
            if number == ADDED // 2:
                self.log.line = [{"number": 1}, {"number": 2}]
                await publisher.publish_queue(self.log.session_id)
            await publisher.publish_events(self.log.session_id, [self.log.append()])
        self.log.line = [{"number": 1}, {"number": 3}]
        await publisher.publish_queue(self.log.session_id)
        last = Draft(self.log.run_id, self.log.head + 1, "thought", 1, "the end")
        if self.is_elsewhere:
            self.log.draft = last
            publisher.DraftPublisher(self.log.session_id).publish(last)
        else:
            drafts.put(self.log.session_id, last)
        self.changed_at = max(self.changed_at, self.loop.time())

    async def _stop(self) -> None:
        for watcher in self.watchers.values():
            await watcher.stop()
        await background.drain(60.0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Windows that a short log exceeds, and no part of a serving process but the feeds."""
    monkeypatch.setattr(feed, "KEPT_FRAMES", KEPT)
    monkeypatch.setattr(subscriber, "READ_FRAMES", READ_AT_ONCE)
    monkeypatch.setattr(supervisor, "start_clockwork", lambda: None)
    # Sockets that earlier tests have left would count towards limits.
    monkeypatch.setattr(connections, "open_here", {})
    # The faults would be logged thousands of times.
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def follow(name: str, faults: Mapping[int, str]) -> Points:
    """Run a scenario with these faults; a failure says how to repeat it."""
    course = Course(name, faults)
    try:
        with pytest.MonkeyPatch.context() as patch:
            return course.run(patch)
    except AssertionError as wrong:
        reached = course.points.reached
        happened = [
            f"{number} ({reached[number][0]}): {fault}" for number, fault in faults.items() if number < len(reached)
        ]
        words = "something goes round and round" if isinstance(wrong, Hot) else "a client lacks something"
        raise AssertionError(f"{words}\n{name}: {wrong}\nPLAN='{dict(faults)}'\n" + "\n".join(happened)) from wrong


def single_faults(points: Points, network_every: int = 17) -> list[tuple[int, str]]:
    """Every fault at every point; of the sends, which are all alike, only some."""
    numbered = list(enumerate(points.reached))
    sends = [number for number, (name, _) in numbered if name.startswith("send")]
    left_out = set(sends) - set(sends[::network_every])
    return [(number, kind) for number, (_, kinds) in numbered if number not in left_out for kind in kinds]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", SCENARIOS)
def test_one_fault_at_any_point_costs_nobody_an_event(name: str) -> None:
    """Joining, opening, replaying, catching up, sending and leaving: each await is delayed and made to fail, one at a time."""
    if PLAN is not None:
        follow(name, PLAN)
        return
    for number, kind in single_faults(follow(name, {})):
        follow(name, {number: kind})


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("courses", [40, pytest.param(4_000, marks=pytest.mark.long)])
def test_two_faults_at_any_points_cost_nobody_an_event(name: str, courses: int) -> None:
    """Pairs of faults, drawn at random: the second one from the points that are reached after the first has happened."""
    draw = random.Random(f"{name} {courses}")
    points = follow(name, {})
    for _ in range(courses):
        first = draw.choice(single_faults(points, 1))
        second = draw.choice(single_faults(follow(name, dict([first])), 1))
        follow(name, dict([first, second]))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("courses", [30, pytest.param(2_000, marks=pytest.mark.long)])
def test_many_faults_cost_nobody_an_event(name: str, courses: int) -> None:
    """A quarter of all points in the first part of a scenario is late or fails."""
    draw = random.Random(f"{name} {courses} many")
    for _ in range(courses):
        faults = {
            number: draw.choice((*OF_ALL, "1.2 s late"))
            for number in range(draw.randrange(20, 160))
            if draw.random() < 0.25
        }
        follow(name, faults)


@pytest.mark.long
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", SCENARIOS)
def test_all_pairs_of_the_first_faults(name: str) -> None:
    """All pairs of faults, at the points until the first clients have joined."""
    faults = [(number, kind) for number, kind in single_faults(follow(name, {}), 3) if number < 40]
    for first, second in combinations(faults, 2):
        if first[0] != second[0]:
            follow(name, dict([first, second]))


@pytest.mark.django_db
def test_the_log_in_memory_answers_as_the_real_one() -> None:
    """The answers that the scenarios use are the database's own answers."""
    log = MemoryLog()
    session = making.session(making.user())
    log.owner_id = session.owner_id
    run = making.run(session)
    for _ in range(7):
        log.events += making.append(run, making.thought("?", log.head + 1))
    for after in range(9):
        for limit in (1, 3, 100):
            assert log.stored_after(session.pk, after, limit) == selectors.stored_after(session.pk, after, limit)
    assert log.view_and_drafts(session.pk)[1] == selectors.view_and_drafts(session.pk)[1] == []
    view = selectors.view_and_drafts(session.pk)[0]
    assert view is not None
    assert log.view_and_drafts(session.pk)[0].last_seq == view.last_seq
    assert log.session_view(session.pk).last_seq == selectors.session_view(session.pk).last_seq  # type: ignore[union-attr]
    assert log.presence(session.pk) == selectors.presence(session.pk)
    assert log.queue(session.pk) == selectors.queue(session.pk)
    assert log.fingerprints_of([session.pk]) == reconcile.fingerprints_of([session.pk])
    assert log.saved_drafts([session.pk]) == reconcile.saved_drafts([session.pk]) == []
    log.draft = Draft(run.pk, 8, "thought", 1, "the end")
    row = models.Draft(run_id=run.pk, number=8, type="thought", attempt=1, text="the end", updated_at=timezone.now())
    step_log.save_drafts([row])
    assert log.saved_drafts([session.pk]) == reconcile.saved_drafts([session.pk])
    assert log.view_and_drafts(session.pk)[1] == selectors.view_and_drafts(session.pk)[1] == [log.draft]
