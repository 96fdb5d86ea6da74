"""The base of the chat models: Qwen-Agent's loop requests a reply and waits, while it is written on an event loop.

Qwen-Agent gets one finished message per model call. What is written meanwhile is in the `Reply`, which is shown from there: no copy of the
whole conversation for each token.
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

# A tool of Qwen-Agent's that is not used here replaces the process's address resolution by one for IPv4 alone, once it is imported.
socket.getaddrinfo = image_search._orig_getaddrinfo  # noqa: SLF001


class ReplyHost(Protocol):
    """Where replies are written: the run that a model works for."""

    @property
    def label(self) -> str:
        """The conversation that it belongs to."""
        ...

    def offers_tools(self) -> bool:
        """Whether the next model call is offered tools: the last one of a budget is not. Raises `AgentError` where none may be made."""
        ...

    def write(self, writer: ReplyWriter, request: ModelRequest) -> FinishedReply:
        """Have ``writer`` write the reply to a request on the run's event loop, and wait for its end.

        Raises `AgentError` when it fails, `Stopped` when the run was stopped, `LimitReached` when the run is out of
        model calls.
        """
        ...

    def replies(self, writer: ReplyWriter, request: ModelRequest) -> Iterator[FinishedReply]:
        """The same, with states of the growing reply for a loop that follows them; the last one is the finished reply."""
        ...


def _for_last_call(messages: list[Message]) -> list[Message]:
    """The conversation with a note to the model that this is its last call."""
    if not messages or messages[0].role != SYSTEM:
        return [Message(SYSTEM, LAST_CALL), *messages]
    return [Message(SYSTEM, f"{messages[0].content}\n\n{LAST_CALL}"), *messages[1:]]


class StreamingChatModel(BaseChatModel):  # type: ignore[misc] # Qwen-Agent has no types
    """A chat model that writes its replies on the run's event loop. ``cfg["host"]`` is where its run writes them."""

    def __init__(self, cfg: dict[str, Any]) -> None:
        super().__init__(cfg)
        self._host: ReplyHost = cfg["host"]

    @abstractmethod
    def prepare(self, messages: list[Message], functions: list[JsonObject]) -> Any:
        """Make the request, in the thread of Qwen-Agent's loop."""

    @abstractmethod
    def describe(self, request: Any) -> ModelRequest:
        """The first request, for the record; a changed one that is sent again is recorded by `Reply.on_retry`."""

    @abstractmethod
    async def write(self, request: Any, reply: Reply) -> None:
        """Write the reply to it and finish it, on the event loop. A stop comes as asyncio's cancellation."""

    def chat(
        self, messages: list[Message], functions: list[JsonObject] | None = None, *_: Any, **__: Any
    ) -> Iterator[list[Message]]:
        """One model call. Qwen-Agent's own version copies and tokenises the whole conversation each time."""
        if not self._host.offers_tools():
            messages, functions = _for_last_call(messages), []
        request = self.prepare(messages, functions or [])
        for written in self._host.replies(lambda reply: self.write(request, reply), self.describe(request)):
            yield self._messages(written)

    @staticmethod
    def _messages(written: FinishedReply) -> list[Message]:
        origin = {"server": written.server, "fields": written.fields}
        said = Message(
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
        return [said, *calls]

    def _chat_stream(self, messages: list[Message], *_: Any, **__: Any) -> Iterator[list[Message]]:
        return self.chat(messages)

    def _chat_with_functions(
        self, messages: list[Message], functions: list[JsonObject], *_: Any, **__: Any
    ) -> Iterator[list[Message]]:
        return self.chat(messages, functions)

    def _chat_no_stream(self, messages: list[Message], *_: Any, **__: Any) -> list[Message]:
        return next(self.chat(messages))
