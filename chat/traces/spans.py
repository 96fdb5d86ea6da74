"""Spans of a run by OpenTelemetry's conventions for generative AI: the run, its model calls, its tool calls, and the runs within it.

All of it is read from what is stored, and identifiers follow from those of the run: made again, they are the same spans. One trace is one
run that a person or a schedule has asked for, with all that is within it; its identifier is the run's own.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, cast
from uuid import UUID

import orjson
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from agents.steps import ToolResultStep, ToolUseStep
from chat.models import ModelCall, Run, RunStatus, Step
from chat.store.selectors import step_data
from chat.traces.content import Content

SCOPE = InstrumentationScope("thinkaloud")
RESOURCE = Resource({"service.name": "thinkaloud"}).merge(OTELResourceDetector().detect())
_FAILED = (RunStatus.FAILED, RunStatus.INTERRUPTED)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
#: Parameters of a request that have a name of their own.
_PARAMETERS = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "max_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
}

Attributes = dict[str, Any]


@dataclass(slots=True)
class Tree:
    """A run that was asked for, all runs within it, and their model calls and steps by run."""

    root: Run
    runs: list[Run]
    calls: dict[UUID, list[ModelCall]] = field(default_factory=lambda: defaultdict(list))
    steps: dict[UUID, list[Step]] = field(default_factory=lambda: defaultdict(list))


def read_trees(roots: Sequence[Run], kinds: Sequence[str]) -> list[Tree]:
    """Read what the spans of these runs are made of, in a handful of queries; of their steps, those of these kinds."""
    trees = {root.pk: Tree(root, [root]) for root in roots}
    tree_of = {root.pk: tree for root, tree in zip(roots, trees.values(), strict=True)}
    level: Sequence[Run] = roots
    while level:
        level = list(_runs().filter(parent__in=[run.pk for run in level]))
        for run in level:
            tree_of[run.pk] = tree_of[run.parent_id or run.pk]
            tree_of[run.pk].runs.append(run)
    for call in ModelCall.objects.filter(run_id__in=list(tree_of)).defer("contents").order_by("pk"):
        tree_of[call.run_id].calls[call.run_id].append(call)
    steps = Step.objects.filter(run_id__in=list(tree_of), type__in=kinds).order_by("run_id", "position")
    for step in steps.only("run_id", "type", "iteration", "body"):
        tree_of[step.run_id].steps[step.run_id].append(step)
    return list(trees.values())


def _runs() -> Any:
    return Run.objects.select_related("agent_version")


def spans_of(tree: Tree, content: Content) -> Iterator[ReadableSpan]:
    """The spans of a run and of all that is within it. Each run has ended."""
    for run in tree.runs:
        yield _run_span(tree, run, content)
        calls = tree.calls[run.pk]
        bodies = content.calls_of(run, calls, tree.steps[run.pk])
        for call in calls:
            yield _call_span(tree.root, run, call, bodies.get(call.pk, {}))
        yield from _tool_spans(tree.root, run, tree.steps[run.pk], content)


def _run_span(tree: Tree, run: Run, content: Content) -> ReadableSpan:
    attributes = _about(run, "invoke_agent") | {
        "gen_ai.request.model": run.model,
        "gen_ai.provider.name": run.provider,
        "gen_ai.usage.input_tokens": run.input_tokens,
        "gen_ai.usage.output_tokens": run.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": run.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": run.reasoning_tokens,
        "thinkaloud.run.status": run.status,
        "thinkaloud.run.origin": run.origin,
        "thinkaloud.run.iterations": run.iterations,
    }
    if run.cost is not None:
        attributes |= {"thinkaloud.cost.amount": float(run.cost), "thinkaloud.cost.currency": run.currency}
    error = (run.code or run.status) if run.status in _FAILED else ""
    links = []
    if run.continues_id is not None and run.parent_id is None:
        links = [Link(_context(run.continues_id, run.continues_id, "run"))]
    parent = None if run.parent_id is None else _context(tree.root.pk, run.parent_id, f"tool:{run.parent_call_id}")
    return _span(
        f"invoke_agent {run.agent_name}",
        _context(tree.root.pk, run.pk, "run"),
        parent,
        (_began(run), _ended(run)),
        attributes | content.run(run, tree.steps[run.pk]),
        error=error,
        links=links,
    )


def _call_span(root: Run, run: Run, call: ModelCall, bodies: Attributes) -> ReadableSpan:
    parameters = orjson.loads(call.parameters)
    began = call.started_at.timestamp()
    ended = _ended(run) if call.duration_ms is None else began + call.duration_ms / 1000
    attributes = _about(run, "chat") | {
        "gen_ai.request.model": call.model,
        "gen_ai.provider.name": call.provider,
        "gen_ai.response.finish_reasons": (call.finish_reason,) if call.finish_reason else None,
        "gen_ai.usage.input_tokens": call.input_tokens,
        "gen_ai.usage.output_tokens": call.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": call.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": call.reasoning_tokens,
        "gen_ai.response.time_to_first_chunk": None if call.first_token_ms is None else call.first_token_ms / 1000,
        "gen_ai.request.stream": True,
        "thinkaloud.iteration": call.iteration,
        "thinkaloud.attempt": call.attempt,
        "thinkaloud.usage.estimated": call.estimated,
    }
    attributes |= {name: parameters.get(key) for key, name in _PARAMETERS.items()}
    if call.cost is not None:
        attributes |= {"thinkaloud.cost.amount": float(call.cost), "thinkaloud.cost.currency": call.currency}
    error = "" if call.error in ("", "stopped") else "model_error"
    return _span(
        f"chat {call.model}",
        _context(root.pk, run.pk, f"call:{call.iteration}:{call.attempt}"),
        _context(root.pk, run.pk, "run"),
        (began, ended),
        attributes | bodies,
        error=error,
        kind=SpanKind.CLIENT,
    )


def _tool_spans(root: Run, run: Run, steps: Sequence[Step], content: Content) -> Iterator[ReadableSpan]:
    found = (cast(ToolResultStep, step_data(step)) for step in steps if step.type == "tool_result")
    results = {data["tool_call_id"]: data for data in found}
    for step in steps:
        if step.type != "tool_use":
            continue
        called = cast(ToolUseStep, step_data(step))
        call_id = called["tool_call_id"]
        result = results.get(call_id)
        began = float(called["timestamp"])
        ended = _ended(run) if result is None else began + result["duration_ms"] / 1000
        attributes = _about(run, "execute_tool") | {
            "gen_ai.tool.name": called["tool_name"],
            "gen_ai.tool.call.id": call_id,
            "gen_ai.tool.type": "function",
            "thinkaloud.iteration": step.iteration,
        }
        yield _span(
            f"execute_tool {called['tool_name']}",
            _context(root.pk, run.pk, f"tool:{call_id}"),
            _context(root.pk, run.pk, "run"),
            (began, ended),
            attributes | content.tool(called, result),
            error="" if result is not None and result["ok"] else "tool_failed",
        )


def _about(run: Run, operation: str) -> Attributes:
    """What every span of a run says: identifiers alone."""
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.agent.name": run.agent_name,
        "gen_ai.agent.version": str(run.agent_version.number) if run.agent_version else None,
        "gen_ai.conversation.id": str(run.session_id),
        "thinkaloud.run.id": str(run.pk),
    }


def span_id(run_id: UUID, part: str) -> int:
    """The identifier of the span of a part of a run: the same whenever it is asked for, and never 0."""
    return int.from_bytes(sha256(f"{run_id}:{part}".encode()).digest()[:8], "big") or 1


def _context(root_id: UUID, run_id: UUID, part: str) -> SpanContext:
    return SpanContext(root_id.int, span_id(run_id, part), is_remote=False, trace_flags=_SAMPLED)


def _span(
    name: str,
    context: SpanContext,
    parent: SpanContext | None,
    times: tuple[float, float],
    attributes: Mapping[str, Any],
    *,
    error: str = "",
    kind: SpanKind = SpanKind.INTERNAL,
    links: Iterable[Link] = (),
) -> ReadableSpan:
    told = {name: value for name, value in attributes.items() if value is not None and value != ""}
    if error:
        told["error.type"] = error
    began, ended = times
    return ReadableSpan(
        name,
        context=context,
        parent=parent,
        resource=RESOURCE,
        attributes=told,
        links=tuple(links),
        kind=kind,
        status=Status(StatusCode.ERROR) if error else Status(StatusCode.UNSET),
        start_time=_nanoseconds(began),
        end_time=_nanoseconds(max(began, ended)),
        instrumentation_scope=SCOPE,
    )


def _nanoseconds(moment: float) -> int:
    # A float holds no more than microseconds of our time.
    return round(moment * 1e6) * 1_000


def _began(run: Run) -> float:
    return _seconds(run.started_at or run.created_at)


def _ended(run: Run) -> float:
    return _seconds(run.ended_at or run.created_at)


def _seconds(moment: datetime) -> float:
    return moment.timestamp()
