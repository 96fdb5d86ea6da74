"""The events that frame a run's steps: its start, its end, its failure, and what closes what a dead process left open."""

import itertools
import secrets
import time
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.utils import timezone

import agents
from agents import Outcome
from chat.models import Run, RunStatus, Step
from chat.protocol import error_data, utf16_length
from chat.runs.state import End
from chat.runtime import clock
from chat.store import selectors
from chat.store.step_log import Entry

_NO_RESULT = "The server stopped before this tool had finished; nothing of its result was kept."


def opening(run: Run) -> list[Entry]:
    """The first events of a run that is about to be executed, its agent's first steps with them."""
    steps = [
        Entry("reasoning_step", step.data, numbered=run.enable_reasoning) for step in agents.initial_steps(run.message)
    ]
    begun = started(run)
    begun.data["model"] = settings.AGENT_MODEL.model if settings.AGENT_MODEL.server else "demo"
    return [begun, *steps]


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
    if run.begun_at is not None:
        lasted = time.monotonic() - run.begun_at
    else:
        # Another process began it: by the clock that both have in common.
        now = clock.now()
        lasted = (now - (run.started_at or now)).total_seconds()
    data: dict[str, Any] = {
        "status": str(end.status),
        "total_iterations": end.iterations,
        "duration_ms": max(0, round(lasted * 1000)),
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
    return Entry("error", error_data(outcome.code, outcome.error, secrets.token_hex(4)))


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
    """What closes a run whose process is gone: text in progress becomes its step, open tool calls get their result."""
    iteration = max((step.iteration for step in steps), default=0)
    last = max((step.number or 0 for step in steps), default=0)
    numbers = itertools.count(1 + last)
    now = timezone.now().timestamp()
    data: list[dict[str, Any]] = []
    draft = getattr(run, "draft", None)
    # Half-written arguments are no call; there is nothing to keep of them. And a text may have been saved just after its step was stored.
    is_stored = draft is not None and 0 < draft.number <= last
    if draft is not None and draft.text and draft.type != "tool_use" and not is_stored:
        kind = "final_answer" if draft.type == "response" else draft.type
        data.append({"type": kind, "content": draft.text, "duration_ms": 0, "partial": True})
    data += [
        {
            "type": "tool_result",
            "tool_name": call["tool_name"],
            "tool_call_id": call["tool_call_id"],
            "ok": False,
            "content": _NO_RESULT,
            "truncated": False,
            "content_length": utf16_length(_NO_RESULT),
            "duration_ms": max(0, round((now - call["timestamp"]) * 1000)),
        }
        for call in _open_calls(steps)
    ]
    common = {"iteration": iteration, "timestamp": now}
    entries = [
        Entry("reasoning_step", {**one, "step": next(numbers), **common}, numbered=run.enable_reasoning) for one in data
    ]
    if not run.enable_reasoning:
        stored = [selectors.step_data(step) for step in steps if step.type == "final_answer"]
        answers = [one["content"] for one in [*stored, *data] if one["type"] == "final_answer"]
        entries += [answered(answers[-1], partial=True)] if answers else []
    return entries


def _open_calls(steps: Sequence[Step]) -> list[dict[str, Any]]:
    closed = {selectors.step_data(step)["tool_call_id"] for step in steps if step.type == "tool_result"}
    calls = [selectors.step_data(step) for step in steps if step.type == "tool_use"]
    return [call for call in calls if call["tool_call_id"] not in closed]
