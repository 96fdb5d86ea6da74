"""Calls that wait for people as AG-UI's interrupts, and the answers that resume them. An interrupt's id is ``<run id>:<call id>``."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson

from agents.json_types import JsonObject
from agents.sentence import Sentence
from chat.api.agui_events import name_call
from chat.models import Run, WaitingCall, WaitingKind
from chat.protocol import Decide, as_uuid, validate_payload
from chat.runs import deciding
from chat.runs.admission import Refused
from chat.runs.deciding import Answered, Approval
from chat.store import waiting_calls

_ABOUT_PEOPLE = ("approval_request", "approval", "question", "answer")


def is_about_people(text: str, run_id: UUID) -> bool:
    """Whether a frame is a request to people, or their decision or answer, in a run or one within it."""
    if not any(f'"type":"{kind}"' in text for kind in _ABOUT_PEOPLE):
        return False
    frame = orjson.loads(text)
    is_own = frame["type"] == "reasoning_step" and frame["run_id"] == str(run_id)
    return bool((is_own or frame["type"] == "child_step") and frame["data"]["type"] in _ABOUT_PEOPLE)


def interrupts_of(run_id: UUID, text: str) -> list[JsonObject]:
    """The interrupts of a run and of those within it, once all requests of a turn are there; empty before that, or if nothing waits."""
    frame = orjson.loads(text)
    data, calls = frame["data"], waiting_calls.open_within(run_id)
    own = [call.tool_call_id for call in calls if str(call.run_id) == frame["run_id"]]
    is_request = data["type"] in ("approval_request", "question")
    if not calls or (is_request and data["tool_call_id"] not in own[-1:]):
        return []
    return [_interrupt(call) for call in calls]


def _interrupt(call: WaitingCall) -> JsonObject:
    arguments = orjson.loads(call.arguments)
    interrupt: JsonObject = {
        "id": f"{call.run_id}:{call.tool_call_id}",
        "toolCallId": name_call(str(call.run_id), call.tool_call_id),
        "expiresAt": call.deadline.isoformat(),
    }
    if call.kind == WaitingKind.QUESTION:
        fields = orjson.loads(call.fields)
        return interrupt | {
            "reason": "input_required",
            "message": str(arguments.get("question", "")),
            "metadata": {"fields": fields},
        }
    schema = {
        "type": "object",
        "properties": {
            "approved": {"type": "boolean"},
            "arguments": orjson.loads(call.parameters or "{}"),
            "reason": {"type": "string"},
            "scope": {"type": "string", "enum": ["once", "session"]},
        },
        "required": ["approved"],
    }
    metadata = {"toolName": call.tool_name, "arguments": arguments}
    return interrupt | {"reason": "tool_call", "responseSchema": schema, "metadata": metadata}


def waiting_run(interrupt_id: str) -> Run | None:
    """The run that an interrupt is about."""
    run_id = as_uuid(interrupt_id.partition(":")[0])
    return Run.objects.filter(pk=run_id).first() if run_id is not None else None


def root_of(run: Run) -> Run:
    """The run that has started this one, directly or not; the run itself if it is a root."""
    return run if run.parent is None else root_of(run.parent)


def answer_of(
    run: Run, interrupt_id: str, payload: Mapping[str, Any] | None, *, is_cancelled: bool
) -> tuple[UUID, Approval | Answered]:
    """A person's decision or answer as the use case takes it. Raises `Refused` if it is neither."""
    call_id = interrupt_id.partition(":")[2]
    kinds = WaitingCall.objects.filter(run=run, tool_call_id=call_id).values_list("kind", flat=True)
    kind = kinds.first()
    answer = dict(payload or {})
    if kind == WaitingKind.QUESTION:
        if is_cancelled:
            raise Refused("bad_arguments", Sentence("A question is answered, or the run stopped."))
        return run.pk, Answered(call_id, answer)
    # A call that does not exist is refused as such, whatever the payload is.
    body = decision_of(call_id, answer, is_cancelled=is_cancelled or kind is None)
    return run.pk, deciding.approval_of(body)


def decision_of(call_id: str, answer: Mapping[str, Any], *, is_cancelled: bool) -> Decide:
    """A client's decision on a call: `approved`, or `decision` as in a socket's `approve`. Raises `BadFrame` if there is neither."""
    body = {**answer, "tool_call_id": call_id}
    approved = body.pop("approved", None)
    if is_cancelled:
        body["decision"] = "deny"
    elif isinstance(approved, bool):
        body["decision"] = "allow" if approved else "deny"
    return validate_payload(Decide, body)
