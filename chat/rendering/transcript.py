"""Folds stored events into what people read: runs with their outline and answer.

Pure; no database. ``static/chat/state/transcript.js`` does the same for live frames; a test compares them on the same frames.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from agents.json_types import JsonObject
from agents.steps import (
    AnswerStep,
    ApprovalRequestStep,
    ApprovalStep,
    FileData,
    QuestionStep,
    StepData,
    ToolResultStep,
)
from agents.tools.ask_agent import PREFIX as ASK_PREFIX
from chat.protocol.constants import ErrorCode
from chat.protocol.frame_data import ErrorData, Parent, SentAlongData, Usage
from chat.protocol.frames import KeptFrame
from chat.rendering import humanize
from chat.rendering.bars import Bar, make_bar
from chat.rendering.open_calls import Folded
from chat.rendering.sentences import translate_thought
from chat.rendering.waits import note_waiting, wait_of

LIVE_STATUSES = ("queued", "running", "waiting", "cancelling")
#: The tool by which an agent asks people.
ASK_USER = "ask_user"


@dataclass(slots=True)
class Result:
    """A tool's result."""

    seq: int | None
    at: float
    ok: bool
    content: str
    duration_ms: int | None
    truncated: bool
    content_length: int
    files: list[FileData] = field(default_factory=list)


@dataclass(slots=True)
class Request:
    """A request to people: a decision about the call, or answers to its ``fields``."""

    seq: int | None
    at: float
    #: When it is decided automatically; ``unanswered`` says how: ``deny`` or ``stop``.
    deadline: float | None
    unanswered: str
    fields: list[Any] | None = None
    #: The agent's question, in a sentence or two.
    text: str = ""


@dataclass(slots=True)
class Decision:
    """A person's decision about a call, or answer; ``user`` is None if nobody decided before the deadline."""

    seq: int | None
    at: float
    #: ``allow``, ``deny`` or ``answer``.
    decision: str
    user: str | None
    #: The arguments that the call is made with, if they differ from the model's.
    arguments: Any = None
    scope: str = "once"
    reason: str = ""
    answers: JsonObject | None = None


@dataclass(slots=True)
class Call:
    """A tool call with its result, which is None while the tool is running."""

    seq: int | None
    step: int
    at: float
    call_id: str
    name: str
    arguments: Any
    result: Result | None = None
    request: Request | None = None
    decision: Decision | None = None
    #: What the run that it has started waits for, as in `Run.waits_for`.
    within: str = ""

    @property
    def waits(self) -> bool:
        """Whether it waits for people."""
        return self.request is not None and self.decision is None and self.result is None

    @property
    def waits_for(self) -> str:
        """What it waits for, itself or through the run that it has started: ``question`` or ``approval``; empty if it does not wait."""
        if self.waits:
            return "approval" if self.request is None or self.request.fields is None else "question"
        return "" if self.result is not None else self.within

    @property
    def denied(self) -> bool:
        """Whether the call was not allowed; that is no failure of the tool."""
        return self.decision is not None and self.decision.decision == "deny"

    @property
    def icon(self) -> str:
        """The name of its tool's symbol."""
        return humanize.icon(self.name)


@dataclass(slots=True)
class Item:
    """A row of an outline: a thought, the calls of one model call, or a steering word, which the user ``by`` has sent."""

    kind: str
    seq: int | None
    step: int
    at: float
    iteration: int
    text: str = ""
    duration_ms: int | None = None
    partial: bool = False
    calls: list[Call] = field(default_factory=list)
    by: str = ""

    def span(self) -> tuple[float, float] | None:
        """When it began and ended, in server time; None if it has not ended or was not measured."""
        if self.kind == "thought":
            return None if self.duration_ms is None else (self.at - self.duration_ms / 1000, self.at)
        results = [call.result for call in self.calls]
        if not results or any(result is None for result in results):
            return None
        ends = [result.at for result in results if result is not None]
        starts = [
            result.at - result.duration_ms / 1000
            for result in results
            if result is not None and result.duration_ms is not None
        ]
        return (min(starts), max(ends)) if starts else None


@dataclass(slots=True)
class Answer:
    """The run's answer; ``partial`` if the run ended while it was being written."""

    seq: int | None
    step: int
    at: float
    text: str
    duration_ms: int | None
    partial: bool


@dataclass(slots=True)
class Run(Folded):
    """A run as the conversation shows it."""

    id: str
    status: str = "running"
    started_at: float | None = None
    agent: str = ""
    model: str = ""
    message: str = ""
    files: list[FileData] = field(default_factory=list)
    #: What was sent along by a client that keeps the conversation itself.
    sent_along: SentAlongData | None = None
    user: str = ""
    enable_reasoning: bool = True
    continues: str | None = None
    #: The run and the call that have started it; None for a root.
    parent: Parent | None = None
    iteration: int = 0
    limit: int = 0
    items: list[Item] = field(default_factory=list)
    answer: Answer | None = None
    error: ErrorData | None = None
    duration_ms: int | None = None
    #: How long it waited for people, which is not part of that.
    waited_ms: int | None = None
    usage: Usage | None = None
    cancelled_by: str | None = None
    #: Whether it was removed from the queue before it began.
    removed: bool = False
    #: When it waited for people, in server time: pairs of begin and end; the last has no end while it waits.
    waits: list[list[float]] = field(default_factory=list)
    #: Counts of the run's events that are not loaded: steps, thoughts, tools and failed calls.
    outside: dict[str, int] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether its last event is known."""
        return self.status not in LIVE_STATUSES

    @property
    def calls(self) -> Iterator[Call]:
        """Its tool calls, in order."""
        return (call for item in self.items for call in item.calls)

    @property
    def whole_ms(self) -> int | None:
        """Milliseconds from its beginning to its end, including the time that it waited for people."""
        return None if self.duration_ms is None else self.duration_ms + (self.waited_ms or 0)

    @property
    def waits_for(self) -> str:
        """What it waits for: ``question`` or ``approval``. Empty if it does not wait, or if a tool or the model is still running."""
        return "" if self.ended else wait_of(self.open_calls)

    def went_on(self, item: Item) -> bool:
        """Whether the agent did anything after this item."""
        return item is not self.items[-1] or (self.answer is not None and not self.answer.partial)

    def broken(self, item: Item, call: Call) -> bool:
        """Whether a call has failed. One that was ended together with its run has not."""
        if call.result is None or call.result.ok or call.denied:
            return False
        return self.status not in ("cancelled", "interrupted") or self.went_on(item)

    def counts(self) -> dict[str, int]:
        """How many steps, tool calls and failed calls it has."""
        thoughts = sum(item.kind == "thought" for item in self.items)
        calls = sum(len(item.calls) for item in self.items)
        here = {
            "steps": thoughts + calls + (self.answer is not None),
            "thoughts": thoughts,
            "tools": calls,
            "failed": sum(self.broken(item, call) for item in self.items for call in item.calls),
        }
        return {name: number + self.outside.get(name, 0) for name, number in here.items()}

    def bars(self, total_ms: float | None = None) -> list[Bar]:
        """Where each item is on the run's time axis, in per cent: ``x``, ``width`` and ``fill``; empty if unknown."""
        return [self.bar_of(item, self.whole_ms if total_ms is None else total_ms) for item in self.items]

    def bar_of(self, item: Item, total_ms: float | None) -> Bar:
        """Where an item is on a time axis of ``total_ms``."""
        return make_bar(item.span(), self.started_at, total_ms, self._fill(item))

    def answer_bar(self, total_ms: float | None = None) -> Bar:
        """Where the answer is on the run's time axis."""
        total = self.whole_ms if total_ms is None else total_ms
        answer = self.answer
        if answer is None or answer.duration_ms is None:
            return {}
        return make_bar((answer.at - answer.duration_ms / 1000, answer.at), self.started_at, total, "model")

    def _fill(self, item: Item) -> Literal["model", "tool", "fail"]:
        if item.kind == "thought":
            return "model"
        return "fail" if any(self.broken(item, call) for call in item.calls) else "tool"


def fold(frames: Iterable[KeptFrame], known: Mapping[str, Run] | None = None) -> list[Run]:
    """Fold stored frames, in order, into runs: the roots first, then the runs within them.

    ``known``: runs whose first event is not among the frames, as far as they are known.
    """
    runs: dict[str, Run] = {}
    known = known or {}
    for frame in frames:
        run_id = frame["run_id"]
        run = runs.get(run_id)
        if run is None:
            run = known.get(run_id) or Run(run_id)
            _open_call(run, runs, known)
            runs[run_id] = run
        apply(run, frame)
        note_waiting(run, runs, frame["data"])
    return sorted(runs.values(), key=lambda run: run.parent is not None)


def _open_call(run: Run, runs: dict[str, Run], known: Mapping[str, Run]) -> None:
    """Make sure that the call which has started a run exists: if its event is not loaded, add a call without a result."""
    asked = run.parent
    if asked is None:
        return
    parent = runs.get(asked["run_id"]) or known.get(asked["run_id"])
    if parent is None:
        return
    if parent.id not in runs:
        _open_call(parent, runs, known)
        runs[parent.id] = parent
    if parent.open_calls.latest(asked["tool_call_id"]) is None:
        at = run.started_at or 0.0
        call = Call(None, 0, at, asked["tool_call_id"], f"{ASK_PREFIX}{run.agent}", {})
        parent.items.append(Item("calls", None, 0, at, parent.iteration, calls=[call]))
        parent.open_calls.add(parent.items[-1], call)


def apply(run: Run, frame: KeptFrame) -> None:
    """Fold one stored frame into its run."""
    seq = frame["seq"]
    match frame["type"]:
        case "reasoning_start" | "child_start":
            data = frame["data"]
            run.status = "running"
            run.started_at = data["timestamp"]
            run.agent = data["agent"]
            run.model = data.get("model", "")
            run.message = data["message"]
            run.files = data.get("files", [])
            run.sent_along = data.get("sent_along")
            run.user = data["user"] or ""
            run.enable_reasoning = data.get("enable_reasoning", True)
            run.limit = data.get("max_iterations", 0)
            run.continues = data.get("continues")
            run.parent = cast(Parent | None, data.get("parent"))
        case "reasoning_step" | "child_step":
            _apply_step(run, seq, frame["data"])
        case "response":
            answer = frame["data"]
            run.answer = Answer(seq, 0, 0.0, answer["content"], None, bool(answer.get("partial")))
        case "error" | "child_error":
            error = frame["data"]
            run.error = {"message": error["message"], "code": error["code"], "id": error.get("id", "")}
            if "template" in error:
                run.error["template"] = error["template"]
            if "values" in error:
                run.error["values"] = error["values"]
        case "reasoning_complete" | "child_complete":
            end = frame["data"]
            run.status = end["status"]
            run.duration_ms = end.get("duration_ms")
            run.waited_ms = end.get("waited_ms")
            run.usage = end.get("usage")
            run.cancelled_by = end.get("cancelled_by")
            run.iteration = end.get("total_iterations", run.iteration)
            # Earlier versions did not store it in the event; then the run's row has it.
            run.removed = end.get("removed", run.removed)


def _apply_step(run: Run, seq: int | None, data: StepData) -> None:
    at = data.get("timestamp") or 0.0
    iteration = data.get("iteration", 0)
    match data["type"]:
        case "iteration_start":
            _keep_piece(run)
            run.iteration = iteration
        case "thought":
            run.items.append(
                Item(
                    "thought",
                    seq,
                    data["step"],
                    at,
                    iteration,
                    text=translate_thought(data),
                    duration_ms=data.get("duration_ms"),
                    partial=bool(data.get("partial")),
                )
            )
        case "tool_use":
            call = Call(seq, data["step"], at, data["tool_call_id"], data["tool_name"], data.get("arguments"))
            _add_call(run, call, seq, iteration)
        case "tool_result":
            _apply_result(run, seq, at, iteration, data)
        case "approval_request" | "question" | "approval" | "answer":
            _apply_waiting(run, seq, at, data)
        case "final_answer":
            run.answer = Answer(
                seq, data["step"], at, data["content"], data.get("duration_ms"), bool(data.get("partial"))
            )
        case "steer":
            run.items.append(Item("word", seq, 0, at, iteration, data["content"], by=data["user"]))
        case "max_iterations_reached":
            run.limit = data.get("max_iterations", 0)
        case "error":
            run.error = run.error or {"message": data["error"], "code": cast(ErrorCode, data["code"]), "id": ""}


def _keep_piece(run: Run) -> None:
    """The model is called again after a partial answer: keep that as a row like a thought's."""
    piece, run.answer = run.answer, None
    if piece is not None:
        row = Item("thought", piece.seq, piece.step, piece.at, run.iteration, piece.text, piece.duration_ms)
        row.partial = piece.partial
        run.items.append(row)


def _add_call(run: Run, call: Call, seq: int | None, iteration: int) -> None:
    """Add a call after the other calls of the same model call."""
    if not run.items or run.items[-1].kind != "calls" or run.items[-1].iteration != iteration:
        run.items.append(Item("calls", seq, call.step, call.at, iteration))
    run.items[-1].calls.append(call)
    run.open_calls.add(run.items[-1], call)


def _apply_waiting(
    run: Run, seq: int | None, at: float, data: ApprovalRequestStep | QuestionStep | ApprovalStep | AnswerStep
) -> None:
    call = run.open_calls.latest(data["tool_call_id"])
    if call is None:
        # Its call's event is not loaded, or has no number: it gets a row of its own.
        if data["type"] == "approval_request":
            call = Call(None, 0, at, data["tool_call_id"], data["tool_name"], data["arguments"])
        elif data["type"] == "question":
            call = Call(None, 0, at, data["tool_call_id"], ASK_USER, {})
        else:
            return
        _add_call(run, call, seq, data.get("iteration", 0))
    match data["type"]:
        case "approval_request":
            call.request = Request(seq, at, data["deadline"], data["unanswered"])
        case "question":
            call.request = Request(seq, at, data["deadline"], "deny", cast(list[Any], data["fields"]), data["content"])
        case "approval":
            call.decision = Decision(
                seq,
                at,
                data["decision"],
                data["user"],
                data.get("arguments"),
                data["scope"],
                data["reason"],
            )
        case "answer":
            call.decision = Decision(seq, at, "answer", data["user"], answers=dict(data["answers"]))


def _apply_result(run: Run, seq: int | None, at: float, iteration: int, data: ToolResultStep) -> None:
    content = data.get("content") or ""
    result = Result(
        seq,
        at,
        bool(data.get("ok")),
        content,
        data.get("duration_ms"),
        bool(data.get("truncated")),
        data.get("content_length", len(content)),
        data.get("files", []),
    )
    if (call := run.open_calls.pop(data["tool_call_id"])) is not None:
        call.result = result
        return
    # Its call's event is not loaded: it gets a row of its own.
    call = Call(None, data["step"], at, data["tool_call_id"], data["tool_name"], {}, result)
    run.items.append(Item("calls", seq, data["step"], at, iteration, calls=[call]))
    run.open_calls.note_answered(call)
