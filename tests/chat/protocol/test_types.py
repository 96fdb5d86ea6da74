"""The fields of each frame, step and command, written down a second time: a change of the protocol is a change of these tables."""

from typing import Any, get_args

import pytest

from agents.steps import StepData, StepType
from chat import protocol
from chat.protocol.commands import PAYLOADS
from chat.protocol.frames import StoredFrame, StoredType, UnstoredFrame, type_of
from chat.runs.state import ENDED
from tests import wire_types

#: For each type of stored event: the fields of its data, and the optional ones. Those of steps are below.
STORED = {
    "reasoning_start": (
        "agent message user enable_reasoning timestamp",
        "continues files max_iterations model sent_along",
    ),
    "response": ("content", "partial"),
    "error": ("message code id", "client_message_id template values"),
    "reasoning_complete": ("status total_iterations duration_ms usage", "code cancelled_by removed waited_ms"),
}
#: The same for those of a run within another one.
STORED |= {
    "child_start": (f"{STORED['reasoning_start'][0]} parent", STORED["reasoning_start"][1]),
    "child_error": STORED["error"],
    "child_complete": STORED["reasoning_complete"],
}
#: For each type of frame that is not stored. For a list: the fields of its items.
UNSTORED = {
    "session": (
        "session_id title agent last_seq role window run queue children steering notes",
        "reset context budget branch",
    ),
    "accepted": ("client_message_id run_id queued", "steer"),
    "queue": ("run_id client_message_id user message", ""),
    "steering": ("client_message_id user message", ""),
    "error": ("message code id", "client_message_id template values"),
    "reasoning_delta": ("step type attempt offset text", "tool_name"),
    "child_delta": ("step type attempt offset text", "tool_name"),
    "pong": ("last_seq timestamp", ""),
    "presence": ("user role sockets", ""),
    "announcement": ("message level", ""),
    "verdict": ("run_id user verdict reason good bad version", ""),
    "comment": ("id seq user text created_at edited_at count version", "deleted"),
    "activity": ("user", "seq typing"),
    # How a scheduled run has ended, and that a run waits: the fields that both have, and those that one of them has.
    "notification": (
        "title run_id session_id timestamp",
        "id schedule_id text texts status paused duration_ms kind tool_call_id tool_name deadline",
    ),
}
#: For each kind of step, the fields beside the common ones.
EVERY_STEP = "type content iteration timestamp"
STEPS = {
    "start": ("message", ""),
    "iteration_start": ("", ""),
    "iteration_end": ("", "context budget"),
    "thought": ("step duration_ms", "partial template values"),
    "tool_use": ("step tool_name tool_call_id arguments", ""),
    "tool_result": ("step tool_name tool_call_id ok duration_ms truncated content_length", "files"),
    "final_answer": ("step duration_ms", "partial"),
    "max_iterations_reached": ("max_iterations", ""),
    "complete": ("total_iterations", ""),
    "error": ("error code", ""),
    "steer": ("user client_message_id", ""),
    "approval_request": ("tool_call_id tool_name arguments deadline unanswered", ""),
    "approval": ("tool_call_id decision user scope reason", "arguments"),
    "question": ("tool_call_id fields deadline", ""),
    "answer": ("tool_call_id user answers", ""),
}
#: For each command.
COMMANDS = {
    "chat": ("message", "agent_name enable_reasoning client_message_id files"),
    "cancel": ("", "run_id all"),
    "continue": ("run_id", "client_message_id"),
    "steer": ("message", "client_message_id interrupt"),
    "unsteer": ("client_message_id", ""),
    "approve": ("run_id tool_call_id decision", "arguments scope reason"),
    "answer": ("run_id tool_call_id answers", ""),
    "resume": ("", "last_seq last_id"),
    "ack": ("seq", ""),
    "ping": ("", ""),
    "activity": ("", "seq typing"),
}


def members(union: Any) -> dict[str, Any]:
    return {type_of(kind): kind for kind in get_args(union)}


def fields_of(frame: Any) -> tuple[set[str], set[str]]:
    data = frame.__annotations__["data"]
    kinds = [wire_types.keys_of(kind) for kind in get_args(data) or [data]]
    always = set.intersection(*(needed for needed, _ in kinds))
    return always, set.union(*(needed | perhaps for needed, perhaps in kinds)) - always


@pytest.mark.parametrize("word", STORED)
def test_a_stored_event_holds_what_the_protocol_says(word: str) -> None:
    kind = members(StoredFrame)[word]
    assert wire_types.keys_of(kind) == ({"type", "seq", "id", "run_id", "data"}, {"copied_from"})
    assert fields_of(kind) == tuple(set(names.split()) for names in STORED[word])


@pytest.mark.parametrize("word", UNSTORED)
def test_a_frame_that_is_not_stored_holds_what_the_protocol_says(word: str) -> None:
    kind = members(UnstoredFrame)[word]
    beside = {"run_id"} if word.endswith("_delta") else set()
    assert wire_types.keys_of(kind) == ({"type", "data"} | beside, set())
    assert fields_of(kind) == tuple(set(names.split()) for names in UNSTORED[word])


@pytest.mark.parametrize("word", STEPS)
def test_a_step_holds_what_the_protocol_says(word: str) -> None:
    always, perhaps = STEPS[word]
    kind = members(StepData)[word]
    assert wire_types.keys_of(kind) == ({*EVERY_STEP.split(), *always.split()}, set(perhaps.split()))


@pytest.mark.parametrize("word", COMMANDS)
def test_a_command_takes_what_the_protocol_says(word: str) -> None:
    fields = PAYLOADS[word].model_fields
    needed = {name for name, field in fields.items() if field.is_required()}
    assert (needed, set(fields) - needed) == tuple(set(names.split()) for names in COMMANDS[word])


def test_there_are_no_others() -> None:
    steps = {"reasoning_step", "child_step"}
    assert set(members(StoredFrame)) == {*STORED, *steps} == set(get_args(StoredType)) == set(protocol.STORED)
    assert set(members(UnstoredFrame)) == set(UNSTORED) == {*protocol.UNSTORED, "error"}
    assert set(members(StepData)) == set(STEPS) == set(get_args(StepType)) == set(protocol.STEP_TYPES)
    assert set(PAYLOADS) == set(COMMANDS) == set(protocol.COMMANDS)
    assert set(protocol.ENDS) == {str(status) for status in ENDED}


STEP = {"type": "complete", "content": "", "iteration": 1, "timestamp": 1.5, "total_iterations": 1}
EVENT = {"type": "reasoning_step", "seq": 1, "id": "e", "run_id": "r", "data": STEP}
PONG = {"type": "pong", "data": {"last_seq": 1, "timestamp": 1.5}}


@pytest.mark.parametrize(
    ("frame", "is_well"),
    [
        (PONG, True),
        (EVENT, True),
        ({**PONG, "more": 1}, False),
        ({**PONG, "type": "pang"}, False),
        ({**PONG, "data": {"last_seq": "1", "timestamp": 1.5}}, False),
        ({**PONG, "data": {"last_seq": 1}}, False),
        ({**PONG, "data": {**PONG["data"], "more": 1}}, False),  # type: ignore[dict-item]
        ({**EVENT, "data": {**STEP, "more": 1}}, False),
        ({**EVENT, "data": {**STEP, "type": "thought"}}, False),
        ({**EVENT, "data": {**STEP, "type": "nothing"}}, False),
        ({**EVENT, "data": {**STEP, "iteration": None}}, False),
    ],
)
def test_a_frame_that_does_not_match_its_type_is_noticed(frame: dict[str, Any], is_well: bool) -> None:
    """This is the check that every test's sockets and stored events go through."""
    assert (wire_types.fault_of(frame) == "") is is_well
