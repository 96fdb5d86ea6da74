"""ATIF 1.8, the Agent Trajectory Interchange Format: one user step for each question, one agent step for each model call.

Runs within runs become trajectories of subagents, which follow the steps of the run that started them. Data for which ATIF has no field
are in ``extra``, and read from there when such a file is imported.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, NotRequired, TypedDict

import orjson

from agents.json_types import JsonObject
from agents.tools.ask_agent import PREFIX as ASK_PREFIX
from chat.exports.source import Source
from chat.models import ImportedDocument, Run
from chat.rendering.transcript import LIVE_STATUSES
from chat.store import log_reader
from chat.store.log_reader import Event, UsedCall

SCHEMA_VERSION = "ATIF-v1.8"


class AtifAgent(TypedDict):
    """The agent of a trajectory."""

    name: str
    version: str
    model_name: NotRequired[str]


class AtifHead(TypedDict):
    """The fields of a trajectory besides its steps."""

    schema_version: str
    session_id: str
    trajectory_id: str
    agent: AtifAgent
    extra: NotRequired[JsonObject]
    final_metrics: NotRequired[JsonObject]


class AtifCall(TypedDict):
    """A tool call."""

    tool_call_id: str
    function_name: str
    arguments: JsonObject
    extra: NotRequired[JsonObject]


class AtifReference(TypedDict):
    """A trajectory within this one."""

    trajectory_id: str


class AtifResult(TypedDict):
    """The result of a call; without the call's id if the call is not in the same step."""

    source_call_id: NotRequired[str]
    content: str
    extra: JsonObject
    subagent_trajectory_ref: NotRequired[list[AtifReference]]


class AtifObservation(TypedDict):
    """The results of a step's calls."""

    results: list[AtifResult]


class AtifMetrics(TypedDict):
    """Tokens of a model call, and its cost if that is in US dollars."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: NotRequired[int]
    cost_usd: NotRequired[float]
    extra: NotRequired[JsonObject]


class AtifStep(TypedDict):
    """A step, without its number."""

    source: Literal["user", "agent", "system"]
    message: str
    timestamp: NotRequired[str]
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[AtifCall]]
    observation: NotRequired[AtifObservation]
    model_name: NotRequired[str]
    llm_call_count: NotRequired[int]
    metrics: NotRequired[AtifMetrics]
    extra: JsonObject
    is_copied_context: NotRequired[Literal[True]]


class _Copied(TypedDict, total=False):
    is_copied_context: Literal[True]


def write_atif(source: Source) -> Iterator[str]:
    """One trajectory. For an imported session, it is the one that the session was made from."""
    if source.session.imported_at is not None and source.run is None:
        yield from _imported(source)
        return
    session = source.session
    head: AtifHead = {
        "schema_version": SCHEMA_VERSION,
        "session_id": str(session.pk),
        "trajectory_id": str(source.run.pk if source.run else session.pk),
        "agent": _agent(source.run) if source.run else {"name": session.agent_name, "version": "1"},
        "extra": {
            "title": source.title,
            "masked": source.masker.is_on,
            "exported_at": _iso(source.made_at.timestamp()),
            **source.branched_from,
        },
    }
    totals = {name: value for name, value in source.totals().items() if value is not None}
    yield _open({**head, "final_metrics": totals})
    yield from _trajectory(source, source.runs())
    yield "\n"


def _imported(source: Source) -> Iterator[str]:
    text = ImportedDocument.objects.filter(session=source.session).values_list("document", flat=True).get()
    document = orjson.loads(text)
    yield orjson.dumps(source.masker.mask_json(document)).decode()


def _open(head: AtifHead) -> str:
    return f'{orjson.dumps(head).decode()[:-1]},"steps":['


def _trajectory(source: Source, runs: Iterator[Run]) -> Iterator[str]:
    """The steps of consecutive runs, then the trajectories of the runs within them."""
    number = 0
    parents: list[Run] = []
    for run in runs:
        has_asked = False
        for step in _steps(source, run):
            number += 1
            has_asked = has_asked or any(
                call["function_name"].startswith(ASK_PREFIX) for call in step.get("tool_calls", ())
            )
            yield ("," if number > 1 else "") + "\n" + orjson.dumps({"step_id": number, **step}).decode()
        if has_asked:
            parents.append(run)
    yield "\n]"
    children = (child for parent in parents for child in log_reader.children_of(parent.pk))
    before = ',"subagent_trajectories":[\n'
    for child in children:
        head: AtifHead = {
            "schema_version": SCHEMA_VERSION,
            "session_id": str(source.session.pk),
            "trajectory_id": str(child.pk),
            "agent": _agent(child),
        }
        yield before + _open(head)
        yield from _trajectory(source, iter([child]))
        before = ",\n"
    if before == ",\n":
        yield "]"
    yield "}"


def _agent(run: Run) -> AtifAgent:
    version = run.agent_version.number if run.agent_version is not None else 1
    agent: AtifAgent = {"name": run.agent_name, "version": str(version)}
    if run.model:
        agent["model_name"] = run.model
    return agent


def _steps(source: Source, run: Run) -> Iterator[AtifStep]:
    """A run's steps, without their numbers."""
    used = log_reader.used_calls(run.pk)
    children: dict[str, list[str]] = {}
    # Copied from another session, if this one is a branch.
    copied: _Copied = {"is_copied_context": True} if run.copied_from is not None else {}
    turn = _Turn(0)
    has_answer = False
    for event in source.events_of(run):
        data = event.data
        iteration = data.get("iteration", turn.iteration)
        if event.event in ("reasoning_start", "child_start"):
            yield {**_question(run, data), **copied}
            continue
        if turn.parts and (iteration != turn.iteration or event.type == "iteration_start"):
            yield {**turn.step(used), **copied}
            turn = _Turn(iteration)
        turn.iteration = iteration
        if event.type == "tool_result" and data["tool_name"].startswith(ASK_PREFIX) and not children:
            for child in log_reader.children_of(run.pk):
                children.setdefault(child.parent_call_id, []).append(str(child.pk))
        if event.event == "response" and has_answer:
            continue
        has_answer = has_answer or event.type == "final_answer"
        turn.add(event, data, children)
        if event.event in ("error", "child_error"):
            if turn.parts:
                yield {**turn.step(used), **copied}
                turn = _Turn(iteration)
            failure: AtifStep = {"source": "system", "message": data["message"], "extra": {"code": data["code"]}}
            yield {**failure, **copied}
    if turn.parts:
        yield {**turn.step(used), **copied}


def _question(run: Run, data: JsonObject) -> AtifStep:
    extra: JsonObject = {"run_id": str(run.pk), "agent": data["agent"], "user": data["user"]}
    extra |= {name: data[name] for name in ("model", "continues", "files") if data.get(name)}
    if run.status not in LIVE_STATUSES:
        extra["status"] = run.status
        if run.started_at and run.ended_at:
            extra["duration_ms"] = round((run.ended_at - run.started_at).total_seconds() * 1000)
    return {"timestamp": _iso(data["timestamp"]), "source": "user", "message": data["message"], "extra": extra}


class _Turn:
    """The result of one model call: thoughts, calls with their results, an answer."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration
        self.parts = 0
        self._thoughts: list[str] = []
        self._calls: list[AtifCall] = []
        self._results: list[AtifResult] = []
        self._answer = ""
        self._at: float | None = None
        self._extra: JsonObject = {}

    def add(self, event: Event, data: JsonObject, children: dict[str, list[str]]) -> None:
        """Add an event, if it belongs to a step."""
        match event.type or event.event:
            case "thought":
                self._thoughts.append(data["content"])
                self._note(data, "thought_ms")
            case "tool_use":
                self._calls.append(_call(data))
            case "tool_result":
                self._results.append(_result(event, data, children))
            case "final_answer" | "response":
                self._answer = data["content"]
                self._note(data, "answer_ms")
            case "steer":
                message = {"user": data["user"], "message": data["content"], "timestamp": _iso(data["timestamp"])}
                self._extra.setdefault("steering", []).append(message)
            case _:
                return
        self.parts += 1
        if self._at is None:
            self._at = data.get("timestamp")

    def _note(self, data: JsonObject, name: str) -> None:
        if data.get("duration_ms") is not None:
            self._extra[name] = self._extra.get(name, 0) + data["duration_ms"]
        if data.get("partial"):
            self._extra["partial"] = True

    def step(self, used: dict[int, UsedCall]) -> AtifStep:
        """The agent's step."""
        step: AtifStep = {
            "source": "agent",
            "message": self._answer,
            "extra": {"iteration": self.iteration, **self._extra},
        }
        if self._at is not None:
            step["timestamp"] = _iso(self._at)
        if self._thoughts:
            step["reasoning_content"] = "\n\n".join(self._thoughts)
        if self._calls:
            step["tool_calls"] = self._calls
        if self._results:
            known = {call["tool_call_id"] for call in self._calls}
            for result in self._results:
                if result["source_call_id"] not in known:
                    del result["source_call_id"]
            step["observation"] = {"results": self._results}
        if (call := used.get(self.iteration)) is not None:
            step["model_name"], step["llm_call_count"], step["metrics"] = call.model, 1, _metrics(call)
        return step


def _call(data: JsonObject) -> AtifCall:
    arguments = data["arguments"]
    call: AtifCall = {"tool_call_id": data["tool_call_id"], "function_name": data["tool_name"], "arguments": arguments}
    # The arguments are text, and no JSON object.
    return call if isinstance(arguments, dict) else {**call, "arguments": {}, "extra": {"raw_arguments": arguments}}


def _result(event: Event, data: JsonObject, children: dict[str, list[str]]) -> AtifResult:
    content = data["content"] if event.content is None else event.content
    extra: JsonObject = {"ok": data["ok"], "duration_ms": data["duration_ms"], "timestamp": _iso(data["timestamp"])}
    if data.get("files"):
        extra["files"] = data["files"]
    result: AtifResult = {"source_call_id": data["tool_call_id"], "content": content, "extra": extra}
    if asked := children.get(data["tool_call_id"]):
        result["subagent_trajectory_ref"] = [{"trajectory_id": each} for each in asked]
    return result


def _metrics(call: UsedCall) -> AtifMetrics:
    metrics: AtifMetrics = {"prompt_tokens": call.input_tokens, "completion_tokens": call.output_tokens}
    if call.cached_tokens is not None:
        metrics["cached_tokens"] = call.cached_tokens
    if call.cost is not None and call.currency == "USD":
        metrics["cost_usd"] = float(call.cost)
    extra: JsonObject = {}
    if call.reasoning_tokens is not None:
        extra["reasoning_tokens"] = call.reasoning_tokens
    if call.estimated:
        extra["estimated"] = True
    if extra:
        metrics["extra"] = extra
    return metrics


def _iso(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
