"""Runs tool calls: checks their arguments, limits their time and output, stops or abandons them; the model never sees a traceback."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from agents.arguments import describe_fault
from agents.cancellation import CancelToken, ignore_progress
from agents.json_types import JsonObject
from agents.steps import FileData
from agents.text import clean_text, json_object
from agents.tools.keeping import KeptText
from agents.tools.tool import Tool, ToolError, WaitsForPeople, has_side_effects

log = logging.getLogger(__name__)

#: How many seconds a tool has to react to a stop before it is abandoned.
ABANDON_S = 10.0
#: The longest time that a call may take, in seconds, however often it reports progress.
LONGEST_S = 3_600.0
#: The shortest time between two progress reports that are shown, in seconds, and their longest text in characters.
PROGRESS_EVERY_S = 0.25
PROGRESS_LIMIT = 500
#: How many calls of a turn run at the same time; others wait.
AT_ONCE = 16

WaitStored: TypeAlias = Callable[[CancelToken], None]
"""Called with a call's token in the call's thread; returns when the call is in the log. Raises `ToolError` if it cannot be stored."""


def begin_at_once(_stop: CancelToken) -> None:
    """A `WaitStored` that does not wait."""


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """The result of a tool call. ``content`` is for the model and for people."""

    ok: bool
    content: str
    duration_ms: int
    files: Sequence[FileData] = ()


@dataclass(slots=True)
class Job:
    """A tool call to be run. ``tool`` is ``None`` if there is no tool of the name that the model gave."""

    id: str
    name: str
    arguments: str
    tool: Tool | None
    stop: CancelToken = field(default_factory=CancelToken)
    began: float = 0.0
    deadline: float = 0.0
    shown_at: float = 0.0
    files: Sequence[FileData] = ()


def run_tool(tool: Tool, raw_arguments: str, stop: CancelToken) -> ToolOutcome:
    """Run a single tool call. Always returns an outcome. Blocks."""
    outcomes: list[ToolOutcome] = []
    run_tools([Job("", tool.name, raw_arguments, tool)], stop, lambda _id, outcome: outcomes.append(outcome))
    return outcomes[0]


def run_tools(
    jobs: Sequence[Job],
    stop: CancelToken,
    done: Callable[[str, ToolOutcome], None],
    progress: Callable[[str, str], None] = lambda _id, _text: None,
    wait_stored: WaitStored = begin_at_once,
) -> None:
    """Run tool calls at the same time, each in a thread of its own; ``done`` is called as each ends, ``progress`` for each progress report.

    A tool that may change something outside begins only when ``wait_stored`` has returned, so that its call is in the log.

    Blocks until all have ended; the callbacks are called in the caller's thread. After ``stop`` no call begins, and running ones are
    cancelled; one that does not end within `ABANDON_S` is abandoned.
    """
    ToolTurn(jobs, stop, done, progress, wait_stored).run()


class ToolTurn:
    """The tool calls of one turn of the model; see `run_tools`. Everything but the tools runs in the thread that calls `run`."""

    def __init__(
        self,
        jobs: Sequence[Job],
        stop: CancelToken,
        done: Callable[[str, ToolOutcome], None],
        progress: Callable[[str, str], None],
        wait_stored: WaitStored = begin_at_once,
    ) -> None:
        self._wait_stored = wait_stored
        self._waiting = deque(jobs)
        self._stop = stop
        self._done = done
        self._progress = progress
        self._working: dict[str, Job] = {}
        self._held: dict[str, Job] = {}
        self._woken: set[str] = set()
        self._news: queue.SimpleQueue[_News | None] = queue.SimpleQueue()

    def wake(self, call_id: str) -> None:
        """People have decided what this call waits for: make it again, if the turn is still running. May be called from any thread."""
        self._news.put(call_id)

    def run(self) -> bool:
        """Run the calls. Returns whether some of them wait for people, once all others have ended."""
        remove_callback = self._stop.add_callback(lambda: self._news.put(None))
        try:
            while True:
                while self._waiting and len(self._working) < AT_ONCE and not self._stop.is_set():
                    self._begin(self._waiting.popleft())
                if self._stop.is_set():
                    self._wind_down()
                    return False
                if not self._working:
                    return bool(self._held)
                self._listen()
        finally:
            remove_callback()

    def _begin(self, job: Job) -> None:
        job.began = time.monotonic()
        if job.tool is None:
            self._end(job, ok=False, content=f"There is no tool named “{job.name[:80]}”.")
            return
        arguments = json_object(job.arguments, None)
        # Imported together with Qwen-Agent, before any call: see `agents.loading`.
        from agents.tools.schemas import argument_problem  # noqa: PLC0415

        problem = (
            describe_fault(job.arguments) if arguments is None else argument_problem(arguments, job.tool.parameters)
        )
        if arguments is None or problem:
            self._end(job, ok=False, content=problem)
            return
        job.deadline = job.began + job.tool.timeout_s
        job.stop.call_id = job.id
        job.stop.on_progress = lambda words: self._news.put((job, None, words))
        self._working[job.id] = job
        threading.Thread(
            target=self._work, args=(job, job.tool, arguments), name=f"tool-{job.name}", daemon=True
        ).start()

    def _work(self, job: Job, tool: Tool, arguments: JsonObject) -> None:
        """Make one call. Runs in the call's own thread."""
        try:
            if has_side_effects(tool):
                self._wait_stored(job.stop)
                if self._stop.is_set():  # the call's own token is cancelled a moment later
                    raise ToolError(f"{self._stop.reason} The tool had not begun.")
            result = tool.call(arguments, job.stop)
            content, ok = str(result), True
            job.files = result.files if isinstance(result, KeptText) else ()
        except WaitsForPeople:
            self._news.put(job)
            return
        except ToolError as error:
            content, ok = str(error), False
        except BaseException as error:  # the run continues however a tool fails; a panic in Rust is no Exception
            log.exception("The tool %s failed", job.name)
            content, ok = f"The tool failed unexpectedly ({type(error).__name__}).", False
        self._news.put((job, ok, content))

    def _listen(self) -> None:
        """Wait for the next result, stop or timeout, and act on it."""
        job = min(self._working.values(), key=lambda job: job.deadline)
        try:
            news = self._news.get(timeout=max(0.0, job.deadline - time.monotonic()))
        except queue.Empty:
            message = f"The tool took longer than {job.deadline - job.began:g} seconds, so it was stopped."
            job.stop.set(message)
            self._end(job, ok=False, content=message)
        else:
            self._handle(news)

    def _handle(self, news: "_News | None") -> None:
        if isinstance(news, str):
            self._woken.add(news)
            self._repeat(news)
            return
        if isinstance(news, Job):
            if self._working.pop(news.id, None):
                self._held[news.id] = news
                self._repeat(news.id)
            return
        if news is None or news[0].id not in self._working:  # its result came after its timeout
            return
        job, ok, content = news
        if ok is None:
            self._show_progress(job, content)
        else:
            self._end(job, ok=ok, content=content)

    def _repeat(self, call_id: str) -> None:
        """Make a call again that has waited for people, if it was woken."""
        if call_id in self._held and call_id in self._woken:
            self._woken.discard(call_id)
            self._waiting.append(self._held.pop(call_id))

    def _show_progress(self, job: Job, text: str) -> None:
        """Give a tool that reports progress more time, and show it at a limited pace."""
        now = time.monotonic()
        timeout_s = job.tool.timeout_s if job.tool else 0.0
        job.deadline = max(job.deadline, min(now + timeout_s, job.began + max(timeout_s, LONGEST_S)))
        if now - job.shown_at >= PROGRESS_EVERY_S:
            job.shown_at = now
            self._progress(job.id, clean_text(text)[:PROGRESS_LIMIT])

    def _wind_down(self) -> None:
        """End every call after a stop: with its result if it has one, else with the reason."""
        while not self._news.empty():
            self._handle(self._news.get())
        reason = self._stop.reason
        for job in self._waiting:
            self._end(job, ok=False, content=f"{reason} The tool had not begun.")
        for job in (*self._held.values(), *self._working.values()):
            job.stop.set(reason)
        for job in list(self._held.values()):
            self._end(job, ok=False, content=reason)
        deadline = time.monotonic() + ABANDON_S
        while self._working:
            try:
                news = self._news.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                for job in list(self._working.values()):
                    message = f"{reason} The tool did not stop within {ABANDON_S:g} seconds, so it was abandoned."
                    self._end(job, ok=False, content=message)
            else:
                ended = news[0] if isinstance(news, tuple) and news[1] is not None else news
                if isinstance(ended, Job) and ended.id in self._working:
                    self._end(ended, ok=False, content=reason)

    def _end(self, job: Job, *, ok: bool, content: str) -> None:
        self._working.pop(job.id, None)
        self._held.pop(job.id, None)
        # Without its callbacks the job is not in a reference cycle.
        job.stop.on_progress = ignore_progress
        duration_ms = round((time.monotonic() - job.began) * 1000) if job.began else 0
        limit = job.tool.output_limit if job.tool else len(content)
        self._done(job.id, ToolOutcome(ok, _limited(clean_text(content), limit), duration_ms, job.files if ok else ()))


#: A call has ended or reported progress; or it waits for people; or it is to be made again, by its id.
_News: TypeAlias = tuple[Job, bool | None, str] | Job | str


def _limited(content: str, limit: int) -> str:
    if len(content) <= limit:
        return content
    return f"{content[:limit]}\n[… {len(content) - limit:,} more characters were left out]"
