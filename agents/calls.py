"""Records the model calls of a run: request, result and budget."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from agents.errors import AgentError, Stopped
from agents.events import CallBegun, CallEnded, ModelRequest, RunEvent, Usage
from agents.metering import EXCEEDED_CODE, Meter
from agents.models.reply import Reply
from agents.snapshots import StepSplitter


class CallRecord:
    """Tells a run's model calls by ``push``, each as what begins it and what ends it, and adds up what they use.

    They belong to the current iteration of ``splitter``, whose end says how full the context is and how much of the budget is used.
    """

    def __init__(
        self, splitter: StepSplitter, push: Callable[[Sequence[RunEvent]], None], meter: Meter | None = None
    ) -> None:
        self.usage = Usage()
        """The usage of all of them together."""
        self._meter = meter
        self._splitter = splitter
        self._push = push
        self._attempts: dict[int, int] = {}

    def offers_tools(self, note: Callable[[str], None]) -> bool:
        """Whether the budget lets the next call have tools. Called in the run's thread. Raises `AgentError` if no call may be made."""
        if self._meter is None:
            return True
        allowance = self._meter.allow()
        if allowance.note:
            note(allowance.note)
        if allowance.refusal:
            raise AgentError(EXCEEDED_CODE, allowance.refusal)
        return not allowance.is_last

    def begin(self, request: ModelRequest, reply: Reply, ahead: int = 0) -> "OpenCall":
        """Begin a model call with this request, which is answered in ``reply``. ``ahead``: how many iterations later it will be shown."""
        call = OpenCall(self._splitter.iteration + ahead, self._next_attempt, request)
        reply.on_retry = lambda error, narrower: self._push(call.again(error, narrower))
        self._push([call.begun])
        return call

    def end(self, call: "OpenCall | None", reply: Reply, error: BaseException | None) -> None:
        """End a reply, complete or not. ``call``: its model call; a reply without one counts all the same."""
        used = reply.counted()
        self.usage = self.usage.plus(used)
        ended = CallEnded(0, 0, 0, usage=used) if call is None else call.end(reply, used, error)
        if self._meter is not None:
            self._splitter.budget = self._meter.spend(ended)
        if call is not None:
            limit = call.begun.request.limit
            self._splitter.context = {"used": used.input_tokens + used.output_tokens, "limit": limit}
            self._push([ended])

    @contextlib.contextmanager
    def open(self, request: ModelRequest, reply: Reply, ahead: int = 0) -> Iterator[None]:
        """Record a whole model call, from its beginning to its end."""
        call = self.begin(request, reply, ahead)
        try:
            yield
        except BaseException as error:
            self.end(call, reply, error)
            raise
        self.end(call, reply, None)

    def close(self) -> None:
        """The run has ended: drop the callbacks, which would keep it in memory by a reference cycle."""
        self._push = _ignore_events

    def _next_attempt(self, iteration: int) -> int:
        """The number of a request among those of an iteration."""
        self._attempts[iteration] = self._attempts.get(iteration, 0) + 1
        return self._attempts[iteration]


def _ignore_events(_events: Sequence[RunEvent]) -> None:
    """Stand in for a run that has ended: does nothing."""


class OpenCall:
    """A model call under way."""

    def __init__(self, iteration: int, next_attempt: Callable[[int], int], request: ModelRequest) -> None:
        self._iteration = iteration
        self._next_attempt = next_attempt
        self.begun = self._send(request)
        """The last request."""

    def again(self, error: str, request: ModelRequest) -> list[CallBegun | CallEnded]:
        """It was refused, and is repeated with this request."""
        refused = CallEnded(self._iteration, self.begun.attempt, self._lasted_ms(), error=error)
        self.begun = self._send(request)
        return [refused, self.begun]

    def end(self, reply: Reply, used: Usage, error: BaseException | None) -> CallEnded:
        """It was answered, as far as it was."""
        first = reply.parts[0].began if reply.parts else None
        is_stopped = isinstance(error, Stopped | asyncio.CancelledError)
        return CallEnded(
            self._iteration,
            self.begun.attempt,
            self._lasted_ms(),
            first_token_ms=None if first is None else _ms(first - self._sent_at),
            finish_reason=reply.finish_reason or "",
            usage=used,
            error="" if error is None else "stopped" if is_stopped else str(error),
        )

    def _send(self, request: ModelRequest) -> CallBegun:
        self._sent_at = time.monotonic()
        return CallBegun(self._iteration, self._next_attempt(self._iteration), time.time(), request)

    def _lasted_ms(self) -> int:
        return _ms(time.monotonic() - self._sent_at)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
