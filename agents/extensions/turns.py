"""Splits what Qwen-Agent's agents yield into turns: text and tool calls, then the tools' results.

`run()` yields all messages so far again and again, and some agents begin their list anew, or write over what they said.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qwen_agent.llm.schema import Message

from agents.errors import ModelError, Stopped
from agents.events import Usage
from agents.extensions.qwen_tools import as_text
from agents.models.reply import MOST_CALLS, REPLY_LIMIT, Reply
from agents.models.reply_parts import Part
from agents.sentence import Sentence
from agents.text import clean_text

_THINK, _THOUGHT = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class ShownPart:
    """A complete part of an agent's messages."""

    kind: Literal["reasoning", "content", "call"]
    text: str
    """Of a call: its arguments."""
    name: str = ""
    id: str = ""


def parts_of(messages: Sequence[Message]) -> list[ShownPart]:
    """What an agent's messages say. The last of several texts is the answer, or its beginning; those before it are thoughts."""
    found: list[ShownPart] = []
    for message in messages:
        if thought := _text(message.reasoning_content):
            found.append(ShownPart("reasoning", thought))
        text = _text(message.content)
        if text.lstrip().startswith(_THINK):
            thought, _, text = text.lstrip().removeprefix(_THINK).partition(_THOUGHT)
            found.append(ShownPart("reasoning", thought))
        if text.strip():
            found = [ShownPart("reasoning", each.text) if each.kind == "content" else each for each in found]
            found.append(ShownPart("content", text))
        if call := message.function_call:
            id_ = str((message.extra or {}).get("function_id") or "")
            found.append(ShownPart("call", call.arguments, call.name, id_))
    return [each for each in found if each.kind == "call" or each.text.strip()]


def _text(content: Any) -> str:
    return as_text(content) if content else ""


def _aligned(finished: Sequence[ShownPart], now: Sequence[ShownPart]) -> Sequence[ShownPart]:
    """The text after what was shown as finished: some agents leave that out when they write their answer again."""
    kinds = [each.kind for each in finished]
    return now if [each.kind for each in now[: len(kinds)]] == kinds else [*finished, *now[-1:]]


class Turn:
    """A turn of an agent: shown by the agent's thread, written into the run's log on its event loop."""

    def __init__(self, shown: Sequence[ShownPart] = (), *, is_over: bool = False, counts: bool = True) -> None:
        self.shown = shown
        """Its texts and calls so far."""
        self.is_over = is_over
        self.counts = counts
        """Whether its tokens have to be counted: nothing else does."""
        self._error: Exception | None = None
        self._began: list[float] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()

    # -- in the agent's thread --------------------------------------------------------------------

    def show(self, shown: Sequence[ShownPart]) -> None:
        """It has come so far."""
        self.shown = _aligned(self.shown[:-1], shown)
        self._wake()

    def end(self, *more: ShownPart) -> None:
        """End the turn."""
        self.shown = [*self.shown, *more]
        self.is_over = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """It breaks off here."""
        self._error = error
        self.end()

    def _wake(self) -> None:
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._news.set)
            except RuntimeError:  # the loop is closed: nobody is left to tell
                raise Stopped from None

    # -- on the event loop ------------------------------------------------------------------------

    async def write(self, reply: Reply) -> None:
        """Write it into a reply, from its beginning to its end."""
        reply.calls_in_text = False
        self._loop = asyncio.get_running_loop()
        while True:
            is_over = self.is_over  # before what it holds is looked at
            self._put(reply)
            if is_over:
                break
            await self._news.wait()
            self._news.clear()
        if not self.counts:
            reply.usage = Usage()
        if self._error is not None:
            raise self._error
        reply.finish("stop")

    def _put(self, reply: Reply) -> None:
        shown = self.shown
        if sum(len(each.text) for each in shown) > REPLY_LIMIT:
            raise ModelError(
                Sentence("The agent's turn was longer than %(n)s characters, so it was stopped.", n=f"{REPLY_LIMIT:,}")
            )
        self._began += [time.monotonic()] * (len(shown) - len(self._began))
        parts = [
            Part(each.kind, began, [clean_text(each.text)], clean_text(each.name), clean_text(each.id))
            for each, began in zip(shown, self._began, strict=False)
        ]
        calls = [part for part in parts if part.kind == "call"]
        reply.surplus = max(0, len(calls) - MOST_CALLS)
        for part in calls[MOST_CALLS + 1 :]:
            parts.remove(part)
        reply.parts[:] = parts
        reply.notify()
