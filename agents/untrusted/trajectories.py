"""Converts a trajectory to runs with their events, as if they had been executed here. Runs in a worker: see `agents.untrusted.pool`.

A user's step begins a run; the agent's last text in it is the answer, and its other texts are thoughts. A step that belongs to no call, as
a system's, becomes a call of that name with its result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeGuard

import orjson
from atif import ContentPart, ObservationResult, Step, Trajectory

from agents.json_types import JsonObject
from agents.sentence import parts_of
from agents.steps import CONTENT_LIMIT
from agents.text import clean_text, utf16_cut, utf16_length
from agents.untrusted.trajectory_reader import BadDocument, read_document

#: The longest text of a step, of a result, of a name and of an id, in UTF-16 code units; the stored document has all of it.
_LONGEST, _LONGEST_RESULT, _LONGEST_NAME, _LONGEST_ID = 200_000, 1_000_000, 100, 200
_SINCE, _UNTIL = datetime(1970, 1, 2, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_MOST_TOKENS = 2**53


class PlannedEvent(NamedTuple):
    """An event to be stored, in the protocol's format, with its whole content if that is longer than the event's."""

    event: str
    data: JsonObject
    full_content: str | None = None


@dataclass(slots=True)
class PlannedRun:
    """A run to be stored: its events, and the runs that it has started, with the events after which they started."""

    agent: str
    model: str
    message: str
    began: float
    entries: list[PlannedEvent] = field(default_factory=list)
    #: By the call that started them: the position after its ``tool_use``, the call, the run.
    children: list[tuple[int, str, "PlannedRun"]] = field(default_factory=list)
    status: str = "completed"
    ended: float = 0.0
    iterations: int = 0
    usage: JsonObject = field(default_factory=lambda: {"input_tokens": 0, "output_tokens": 0, "estimated": False})
    cost: float | None = None

    def packed(self) -> JsonObject:
        """The run as a message between processes."""
        children = [(place, call_id, child.packed()) for place, call_id, child in self.children]
        return {name: getattr(self, name) for name in self.__slots__} | {"children": children}

    @classmethod
    def unpacked(cls, message: JsonObject) -> "PlannedRun":
        """The run in such a message."""
        entries = [PlannedEvent(*each) for each in message["entries"]]
        children = [(place, call_id, cls.unpacked(child)) for place, call_id, child in message["children"]]
        return cls(**message | {"entries": entries, "children": children})


def read_trajectory(body: bytes, now: float, ends: Sequence[str]) -> JsonObject:
    """The content of an ATIF document: ``runs`` in order, ``title``, ``agent`` and the ``document`` to be stored; or a ``problem``.

    ``now`` replaces missing times, ``ends`` are the statuses that a run may have ended with. A problem is an error code of the
    protocol, a template and its values.
    """
    try:
        trajectory, document = read_document(body)
        runs = _plan_runs(trajectory, now, ends)
    except BadDocument as bad:
        return {"problem": [bad.code, str(bad.message), parts_of(bad.message)]}
    title = (trajectory.extra or {}).get("title")
    asked = next((run.message for run in runs if run.message.strip()), trajectory.agent.name)
    return {
        "title": clean_text(title if isinstance(title, str) and title.strip() else asked),
        "agent": clean_text(trajectory.agent.name),
        "document": document,
        "runs": [run.packed() for run in runs],
    }


def _plan_runs(trajectory: Trajectory, now: float, ends: Sequence[str]) -> list[PlannedRun]:
    return _Planner(trajectory, now, ends).plan()


class _Planner:
    def __init__(self, trajectory: Trajectory, now: float, ends: Sequence[str]) -> None:
        self._of = trajectory
        self._clock = now
        self._ends = ends
        self._within = {each.trajectory_id: each for each in trajectory.subagent_trajectories or ()}

    def plan(self) -> list[PlannedRun]:
        self._clock = next((at for step in self._of.steps if (at := _time(step.timestamp)) is not None), self._clock)
        runs: list[PlannedRun] = []
        for asked, steps in _by_question(self._of.steps):
            runs.append(self._run(asked, steps))
        if runs and self._within:
            # Runs that no result refers to are kept.
            for number, each in enumerate(list(self._within), 1):
                self._ask(runs[-1], each, f"subagent-{number}", len(runs[-1].entries) - 1)
        return runs

    def _run(self, asked: Step | None, steps: Sequence[Step]) -> PlannedRun:
        extra = (asked.extra if asked else None) or {}
        agent = _name(extra.get("agent"), self._of.agent.name)
        model = _name(extra.get("model"), self._of.agent.model_name or "")
        message = _text(asked.message, _LONGEST) if asked else ""
        began = self._at(asked)
        run = PlannedRun(agent, model, message, began)
        start = {"agent": agent, "message": message, "user": _name(extra.get("user"), ""), "enable_reasoning": True}
        start |= {"timestamp": began} | ({"model": model} if model else {})
        run.entries.append(PlannedEvent("reasoning_start", start))
        writer = _Writer(run)
        answers = [step for step in steps if step.source == "agent"]
        for step in steps:
            at = self._at(step)
            if step.source == "agent":
                writer.begin_turn(step, at)
                self._read_turn(writer, step, at, is_last=step is answers[-1])
            else:
                writer.event("system", _text(step.message, _LONGEST_RESULT), at)
                self._read_results(writer, step, {}, at)
        if extra.get("status") in self._ends:
            run.status = extra["status"]
        lasted = extra.get("duration_ms")
        run.ended = run.began + lasted / 1000 if _is_count(lasted) else max(self._clock, run.began)
        writer.end(round((run.ended - run.began) * 1000))
        return run

    def _read_turn(self, writer: "_Writer", step: Step, at: float, *, is_last: bool) -> None:
        extra = step.extra or {}
        if step.reasoning_content:
            writer.add_text("thought", step.reasoning_content, at, extra.get("thought_ms"))
        message = _text(step.message, _LONGEST)
        is_answer = is_last and not step.tool_calls
        if message and not is_answer:
            writer.add_text("thought", message, at, extra.get("answer_ms"))
        calls: dict[str, list[tuple[str, str]]] = {}
        for call in step.tool_calls or ():
            raw = (call.extra or {}).get("raw_arguments")
            arguments = raw if isinstance(raw, str) and not call.arguments else call.arguments
            name = _name(call.function_name, "tool")
            calls.setdefault(call.tool_call_id, []).append((writer.call(call.tool_call_id, name, arguments, at), name))
        self._read_results(writer, step, calls, at)
        if message and is_answer:
            writer.add_text("final_answer", message, at, extra.get("answer_ms"))

    def _read_results(self, writer: "_Writer", step: Step, calls: dict[str, list[tuple[str, str]]], at: float) -> None:
        results = step.observation.results if step.observation else []
        for result in results:
            known = calls.get(result.source_call_id or "")
            if known:
                call_id, name = known.pop(0)
            else:
                name = "observation"
                call_id = writer.call(result.source_call_id or "", name, {}, at)
            for ref in result.subagent_trajectory_ref or ():
                self._ask(writer.run, ref.trajectory_id, call_id, len(writer.run.entries))
            writer.result(call_id, name, result, at)

    def _ask(self, run: PlannedRun, trajectory_id: str | None, call_id: str, place: int) -> None:
        """Make a call start a subagent's runs, each subagent once."""
        within = self._within.pop(trajectory_id, None)
        if within is not None:
            run.children += [(place, call_id, child) for child in _plan_runs(within, self._clock, self._ends)]

    def _at(self, step: Step | None) -> float:
        written_at = _time(step.timestamp) if step is not None else None
        if written_at is not None:
            self._clock = written_at
        return self._clock


class _Writer:
    """Adds events to a run, with the numbers that a run's events have."""

    def __init__(self, run: PlannedRun) -> None:
        self.run = run
        self._number = 0
        self._ids: set[str] = set()
        #: How often a name was used that several calls had.
        self._again: dict[str, int] = {}

    def _add(self, kind: str, at: float, content: str = "", full: str | None = None, **fields: Any) -> None:
        data = {"type": kind, "content": content, "iteration": self.run.iterations, "timestamp": at, **fields}
        self.run.entries.append(PlannedEvent("reasoning_step", data, full))

    def _next(self) -> int:
        self._number += 1
        return self._number

    def begin_turn(self, step: Step, at: float) -> None:
        """A model call begins."""
        run = self.run
        run.iterations += 1
        self._add("iteration_start", at)
        if (used := step.metrics) is None:
            return
        run.usage["input_tokens"] += _tokens(used.prompt_tokens)
        run.usage["output_tokens"] += _tokens(used.completion_tokens)
        if used.cached_tokens is not None:
            run.usage["cached_tokens"] = run.usage.get("cached_tokens", 0) + _tokens(used.cached_tokens)
        if used.cost_usd is not None and 0 <= used.cost_usd < 1e6:
            run.cost = (run.cost or 0) + used.cost_usd

    def add_text(self, kind: str, text: str, at: float, lasted: Any) -> None:
        """Add a thought, or the answer."""
        self._add(kind, at, _cut(text, _LONGEST), step=self._next(), duration_ms=lasted if _is_count(lasted) else 0)

    def call(self, original_id: str, name: str, arguments: JsonObject | str, at: float) -> str:
        """Add a call; returns its id, which is unique in the run."""
        base = clean_text(original_id)[:_LONGEST_ID] or f"call-{self._number + 1}"
        call_id, short = base, base[: _LONGEST_ID - 8]
        while call_id in self._ids:
            self._again[short] = self._again.get(short, 1) + 1
            call_id = f"{short}#{self._again[short]}"
        self._ids.add(call_id)
        if not isinstance(arguments, str) and len(text := orjson.dumps(arguments).decode()) > _LONGEST:
            arguments = text
        if isinstance(arguments, str):
            arguments = _cut(arguments, _LONGEST)
        self._add("tool_use", at, step=self._next(), tool_name=name, tool_call_id=call_id, arguments=arguments)
        return call_id

    def result(self, call_id: str, name: str, result: ObservationResult, at: float) -> None:
        """Add the result of a call."""
        extra = result.extra or {}
        ended_at = _time(extra.get("timestamp"))
        text = _text(result.content or "", _LONGEST_RESULT)
        ok = extra.get("ok")
        self._result(
            call_id, name, text, at if ended_at is None else ended_at, ok is not False, extra.get("duration_ms")
        )

    def event(self, name: str, text: str, at: float) -> None:
        """Add a step that belongs to no call, as a call with its result."""
        if text:
            self._result(self.call("", name, {}, at), name, text, at, True, None)

    def _result(self, call_id: str, name: str, text: str, at: float, ok: bool, lasted: Any) -> None:
        length = utf16_length(text)
        is_cut = length > CONTENT_LIMIT
        self._add(
            "tool_result",
            at,
            utf16_cut(text, CONTENT_LIMIT) if is_cut else text,
            text if is_cut else None,
            step=self._next(),
            tool_name=name,
            tool_call_id=call_id,
            ok=ok,
            duration_ms=lasted if _is_count(lasted) else 0,
            truncated=is_cut,
            content_length=length,
        )

    def end(self, lasted_ms: int) -> None:
        """Add the run's last event."""
        run = self.run
        if run.cost is not None:
            run.usage["cost"] = {"amount": run.cost, "currency": "USD"}
        data = {"status": run.status, "total_iterations": run.iterations, "duration_ms": max(0, lasted_ms)}
        run.entries.append(PlannedEvent("reasoning_complete", data | {"usage": run.usage}))


def _by_question(steps: Sequence[Step]) -> Iterator[tuple[Step | None, list[Step]]]:
    """The steps of each run, with the user's step that began it; None if there is none before them."""
    asked: Step | None = None
    following: list[Step] = []
    for step in steps:
        if step.source == "user":
            if asked is not None or following:
                yield asked, following
            asked, following = step, []
        else:
            following.append(step)
    if asked is not None or following:
        yield asked, following


def _text(message: str | list[ContentPart], most: int) -> str:
    if isinstance(message, str):
        return _cut(message, most)
    parts = (
        part.text if part.type == "text" else f"[{part.type}: {part.source.path if part.source else ''}]"
        for part in message
    )
    return _cut("\n\n".join(part or "" for part in parts), most)


def _cut(text: str, most: int) -> str:
    text = clean_text(text)
    return text if len(text) * 2 <= most or utf16_length(text) <= most else f"{utf16_cut(text, most - 1)}…"


def _name(value: Any, otherwise: str) -> str:
    name = value if isinstance(value, str) and value.strip() else otherwise
    return " ".join(clean_text(name)[: 2 * _LONGEST_NAME].split())[:_LONGEST_NAME]


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12


def _tokens(count: int | None) -> int:
    return min(max(count or 0, 0), _MOST_TOKENS)


def _time(value: Any) -> float | None:
    """A time, if it is a plausible one."""
    try:
        at = datetime.fromisoformat(str(value)) if value else None
        if at is None:
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return at.timestamp() if _SINCE <= at < _UNTIL else None
    except (ValueError, OverflowError):
        return None
