"""The parts of a model's reply: thoughts, text and tool calls; and a finished reply."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from agents.arguments import Balance
from agents.history import CalledFunction, ChatMessage, MessageOrigin, MessageToolCall
from agents.json_types import JsonObject
from agents.models.text_calls import arguments_in

Kind = Literal["reasoning", "content", "call"]


@dataclass(slots=True)
class Part:
    """A contiguous part of the reply, of one kind. Its text only grows."""

    kind: Kind
    began: float
    pieces: list[str] = field(default_factory=list)
    name: str = ""
    """For a call: the tool's name."""
    id: str = ""
    """For a call: the id that the model gave; may be empty or repeated."""
    fields: JsonObject = field(default_factory=dict)
    """For a call: the fields that its server sent besides the known ones."""
    raw: bool = False
    """For a call in the text that is not closed yet: the pieces are those of the text."""
    fences: int = 0
    """For text: the number of lines with three or more backticks, and how many backticks it ends with."""
    ticks: int = 0
    is_in_text: bool = False
    """For a call: whether it was in the text."""
    is_left_out: bool = False
    """For a call: whether it is dropped, because there are too many or it is a repetition."""
    size: int = 0
    """For a call that is not in the text: the length of its arguments in characters."""
    balance: Balance | None = None
    """For a call whose name came more than once: whether its arguments are complete."""
    may_repeat: bool = False
    """For such a call: whether the next piece may be another call of the same name."""

    @property
    def text(self) -> str:
        """The text so far; for a call, its arguments."""
        if len(self.pieces) != 1:
            self.pieces[:] = ["".join(self.pieces)]
        return arguments_in(self.pieces[0]) if self.raw else self.pieces[0]

    def add(self, text: str) -> None:
        """Add text."""
        self.pieces.append(text)
        self.size += len(text)
        if self.balance is not None:
            self.balance.feed(text)

    def count_fences(self, text: str) -> None:
        """Count the fences in text that is added."""
        run = "`" * self.ticks + text
        self.fences += run.count("```")
        self.ticks = (len(run) - len(run.rstrip("`"))) % 3

    @property
    def is_whole(self) -> bool:
        """For a call: whether its arguments are complete JSON."""
        if self.balance is None:
            self.balance = Balance()
            self.balance.feed(self.text)
        return self.balance.is_whole


@dataclass(frozen=True, slots=True)
class Call:
    """A finished tool call, with an id that is unique in the run. ``arguments`` is the model's text, which may not be JSON."""

    id: str
    name: str
    arguments: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The fields that its server sent besides these, and needs back."""


@dataclass(frozen=True, slots=True)
class FinishedReply:
    """A finished reply in the form that Qwen-Agent's loop needs."""

    content: str
    reasoning: str
    calls: Sequence[Call]
    server: str
    """The server that wrote it, as `agents.models.openai_compatible.server_id` identifies it."""
    fields: Mapping[str, Any]
    """The fields that the server needs back."""


def as_message(
    content: str, calls: Sequence[Call], server: str = "", fields: Mapping[str, Any] = MappingProxyType({})
) -> ChatMessage:
    """A reply in OpenAI's format. ``fields`` are those that ``server`` needs back."""
    message: ChatMessage = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [_call_message(call, server) for call in calls]
        if fields:
            message["origin"] = {"server": server, "fields": fields}
    return message


def _call_message(call: Call, server: str) -> MessageToolCall:
    asked: CalledFunction = {"name": call.name, "arguments": call.arguments}
    if not call.fields:
        return {"id": call.id, "type": "function", "function": asked}
    origin: MessageOrigin = {"server": server, "fields": dict(call.fields)}
    return {"id": call.id, "type": "function", "function": asked, "origin": origin}
