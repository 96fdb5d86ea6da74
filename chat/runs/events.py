"""The events around a run's steps: its start, end and failure, and those that close what a dead process has left open."""

import itertools
import secrets
import time
from collections.abc import Collection, Sequence
from typing import cast

import orjson
from django.utils import timezone

import agents
from agents import Outcome, Usage
from agents.steps import ErrorStep, FinalAnswerStep, SteerStep, ThoughtStep, ToolResultStep, ToolUseStep
from agents.text import utf16_length
from chat import protocol
from chat.catalog import setups
from chat.models import Cost, Run, RunStatus, SteeringWord, Step
from chat.protocol import ErrorCode, error_data
from chat.protocol.frame_data import ChildStartData, ReasoningCompleteData, ReasoningStartData, ResponseData
from chat.protocol.frame_data import Usage as UsageData
from chat.runs.state import End
from chat.runtime import clock
from chat.store import selectors, sent_along
from chat.store.step_log import Entry

NO_RESULT = "The server stopped before this tool had finished; nothing of its result was kept."
#: The same for a call that people have allowed and that was begun: it must not be repeated automatically.
MAY_HAVE_RUN = (
    "The server stopped after this call was allowed and begun. It may have run; nothing of its result was kept."
)


def initial_events(run: Run) -> list[Entry]:
    """The first events of a run that is about to be executed, including its agent's first steps."""
    steps = [
        Entry("reasoning_step", step.data, numbered=run.enable_reasoning) for step in agents.initial_steps(run.message)
    ]
    return [started(run, model=run.model or None, most=setups.most_of(run)), *steps]


def started(run: Run, *, model: str | None = None, most: int = 0) -> Entry:
    """The first event of a run, with its model if it has one, and the most model calls that it may make; 0 for no limit."""
    data: ReasoningStartData = {
        "agent": run.agent_name,
        "message": run.message,
        "user": run.user.get_username() if run.user else "",
        "enable_reasoning": run.enable_reasoning,
        "timestamp": timezone.now().timestamp(),
    }
    if run.continues_id:
        data["continues"] = str(run.continues_id)
    if run.files:
        data["files"] = orjson.loads(run.files)
    if model is not None:
        data["model"] = model
    if most:
        data["max_iterations"] = most
    if (along := sent_along.of_run(run)) is not None and (along.messages or along.instructions):
        count = len(orjson.loads(along.messages)) if along.messages else 0
        data["sent_along"] = {"messages": count, "instructions": bool(along.instructions)}
    if run.parent_id is not None:
        return Entry("reasoning_start", ChildStartData(**data, parent=selectors.parent_of(run)))
    return Entry("reasoning_start", data)


def completed(run: Run, end: End, *, removed: bool = False) -> Entry:
    """The last event of a run. ``removed``: it was removed from the queue before it began."""
    if run.begun_at is not None:
        lasted = time.monotonic() - run.begun_at
    else:
        # Another process has begun it, so the time is measured by the database's clock, which both share.
        now = clock.now()
        lasted = (now - (run.started_at or now)).total_seconds()
    data: ReasoningCompleteData = {
        "status": cast(protocol.End, str(end.status)),
        "total_iterations": end.iterations,
        "duration_ms": max(0, round(lasted * 1000) - run.waited_ms),
        "usage": usage_data(end.usage, end.cost),
    }
    if end.code:
        data["code"] = cast(ErrorCode, end.code)
    if end.status is RunStatus.CANCELLED and run.cancelled_by is not None:
        data["cancelled_by"] = run.cancelled_by.get_username()
    if run.waited_ms:
        data["waited_ms"] = run.waited_ms
    if removed:
        data["removed"] = True
    return Entry("reasoning_complete", data)


def usage_data(usage: Usage, cost: Cost | None) -> UsageData:
    """Tokens and their cost, as sent to clients."""
    data: UsageData = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "estimated": usage.estimated,
    }
    if usage.cached_tokens is not None:
        data["cached_tokens"] = usage.cached_tokens
    if usage.reasoning_tokens is not None:
        data["reasoning_tokens"] = usage.reasoning_tokens
    if cost is not None:
        data["cost"] = {"amount": float(cost.amount), "currency": cost.currency}
    return data


def usage_of(run: Run) -> UsageData:
    """The usage of an ended run, from its row."""
    used = Usage(run.input_tokens, run.output_tokens, run.usage_estimated, run.cached_tokens, run.reasoning_tokens)
    return usage_data(used, None if run.cost is None else Cost(run.cost, run.currency))


def failed(outcome: Outcome) -> Entry:
    """The event about why a run failed."""
    return Entry("error", error_data(cast(ErrorCode, outcome.code), outcome.error, secrets.token_hex(4)))


def failed_step(outcome: Outcome, *, numbered: bool) -> Entry:
    """The step about why a run failed, for failures outside the agent, which has no such step."""
    data: ErrorStep = {
        "type": "error",
        "content": outcome.error,
        "error": outcome.error,
        "code": outcome.code,
        "iteration": outcome.iterations,
        "timestamp": timezone.now().timestamp(),
    }
    return Entry("reasoning_step", data, numbered=numbered)


def steered(word: SteeringWord, iteration: int) -> Entry:
    """The step of a steering word that a model call reads. It is also sent to clients that get no reasoning."""
    data: SteerStep = {
        "type": "steer",
        "content": word.message,
        "iteration": iteration,
        "timestamp": timezone.now().timestamp(),
        "user": word.user.get_username(),
        "client_message_id": word.client_message_id,
    }
    return Entry("reasoning_step", data, id=word.event_id)


def answered(content: str, *, partial: bool) -> Entry:
    """The whole answer of a run without reasoning."""
    data: ResponseData = {"content": content}
    if partial:
        data["partial"] = True
    return Entry("response", data)


def left_open(run: Run, steps: Sequence[Step], *, words: str = NO_RESULT, begun: Collection[str] = ()) -> list[Entry]:
    """The last events of a run whose process has died: its draft becomes a step, and open tool calls get ``words`` as their result.

    ``begun``: the ids of calls that people have allowed and that were begun.
    """
    iteration = max((step.iteration for step in steps), default=0)
    last = max((step.number or 0 for step in steps), default=0)
    numbers = itertools.count(1 + last)
    now = timezone.now().timestamp()
    data: list[ThoughtStep | FinalAnswerStep | ToolResultStep] = []
    draft = getattr(run, "draft", None)
    # Half-written arguments are no call, so they are dropped; and a draft may have been saved just after its step was stored.
    is_stored = draft is not None and 0 < draft.number <= last
    if draft is not None and draft.text and draft.type != "tool_use" and not is_stored:
        piece = {
            "type": "final_answer" if draft.type == "response" else draft.type,
            "content": draft.text,
            "iteration": iteration,
            "timestamp": now,
            "step": next(numbers),
            "duration_ms": 0,
            "partial": True,
        }
        data.append(cast(ThoughtStep | FinalAnswerStep, piece))
    data += [
        {
            "type": "tool_result",
            "content": (content := MAY_HAVE_RUN if call["tool_call_id"] in begun else words),
            "iteration": iteration,
            "timestamp": now,
            "step": next(numbers),
            "tool_name": call["tool_name"],
            "tool_call_id": call["tool_call_id"],
            "ok": False,
            "duration_ms": max(0, round((now - call["timestamp"]) * 1000)),
            "truncated": False,
            "content_length": utf16_length(content),
        }
        for call in open_calls(steps)
    ]
    entries = [Entry("reasoning_step", one, numbered=run.enable_reasoning) for one in data]
    if not run.enable_reasoning and run.parent_id is None:
        stored = [cast(FinalAnswerStep, selectors.step_data(step)) for step in steps if step.type == "final_answer"]
        answers = [one["content"] for one in [*stored, *data] if one["type"] == "final_answer"]
        entries += [answered(answers[-1], partial=True)] if answers else []
    return entries


def open_calls(steps: Sequence[Step]) -> list[ToolUseStep]:
    """The calls among these steps that have no result among them."""
    closed = {selectors.step_data(step)["tool_call_id"] for step in steps if step.type == "tool_result"}
    calls = [cast(ToolUseStep, selectors.step_data(step)) for step in steps if step.type == "tool_use"]
    return [call for call in calls if call["tool_call_id"] not in closed]
