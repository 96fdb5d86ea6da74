"""Model calls of an extension's agent. They are made in the agent's thread, which sees each reply grow."""

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

#: Seconds between two states of a growing reply that the agent is given.
_PACE_S = 0.04


class Asking:
    """The model calls of one run of an extension's agent: a limited number, and none after a stop.

    The chat models use it in place of the run. Its methods may be called from any thread; those that ask a model block.
    """

    def __init__(
        self,
        ask: Callable[[ReplyWriter, ModelRequest, Reply], "Future[None]"],
        most: int,
        offers_tools: Callable[[], bool],
        label: str,
    ) -> None:
        self.label = label
        """The conversation that the calls belong to."""
        self.offers_tools = offers_tools
        """Whether the next model call is offered tools: see `agents.models.base.ReplyHost`."""
        self._ask = ask
        self._most = most
        self._asked = 0
        self._lock = threading.Lock()
        self._is_stopped = False
        self._pending: set[Future[None]] = set()

    @property
    def has_asked(self) -> bool:
        """Whether the model was called; if so, its tokens are counted already."""
        return self._asked > 0

    def check(self) -> None:
        """Raise `Stopped` if the run was stopped."""
        if self._is_stopped:
            raise Stopped

    def stop(self) -> None:
        """Cancel the current requests, and refuse further ones."""
        with self._lock:
            self._is_stopped = True
            pending = list(self._pending)
        for future in pending:
            future.cancel()

    def write(self, writer: ReplyWriter, request: ModelRequest) -> FinishedReply:
        """Request a reply, and return it when it is finished. Raises `AgentError`, `Stopped` and `LimitReached`."""
        *_, finished = self.replies(writer, request)
        return finished

    def replies(self, writer: ReplyWriter, request: ModelRequest) -> Iterator[FinishedReply]:
        """Request a reply, and yield its states while it is written; the last one is finished. Raises as `write` does."""
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
    """Passes on the states of a growing reply, on the event loop: a new part at once, growth of the last part at a limited pace."""

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
    """A model with the interface of Qwen-Agent's: takes its messages or dictionaries, returns the same kind, streamed or whole."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        if name == "_model":  # while it is being copied
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
        """Ask the model. ``extra_generate_cfg`` is ignored: the parameters of the agent's version are used."""
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
