"""The log, the runs and a client's state against a simple model, for any order of events.

The database is a real file. Hypothesis chooses the order: steps are stored or lost in a crash, published or not, twice or late; processes
die, are replaced, and write on as if nothing had happened; clients connect, disconnect and reconnect; runs are stopped, end, are continued;
the database is set back to an earlier state.
"""

import json
import os
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db import transaction
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from chat.accounts.models import User
from chat.models import LIVE, UNFINISHED, Draft, Run, RunStatus, Session, Step
from chat.runs import admission, dispatch, recorder, recovery
from chat.runs import commands as run_commands
from chat.runs import state as run_state
from chat.runs.state import End
from chat.store import selectors, step_log
from chat.store.step_log import Entry, Fenced, Stored
from tests import services
from tests.chat import making
from tests.chat.databases import postgresql
from tests.faults.oracle import State

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
MESSAGES = ("a", "b", "c", "d", "e", "f")


class Crash(Exception):
    """The process has crashed."""


class Client:
    """What one client has, and the frames that are on their way to it."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.state = State(self.complaints.append)
        self.connected = False

    def apply(self, stored: Stored) -> None:
        """Apply a published frame, unless an earlier one is missing: then read from the log, as feeds do."""
        if self.connected and stored.seq <= self.state.seq + 1:
            self.state.apply(json.loads(stored.frame))

    def catch_up(self, session_id: UUID) -> None:
        """Read from the log what the client does not have yet."""
        for stored in selectors.stored_after(session_id, self.state.seq, 1_000):
            self.state.apply(json.loads(stored.frame))


class LogMachine(RuleBasedStateMachine):
    """A session during the test."""

    clients = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.user = User.objects.get_or_create(username="ada")[0]
        self.session = making.session(self.user)
        #: The expected content of the log: numbers and ids.
        self.committed: list[tuple[int, str]] = []
        #: Every copy of a run that some process believes to own, whether or not that process is alive.
        self.held: list[Run] = []
        self.runs: dict[str, UUID] = {}
        self.everybody: list[Client] = []
        self.published: list[Stored] = []

    # What processes do

    def _note(self, stored: list[Stored], *, publish: bool) -> None:
        self.committed += [(one.seq, str(json.loads(one.frame)["id"])) for one in stored]
        if publish:
            self.published += stored
            for client in self.everybody:
                for one in stored:
                    client.apply(one)

    def _next_thought(self, run: Run) -> Entry:
        number = Step.objects.filter(run=run).exclude(number=None).count() + 1
        return making.thought(f"thought {number} 天氣 🙂", number)

    @rule(message=st.sampled_from(MESSAGES), publish=st.booleans())
    def ask(self, message: str, publish: bool) -> None:
        accepted = run_commands.ask_atomically(
            self.user,
            self.session.pk,
            message=f"What is {message}?",
            agent_name=None,
            fallback_agent=None,
            enable_reasoning=True,
            client_message_id=message,
            origin=run_commands.Origin.CHAT,
        )
        assert accepted.is_new == (message not in self.runs)
        assert self.runs.setdefault(message, accepted.run_id) == accepted.run_id
        if accepted.claim is not None:
            self.held.append(accepted.claim.run)
            self._note(accepted.claim.events, publish=publish)

    @rule(publish=st.booleans())
    def claim(self, publish: bool) -> None:
        claim = dispatch.claim_next(self.session.pk)
        if claim is not None:
            self.held.append(claim.run)
            self._note(claim.events, publish=publish)

    @rule()
    def another_process_takes_over(self) -> None:
        live = Run.objects.filter(session=self.session, status__in=LIVE).first()
        if live is not None:
            assert run_state.take_over(live, "another process")
            self.held.append(live)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(min_value=0), publish=st.booleans())
    def store_a_step(self, which: int, publish: bool) -> None:
        held = self.held[which % len(self.held)]
        is_owner = Run.objects.filter(pk=held.pk, fence=held.fence, status__in=LIVE).exists()
        try:
            stored = step_log.append(held, [self._next_thought(held)])
        except Fenced:
            assert not is_owner
        else:
            assert is_owner, "a step was stored by who had lost the run"
            self._note(stored, publish=publish)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(min_value=0))
    def crash_before_the_commit(self, which: int) -> None:
        held = self.held[which % len(self.held)]
        try:
            with transaction.atomic():
                step_log.append(held, [self._next_thought(held)])
                raise Crash
        except (Crash, Fenced):
            pass

    @precondition(lambda self: self.held)
    @rule(which=st.integers(min_value=0), words=st.text("ab 🙂", min_size=1, max_size=9))
    def keep_the_text_in_progress(self, which: int, words: str) -> None:
        held = self.held[which % len(self.held)]
        if Run.objects.filter(pk=held.pk, fence=held.fence, status__in=LIVE).exists():
            number = self._next_thought(held).data["step"]
            draft = Draft(run=held, number=number, type="thought", text=words, updated_at=timezone.now())
            step_log.save_drafts([draft])

    @precondition(lambda self: self.held)
    @rule(
        which=st.integers(min_value=0),
        status=st.sampled_from([RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.INTERRUPTED, RunStatus.CANCELLED]),
        publish=st.booleans(),
    )
    def end(self, which: int, status: RunStatus, publish: bool) -> None:
        held = self.held[which % len(self.held)]
        before = Run.objects.get(pk=held.pk)
        is_owner = before.fence == held.fence and before.status in LIVE
        try:
            stored, _ = recorder.end_run(held, [], End(status))
        except Fenced:
            assert not is_owner
        else:
            assert is_owner, "a run was ended by who had lost it"
            self._note(stored, publish=publish)

    @rule(publish=st.booleans())
    def sweep(self, publish: bool) -> None:
        for run_id in Run.objects.filter(session=self.session, status__in=LIVE).values_list("id", flat=True):
            result = recovery.interrupt_atomically(run_id)
            assert result is not None
            self._note(result[1], publish=publish)

    @rule(everything=st.booleans(), publish=st.booleans())
    def stop(self, everything: bool, publish: bool) -> None:
        try:
            _, stored = run_commands.cancel_atomically(self.user, self.session.pk, None, everything=everything)
        except admission.Refused:
            found = Run.objects.filter(session=self.session, status__in=UNFINISHED if everything else LIVE)
            assert not found.exists()
        else:
            self._note(stored, publish=publish)

    @rule(to=st.integers(min_value=0))
    def set_the_database_back(self, to: int) -> None:
        if Run.objects.filter(session=self.session, status__in=UNFINISHED).exists() or not self.committed:
            return
        # Set back to the end of some run; one that is removed from the queue ends while another one is executed.
        spans: dict[UUID, list[int]] = {}
        for run_id, seq in Step.objects.filter(session=self.session).order_by("seq").values_list("run_id", "seq"):
            spans.setdefault(run_id, []).append(seq)
        ends = sorted(
            seqs[-1] for seqs in spans.values() if not any(one[0] <= seqs[-1] < one[-1] for one in spans.values())
        )
        head = [0, *ends][to % (len(ends) + 1)]
        lost = Step.objects.filter(session=self.session, seq__gt=head)
        Run.objects.filter(pk__in=lost.values("run")).delete()
        Session.objects.filter(pk=self.session.pk).update(last_seq=head)
        del self.committed[head or 0 :]
        kept = set(Run.objects.filter(session=self.session).values_list("id", flat=True))
        self.runs = {message: run_id for message, run_id in self.runs.items() if run_id in kept}
        self.held = [held for held in self.held if held.pk in kept]
        self.published.clear()
        for client in self.everybody:
            client.connected = False

    # What clients do

    @rule(target=clients)
    def join(self) -> Client:
        client = Client()
        self.everybody.append(client)
        self._connect(client)
        return client

    @rule(client=clients)
    def come_back(self, client: Client) -> None:
        self._connect(client)

    def _connect(self, client: Client) -> None:
        state, head = client.state, len(self.committed)
        known = selectors.event_id_at(self.session.pk, state.seq) if state.seq else None
        if state.seq > head or (state.seq and str(known) != state.id):
            state.clear()
        client.connected = True
        client.catch_up(self.session.pk)

    @rule(client=clients)
    def go(self, client: Client) -> None:
        client.connected = False

    @precondition(lambda self: self.published)
    @rule(client=clients, which=st.integers(min_value=0))
    def receive_something_again(self, client: Client, which: int) -> None:
        client.apply(self.published[which % len(self.published)])

    @rule(client=clients)
    def look_at_the_log(self, client: Client) -> None:
        if client.connected:
            client.catch_up(self.session.pk)

    # What must hold at any time

    @invariant()
    def the_log_is_what_was_committed(self) -> None:
        steps = Step.objects.filter(session=self.session).order_by("seq").values_list("seq", "event_id")
        assert [(seq, str(event_id)) for seq, event_id in steps] == self.committed
        assert [seq for seq, _ in self.committed] == list(range(1, len(self.committed) + 1))
        assert Session.objects.get(pk=self.session.pk).last_seq == len(self.committed)

    @invariant()
    def runs_are_sound(self) -> None:
        found = list(Run.objects.filter(session=self.session))
        assert sum(run.status in LIVE for run in found) <= 1
        assert len({run.client_message_id for run in found}) == len(found)
        for run in found:
            events = list(Step.objects.filter(run=run).order_by("position").values_list("event", "body"))
            ends = [json.loads(body)["status"] for event, body in events if event == "reasoning_complete"]
            assert ends == ([run.status] if run.is_finished else [])
            assert not ends or events[-1][0] == "reasoning_complete"
            assert not (run.is_finished and Draft.objects.filter(run=run).exists())

    @invariant()
    def clients_that_have_all_show_the_same(self) -> None:
        fresh = Client()
        fresh.catch_up(self.session.pk)
        for client in [fresh, *self.everybody]:
            assert client.complaints == []
            if client.connected and client.state.seq == fresh.state.seq:
                shown, wanted = client.state.shown(), fresh.state.shown()
                assert (shown["runs"], shown["live"]) == (wanted["runs"], wanted["live"])


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def on_each_database(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[None]:
    """The same on both databases."""
    if request.param == "sqlite":
        yield
        return
    server, template = request.getfixturevalue("postgres_server"), request.getfixturevalue("ready")
    with (
        services.database(server, "model_of_the_log", template=template) as address,
        postgresql(address, has_tables=True),
    ):
        yield


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("on_each_database")
@pytest.mark.parametrize("examples", [30, pytest.param(300, marks=pytest.mark.long)])
def test_any_order_of_events_keeps_the_log_the_runs_and_the_clients_sound(examples: int) -> None:
    """Crashes before and after commits, lost and duplicated messages, zombies, sweeps, stops and a database set back, in any order."""
    plan = hypothesis_settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    limits: dict[str, Any] = dict.fromkeys(
        (n for n in dir(settings) if n.startswith("MAX_") and n != "MAX_ITERATIONS"), 0
    )
    with override_settings(**limits):
        run_state_machine_as_test(LogMachine, settings=plan)
