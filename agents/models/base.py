"""The base class of chat models: Qwen-Agent's loop requests a reply and blocks, while the reply is written on the event loop.

Qwen-Agent gets one finished message per model call. The growing reply is in `Reply`, and shown from there: so the whole conversation
is not copied for each token.
"""

import socket
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

from qwen_agent.llm.base import BaseChatModel
from qwen_agent.llm.schema import ASSISTANT, SYSTEM, FunctionCall, Message
from qwen_agent.tools import image_search

from agents.events import ModelRequest
from agents.json_types import JsonObject
from agents.metering import LAST_CALL
from agents.models.reply import Reply, ReplyWriter
from agents.models.reply_parts import FinishedReply

# An unused tool of Qwen-Agent, when imported, replaces the process's address resolution by one for IPv4 only; this restores it.
socket.getaddrinfo = image_search._orig_getaddrinfo  # noqa: SLF001


class ReplyHost(Protocol):
    """The run that a model works for. Its methods are called in the run's thread."""

    @property
    def label(self) -> str:
        """The conversation that the run belongs to."""
        ...

    def offers_tools(self) -> bool:
        """Whether the next model call is offered tools: the last one of a budget is not. Raises `AgentError` if no call is allowed."""
        ...

    def write(self, writer: ReplyWriter, request: ModelRequest) -> FinishedReply:
        """Have ``writer`` write the reply to a request on the run's event loop, and block until it is finished.

        Raises `AgentError` if it fails, `Stopped` if the run was stopped, `LimitReached` if the run has used up its
        model calls.
        """
        ...

    def replies(self, writer: ReplyWriter, request: ModelRequest) -> Iterator[FinishedReply]:
        """As `write`, but yields states of the growing reply for a caller that follows it; the last one is the finished reply."""
        ...


def _for_last_call(messages: list[Message]) -> list[Message]:
    """The conversation with a note to the model that this is its last call."""
    if not messages or messages[0].role != SYSTEM:
        return [Message(SYSTEM, LAST_CALL), *messages]
    return [Message(SYSTEM, f"{messages[0].content}\n\n{LAST_CALL}"), *messages[1:]]


class StreamingChatModel(BaseChatModel):  # type: ignore[misc] # Qwen-Agent has no types
    """A chat model that writes its replies on the run's event loop. ``cfg["host"]`` is the run, as a `ReplyHost`."""

    def __init__(self, cfg: dict[str, Any]) -> None:
        super().__init__(cfg)
        self._host: ReplyHost = cfg["host"]

    @abstractmethod
    def prepare(self, messages: list[Message], functions: list[JsonObject]) -> Any:
        """Build the request from the messages and tools. Called in the thread of Qwen-Agent's loop."""

    @abstractmethod
    def describe(self, request: Any) -> ModelRequest:
        """The request as it is first sent, for the record; one that is changed and sent again is recorded by `Reply.on_retry`."""

    @abstractmethod
    async def write(self, request: Any, reply: Reply) -> None:
        """Write the whole reply to the request into ``reply``. Called on the event loop; a stop cancels the asyncio task."""

    def chat(
        self, messages: list[Message], functions: list[JsonObject] | None = None, *_: Any, **__: Any
    ) -> Iterator[list[Message]]:
        """One model call. Qwen-Agent's own method copies and tokenises the whole conversation each time."""
        if not self._host.offers_tools():
            messages, functions = _for_last_call(messages), []
        request = self.prepare(messages, functions or [])
        for written in self._host.replies(lambda reply: self.write(request, reply), self.describe(request)):
            yield self._messages(written)

    @staticmethod
    def _messages(written: FinishedReply) -> list[Message]:
        origin = {"server": written.server, "fields": written.fields}
        reply = Message(
            ASSISTANT, written.content, reasoning_content=written.reasoning or None, extra={"origin": origin}
        )
        calls = [
            Message(
                ASSISTANT,
                "",
                function_call=FunctionCall(call.name, call.arguments),
                extra={"function_id": call.id, "origin": {"server": written.server, "fields": call.fields}},
            )
            for call in written.calls
        ]
        return [reply, *calls]

    def _chat_stream(self, messages: list[Message], *_: Any, **__: Any) -> Iterator[list[Message]]:
        return self.chat(messages)

    def _chat_with_functions(
        self, messages: list[Message], functions: list[JsonObject], *_: Any, **__: Any
    ) -> Iterator[list[Message]]:
        return self.chat(messages, functions)

    def _chat_no_stream(self, messages: list[Message], *_: Any, **__: Any) -> list[Message]:
        return next(self.chat(messages))
