"""Spans of a run by OpenTelemetry's conventions for generative AI: the run, its model calls, its tool calls, and the runs within it.

Everything is read from the database, and identifiers are derived from the run's: built again, the spans are the same. A trace is one run
that a user or a schedule has started, with all runs within it; its identifier is the run's.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, cast
from uuid import UUID

import orjson
from django.db.models import QuerySet
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status

from agents.steps import ToolResultStep, ToolUseStep
from chat.models import ModelCall, Run, RunStatus, Step
from chat.store.selectors import step_data
from chat.traces.content import Content

_FAILED = (RunStatus.FAILED, RunStatus.INTERRUPTED)
_ERROR = Status(code=Status.STATUS_CODE_ERROR)
_LOCAL = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
#: The columns of runs that spans need; only the number of an agent's version, whose other columns are large.
_OF_RUN = (
    "message", "session", "parent", "parent_call_id", "continues", "agent_name", "agent_version__number", "model", "provider", "origin",
    "status", "code", "iterations", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost", "currency",
    "created_at", "started_at", "ended_at",
)  # fmt: skip
_OF_CALL = (
    "run", "iteration", "attempt", "model", "provider", "parameters", "started_at", "first_token_ms", "duration_ms",
    "finish_reason", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "estimated", "cost", "currency", "error",
)  # fmt: skip
#: Parameters of a request that have a name of their own.
_PARAMETERS = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "max_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
}

_NO_SPAN, _FIRST_SPAN = bytes(8), bytes(7) + b"\1"

Attributes = dict[str, Any]


@dataclass(slots=True)
class Tree:
    """A root run, all runs within it, and their model calls and steps by run."""

    root: Run
    runs: list[Run]
    calls: dict[UUID, list[ModelCall]] = field(default_factory=lambda: defaultdict(list))
    steps: dict[UUID, list[Step]] = field(default_factory=lambda: defaultdict(list))


def with_columns(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Limit a query to the columns that spans need."""
    return runs.select_related("agent_version").only(*_OF_RUN)


def read_trees(roots: Sequence[Run], content: Content) -> list[Tree]:
    """Read what the spans of these root runs need: one query per level of runs, one for model calls, one for steps."""
    trees = {root.pk: Tree(root, [root]) for root in roots}
    tree_of = {root.pk: tree for root, tree in zip(roots, trees.values(), strict=True)}
    level: Sequence[Run] = roots
    while level:
        level = list(with_columns(Run.objects.filter(parent__in=[run.pk for run in level])))
        for run in level:
            tree_of[run.pk] = tree_of[run.parent_id or run.pk]
            tree_of[run.pk].runs.append(run)
    calls = ModelCall.objects.filter(run_id__in=list(tree_of)).order_by("pk")
    for call in calls.only(*_OF_CALL, *content.of_call):
        tree_of[call.run_id].calls[call.run_id].append(call)
    steps = Step.objects.filter(run_id__in=list(tree_of), type__in=content.kinds).order_by("run_id", "position")
    for step in steps.only("run_id", "type", "iteration", "body"):
        tree_of[step.run_id].steps[step.run_id].append(step)
    return list(trees.values())


def spans_of(tree: Tree, content: Content) -> Iterator[Span]:
    """The spans of a root run and of all runs within it, which have all ended."""
    for run in tree.runs:
        place = _Place(tree.root, run)
        yield _run_span(place, tree.steps[run.pk], content)
        calls = tree.calls[run.pk]
        bodies = content.calls_of(run, calls, tree.steps[run.pk])
        for call in calls:
            yield _call_span(place, call, bodies.get(call.pk, {}))
        yield from _tool_spans(place, tree.steps[run.pk], content)


class _Place:
    """Builds the spans of one run: with its trace, and the identifiers of the run that each span has."""

    def __init__(self, root: Run, run: Run) -> None:
        self.run = run
        self.trace_id = root.pk.bytes
        self.run_span = span_id(run.pk, "run")
        self._about = {
            "gen_ai.agent.name": run.agent_name,
            "gen_ai.agent.version": str(run.agent_version.number) if run.agent_version else None,
            "gen_ai.conversation.id": str(run.session_id),
            "thinkaloud.run.id": str(run.pk),
        }

    def span(
        self,
        operation: str,
        what: str,
        part: str,
        times: tuple[float, float],
        attributes: Mapping[str, Any],
        *,
        parent: bytes | None = None,
        error: str = "",
        kind: Span.SpanKind.ValueType = Span.SPAN_KIND_INTERNAL,
        links: Sequence[Span.Link] = (),
    ) -> Span:
        """A span of a part of the run. Its parent is the run's span, unless ``parent`` names another; an empty ``parent`` means none."""
        began, ended = times
        span = Span(
            trace_id=self.trace_id,
            span_id=span_id(self.run.pk, part),
            parent_span_id=self.run_span if parent is None else parent,
            flags=_LOCAL,
            name=f"{operation} {what}",
            kind=kind,
            start_time_unix_nano=_nanoseconds(began),
            end_time_unix_nano=_nanoseconds(max(began, ended)),
            links=links,
            status=_ERROR if error else None,
        )
        values = {"gen_ai.operation.name": operation, **self._about, **attributes, "error.type": error}
        put_attributes(span.attributes, values)
        return span


def _run_span(place: _Place, steps: Sequence[Step], content: Content) -> Span:
    run = place.run
    attributes = {
        "gen_ai.request.model": run.model,
        "gen_ai.provider.name": run.provider,
        "gen_ai.usage.input_tokens": run.input_tokens,
        "gen_ai.usage.output_tokens": run.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": run.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": run.reasoning_tokens,
        "thinkaloud.run.status": run.status,
        "thinkaloud.run.origin": run.origin,
        "thinkaloud.run.iterations": run.iterations,
        **_cost_of(run),
        **content.run(run, steps),
    }
    links = []
    if run.continues_id is not None and run.parent_id is None:
        before = span_id(run.continues_id, "run")
        links = [Span.Link(trace_id=run.continues_id.bytes, span_id=before, flags=_LOCAL)]
    return place.span(
        "invoke_agent",
        run.agent_name,
        "run",
        (_began(run), _ended(run)),
        attributes,
        parent=b"" if run.parent_id is None else span_id(run.parent_id, f"tool:{run.parent_call_id}"),
        error=(run.code or run.status) if run.status in _FAILED else "",
        links=links,
    )


def _call_span(place: _Place, call: ModelCall, bodies: Attributes) -> Span:
    parameters = orjson.loads(call.parameters)
    began = call.started_at.timestamp()
    ended = _ended(place.run) if call.duration_ms is None else began + call.duration_ms / 1000
    attributes = {
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
        **{name: parameters.get(key) for key, name in _PARAMETERS.items()},
        **_cost_of(call),
        **bodies,
    }
    return place.span(
        "chat",
        call.model,
        f"call:{call.iteration}:{call.attempt}",
        (began, ended),
        attributes,
        error="" if call.error in ("", "stopped") else "model_error",
        kind=Span.SPAN_KIND_CLIENT,
    )


def _tool_spans(place: _Place, steps: Sequence[Step], content: Content) -> Iterator[Span]:
    found = (cast(ToolResultStep, step_data(step)) for step in steps if step.type == "tool_result")
    results = {data["tool_call_id"]: data for data in found}
    for step in steps:
        if step.type != "tool_use":
            continue
        called = cast(ToolUseStep, step_data(step))
        call_id = called["tool_call_id"]
        result = results.get(call_id)
        began = float(called["timestamp"])
        ended = _ended(place.run) if result is None else began + result["duration_ms"] / 1000
        attributes = {
            "gen_ai.tool.name": called["tool_name"],
            "gen_ai.tool.call.id": call_id,
            "gen_ai.tool.type": "function",
            "thinkaloud.iteration": step.iteration,
            **content.tool(called, result),
        }
        yield place.span(
            "execute_tool",
            called["tool_name"],
            f"tool:{call_id}",
            (began, ended),
            attributes,
            error="" if result is not None and result["ok"] else "tool_failed",
        )


def _cost_of(used: Run | ModelCall) -> Attributes:
    if used.cost is None:
        return {}
    return {"thinkaloud.cost.amount": float(used.cost), "thinkaloud.cost.currency": used.currency}


def put_attributes(into: Any, values: Mapping[str, Any]) -> None:
    """Add attributes to a protobuf message, without those that are None or empty."""
    for key, value in values.items():
        if value is not None and value != "":
            _put(into.add(key=key).value, value)


def _put(into: AnyValue, value: Any) -> None:
    # A bool is an int, too, and so comes first.
    if isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, int) and -(2**63) <= value < 2**63:
        into.int_value = value
    elif isinstance(value, float):
        into.double_value = value
    elif isinstance(value, list | tuple):
        for each in value:
            _put(into.array_value.values.add(), each)
    else:
        # Texts, and any other value that somebody has set as a parameter.
        into.string_value = str(value)


def span_id(run_id: UUID, part: str) -> bytes:
    """The span identifier of a part of a run: always the same, and never 0."""
    return sha256(f"{run_id}:{part}".encode()).digest()[:8].replace(_NO_SPAN, _FIRST_SPAN)


def _nanoseconds(moment: float) -> int:
    # The float of a present time is exact to microseconds only.
    return round(moment * 1e6) * 1_000


def _began(run: Run) -> float:
    return _seconds(run.started_at or run.created_at)


def _ended(run: Run) -> float:
    return _seconds(run.ended_at or run.created_at)


def _seconds(moment: datetime) -> float:
    return moment.timestamp()
