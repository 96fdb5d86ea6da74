"""Turns a run's frames into AG-UI's events, version 1.0.

Events from the log have an identifier, ``<seq>.<n>``: n numbers the events made from one stored event, always the same way. Text
that is still being written has none, nor has any event while a text is open: a client that reconnects gets both again, from
the log. So everything up to an event with an identifier is final, and the client drops what came after it before it continues there.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import orjson

from agents.json_types import JsonObject
from agents.text import utf16_length

Event = JsonObject
Data = JsonObject

VERSION = "1.0"
#: The place before all events.
NOWHERE = (0, 0)
#: Statuses of a run within another one that has ended by itself.
_REACHED = ("completed", "max_iterations")
_WORDS = {
    "interrupted": "The run was interrupted before it had come to its end.",
    "cancelled": "The run was stopped.",
    "failed": "The run has failed.",
}


class Identified(NamedTuple):
    """An event, and its identifier if it has one."""

    event: Event
    place: tuple[int, int] | None = None


class _Passing(NamedTuple):
    """An event that is not made from the log alone, so it has no identifier."""

    event: Event


class _At(NamedTuple):
    """The event number ``n`` of a stored one, whose earlier events were already sent while it was written."""

    n: int
    event: Event


_Outgoing = Event | _Passing | _At


@dataclass(slots=True)
class _Text:
    """A text that is sent while it is being written."""

    kind: str
    message_id: str
    step: int
    attempt: int
    shown: str = ""
    length: int = 0
    #: White space at its end, which is left out if nothing follows it.
    held: str = ""


@dataclass(slots=True)
class _Run:
    """What was sent of one run of the tree."""

    run_id: str
    #: The field that names the run in its events; empty for the root.
    tag: Event
    #: Open texts by step: the next one may begin before the last one is stored.
    texts: dict[int, _Text] = field(default_factory=dict)
    #: The steps whose text was begun and discarded.
    discarded: set[int] = field(default_factory=set)
    iteration: str = ""
    error: Data = field(default_factory=dict)
    model: str = ""
    has_ended: bool = False

    def message_id(self, step: int, attempt: object) -> str:
        """The id of a step's message; a new one if the text was begun and discarded."""
        return f"{self.run_id}.{step}" + (f".{attempt}" if step in self.discarded else "")


class Translator:
    """Turns the frames of a session, from the beginning of a run on, into the events of that run and the runs within it.

    ``after`` is the last place that the client has: events up to it are processed, but not returned. ``ignored``: the fields of the
    client's request that were ignored.
    """

    def __init__(
        self,
        thread_id: str,
        run_id: str,
        root: str,
        *,
        after: tuple[int, int] = NOWHERE,
        ignored: tuple[str, ...] = (),
    ) -> None:
        self._ids = {"threadId": thread_id, "runId": run_id}
        self._root = root
        self._after = after
        self._ignored = ignored
        self._runs: dict[str, _Run] = {}

    def translate(self, text: str) -> list[Identified]:
        """The events of a frame; empty if it belongs to another run, is not part of the log, or comes after the end."""
        if self.has_ended:
            return []
        frame = orjson.loads(text)
        if frame["type"] in ("reasoning_delta", "child_delta"):
            run = self._runs.get(frame["run_id"])
            return [] if run is None else [Identified(event) for event in _written(run, frame["data"])]
        run = self._run_of(frame) if "seq" in frame else None
        if run is None:
            return []
        seq, handle = frame["seq"], self.handlers.get(frame["type"])
        events = list(self._placed(seq, handle(self, run, frame["data"]))) if handle else []
        return [each for each in events if self._is_new(seq, each)]

    def resume(self, iteration: int) -> list[Identified]:
        """The events of a run that has waited and continues, for a stream that begins within this model call."""
        run = self._runs[self._root] = _Run(self._root, {}, iteration=f"iteration {iteration}")
        started = {"type": "RUN_STARTED", **self._ids, "protocolVersion": VERSION}
        ignored = [_custom("ignored", list(self._ignored))] if self._ignored else []
        return [Identified(each) for each in (started, *ignored, {"type": "STEP_STARTED", "stepName": run.iteration})]

    def interrupt(self, interrupts: list[Event]) -> list[Identified]:
        """The events that end the stream of a run that waits for people."""
        run = self._runs[self._root]
        outcome = {"type": "interrupt", "interrupts": interrupts}
        return [
            Identified(each)
            for each in (*_end_iteration(run), {"type": "RUN_FINISHED", **self._ids, "outcome": outcome})
        ]

    @property
    def has_ended(self) -> bool:
        """Whether the run's last event was sent."""
        return self._root in self._runs and self._runs[self._root].has_ended

    @staticmethod
    def failed(code: str, message: str) -> Event:
        """The event that ends a stream whose run cannot be followed any further."""
        return {"type": "RUN_ERROR", "message": message, "code": code}

    def _placed(self, seq: int, events: Iterator[_Outgoing]) -> Iterator[Identified]:
        n = 0
        for each in events:
            if isinstance(each, _Passing):
                yield Identified(each.event)
                continue
            if isinstance(each, _At):
                n, each = each.n, each.event  # noqa: PLW2901
            is_settled = not any(run.texts for run in self._runs.values())
            yield Identified(each, (seq, n) if is_settled else None)
            n += 1

    def _is_new(self, seq: int, each: Identified) -> bool:
        return seq > self._after[0] if each.place is None else each.place > self._after

    def _run_of(self, frame: Data) -> _Run | None:
        run_id = frame["run_id"]
        if run_id in self._runs:
            return self._runs[run_id]
        parent = frame["data"].get("parent")
        if run_id == self._root:
            self._runs[run_id] = _Run(run_id, {})
        elif frame["type"] == "child_start" and parent["run_id"] in self._runs:
            self._runs[run_id] = _Run(run_id, {"subagentRunId": run_id})
        return self._runs.get(run_id)

    # The beginning and the end

    def _start(self, run: _Run, data: Data) -> Iterator[_Outgoing]:
        run.model = data.get("model", "")
        if not run.tag:
            yield {"type": "RUN_STARTED", **self._ids, "protocolVersion": VERSION, **_at(data)}
            if self._ignored:
                yield _Passing(_custom("ignored", list(self._ignored)))
            return
        parent = data["parent"]
        within = {} if parent["run_id"] == self._root else {"parentSubagentRunId": parent["run_id"]}
        call = {"parentToolCallId": name_call(parent["run_id"], parent["tool_call_id"])}
        yield {"type": "SUBAGENT_STARTED", **run.tag, "name": data["agent"], **within, **call, **_at(data)}

    def _complete(self, run: _Run, data: Data) -> Iterator[_Outgoing]:
        yield from _give_up_texts(run)
        yield from _end_iteration(run)
        run.has_ended = True
        status = data["status"]
        error = {
            "message": run.error.get("message") or _WORDS.get(status, ""),
            "code": data.get("code") or run.error.get("code") or status,
        }
        if run.tag:
            if status in _REACHED:
                yield {"type": "SUBAGENT_FINISHED", **run.tag, "outcome": {"type": "success"}}
            else:
                yield {"type": "SUBAGENT_ERROR", **run.tag, **error}
            return
        for child in self._runs.values():
            if not child.has_ended:
                yield from self._complete(child, {"status": "interrupted"})
        about = {"usage": [_usage(run.model, data["usage"])], "metadata": _about_end(data)}
        if status in (*_REACHED, "cancelled"):
            outcome = {"type": "cancelled" if status == "cancelled" else "success"}
            yield {"type": "RUN_FINISHED", **self._ids, "outcome": outcome, **about}
        else:
            yield {"type": "RUN_ERROR", **error, **about}

    def _error(self, run: _Run, data: Data) -> Iterator[_Outgoing]:
        run.error = data
        return iter(())

    # Steps

    def _step(self, run: _Run, data: Data) -> Iterator[_Outgoing]:
        match data["type"]:
            case "iteration_start":
                yield from _end_iteration(run)
                run.iteration = f"iteration {data['iteration']}"
                yield {"type": "STEP_STARTED", **run.tag, "stepName": run.iteration, **_at(data)}
            case "iteration_end":
                yield from _end_iteration(run)
            case "thought" | "final_answer" as kind:
                yield from _settle(run, kind, data)
            case "tool_use":
                yield from _give_up_texts(run, data["step"])
                yield from _call(run, data)
            case "tool_result":
                yield _result(run, data)
            case "start" | "complete" | "error":
                pass
            case other:
                yield {**_custom(other, data), **run.tag}

    def _response(self, run: _Run, data: Data) -> Iterator[_Outgoing]:
        yield from _settle(run, "final_answer", {**data, "step": 0})

    handlers: ClassVar[dict[str, Callable[["Translator", _Run, Data], Iterator[_Outgoing]]]] = {
        "reasoning_start": _start,
        "reasoning_step": _step,
        "response": _response,
        "reasoning_complete": _complete,
        "error": _error,
        "child_start": _start,
        "child_step": _step,
        "child_complete": _complete,
        "child_error": _error,
    }


# Texts


def _written(run: _Run, data: Data) -> Iterator[Event]:
    """The events of a piece of text. There are none for a text whose beginning is missing: it is sent when it is stored."""
    if data["type"] not in ("thought", "final_answer", "response"):
        return
    kind, step, attempt, piece = _kind(data["type"]), data["step"], data["attempt"], data["text"]
    known = run.texts.get(step)
    is_known = known is not None and (known.kind, known.attempt) == (kind, attempt)
    if known is None or not is_known or (data["offset"] == 0 and not piece.startswith(known.shown + known.held)):
        if data["offset"]:
            return  # the stored text will come soon
        if known is not None:
            yield from (passing.event for passing in _give_up_text(run, known))
        known = run.texts[step] = _Text(kind, run.message_id(step, attempt), step, attempt)
        yield from _opening(run, known)
    elif data["offset"] == 0:
        piece = piece[len(known.shown + known.held) :]
    elif data["offset"] != known.length:
        return
    known.length += utf16_length(piece)
    piece = known.held + piece
    text = piece.rstrip()
    known.held = piece[len(text) :]
    if text:
        known.shown += text
        yield _content(run, known, text)


def _settle(run: _Run, kind: str, data: Data) -> Iterator[_Outgoing]:
    """The events of a finished text: all of it, or the rest if it was sent while being written."""
    step, content = data["step"], data["content"]
    yield from _give_up_texts(run, step - 1)
    text = run.texts.get(step)
    if text is not None and content.startswith(text.shown):
        del run.texts[step]
        rest = content[len(text.shown) :]
        if rest:
            yield _Passing(_content(run, text, rest))
        *before, last = _closing(run, text, data)
        yield from map(_Passing, before)
        yield _At(_LAST[kind], last)
        return
    if text is not None:
        yield from _give_up_text(run, text)
    whole = _Text(kind, run.message_id(step, "stored"), step, 0)
    yield from _opening(run, whole)
    yield _content(run, whole, content)
    yield from _closing(run, whole, data)


def _give_up_texts(run: _Run, until: float = math.inf) -> Iterator[_Passing]:
    for text in [text for step, text in run.texts.items() if step <= until]:
        yield from _give_up_text(run, text)


def _give_up_text(run: _Run, text: _Text) -> Iterator[_Passing]:
    """The events that end a text that was begun again, or discarded."""
    del run.texts[text.step]
    run.discarded.add(text.step)
    yield from map(_Passing, _closing(run, text, {}))
    yield _Passing({**_custom("discarded", {"messageId": text.message_id}), **run.tag})


def _kind(of_delta: str) -> str:
    return "thought" if of_delta == "thought" else "final_answer"


#: The number of the last event made from a finished text.
_LAST = {"thought": 4, "final_answer": 2}


def _opening(run: _Run, text: _Text) -> Iterator[Event]:
    named = {"messageId": text.message_id, **run.tag}
    if text.kind == "thought":
        yield {"type": "REASONING_START", **named}
        yield {"type": "REASONING_MESSAGE_START", **named, "role": "reasoning"}
    else:
        yield {"type": "TEXT_MESSAGE_START", **named, "role": "assistant"}


def _content(run: _Run, text: _Text, piece: str) -> Event:
    kind = "REASONING_MESSAGE_CONTENT" if text.kind == "thought" else "TEXT_MESSAGE_CONTENT"
    return {"type": kind, "messageId": text.message_id, **run.tag, "delta": piece}


def _closing(run: _Run, text: _Text, data: Data) -> Iterator[Event]:
    named = {"messageId": text.message_id, **run.tag, **_at(data)}
    if data.get("partial"):
        named["metadata"] = {"partial": True}
    if text.kind == "thought":
        yield {"type": "REASONING_MESSAGE_END", **named}
        yield {"type": "REASONING_END", **named}
    else:
        yield {"type": "TEXT_MESSAGE_END", **named}


# All else


def _end_iteration(run: _Run) -> Iterator[Event]:
    name, run.iteration = run.iteration, ""
    if name:
        yield {"type": "STEP_FINISHED", **run.tag, "stepName": name}


def _call(run: _Run, data: Data) -> Iterator[Event]:
    named = {"toolCallId": name_call(run.run_id, data["tool_call_id"]), **run.tag}
    arguments = data["arguments"]
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    yield {"type": "TOOL_CALL_START", **named, "toolCallName": data["tool_name"], **_at(data)}
    yield {"type": "TOOL_CALL_ARGS", **named, "delta": text}
    yield {"type": "TOOL_CALL_END", **named}


def _result(run: _Run, data: Data) -> Event:
    return {
        "type": "TOOL_CALL_RESULT",
        "messageId": run.message_id(data["step"], "result"),
        "toolCallId": name_call(run.run_id, data["tool_call_id"]),
        **run.tag,
        "role": "tool",
        "content": data["content"],
        "metadata": {
            "ok": data["ok"],
            "durationMs": data["duration_ms"],
            "truncated": data["truncated"],
            "contentLength": data["content_length"],
            **({"files": data["files"]} if "files" in data else {}),
        },
        **_at(data),
    }


def name_call(run_id: str, call_id: str) -> str:
    """A call's identifier in its thread: the model's own id is unique only in its run."""
    return f"{run_id}.{call_id}"


def _custom(name: str, value: Any) -> Event:
    return {"type": "CUSTOM", "name": name, "value": value}


def _at(data: Data) -> Event:
    """The time of the event, in milliseconds."""
    return {"timestamp": round(data["timestamp"] * 1000)} if "timestamp" in data else {}


def _usage(model: str, usage: Data) -> Event:
    event = {
        "model": model or None,
        "inputTokens": usage["input_tokens"],
        "outputTokens": usage["output_tokens"],
        "totalTokens": usage["input_tokens"] + usage["output_tokens"],
        "reasoningTokens": usage.get("reasoning_tokens"),
        "cachedInputTokens": usage.get("cached_tokens"),
    }
    return {name: value for name, value in event.items() if value is not None}


def _about_end(data: Data) -> Event:
    """Details of a run's end that AG-UI has no fields for."""
    usage = data["usage"]
    event = {
        "status": data["status"],
        "iterations": data["total_iterations"],
        "durationMs": data["duration_ms"],
        "usageEstimated": usage["estimated"],
        "cost": usage.get("cost"),
        "cancelledBy": data.get("cancelled_by"),
    }
    return {name: value for name, value in event.items() if value is not None}
