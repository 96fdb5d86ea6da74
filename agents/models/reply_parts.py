"""What a model's reply is made of: stretches of thought, text and tool calls; and what a finished one comes to."""

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
    """A stretch of the reply of one kind. Its text only grows."""

    kind: Kind
    began: float
    pieces: list[str] = field(default_factory=list)
    name: str = ""
    """Of a call: the tool."""
    id: str = ""
    """Of a call: as the model gave it; may be empty or repeated."""
    fields: JsonObject = field(default_factory=dict)
    """Of a call: what its server sent of it beside the known fields."""
    raw: bool = False
    """A call in the text that isn't closed: the pieces are the text's."""
    fences: int = 0
    """Of text: lines of three backticks and more that it holds, and how many backticks it ends in beside them."""
    ticks: int = 0
    is_in_text: bool = False
    """Of a call: whether it stood in the text."""
    is_left_out: bool = False
    """A call beyond those that are kept, or told twice."""
    size: int = 0
    """Of a call that does not stand in the text: characters of its arguments."""
    balance: Balance | None = None
    """Of a call whose name came more than once: whether its arguments are whole."""
    may_repeat: bool = False
    """Of such a call: whether what comes next may be another one of its name."""

    @property
    def text(self) -> str:
        """All of it so far; of a call, its arguments."""
        if len(self.pieces) != 1:
            self.pieces[:] = ["".join(self.pieces)]
        return arguments_in(self.pieces[0]) if self.raw else self.pieces[0]

    def add(self, text: str) -> None:
        """Add to it."""
        self.pieces.append(text)
        self.size += len(text)
        if self.balance is not None:
            self.balance.feed(text)

    def count_fences(self, text: str) -> None:
        """Keep count of fences in text that is added."""
        run = "`" * self.ticks + text
        self.fences += run.count("```")
        self.ticks = (len(run) - len(run.rstrip("`"))) % 3

    @property
    def is_whole(self) -> bool:
        """Of a call: whether its arguments are whole."""
        if self.balance is None:
            self.balance = Balance()
            self.balance.feed(self.text)
        return self.balance.is_whole


@dataclass(frozen=True, slots=True)
class Call:
    """A finished tool call, its id unique in the run. ``arguments`` is the model's text, which may be no JSON."""

    id: str
    name: str
    arguments: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What its server sent of it beside these, and wants back."""


@dataclass(frozen=True, slots=True)
class FinishedReply:
    """A finished reply as Qwen-Agent's loop is to see it."""

    content: str
    reasoning: str
    calls: Sequence[Call]
    server: str
    """Who wrote it, as `agents.models.openai_compatible.server_id` has it."""
    fields: Mapping[str, Any]
    """What that server wants back with it."""


def as_message(
    content: str, calls: Sequence[Call], server: str = "", fields: Mapping[str, Any] = MappingProxyType({})
) -> ChatMessage:
    """A reply in OpenAI's shape; ``origin`` is what its server wants back, and of whom ``fields`` are."""
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
