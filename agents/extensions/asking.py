"""The models for agents of extensions: called in the agent's thread, with replies that it sees grow."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from qwen_agent.llm.schema import Message

from agents.errors import LimitReached, Stopped
from agents.events import ModelRequest
from agents.json_types import JsonObject
from agents.models.reply import Reply, ReplyWriter
from agents.models.reply_parts import Call, FinishedReply

#: How often a growing reply is shown to the agent, in seconds.
_PACE_S = 0.04


class Asking:
    """The model calls of one agent's run: at most so many, and none after a stop. In place of the run, for the models."""

    def __init__(
        self,
        ask: Callable[[ReplyWriter, ModelRequest, Reply], "Future[None]"],
        most: int,
        offers_tools: Callable[[], bool],
        label: str,
    ) -> None:
        self.label = label
        """The conversation that they belong to."""
        self.offers_tools = offers_tools
        """See `agents.models.base.ReplyHost`, as for the one before."""
        self._ask = ask
        self._most = most
        self._asked = 0
        self._lock = threading.Lock()
        self._is_stopped = False
        self._pending: set[Future[None]] = set()

    @property
    def has_asked(self) -> bool:
        """Whether the model was called, so that its tokens are counted."""
        return self._asked > 0

    def check(self) -> None:
        """Raise `Stopped` after a stop."""
        if self._is_stopped:
            raise Stopped

    def stop(self) -> None:
        """Close the current request, and refuse further ones."""
        with self._lock:
            self._is_stopped = True
            pending = list(self._pending)
        for future in pending:
            future.cancel()

    def write(self, writer: ReplyWriter, request: ModelRequest) -> FinishedReply:
        """Have a reply written, and wait for it. Raises `AgentError`, `Stopped` and `LimitReached`."""
        *_, finished = self.replies(writer, request)
        return finished

    def replies(self, writer: ReplyWriter, request: ModelRequest) -> Iterator[FinishedReply]:
        """The reply's states while it is written, the last one finished."""
        states: queue.SimpleQueue[FinishedReply | None] = queue.SimpleQueue()
        reply = Reply()
        reply.notify = _Shower(reply, states.put)
        future = self._begin(writer, request, reply)
        future.add_done_callback(lambda _: states.put(None))
        try:
            while (state := states.get()) is not None:
                yield state
            self.check()
            future.result()
        finally:
            future.cancel()
            with self._lock:
                self._pending.discard(future)
        yield _state_of(reply)

    def _begin(self, writer: ReplyWriter, request: ModelRequest, reply: Reply) -> "Future[None]":
        with self._lock:
            self.check()
            if self._asked >= self._most:
                raise LimitReached
            self._asked += 1
            future = self._ask(writer, request, reply)
            self._pending.add(future)
            return future


class _Shower:
    """Passes on a reply's states as it grows, on the event loop: a new part at once, more of it at a pace that people can follow."""

    def __init__(self, reply: Reply, show: Callable[[FinishedReply], None]) -> None:
        self._reply = reply
        self._show = show
        self._parts = 0
        self._shown_at = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if len(self._reply.parts) > self._parts or now - self._shown_at >= _PACE_S:
            self._parts, self._shown_at = len(self._reply.parts), now
            self._show(_state_of(self._reply))


def _state_of(reply: Reply) -> FinishedReply:
    calls = [
        Call(part.id or f"call_{number}", part.name, part.text, part.fields)
        for number, part in enumerate((part for part in reply.parts if part.kind == "call"), start=1)
    ]
    return FinishedReply(reply.content, reply.reasoning, calls, reply.server, reply.fields)


class AskedModel:
    """A model as Qwen-Agent's agents know one: messages as its own or as dictionaries, answered in kind, streamed or whole."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        if name == "_model":  # it is being copied, and has none yet
            raise AttributeError(name)
        return getattr(self._model, name)

    def chat(
        self,
        messages: Sequence[Any],
        functions: list[JsonObject] | None = None,
        stream: bool = True,
        *_: Any,
        **__: Any,
    ) -> Any:
        """Ask it. What only some models understand (``extra_generate_cfg``) is left to the agent's version here."""
        given = [Message(**each) if isinstance(each, dict) else each for each in messages]
        as_dicts = all(isinstance(each, dict) for each in messages)
        replies = self._model.chat(given, functions)
        states: Iterator[list[Any]] = (
            [each.model_dump() for each in state] if as_dicts else state for state in replies
        )
        if stream:
            return states
        *_before, whole = states
        return whole
