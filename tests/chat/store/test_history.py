"""An agent's history of a session: whatever state the session was left in, the next request is valid."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.models.reply_parts import Part
from agents.snapshots import StepSplitter
from chat.models import Draft, Run, RunStatus, Session, Step, StepOrigin
from chat.runs import events as run_events
from chat.runs import state as run_state
from chat.runs.state import CONTINUABLE, ENDED, End
from chat.store import history, selectors, step_log
from chat.store.step_log import Entry
from tests.agents.asked import OWN_FIELDS, SERVER, bodies
from tests.chat import making
from tests.strict_judge import find_faults

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class PastRun:
    """A run in a state in which it may have been left."""

    message: str
    replies: list[list[Part]]
    kept: int
    """Events that were stored before it ended; what follows was lost."""
    end: RunStatus
    is_swept: bool
    """Whether another process ended it, as it does with what a dead one leaves open."""
    draft: str
    enable_reasoning: bool
    continues: bool
    reasoning_field: str
    turn_fields: dict[str, Any]


DETAILS = {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "index": 0}]}


def _call(name: str, arguments: str, id_: str, fields: dict[str, Any]) -> Part:
    return Part("call", 0.0, [arguments], name, id_, fields=fields)


_PARTS = st.one_of(
    st.builds(lambda text: Part("reasoning", 0.0, [text]), st.sampled_from(["Hm.", " ", "想"])),
    st.builds(lambda text: Part("content", 0.0, [text]), st.sampled_from(["So.", "Let me see.", "\n", "x" * 900])),
    st.builds(
        _call,
        st.sampled_from(["echo", "browser.open", "", "x" * 90]),
        st.sampled_from(["{}", "{", '{"a": 1}', ""]),
        st.sampled_from(["", "call_1", "functions.echo:0"]),
        st.sampled_from([{}, {"extra_content": {"google": {"thought_signature": "abc"}}}]),
    ),
)
_RUNS = st.builds(
    PastRun,
    message=st.sampled_from(["Why?", " ", "x" * 2_000]),
    replies=st.lists(st.lists(_PARTS, max_size=4), max_size=3),
    kept=st.integers(0, 25) | st.just(99),
    end=st.sampled_from(ENDED),
    is_swept=st.booleans(),
    draft=st.sampled_from(["", "final_answer", "thought", "tool_use"]),
    enable_reasoning=st.booleans(),
    continues=st.booleans(),
    reasoning_field=st.sampled_from(["", "reasoning_content"]),
    turn_fields=st.sampled_from([{}, DETAILS]),
)


def events_of(past: PastRun) -> list[Entry]:
    """All that the agent would have yielded in the run."""
    splitter = StepSplitter()
    steps = splitter.open(past.message)
    for number, parts in enumerate(past.replies):
        steps += splitter.begin() if number else []
        written, calls = splitter.finish(
            parts, server=SERVER, reasoning_field=past.reasoning_field, turn_fields=past.turn_fields
        )
        steps += written
        steps += [splitter.result(call.id, ok=True, content="r" * 2_100, duration_ms=1) for call in reversed(calls)]
    return [
        Entry("reasoning_step", step.data, step.full_content, numbered=past.enable_reasoning, origin=step.origin)
        for step in steps
    ]


def leave_behind(session: Session, past: PastRun, before: Run | None) -> Run:
    """Store the run in that state."""
    continues = before if past.continues and before is not None and before.status in CONTINUABLE else None
    run = making.run(session, message=past.message, enable_reasoning=past.enable_reasoning, continues=continues)
    step_log.append(run, events_of(past)[: past.kept])
    if past.draft:
        step_log.save_drafts([Draft(run=run, number=99, type=past.draft, text="Half", updated_at=run.created_at)])
    closing = (
        run_events.left_open(Run.objects.get(pk=run.pk), list(Step.objects.filter(run=run))) if past.is_swept else []
    )
    end = End(past.end)
    step_log.append(run, [*closing, run_events.completed(run, end)])
    assert run_state.finish(run.pk, session.pk, end)
    run.refresh_from_db()
    return run


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(_RUNS, min_size=1, max_size=4), st.sampled_from([300, 58_000]))
def test_the_next_request_is_valid_whatever_state_a_session_was_left_in(runs: list[PastRun], budget: int) -> None:
    with transaction.atomic():
        session = making.session(making.user())
        before: Run | None = None
        for past in runs:
            before = leave_behind(session, past, before)
            after = before.number + 1
            own_history = history.conversation_history(session.pk, after)
            asked = [*bodies([*own_history, {"role": "user", "content": "And now?"}], budget)]
            if before.status in CONTINUABLE:
                own_history = history.conversation_history(session.pk, after, unfinished_run=before.pk)
                assert any(message["role"] == "user" for message in own_history), "there is nothing to go on from"
                asked += bodies(own_history, budget)
            for body in asked:
                assert not find_faults(body, OWN_FIELDS), "a strict server refuses the request"
        transaction.set_rollback(True)


def reply(*parts: Part) -> list[Part]:
    return list(parts)


def past(replies: list[list[Part]], **more: Any) -> PastRun:
    """A run with these properties, otherwise complete."""
    fields: dict[str, Any] = {
        "message": "Why?",
        "kept": 99,
        "end": RunStatus.COMPLETED,
        "is_swept": False,
        "draft": "",
        "enable_reasoning": True,
        "continues": False,
        "reasoning_field": "reasoning_content",
        "turn_fields": {},
    }
    return PastRun(replies=replies, **fields | more)


SIGNED = {"extra_content": {"google": {"thought_signature": "abc"}}}
LOOKED = reply(Part("reasoning", 0.0, ["Hm."]), _call("echo", "{}", "call_1", SIGNED))
ANSWERED = reply(Part("reasoning", 0.0, ["So."]), Part("content", 0.0, ["Because."]))


@pytest.mark.parametrize("enable_reasoning", [True, False])
def test_fields_of_a_server_are_sent_back_with_its_calls(enable_reasoning: bool) -> None:
    session = making.session(making.user())
    leave_behind(session, past([LOOKED, ANSWERED], enable_reasoning=enable_reasoning), None)
    own_history = history.conversation_history(session.pk, 2)
    assert own_history[1]["origin"] == {"server": SERVER, "fields": {"reasoning_content": "Hm."}}
    assert own_history[1]["tool_calls"][0]["origin"] == {"server": SERVER, "fields": SIGNED}
    assert [message["content"] for message in own_history] == ["Why?", "", "r" * 2_100, "Because."]
    body = next(bodies([*own_history, {"role": "user", "content": "And now?"}]))
    assert body["messages"][2]["reasoning_content"] == "Hm."
    assert body["messages"][2]["tool_calls"][0]["extra_content"] == SIGNED["extra_content"]
    assert StepOrigin.objects.count() == 1


def test_the_details_of_a_turns_reasoning_come_back_as_they_came() -> None:
    session = making.session(making.user())
    leave_behind(session, past([LOOKED, ANSWERED], turn_fields=DETAILS), None)
    own_history = history.conversation_history(session.pk, 2)
    assert own_history[1]["origin"]["fields"] == {"reasoning_content": "Hm.", **DETAILS}
    body = next(bodies([*own_history, {"role": "user", "content": "And now?"}]))
    assert body["messages"][2]["reasoning_details"] == DETAILS["reasoning_details"]
    before = {"server": SERVER, "fields": {}, "thoughts": {}}  # as in versions that stored none
    StepOrigin.objects.update(data=json.dumps(before))
    assert "origin" not in history.conversation_history(session.pk, 2)[1]


def test_fields_of_a_server_are_not_sent_to_clients() -> None:
    session = making.session(making.user())
    run = leave_behind(session, past([LOOKED, ANSWERED]), None)
    sent = [stored.frame for stored in selectors.stored_after(session.pk, 0, 100)]
    shown = f"{sent} {selectors.run_frames(run)} {selectors.frames_between(session.pk, 1, session.last_seq)}"
    assert "thought_signature" not in shown
    assert "reasoning_content" not in shown


PARTIAL = [making.step("final_answer", "Half", step=9, partial=True)]


def contents(session: Session, before: int, unfinished: UUID | None = None) -> list[str]:
    return [
        message["content"] for message in history.conversation_history(session.pk, before, unfinished_run=unfinished)
    ]


def test_a_piece_of_an_answer_is_forgotten_once_there_is_the_whole() -> None:
    session = making.session(making.user())
    first = making.run(session)
    making.append(first, *PARTIAL)
    making.end(first, RunStatus.FAILED)
    assert contents(session, 2) == ["Why?", "Half"]
    assert contents(session, 2, first.pk) == ["Why?"]
    second = leave_behind(session, past([], continues=True, end=RunStatus.FAILED), Run.objects.get(pk=first.pk))
    assert contents(session, 3) == ["Why?", "Half"]
    leave_behind(session, past([ANSWERED], continues=True), second)
    assert contents(session, 4) == ["Why?", "Because."]


def write(run: Run, text: str, end: RunStatus, *, is_cut: bool) -> Run:
    """Let a run end with a partial answer."""
    parts = [Part("content", 0.0, [text])]
    steps, _ = StepSplitter().finish(parts, partial=True, server=SERVER, is_cut=is_cut)
    making.append(run, *(Entry("reasoning_step", step.data, origin=step.origin) for step in steps))
    making.end(run, end)
    return Run.objects.get(pk=run.pk)


def test_an_answer_that_was_cut_is_gone_on_with_and_remembered_as_one() -> None:
    session = making.session(making.user())
    first = write(making.run(session), "Half", RunStatus.FAILED, is_cut=True)
    assert contents(session, 2, first.pk) == ["Why?", "Half"]
    second = write(making.run(session, continues=first), " Rest", RunStatus.FAILED, is_cut=True)
    assert contents(session, 3, second.pk) == ["Why?", "Half Rest"]
    third = leave_behind(session, past([ANSWERED], continues=True), second)
    assert contents(session, 4) == ["Why?", "Half RestBecause."]
    assert third.continues_id == second.pk


def test_the_rest_of_an_answer_that_was_stopped_itself_is_forgotten_once_there_is_the_whole_rest() -> None:
    session = making.session(making.user())
    first = write(making.run(session), "Half", RunStatus.FAILED, is_cut=True)
    second = write(making.run(session, continues=first), " Rest", RunStatus.CANCELLED, is_cut=False)
    assert contents(session, 3, second.pk) == ["Why?", "Half"]
    leave_behind(session, past([ANSWERED], continues=True), second)
    assert contents(session, 4) == ["Why?", "HalfBecause."]


def test_an_answer_that_was_cut_and_then_needed_a_tool_stays_a_message_before_it() -> None:
    session = making.session(making.user())
    first = write(making.run(session), "Half", RunStatus.FAILED, is_cut=True)
    leave_behind(session, past([LOOKED, ANSWERED], continues=True), first)
    assert contents(session, 3) == ["Why?", "Half", "", "r" * 2_100, "Because."]


def test_memory_never_begins_in_the_middle_of_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_MEMORY_CHARACTERS", 10)
    session = making.session(making.user())
    before = leave_behind(session, past([ANSWERED]), None)
    before = leave_behind(session, past([ANSWERED], end=RunStatus.CANCELLED), before)
    before = leave_behind(session, past([LOOKED], end=RunStatus.CANCELLED, continues=True), before)
    leave_behind(session, past([ANSWERED], continues=True), before)
    roles = [message["role"] for message in history.conversation_history(session.pk, 5)]
    assert roles == ["user", "assistant", "assistant", "tool", "assistant"]
