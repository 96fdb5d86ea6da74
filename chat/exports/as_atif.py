"""ATIF 1.8, the Agent Trajectory Interchange Format: a user's step for each question, an agent's for each model call.

Runs within runs are subagents' trajectories, which follow the steps of the one that has asked them. What ATIF has no field for is in
``extra``, and read from there when such a file is imported.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from agents.tools.ask_agent import PREFIX as ASK_PREFIX
from chat.exports.source import Source
from chat.models import ImportedDocument, Run
from chat.rendering.transcript import LIVE_STATUSES
from chat.store import log_reader
from chat.store.log_reader import Event, UsedCall

SCHEMA_VERSION = "ATIF-v1.8"


def write_atif(source: Source) -> Iterator[str]:
    """One trajectory; of a session that was imported, the one that it was made from."""
    if source.session.imported_at is not None and source.run is None:
        yield from _imported(source)
        return
    session = source.session
    head = {
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
    yield _open(head | {"final_metrics": totals})
    yield from _trajectory(source, source.runs())
    yield "\n"


def _imported(source: Source) -> Iterator[str]:
    text = ImportedDocument.objects.filter(session=source.session).values_list("document", flat=True).get()
    document = orjson.loads(text)
    yield orjson.dumps(source.masker.mask_json(document)).decode()


def _open(head: dict[str, Any]) -> str:
    return f'{orjson.dumps(head).decode()[:-1]},"steps":['


def _trajectory(source: Source, runs: Iterator[Run]) -> Iterator[str]:
    """The steps of runs that follow each other, then the trajectories of those that they have asked."""
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
        head = {
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


def _agent(run: Run) -> dict[str, Any]:
    version = run.agent_version.number if run.agent_version is not None else 1
    return {"name": run.agent_name, "version": str(version), **({"model_name": run.model} if run.model else {})}


def _steps(source: Source, run: Run) -> Iterator[dict[str, Any]]:
    """A run's steps, without their numbers."""
    used = log_reader.used_calls(run.pk)
    children: dict[str, list[str]] = {}
    # What a branch has from the session that it was copied from.
    copied = {"is_copied_context": True} if run.copied_from is not None else {}
    turn = _Turn(0)
    has_answer = False
    for event in source.events_of(run):
        data = event.data
        iteration = data.get("iteration", turn.iteration)
        if event.event in ("reasoning_start", "child_start"):
            yield _question(run, data) | copied
            continue
        if turn.parts and (iteration != turn.iteration or event.type == "iteration_start"):
            yield turn.step(used) | copied
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
                yield turn.step(used) | copied
                turn = _Turn(iteration)
            yield {"source": "system", "message": data["message"], "extra": {"code": data["code"]}} | copied
    if turn.parts:
        yield turn.step(used) | copied


def _question(run: Run, data: dict[str, Any]) -> dict[str, Any]:
    extra: dict[str, Any] = {"run_id": str(run.pk), "agent": data["agent"], "user": data["user"]}
    extra |= {name: data[name] for name in ("model", "continues", "files") if data.get(name)}
    if run.status not in LIVE_STATUSES:
        extra["status"] = run.status
        if run.started_at and run.ended_at:
            extra["duration_ms"] = round((run.ended_at - run.started_at).total_seconds() * 1000)
    return {"timestamp": _iso(data["timestamp"]), "source": "user", "message": data["message"], "extra": extra}


class _Turn:
    """What comes of one model call: thoughts, calls with their results, an answer."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration
        self.parts = 0
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] = []
        self._answer = ""
        self._at: float | None = None
        self._extra: dict[str, Any] = {}

    def add(self, event: Event, data: dict[str, Any], children: dict[str, list[str]]) -> None:
        """Take in an event, where it belongs to one."""
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
                said = {"user": data["user"], "message": data["content"], "timestamp": _iso(data["timestamp"])}
                self._extra.setdefault("steering", []).append(said)
            case _:
                return
        self.parts += 1
        if self._at is None:
            self._at = data.get("timestamp")

    def _note(self, data: dict[str, Any], name: str) -> None:
        if data.get("duration_ms") is not None:
            self._extra[name] = self._extra.get(name, 0) + data["duration_ms"]
        if data.get("partial"):
            self._extra["partial"] = True

    def step(self, used: dict[int, UsedCall]) -> dict[str, Any]:
        """The agent's step."""
        step: dict[str, Any] = {"source": "agent", "message": self._answer}
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
            step |= {"model_name": call.model, "llm_call_count": 1, "metrics": _metrics(call)}
        return step | {"extra": {"iteration": self.iteration, **self._extra}}


def _call(data: dict[str, Any]) -> dict[str, Any]:
    arguments = data["arguments"]
    call = {"tool_call_id": data["tool_call_id"], "function_name": data["tool_name"], "arguments": arguments}
    # A text that is no JSON of an object.
    return call if isinstance(arguments, dict) else call | {"arguments": {}, "extra": {"raw_arguments": arguments}}


def _result(event: Event, data: dict[str, Any], children: dict[str, list[str]]) -> dict[str, Any]:
    content = data["content"] if event.content is None else event.content
    extra: dict[str, Any] = {"ok": data["ok"], "duration_ms": data["duration_ms"], "timestamp": _iso(data["timestamp"])}
    if data.get("files"):
        extra["files"] = data["files"]
    result: dict[str, Any] = {"source_call_id": data["tool_call_id"], "content": content, "extra": extra}
    if asked := children.get(data["tool_call_id"]):
        result["subagent_trajectory_ref"] = [{"trajectory_id": each} for each in asked]
    return result


def _metrics(call: UsedCall) -> dict[str, Any]:
    metrics: dict[str, Any] = {"prompt_tokens": call.input_tokens, "completion_tokens": call.output_tokens}
    if call.cached_tokens is not None:
        metrics["cached_tokens"] = call.cached_tokens
    if call.cost is not None and call.currency == "USD":
        metrics["cost_usd"] = float(call.cost)
    extra: dict[str, Any] = {}
    if call.reasoning_tokens is not None:
        extra["reasoning_tokens"] = call.reasoning_tokens
    if call.estimated:
        extra["estimated"] = True
    return metrics | ({"extra": extra} if extra else {})


def _iso(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
