"""The events that frame a run's steps: its start, its end, its failure, and what closes what a dead process left open."""

import secrets
from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from agents import Outcome
from chat import selectors
from chat.models import Run, RunStatus, Step
from chat.protocol import utf16_length
from chat.run_state import End
from chat.step_log import Entry


def started(run: Run) -> Entry:
    """The first event of a run."""
    data: dict[str, Any] = {
        "agent": run.agent_name,
        "message": run.message,
        "user": run.user.get_username() if run.user else "",
        "enable_reasoning": run.enable_reasoning,
        "timestamp": timezone.now().timestamp(),
    }
    if run.continues_id:
        data["continues"] = str(run.continues_id)
    return Entry("reasoning_start", data)


def completed(run: Run, end: End) -> Entry:
    """The last event of a run."""
    began = run.started_at or timezone.now()
    data: dict[str, Any] = {
        "status": str(end.status),
        "total_iterations": end.iterations,
        "duration_ms": max(0, round((timezone.now() - began).total_seconds() * 1000)),
        "usage": {
            "input_tokens": end.usage.input_tokens,
            "output_tokens": end.usage.output_tokens,
            "estimated": end.usage.estimated,
        },
    }
    if end.code:
        data["code"] = end.code
    if end.status is RunStatus.CANCELLED and run.cancelled_by is not None:
        data["cancelled_by"] = run.cancelled_by.get_username()
    return Entry("reasoning_complete", data)


def failed(outcome: Outcome) -> Entry:
    """The event that says, to people, why a run failed."""
    return Entry("error", {"message": outcome.error, "code": outcome.code, "id": secrets.token_hex(4)})


def failed_step(outcome: Outcome, *, numbered: bool) -> Entry:
    """The step that says so, where it was not the agent that failed."""
    data = {
        "type": "error",
        "content": outcome.error,
        "error": outcome.error,
        "code": outcome.code,
        "iteration": outcome.iterations,
        "timestamp": timezone.now().timestamp(),
    }
    return Entry("reasoning_step", data, numbered=numbered)


def answered(content: str, *, partial: bool) -> Entry:
    """The whole answer of a run that was asked without its reasoning."""
    data: dict[str, Any] = {"content": content}
    if partial:
        data["partial"] = True
    return Entry("response", data)


def left_open(run: Run, steps: Sequence[Step]) -> list[Entry]:
    """What a run left behind: text in progress becomes its step, open tool calls are closed."""
    now = timezone.now().timestamp()
    iteration = max((step.iteration for step in steps), default=0)
    number = max((step.number or 0 for step in steps), default=0)
    entries: list[Entry] = []
    draft = getattr(run, "draft", None)
    if draft is not None and draft.text:
        if draft.type == "response":
            entries.append(answered(draft.text, partial=True))
        elif draft.type in ("thought", "final_answer") and draft.number > number:
            number = draft.number
            data = {
                "type": draft.type,
                "step": number,
                "content": draft.text,
                "iteration": iteration,
                "timestamp": now,
                "duration_ms": 0,
                "partial": True,
            }
            entries.append(Entry("reasoning_step", data, numbered=run.enable_reasoning))
    closed = {selectors.step_data(step)["tool_call_id"] for step in steps if step.type == "tool_result"}
    for call in (selectors.step_data(step) for step in steps if step.type == "tool_use"):
        if call["tool_call_id"] in closed:
            continue
        number += 1
        content = "The server stopped before this tool had finished; nothing of its result was kept."
        data = {
            "type": "tool_result",
            "step": number,
            "tool_name": call["tool_name"],
            "tool_call_id": call["tool_call_id"],
            "ok": False,
            "content": content,
            "truncated": False,
            "content_length": utf16_length(content),
            "duration_ms": max(0, round((now - call["timestamp"]) * 1000)),
            "iteration": call["iteration"],
            "timestamp": now,
        }
        entries.append(Entry("reasoning_step", data, numbered=run.enable_reasoning))
    return entries
