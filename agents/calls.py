"""Pure: the model calls of a run as they are recorded: what each was asked, how long it took, and what came of it."""

import time
from collections.abc import Callable

from agents.errors import Stopped
from agents.events import CallBegun, CallEnded, ModelRequest, Usage
from agents.models.reply import Reply


class CallRecord:
    """Tells a run's model calls, each as what begins it and what ends it. One is under way at a time."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self.usage = Usage()
        """What all of them together cost."""
        self.used = 0
        """Tokens that the conversation takes after the last one, and `limit` how many the model reads; 0 before the first."""
        self.limit = 0
        self._clock, self._now = clock, now
        self._iteration = self._attempt = 0
        self._sent_at = 0.0

    def begin(self, iteration: int, request: ModelRequest) -> CallBegun:
        """A model call begins with this request."""
        self._iteration, self._attempt = iteration, 0
        return self._send(request)

    def again(self, error: str, request: ModelRequest) -> list[CallBegun | CallEnded]:
        """It was refused, and is asked once more, with this."""
        return [CallEnded(self._iteration, self._attempt, self._lasted_ms(), error=error), self._send(request)]

    def end(self, reply: Reply, error: BaseException | None) -> CallEnded:
        """It was answered, as far as it was."""
        used = reply.counted()
        self.usage = self.usage.plus(used)
        self.used = used.input_tokens + used.output_tokens
        first = reply.parts[0].began if reply.parts else None
        return CallEnded(
            self._iteration,
            self._attempt,
            self._lasted_ms(),
            first_token_ms=None if first is None else _ms(first - self._sent_at),
            finish_reason=reply.finish_reason or "",
            usage=used,
            error="" if error is None else "stopped" if isinstance(error, Stopped) else str(error),
        )

    def count(self, reply: Reply) -> None:
        """Count a reply that no request of ours has led to."""
        self.usage = self.usage.plus(reply.counted())

    def add(self, other: "CallRecord") -> None:
        """Count a call that was recorded apart."""
        self.usage = self.usage.plus(other.usage)
        self.used, self.limit = other.used, other.limit

    def _send(self, request: ModelRequest) -> CallBegun:
        self._attempt += 1
        self._sent_at = self._clock()
        self.limit = request.limit
        return CallBegun(self._iteration, self._attempt, self._now(), request)

    def _lasted_ms(self) -> int:
        return _ms(self._clock() - self._sent_at)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
