"""The contents of messages and tool calls in spans: only if `OTEL_CONTENT` is set, in the conventions' format, with secrets masked."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypedDict

import orjson

from agents import mask_text
from agents.history import ChatMessage
from agents.json_types import JsonObject
from agents.steps import ToolResultStep, ToolUseStep
from chat.models import ModelCall, Run, Step
from chat.store import call_reader
from chat.store.selectors import step_data

#: The longest text that is sent, in characters: collectors reject large requests.
_MOST_CHARS = 16_000

Attributes = dict[str, Any]


class Part(TypedDict, total=False):
    """A part of a message, in the format of OpenTelemetry's conventions."""

    type: Literal["text", "reasoning", "tool_call", "tool_call_response"]
    content: str
    id: str | None
    name: str | None
    arguments: str
    response: str


class SpanMessage(TypedDict):
    """A message, in the format of OpenTelemetry's conventions."""

    role: str
    parts: list[Part]


class Content(Protocol):
    """Builds those attributes of spans that hold contents."""

    kinds: tuple[str, ...]
    """The types of steps that it needs."""
    of_call: tuple[str, ...]
    """The columns of model calls that it needs."""
    at_once: int
    """How many runs may be sent in one request: their spans are in memory at the same time."""

    def run(self, run: Run, steps: Sequence[Step]) -> Attributes:
        """The attributes of a run: its question and its answer."""
        ...

    def calls_of(self, run: Run, calls: Sequence[ModelCall], steps: Sequence[Step]) -> dict[int, Attributes]:
        """The attributes of a run's model calls by primary key: the messages sent, and the answer."""
        ...

    def tool(self, called: ToolUseStep, result: ToolResultStep | None) -> Attributes:
        """The attributes of a tool call: its arguments and its result."""
        ...


class NoContent:
    """Adds no contents."""

    kinds: tuple[str, ...] = ("tool_use", "tool_result")
    of_call: tuple[str, ...] = ()
    at_once: int = 100

    def run(self, run: Run, steps: Sequence[Step]) -> Attributes:
        """Nothing."""
        return {}

    def calls_of(self, run: Run, calls: Sequence[ModelCall], steps: Sequence[Step]) -> dict[int, Attributes]:
        """Nothing."""
        return {}

    def tool(self, called: ToolUseStep, result: ToolResultStep | None) -> Attributes:
        """Nothing."""
        return {}


class MaskedContent:
    """Adds all contents, with secrets masked and long texts cut."""

    kinds: tuple[str, ...] = ("tool_use", "tool_result", "thought", "final_answer")
    of_call: tuple[str, ...] = ("messages", "base")
    at_once: int = 10

    def run(self, run: Run, steps: Sequence[Step]) -> Attributes:
        """The question, and the last answer."""
        values = {"gen_ai.input.messages": _json([_message("user", [_text(run.message)])])} if run.message else {}
        answers = [step for step in steps if step.type == "final_answer"]
        if answers:
            values["gen_ai.output.messages"] = _json(
                [_message("assistant", [_text(step_data(answers[-1])["content"])])]
            )
        return values

    def calls_of(self, run: Run, calls: Sequence[ModelCall], steps: Sequence[Step]) -> dict[int, Attributes]:
        """The messages as they were sent, and the steps that the call resulted in."""
        found: dict[int, Attributes] = {}
        for call, messages in zip(calls, call_reader.sent_messages(run, calls), strict=True):
            own = [step for step in steps if step.iteration == call.iteration and step.type in _PARTS]
            parts = [_PARTS[step.type](step_data(step)) for step in own]
            found[call.pk] = {
                "gen_ai.input.messages": _json([_sent(message) for message in messages]),
                "gen_ai.output.messages": _json([_message("assistant", parts)]) if parts else None,
            }
        return found

    def tool(self, called: ToolUseStep, result: ToolResultStep | None) -> Attributes:
        """The arguments, and the result as its step has it, where long ones are cut."""
        arguments = called["arguments"]
        text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
        values = {"gen_ai.tool.call.arguments": _masked(text)}
        if result is not None:
            values["gen_ai.tool.call.result"] = _masked(result["content"])
        return values


def _tool_call(called: JsonObject) -> Part:
    return {
        "type": "tool_call",
        "id": called["tool_call_id"],
        "name": called["tool_name"],
        "arguments": _masked(orjson.dumps(called["arguments"]).decode()),
    }


#: By type, how a step is written as a part of the model's message.
_PARTS: dict[str, Callable[[JsonObject], Part]] = {
    "thought": lambda step: {"type": "reasoning", "content": _masked(step["content"])},
    "final_answer": lambda step: _text(step["content"]),
    "tool_use": _tool_call,
}


def _sent(message: ChatMessage) -> SpanMessage:
    """A message to a model, in the conventions' format. Pictures are left out."""
    content = message.get("content") or ""
    texts = [content] if isinstance(content, str) else [part["text"] for part in content if "text" in part]
    parts: list[Part] = [_text(text) for text in texts if text]
    if message.get("role") == "tool":
        parts = [
            {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": _masked("\n".join(texts))}
        ]
    for call in message.get("tool_calls") or ():
        asked = call.get("function") or {}
        arguments = _masked(str(asked.get("arguments", "")))
        parts.append({"type": "tool_call", "id": call.get("id"), "name": asked.get("name"), "arguments": arguments})
    return _message(str(message.get("role", "")), parts)


def _message(role: str, parts: list[Part]) -> SpanMessage:
    return {"role": role, "parts": parts}


def _text(text: str) -> Part:
    return {"type": "text", "content": _masked(text)}


def _masked(text: str) -> str:
    """A text with secrets masked, then cut: in this order, so that no half of a secret remains."""
    whole = mask_text(text)
    return whole if len(whole) <= _MOST_CHARS else f"{whole[:_MOST_CHARS]}… [{len(whole) - _MOST_CHARS} more]"


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
