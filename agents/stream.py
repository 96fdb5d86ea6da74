"""One run of an agent as an async stream: Qwen-Agent's blocking loop in a thread, its events on the event loop.

The model's reply is read on the event loop, so partial steps reach their reader without a thread in between, while the run's thread
waits. This module also decides what ends a run: a stop, a failure, the limit.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from agents import threads
from agents.calls import CallRecord, OpenCall
from agents.cancellation import CancelToken
from agents.errors import AgentError, LimitReached, Stopped, clear_traceback_frames, error_of, internal_error
from agents.event_queue import EventQueue
from agents.events import ModelRequest, Outcome, PartialStep, RunEvent, Status, Word, WordsWanted
from agents.history import ChatMessage, word_message
from agents.holding import DecidedCall, HeldCall
from agents.loading import load_driver
from agents.models.ends import check_end, classify_end
from agents.models.reply import MOST_CALLS, Reply, ReplyWriter
from agents.models.reply_parts import Call, FinishedReply, as_message
from agents.reply_view import ReplyView
from agents.snapshots import StepSplitter
from agents.task import Task
from agents.tools.runner import ABANDON_S, Job, ToolOutcome
from agents.turn_runner import TurnRunner, explain_surplus
from agents.words import WordInbox


class AgentRun:
    """A running agent. Create it inside a running event loop; iterate over it to get its events.

    It has one reader. A partial step that isn't read in time is replaced by the next one of the same step; no other event is lost. The run
    continues whether it is read or not, until it ends or is stopped with `cancel` or `aclose`.
    """

    def __init__(self, task: Task) -> None:
        self.outcome: Outcome | None = None
        """How the run ended; set with the last event."""
        self.messages: list[ChatMessage] = []
        """The messages that the run has added to the conversation, in OpenAI's format; ``origin`` goes back to the server it came from."""
        self.label = task.label
        """The conversation that the run belongs to."""
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._events = EventQueue()
        self._push = self._events.push
        self._splitter = StepSplitter(
            [str(call["id"]) for message in task.conversation for call in message.get("tool_calls") or ()]
        )
        self._calls = CallRecord(self._splitter, self._push, task.meter)
        self._stop = CancelToken()
        self._pausing = ""
        self._failure: AgentError | None = None
        self._writing: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._view = ReplyView(self._splitter, self._push)
        self._awaited = Future[Any]()
        self._has_asked = False
        self._is_open = task.resumed is not None and bool(task.resumed.open)
        self._words = WordInbox(task.newest_word)
        self._turns = TurnRunner(self._stop, task.gate, self._words, task.wait_stored)
        self.was_cut = False
        """Whether the last reply was ended early, for a steering word that is to be read at once."""
        self._is_begun = False
        self._too_many_calls = ""
        if (resumed := task.resumed) is not None:
            calls = {call.id: call.name for call in resumed.calls} | dict(resumed.open)
            self._splitter.resume(resumed.iteration, resumed.step, calls)
            self._has_asked = True
        else:
            steps = self._splitter.open(task.message)
            if not task.skip_initial_steps:
                self._push(steps)
        threads.run_in_thread(self._work)

    # -- for the reader ---------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[RunEvent]:
        return self

    async def __anext__(self) -> RunEvent:
        event = await self._events.next()
        if event is None:
            raise StopAsyncIteration
        return event

    def watch_partials(self, on_partial: Callable[[PartialStep], None]) -> None:
        """Call ``on_partial`` with each partial step at once instead of iterating over it, unless steps before it are still unread."""
        self._events.on_partial = on_partial

    def ready(self) -> list[RunEvent]:
        """Return the events that wait to be read, without waiting for more."""
        return self._events.pop_all()

    def cancel(self, reason: str) -> None:
        """Stop now: closes the model's connection, and cancels tool calls. Call it on the event loop, any number of times.

        The iteration continues with the closing steps. ``reason`` is a sentence for people and for the model.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("A run can only be stopped on the event loop that executes it.")
        if self.outcome is not None or self._stop.is_set():
            return
        self._stop.set(reason)
        self._deadline = self._loop.call_later(ABANDON_S + 1, self._give_up)
        self._words.stop()
        if self._writing is not None:
            self._writing.cancel()
        else:
            self._end_if_stopped()

    def fail(self, failure: AgentError) -> None:
        """Stop now, as `cancel` does, but with the run failed. Call it on the event loop."""
        if self.outcome is None and not self._stop.is_set():
            self._failure = failure
            self.cancel(failure.message)

    def pause(self, reason: str) -> None:
        """Stop before the next model call: what is being written or run now is completed first, and may be the run's end."""
        self._pausing = reason

    def steer(self, number: int, reason: str = "") -> None:
        """Tell the run of steering words up to this number, for its next model call. Call it on the event loop, any number of times.

        ``reason``: if given, what is being written or run now ends at once; a sentence for people and for the model about why.
        """
        if self.outcome is None and not self._stop.is_set() and self._words.announce(number, reason):
            if self._writing is not None:
                self._writing.cancel()
            else:
                self._turns.cut(reason)

    def wake(self, call_id: str) -> None:
        """People have decided what a call waits for: make the call again, if its turn still runs. May be called from any thread."""
        self._turns.wake(call_id)

    async def aclose(self) -> None:
        """Stop the run if it hasn't ended, and wait until it has."""
        self.cancel("The run was closed.")
        async for _ in self:
            pass

    # -- in the agent's thread --------------------------------------------------------------------

    def _work(self) -> None:
        task = self._task
        threading.current_thread().name = f"agent-{task.label}"
        error: Exception | None = None
        try:
            load_driver()(task.spec, task.model, task.toolbox, task.conversation, self)
        except Exception as caught:  # noqa: BLE001 - whatever breaks, the run has to end and say so
            error = caught
        with contextlib.suppress(Stopped):
            self._post(self._thread_ended, error)
        del error  # it refers to this frame

    def offers_tools(self) -> bool:
        """See `agents.models.base.ReplyHost`."""
        return self._calls.offers_tools(self.note)

    def write(
        self, writer: ReplyWriter, request: ModelRequest | None = None, *, goes_on: bool = False
    ) -> FinishedReply:
        """Have a reply written on the event loop, and wait for it. See `agents.models.base.ReplyHost`.

        ``request``: the request to the model, if there is one. ``goes_on``: the reply belongs to the same model call as the one before.
        """
        self._awaited = future = Future[FinishedReply]()
        self._post(self._begin_reply, writer, request, future, goes_on)
        return future.result()

    def read_words(self) -> Sequence[str]:
        """Log and return the steering words since the last model call. See `agents.qwen.ReplyHost`."""
        read: list[str] = []
        while self._words.is_any:
            self._awaited = future = Future[Sequence[Word]]()
            self._post(self._read_words, future)
            read += [word.content for word in future.result()]
        return read

    def replies(self, writer: ReplyWriter, request: ModelRequest) -> Iterator[FinishedReply]:
        """As `write`, for Qwen-Agent's own loop, which gets the finished reply only."""
        yield self.write(writer, request)

    def ask(self, writer: ReplyWriter, request: ModelRequest, reply: Reply) -> Future[None]:
        """Have a reply written on the event loop that is not shown; its tokens count. See `agents.extensions.driver`."""
        return asyncio.run_coroutine_threadsafe(self._ask(writer, request, reply), self._loop)

    async def _ask(self, writer: ReplyWriter, request: ModelRequest, reply: Reply) -> None:
        # A request after a complete turn leads to the next turn.
        is_next = self._has_asked and self._writing is None and self._splitter.iteration < self._task.max_iterations
        with self._calls.open(request, reply, ahead=int(is_next)):
            await self._write(writer, reply)

    @property
    def max_iterations(self) -> int:
        """How many model calls the run may make. See `agents.qwen.ReplyHost`."""
        return self._task.max_iterations

    def call_at_stop(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have ``callback`` called when the run is stopped. Returns a function that removes the callback."""
        return self._stop.add_callback(callback)

    def run_tools(self, jobs: Sequence[Job]) -> Mapping[str, ToolOutcome]:
        """Run a turn's tool calls and wait for all of them. See `agents.qwen.ReplyHost`.

        If some of them, or something that they have begun, wait for people, the run ends once the others have ended: raises `Stopped`.
        """
        surplus = {job.id: self._too_many_calls for job in jobs[MOST_CALLS:]}
        turn = self._turns.run(
            jobs,
            surplus,
            lambda call_id, outcome: self._post(self._tool_ended, call_id, outcome),
            lambda call_id, words: self._post(self._tool_progressed, call_id, words),
        )
        is_open, self._is_open = self._is_open, False
        if turn.is_held or is_open:
            self._post(self._wait_for_people, turn.held)
            raise Stopped
        return turn.outcomes

    def decided_calls(self) -> Sequence[DecidedCall]:
        """The calls that people have decided, with which the run continues. See `agents.qwen.ReplyHost`."""
        return self._task.resumed.calls if self._task.resumed is not None else ()

    def settle(self, call_id: str, outcome: ToolOutcome) -> None:
        """Log the outcome of a call that was not run. See `agents.qwen.ReplyHost`."""
        self._post(self._tool_ended, call_id, outcome)

    def begin_calls(self) -> Sequence[Call]:
        """Log the calls that the task begins with. See `agents.qwen.ReplyHost`."""
        if not self._task.calls:
            return ()
        begun: Future[Sequence[Call]] = Future()
        self._post(self._begin_calls, begun)
        return begun.result()

    def note(self, words: str) -> None:
        """Log a note that no model has written. See `agents.qwen.ReplyHost`."""
        self._post(self._note, words)

    def _post(self, callback: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(self._guarded, callback, *args)
        except RuntimeError:  # the loop is closed: nobody reads the run any more
            raise Stopped from None

    # -- on the event loop: the model -------------------------------------------------------------

    def _begin_reply(
        self, writer: ReplyWriter, request: ModelRequest | None, future: Future[FinishedReply], goes_on: bool
    ) -> None:
        if not self._may_begin(future, goes_on=goes_on):
            return
        self._is_begun = False
        self._has_asked = True
        reply = self._view.begin()
        call = self._calls.begin(request, reply) if request is not None else None
        self._writing = self._loop.create_task(self._write(writer, reply))
        # Not within the coroutine: a task that is cancelled before its first step never runs it.
        self._writing.add_done_callback(lambda writing: self._guarded(self._reply_ended, writing, reply, future, call))
        if self._words.cut_because:  # a word came after they were read
            self._writing.cancel()

    def _may_begin(self, future: "Future[Any]", *, goes_on: bool = False) -> bool:
        """Whether a model call may begin; if so, its steps are logged. Else ``future`` gets the reason as its exception."""
        if self._stop.is_set() or self.outcome is not None:
            future.set_exception(Stopped())
            return False
        begins = self._has_asked and not goes_on and not self._is_begun
        if begins and self._splitter.iteration == self._task.max_iterations:
            future.set_exception(LimitReached())
            return False
        if self._pausing:
            future.set_exception(Stopped())
            self.cancel(self._pausing)
            return False
        if begins:
            self._push(self._splitter.begin())
        return True

    def _read_words(self, future: "Future[Sequence[Word]]") -> None:
        """Begin the next model call, which waits for the steering words that it is to read."""
        if not self._may_begin(future):
            return
        self._is_begun = True

        def hand_over(words: Sequence[Word]) -> None:
            if words and not future.done():
                self.messages.append(word_message("\n\n".join(word.content for word in words)))
            set_words(words)

        set_words = self._words.start_read(future)
        self._push([WordsWanted(self._splitter.iteration, hand_over)])

    async def _write(self, writer: ReplyWriter, reply: Reply) -> None:
        await writer(reply)
        check_end(reply)

    def _reply_ended(
        self,
        writing: asyncio.Task[None],
        reply: Reply,
        future: Future[FinishedReply],
        call: OpenCall | None,
    ) -> None:
        self._view.end()
        self._writing = None
        error = error_of(writing)
        is_cancelled = isinstance(error, Stopped) and not self._stop.is_set()
        self.was_cut = is_cancelled and bool(self._words.cut_because)
        if is_cancelled and not self.was_cut:  # not by us: the loop is shutting down
            self._stop.set("The server was shut down.")
        reason = self._words.cut_because if self.was_cut else self._stop.reason
        self._view.show_note(reply)
        steps, calls = self._splitter.finish(
            reply.parts,
            partial=error is not None,
            server=reply.server,
            reasoning_field=reply.reasoning_field,
            turn_fields=reply.details,
            is_cut=error is not None and classify_end(reply.finish_reason or "") == "cut",
            note=reply.end_note,
        )
        self._push(steps)
        self._calls.end(call, reply, error)
        self._remember(reply, calls)
        if reply.surplus:
            self._too_many_calls = explain_surplus(reply.surplus)
        if error is None:
            future.set_result(FinishedReply(reply.content, reply.reasoning, calls, reply.server, reply.fields))
            return
        reason = reason if isinstance(error, Stopped) else f"{error} " if isinstance(error, AgentError) else ""
        self._close_open(f"{reason} The call was not complete, so it was not run.".strip())
        if self.was_cut:
            finished = FinishedReply(reply.content, reply.reasoning, (), reply.server, {})
            future.set_result(finished)
            return
        future.set_exception(error)
        self._end_if_stopped()

    def _remember(self, reply: Reply, calls: Sequence[Call]) -> None:
        if calls or reply.content:
            self.messages.append(as_message(reply.content, calls, reply.server, reply.fields))

    # -- on the event loop: tools -----------------------------------------------------------------

    def _begin_calls(self, begun: "Future[Sequence[Call]]") -> None:
        if self._stop.is_set() or self.outcome is not None:
            begun.set_exception(Stopped())
            return
        steps, calls = self._splitter.call(self._task.calls)
        self._push(steps)
        self.messages.append(as_message("", calls))
        begun.set_result(calls)

    def _tool_ended(self, call_id: str, outcome: ToolOutcome) -> None:
        if call_id not in self._splitter.open_calls:  # the run was abandoned before
            return
        name = self._splitter.open_calls[call_id].name
        content, took, files = outcome.content, outcome.duration_ms, outcome.files
        self._push([self._splitter.result(call_id, ok=outcome.ok, content=content, duration_ms=took, files=files)])
        self.messages.append({"role": "tool", "tool_call_id": call_id, "name": name, "content": content})
        self._end_if_stopped()

    def _wait_for_people(self, held: Sequence[HeldCall]) -> None:
        if not self._stop.is_set() and self.outcome is None:
            self._end("waiting", held=held)

    def _tool_progressed(self, call_id: str, words: str) -> None:
        if call_id in self._splitter.open_calls and self.outcome is None:
            self._push([self._splitter.progress(call_id, words)])

    def _note(self, words: str) -> None:
        if self.outcome is None:
            self._push([self._splitter.note(words)])

    def _close_open(self, reason: str) -> None:
        for call_id in list(self._splitter.open_calls):
            self._tool_ended(
                call_id, ToolOutcome(ok=False, content=reason, duration_ms=self._splitter.open_for_ms(call_id))
            )

    # -- on the event loop: the end ---------------------------------------------------------------

    def _end_if_stopped(self) -> None:
        """End a stopped run as soon as nothing is open any more, without waiting for its thread."""
        if self._stop.is_set() and self._writing is None and not self._splitter.open_calls:
            self._end_stopped()

    def _give_up(self) -> None:
        """End a stopped run that has not ended in time, whatever still runs."""
        self._close_open(f"{self._stop.reason} The tool did not stop, so it was abandoned.")
        self._end_if_stopped()

    def _thread_ended(self, error: Exception | None) -> None:
        if self.outcome is None:
            self._conclude(error)
        if error is not None:
            clear_traceback_frames(error)
            self._awaited = Future()

    def _conclude(self, error: Exception | None) -> None:
        if isinstance(error, Stopped) or self._stop.is_set():
            self._close_open(self._stop.reason)
            self._end_stopped()
        elif error is None or isinstance(error, LimitReached):
            self._push(self._splitter.end_iteration())
            if error is not None:
                self._push([self._splitter.limit(self._task.max_iterations)])
            self._push([self._splitter.complete()])
            self._end("completed" if error is None else "max_iterations")
        else:
            failure = error if isinstance(error, AgentError) else internal_error(error)
            self._close_open("The run failed before this call had a result.")
            self._push([self._splitter.error(failure.code, str(failure))])
            self._end("failed", failure.code, failure.message)

    def _end_stopped(self) -> None:
        if self._failure is None:
            self._end("cancelled")
        elif self.outcome is None:
            self._push([self._splitter.error(self._failure.code, self._failure.message)])
            self._end("failed", self._failure.code, self._failure.message)

    def _guarded(self, callback: Callable[..., None], *args: Any) -> None:
        """Call a callback; if it fails, end the run too: else it would stay running for ever, with its thread waiting."""
        try:
            callback(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is
            failure = internal_error(error)
            if self.outcome is None:
                self._push([self._splitter.error(failure.code, str(failure))])
                self._end("failed", failure.code, failure.message)
            if not self._awaited.done():
                self._awaited.set_exception(failure)

    def _end(self, status: Status, code: str = "", error: str = "", held: Sequence[HeldCall] = ()) -> None:
        if self.outcome is not None:
            return
        self.outcome = Outcome(status, self._splitter.iteration, self._calls.usage, code, error, held)
        self._calls.close()
        if self._deadline is not None:
            self._deadline.cancel()
        self._events.close()
