"""Runs an agent of an extension that is built on Qwen-Agent, so that its steps look like those of any other run.

The agent works in a thread of its own, and puts turns, tool calls and results into a queue. The run's thread reads them in order and
writes them into the log: a turn as a reply that grows, a call with the usual limits. What the agent asks the model is not shown
by itself, only what the agent yields of it. After a stop the run ends at once; the agent ends when it next does any of this.
"""

import json
import queue
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from qwen_agent.llm.schema import ASSISTANT, FUNCTION, Message

from agents import threads
from agents.cancellation import CancelToken
from agents.errors import AgentError, LimitReached, Stopped
from agents.events import ModelRequest
from agents.extensions.asking import AskedModel, Asking
from agents.extensions.qwen_tools import OUTPUT_LIMIT, TIMEOUT_S, as_text, schema_of
from agents.extensions.turns import ShownPart, Turn, parts_of
from agents.json_types import JsonObject
from agents.models.reply import Reply, ReplyWriter
from agents.models.reply_parts import Call, FinishedReply
from agents.sentence import Sentence
from agents.text import json_object
from agents.tools import Egress, Tool, ToolError
from agents.tools.runner import Job, ToolOutcome

#: The text by which Qwen-Agent tells a model that one of its own tools has failed.
_FAILED = re.compile(
    r"\AAn error occurred when calling tool `.{0,200}?`:\n(\w{1,80}): .{0,4000}?\nTraceback:\n", re.DOTALL
)


class Host(Protocol):
    """What the driver needs of the run, which is an `agents.stream.AgentRun`. Its methods may be called from any thread."""

    @property
    def label(self) -> str:
        """The conversation that the run belongs to."""
        ...

    @property
    def max_iterations(self) -> int:
        """How often the model may be called."""
        ...

    def write(
        self, writer: ReplyWriter, request: ModelRequest | None = None, *, goes_on: bool = False
    ) -> FinishedReply:
        """Have ``writer`` write a reply, show it, and wait for its end.

        ``request``: the request to the model, if there is one. ``goes_on``: the reply belongs to the same model call as the one before.
        """
        ...

    def ask(self, writer: ReplyWriter, request: ModelRequest, reply: Reply) -> "Future[None]":
        """Have ``writer`` write a reply that is not shown, without waiting for it."""
        ...

    def offers_tools(self) -> bool:
        """Whether the budget allows the next model call to be offered tools."""
        ...

    def run_tools(self, jobs: Sequence[Job]) -> Mapping[str, ToolOutcome]:
        """Run tool calls at the same time, wait for all of them, and return the outcomes by the calls' ids."""
        ...

    def call_at_stop(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have ``callback`` called when the run is stopped. Returns a function that removes the callback."""
        ...


@dataclass(slots=True)
class _ToolCall:
    """The agent calls a tool, and waits for its result."""

    shown: ShownPart
    tool: Tool
    outcome: "Future[str]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Result:
    """The agent reports what a tool of its own has returned."""

    shown: ShownPart
    text: str


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


class Work:
    """One run of an extension's agent, from its beginning to its end."""

    def __init__(self, host: Host, egress: Egress) -> None:
        self._host = host
        self._egress = egress
        self._news: queue.SimpleQueue[Turn | _ToolCall | _Result | _End] = queue.SimpleQueue()
        self._asking = Asking(host.ask, host.max_iterations, host.offers_tools, host.label)
        # Used in the agent's thread: the current turn, what it yielded last, and how much of that is handled.
        self._turn: Turn | None = None
        self._yielded: Sequence[Message] = ()
        self._at = 0
        self._last = ""
        # Also there: names of calls that it has announced and not made, and of calls that it has made and not reported.
        self._announced: list[str] = []
        self._made: list[str] = []
        # Used in the run's thread: calls without a result.
        self._open: list[Call] = []
        self._has_written = False

    def model(self, made: Callable[[Asking], Any]) -> AskedModel:
        """The model that the agent is to call, made by ``made``."""
        return AskedModel(made(self._asking))

    # -- in the run's thread ----------------------------------------------------------------------

    def run_agent(self, agent: Any, messages: Sequence[Message]) -> None:
        """Run the agent to its end. Blocks; raises what the run raises and what the agent raises."""
        remove_callback = self._host.call_at_stop(lambda: self._news.put(_End(Stopped())))
        threads.run_in_thread(lambda: self._generate(agent, messages))
        try:
            while True:
                news = self._news.get()
                if isinstance(news, _End):
                    if news.error is not None:
                        raise news.error
                    if not self._has_written:
                        raise AgentError("internal", Sentence("The agent ended without an answer."))
                    self._close_open()
                    return
                self._handle(news)
        finally:
            remove_callback()
            self._asking.stop()
            self._refuse_calls()

    def _handle(self, news: Turn | _ToolCall | _Result) -> None:
        if isinstance(news, Turn):
            self._close_open()
            self._write(news)
        elif isinstance(news, _ToolCall):
            self._call(news)
        else:
            call = self._opened(news.shown)
            self._host.run_tools([_report(call, news.text)])

    def _write(self, turn: Turn, *, goes_on: bool = False) -> None:
        self._open += self._host.write(turn.write, goes_on=goes_on).calls
        self._has_written = True

    def _close_open(self) -> None:
        """Close the calls whose result the agent has not reported, because it continues or has ended."""
        unsaid, self._open = self._open, []
        if unsaid:
            self._host.run_tools([_report(call, None) for call in unsaid])

    def _call(self, asked: _ToolCall) -> None:
        call = self._opened(asked.shown)
        arguments = call.arguments if json_object(call.arguments, None) is not None else "{}"
        try:
            outcome = self._host.run_tools([Job(call.id, call.name, arguments, asked.tool)])[call.id]
        except BaseException as error:
            asked.outcome.set_exception(error)
            raise
        asked.outcome.set_result(outcome.content)

    def _opened(self, part: ShownPart) -> Call:
        """The call in the log that ``part`` stands for. If the agent has not announced it, it is written into the log first."""
        fits = [call for call in self._open if call.name == part.name]
        same = [call for call in fits if (call.id == part.id and part.id) or call.arguments == part.text]
        if not fits:
            self._write(Turn([part], is_over=True, counts=False), goes_on=self._has_written)
            fits = self._open[-1:]
        found = (same or fits)[0]
        self._open.remove(found)
        return found

    def _refuse_calls(self) -> None:
        """The run has ended: wake the agent's thread if it waits for a result."""
        self._news.put(_End(None))  # marks the queue's end
        while not isinstance(news := self._news.get(), _End):
            if isinstance(news, _ToolCall) and not news.outcome.done():
                news.outcome.set_exception(Stopped())

    # -- in the agent's thread --------------------------------------------------------------------

    def _generate(self, agent: Any, messages: Sequence[Message]) -> None:
        error: Exception | None = None
        try:
            for yielded in agent.run(list(messages)):
                self._asking.check()
                self._see(yielded)
            self._end_turn()
        except BaseException as caught:  # noqa: BLE001 - whatever an agent raises ends its run alone
            error = (
                caught if isinstance(caught, Exception) else RuntimeError(f"The agent raised {type(caught).__name__}.")
            )
            if self._turn is not None:
                self._break_off(self._turn, error)
        self._news.put(_End(error))

    @staticmethod
    def _break_off(turn: Turn, error: Exception) -> None:
        if isinstance(error, LimitReached):
            turn.end()  # what it said before is complete
        else:
            turn.fail(error)

    def _see(self, yielded: Sequence[Any]) -> None:
        """Compare the messages that the agent has yielded so far with those that are handled already."""
        messages = [Message(**each) if isinstance(each, dict) else each for each in yielded]
        self._yielded = messages
        if len(messages) < self._at:  # it begins a new list
            self._at, self._last = 0, ""
        messages = [*self._more_of_last(messages), *messages[self._at :]]
        begin = 0
        for place, message in enumerate(messages):
            if message.role == FUNCTION:
                self._show(messages[begin:place])
                self._add_result(message)
                begin = place + 1
            elif (
                place > begin and messages[place - 1].function_call and _is_text(message)
            ):  # it continues without a result
                self._show(messages[begin:place])
                self._end_turn()
                begin = place
        if begin:
            self._at, self._last = len(yielded) - (len(messages) - begin), ""
        self._show(messages[begin:])

    def _more_of_last(self, messages: Sequence[Message]) -> list[Message]:
        """The text added to the message before a call, for agents that write everything into one message."""
        if not self._last:
            return []
        text = as_text(messages[self._at - 1].content)
        if text == self._last:
            return []
        return [Message(ASSISTANT, text.removeprefix(self._last))]

    def _show(self, messages: Sequence[Message]) -> None:
        shown = parts_of(messages)
        if not shown:
            return
        if self._turn is None:
            self._turn = Turn(counts=not self._asking.has_asked)
            self._turn.shown = shown
            self._news.put(self._turn)
        self._turn.show(shown)

    def _end_turn(self, call: ShownPart | None = None) -> None:
        """End the turn; with the call that it leads to, unless the agent has announced a call of that name."""
        turn, self._turn = self._turn, None
        if turn is not None:
            self._announced += [each.name for each in turn.shown if each.kind == "call"]
            is_new = call is not None and call.name not in self._announced
            # Text before a call is a thought.
            turn.end(*([call] if call is not None and is_new else []))

    def _add_result(self, message: Message) -> None:
        name = message.name or "tool"
        call = ShownPart("call", "{}", name, str((message.extra or {}).get("function_id") or ""))
        if name in self._made:
            self._end_turn()
            self._made.remove(name)
            return
        self._end_turn(call)
        if name in self._announced:
            self._announced.remove(name)
        self._news.put(_Result(call, as_text(message.content)))

    def call_tool(self, name: str, arguments: Any, tool: Any, call: Callable[[], Any]) -> str:
        """Call a tool with the usual limits, and return its result; ``call`` is how the agent would call it by itself. Blocks."""
        self._asking.check()
        written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, default=str)
        shown = ShownPart("call", written or "{}", name)
        self._pass_yielded()
        self._end_turn(shown)
        if name in self._announced:
            self._announced.remove(name)
        self._made.append(name)
        ours = getattr(tool, "tool", None)
        asked = _ToolCall(shown, ours or self._egress.guard(_TheirCall(name, tool, written, call)))
        self._news.put(asked)
        self._asking.check()  # checked after it was put: else it might never be answered
        return asked.outcome.result()

    def _pass_yielded(self) -> None:
        """Count everything that was yielded so far as handled."""
        self._at = len(self._yielded)
        last = self._yielded[-1] if self._yielded else None
        is_text = last is not None and last.role == ASSISTANT and not last.function_call
        self._last = as_text(last.content) if last is not None and is_text and last.content else ""


def _is_text(message: Message) -> bool:
    return not message.function_call and bool(parts_of([message]))


class Driven:
    """A base class put before an agent's own, so that the run makes the agent's tool calls."""

    work: Work
    function_map: Mapping[str, Any]

    def _call_tool(self, tool_name: str, tool_args: Any = "{}", **kwargs: Any) -> Any:
        theirs = super()._call_tool  # type: ignore[misc] # of the next class in the MRO
        tool = self.function_map.get(tool_name)
        return self.work.call_tool(tool_name, tool_args, tool, lambda: theirs(tool_name, tool_args, **kwargs))


class _TheirCall:
    """A call as the agent would make it by itself, wrapped as a tool."""

    def __init__(self, name: str, tool: Any, arguments: str, call: Callable[[], Any]) -> None:
        self.name = name
        self.description = str(getattr(tool, "description", ""))
        is_object = json_object(arguments, None) is not None
        schema = schema_of(getattr(tool, "parameters", {}))
        self.parameters: JsonObject = schema if is_object and isinstance(schema, dict) else {}
        self.timeout_s: float = getattr(tool, "timeout_s", TIMEOUT_S)
        self.output_limit: int = getattr(tool, "output_limit", OUTPUT_LIMIT)
        self.reaches_outside = bool(getattr(tool, "reaches_outside", True))
        self._call = call

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Make the call. Raises `ToolError`."""
        text = as_text(self._call())
        if failed := _FAILED.match(text):
            raise ToolError(f"The tool failed unexpectedly ({failed[1]}).")
        return text


def _report(call: Call, text: str | None) -> Job:
    """A job for a call that the agent has made itself: nothing is left to decide."""
    job = Job(call.id, call.name, "{}", _Known(text))
    job.stop.is_decided = True
    return job


class _Known:
    """A tool whose result is known already, or will never be."""

    name = description = ""
    has_side_effects = False
    timeout_s, output_limit = TIMEOUT_S, OUTPUT_LIMIT

    def __init__(self, text: str | None) -> None:
        self.parameters: JsonObject = {}
        self._text = text

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Return the result. Raises `ToolError` if there is none."""
        if self._text is None:
            raise ToolError("The agent did not say what came of this call.")
        return self._text
