"""Turns successive states of a run's replies and tool calls into finished and partial steps. Pure: no I/O, no threads.

A reply's state is read again and again while it is written. Which finished steps come out depends only on
what was written, never on when it was read.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, cast

from agents.events import OriginData, PartialStep, Step, ThoughtsField
from agents.models.reply_parts import Call, Part
from agents.sentence import parts_of
from agents.steps import (
    CONTENT_LIMIT,
    BudgetUse,
    ContextUse,
    FileData,
    FinalAnswerStep,
    IterationEndStep,
    NumberedType,
    StepBase,
    ThoughtStep,
    ToolResultStep,
)
from agents.text import json_object, utf16_cut, utf16_length

#: The name of a tool call whose name could not be read.
NAMELESS = "unreadable_call"

#: Names and ids of calls are written by the model; longer ones are cut, or replaced.
_LONGEST_NAME = 200


_TextType = Literal["thought", "final_answer"]


@dataclass(slots=True)
class _Open:
    """A tool call without its result."""

    name: str
    since: float


class StepSplitter:
    """Splits one run into the steps of its log: numbers them, and finds where they begin and end.

    Within a reply: a thought ends when something else begins; text is one step, a thought if a tool call
    follows, else the final answer; tool calls are finished with the reply, all before the first result.
    """

    def __init__(
        self,
        taken_ids: Sequence[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.iteration = 0
        self.open_calls: dict[str, _Open] = {}
        self.context: ContextUse | None = None
        """How much of the model's context the conversation takes, as of the last reply; `budget` is of the same moment."""
        self.budget: BudgetUse | None = None
        self._clock, self._now = clock, now
        self._number = 0
        self._ids = set(taken_ids)
        #: The last number of `_unique`: those up to it are taken.
        self._given = 0
        self._in_iteration = False
        self._progressed = 0
        self._begin_reply()

    # -- the run ----------------------------------------------------------------------------------

    def open(self, message: str) -> list[Step]:
        """The steps of the run's beginning, with its first model call."""
        return [Step({"type": "start", **self._base(), "message": message}), *self.begin()]

    def resume(self, iteration: int, number: int, calls: Mapping[str, str]) -> None:
        """Continue a run within a model call whose reply is complete: the numbers it has reached, and names of open calls by their ids."""
        self.iteration, self._number, self._in_iteration = iteration, number, True
        self.open_calls = {call_id: _Open(name, self._clock()) for call_id, name in calls.items()}
        self._ids |= calls.keys()

    def begin(self) -> list[Step]:
        """The steps of a further model call's beginning, after the end of the one before."""
        steps = self.end_iteration()
        self.iteration += 1
        self._in_iteration = True
        self._begin_reply()
        return [*steps, Step({"type": "iteration_start", **self._base()})]

    def end_iteration(self) -> list[Step]:
        """The steps of the end of the last model call and its tools."""
        if not self._in_iteration:
            return []
        self._in_iteration = False
        base = self._base()
        data: IterationEndStep = {
            "type": "iteration_end",
            "content": base["content"],
            "iteration": base["iteration"],
            "timestamp": base["timestamp"],
        }
        if self.context is not None:
            data["context"] = self.context
        if self.budget is not None:
            data["budget"] = self.budget
        return [Step(data)]

    def limit(self, max_iterations: int) -> Step:
        """The step for a run whose last allowed model call still asked for tools."""
        message = f"Stopped after {max_iterations} model calls, which is the limit."
        return Step({"type": "max_iterations_reached", **self._base(message), "max_iterations": max_iterations})

    def complete(self) -> Step:
        """The step of the run's end."""
        return Step({"type": "complete", **self._base(), "total_iterations": self.iteration})

    def error(self, code: str, message: str) -> Step:
        """The step of the run's failure."""
        return Step({"type": "error", **self._base(), "error": message, "code": code})

    # -- a reply ----------------------------------------------------------------------------------

    def update(self, parts: Sequence[Part]) -> list[Step | PartialStep]:
        """The steps that have ended since the last snapshot of a growing reply, and the partial step that grows."""
        if not parts:
            return []
        steps: list[Step | PartialStep] = list(self._finish_parts(parts, len(parts) - 1))
        last = parts[-1]
        if last.kind == "call":
            steps += self._flush_text()  # text before a call is a thought
        partial = self._partial_step(last)
        return [*steps, partial] if partial else steps

    def finish(
        self,
        parts: Sequence[Part],
        *,
        partial: bool = False,
        server: str = "",
        reasoning_field: str = "",
        turn_fields: Mapping[str, Any] = MappingProxyType({}),
        is_cut: bool = False,
        note: str = "",
    ) -> tuple[list[Step], list[Call]]:
        """The last steps of a reply that has ended, and its tool calls, with ids that are unique in the run.

        ``partial``: the reply was ended early, so its last text is incomplete. ``server``: the server that wrote it. ``reasoning_field``:
        the field that its thoughts came in. ``turn_fields``: what else that server wants back with the turn.
        ``is_cut``: the model's length limit cut it, so a run that continues has to complete it. ``note``: a note for readers, which is put
        before its answer.
        """
        unfinished = parts[-1] if partial and parts else None
        steps = list(self._finish_parts(parts, len(parts), unfinished))
        if self._calls:
            steps += self._flush_text(partial=unfinished is not None and unfinished.kind == "content")
        else:
            cut: OriginData | None = (
                {"server": server, "fields": {}, "thoughts": {}, "is_cut": True} if is_cut else None
            )
            steps += [self.note(note)] if note else []
            steps += [replace(step, origin=cut) for step in self._flush_text("final_answer", partial=partial)]
        calls = [
            Call(self._unique(part.id), part.name[:_LONGEST_NAME] or NAMELESS, part.text, part.fields)
            for part in self._calls
            if not part.is_left_out
        ]
        thoughts: ThoughtsField = {}
        if reasoning_field and self._reasoning:
            thoughts = {"field": reasoning_field, "steps": self._reasoning}
        for call in calls:
            origin: OriginData = {"server": server, "fields": call.fields, "thoughts": thoughts, "turn": turn_fields}
            steps.append(self._called(call, origin if call.fields or thoughts or turn_fields else None))
            thoughts, turn_fields = {}, {}
        self._begin_reply()
        return steps, calls

    def call(self, wanted: Sequence[tuple[str, str]]) -> tuple[list[Step], list[Call]]:
        """Steps and calls for tools that no reply of this run has asked for, given by name and arguments."""
        calls = [Call(self._unique(""), name, arguments, {}) for name, arguments in wanted]
        return [self._called(call, None) for call in calls], calls

    def _called(self, call: Call, origin: OriginData | None) -> Step:
        """The step of a tool call, which is open from now on."""
        self.open_calls[call.id] = _Open(call.name, self._clock())
        return Step(
            {
                "type": "tool_use",
                **self._base(),
                "step": self._next_number(),
                "tool_name": call.name,
                "tool_call_id": call.id,
                "arguments": json_object(call.arguments, call.arguments),
            },
            origin=origin,
        )

    def note(self, text: str) -> Step:
        """A thought step with a note for the run's readers that no model has written."""
        data: ThoughtStep = {
            "type": "thought",
            "content": text,
            "iteration": self.iteration,
            "timestamp": self._now(),
            "step": self._next_number(),
            "duration_ms": 0,
        }
        data.update(cast(ThoughtStep, parts_of(text)))
        return Step(data)

    # -- tools ------------------------------------------------------------------------------------

    def progress(self, call_id: str, text: str) -> PartialStep:
        """A tool call's progress, as a partial step. It has the number of the next step, which will be a call's result."""
        self._progressed += 1
        return PartialStep(self._number + 1, "tool_result", text, self._progressed, self.open_calls[call_id].name)

    def result(self, call_id: str, *, ok: bool, content: str, duration_ms: int, files: Sequence[FileData] = ()) -> Step:
        """The step of a tool call's result."""
        name = self.open_calls.pop(call_id).name
        length = utf16_length(content)
        truncated = length > CONTENT_LIMIT
        base = self._base(utf16_cut(content, CONTENT_LIMIT) if truncated else content)
        data: ToolResultStep = {
            "type": "tool_result",
            "content": base["content"],
            "iteration": base["iteration"],
            "timestamp": base["timestamp"],
            "step": self._next_number(),
            "tool_name": name,
            "tool_call_id": call_id,
            "ok": ok,
            "duration_ms": duration_ms,
            "truncated": truncated,
            "content_length": length,
        }
        if files:
            data["files"] = list(files)
        return Step(data, content if truncated else None)

    def open_for_ms(self, call_id: str) -> int:
        """Milliseconds since a tool call was begun."""
        return _ms(self._clock() - self.open_calls[call_id].since)

    # -- inside -----------------------------------------------------------------------------------

    def _begin_reply(self) -> None:
        self._left = 0
        self._text: list[Part] = []
        self._calls: list[Part] = []
        self._reasoning: list[int] = []
        self._partials: dict[int, PartialStep] = {}

    def _finish_parts(self, parts: Sequence[Part], end: int, unfinished: Part | None = None) -> Iterator[Step]:
        """The steps of the parts before ``end``, which will not grow any more."""
        for part in parts[self._left : end]:
            if part.kind == "reasoning":
                for step in self._text_step("thought", [part], partial=part is unfinished):
                    self._reasoning.append(self._number)
                    yield step
            elif part.kind == "content":
                # As one part: a snapshot that joined them all again would be slow where text and thoughts alternate.
                self._text = self._text or [Part("content", part.began)]
                self._text[0].pieces.append(part.text)
            else:
                yield from self._flush_text()
                self._calls.append(part)
        self._left = end

    def _flush_text(self, kind: _TextType = "thought", *, partial: bool = False) -> list[Step]:
        text, self._text = self._text, []
        return list(self._text_step(kind, text, partial=partial)) if text else []

    def _text_step(self, kind: _TextType, parts: Sequence[Part], *, partial: bool) -> Iterator[Step]:
        text = _trimmed(kind, parts)
        if kind == "thought":
            text = text.rstrip()
        if not text.strip():
            return
        took_ms = _ms(self._clock() - parts[0].began)
        # The two types differ only in their name, which type checkers do not see.
        data = cast(
            ThoughtStep | FinalAnswerStep,
            {"type": kind, **self._base(text), "step": self._next_number(), "duration_ms": took_ms},
        )
        if partial:
            data["partial"] = True
        yield Step(data)

    def _partial_step(self, last: Part) -> PartialStep | None:
        """The partial step that the last part writes, if it has changed."""
        step, tool_name = self._number + 1, ""
        kind: NumberedType
        if last.kind == "call":
            kind, text, tool_name, step = "tool_use", last.text, last.name, step + len(self._calls)
        elif last.kind == "reasoning":
            kind, text = "thought", _trimmed("thought", [last])
        else:
            kind = "thought" if self._calls else "final_answer"
            text = _trimmed(kind, [*self._text, last])
        if not (text.strip() or tool_name):
            return None
        before = self._partials.get(step)
        attempt = 1
        if before is not None:
            if before.type == kind and before.text == text and before.tool_name == tool_name:
                return None
            attempt = before.attempt + (before.type != kind or not text.startswith(before.text))
        partial = self._partials[step] = PartialStep(step, kind, text, attempt, tool_name)
        return partial

    def _unique(self, wanted: str) -> str:
        """The model's id if nothing else in the run has it, else a number."""
        self._given = max(self._given, len(self._ids))
        while not wanted or wanted in self._ids or len(wanted) > _LONGEST_NAME:
            self._given += 1
            wanted = f"call_{self._given}"
        self._ids.add(wanted)
        return wanted

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _base(self, content: str = "") -> StepBase:
        return {"content": content, "iteration": self.iteration, "timestamp": self._now()}


def _trimmed(kind: _TextType, parts: Sequence[Part]) -> str:
    """The text without the blank lines that models put before it; an answer keeps the indent of its first line."""
    text = "".join(part.text for part in parts)
    return text.lstrip() if kind == "thought" else text.lstrip("\r\n")


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
