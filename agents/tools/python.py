"""The `python` tool: a real interpreter in a sandbox, in a process of its own that can always be killed."""

import __future__

import ast
import atexit
import contextlib
import dis
import logging
import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Literal

from pydantic_monty import (
    Monty,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySession,
    MontySyntaxError,
    ResourceLimits,
)
from pydantic_monty._binary import find_monty_binary

from agents.cancellation import CancelToken
from agents.json_types import JsonObject
from agents.tools.supervised import sandboxed_program
from agents.tools.tool import ToolError

log = logging.getLogger(__name__)

#: The modules that can be imported in the sandbox. A test compares the list with the installed version.
MODULES = [
    "asyncio",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "functools",
    "hashlib",
    "itertools",
    "json",
    "math",
    "os",
    "pathlib",
    "random",
    "re",
    "sys",
    "time",
    "tomllib",
    "typing",
    "unicodedata",
]

_MIB = 1 << 20
_LONGEST_CODE = 100_000
_WORKERS = 16
# Shows the last expression's value as a prompt would. It binds the names it needs, so that code may rebind them.
_SHOW = "def __show__(value, *, print=print, repr=repr):\n  if value is not None: print(repr(value))"
_USER_CODE = "<python-input-1>"
_parsing = threading.Lock()


class _Pool:
    """This process's pool of interpreter processes, started with the first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._monty: Monty | None = None
        self._owner = 0
        # Calls wait for a worker here, where a stop can end the wait.
        self.slots = threading.BoundedSemaphore(_WORKERS)

    def get(self) -> Monty:
        with self._lock:
            # A forked child must not use its parent's interpreters.
            if self._monty is None or self._owner != os.getpid():
                self._monty = _started()
                self._owner = os.getpid()
            return self._monty

    def close(self) -> None:
        with self._lock:
            if self._monty is not None and self._owner == os.getpid():
                self._monty.__exit__(None, None, None)
            self._monty = None


def _started() -> Monty:
    """Start the interpreters so that they are confined and end with this process; if the system can't do that, without it."""
    confined = sandboxed_program(find_monty_binary(), os.getpid())
    if confined is not None:
        try:
            return Monty(binary_path=confined, max_processes=_WORKERS).__enter__()
        except (MontyError, OSError, RuntimeError):
            log.warning("The Python interpreters can't be confined on this system", exc_info=True)
    return Monty(max_processes=_WORKERS).__enter__()


_pool = _Pool()
atexit.register(_pool.close)

_PARAMETERS: JsonObject = {
    "type": "object",
    "properties": {"code": {"type": "string", "description": "The Python code to run."}},
    "required": ["code"],
}


class PythonTool:
    """Runs Python for the model, without access to files, network or anything else of this machine."""

    name = "python"
    description = (
        "Runs Python code in a sandbox and returns what it prints, and the value of the last line if that is an"
        " expression. Use it for every calculation, also for dates. Each call starts afresh: no variable survives it."
        " No files, no network, no installing, no sleeping; the clock is UTC; 5 seconds, 128 MiB and 50 kB of output"
        f" at most. These modules can be imported, no others: {', '.join(MODULES)}."
    )
    parameters = _PARAMETERS
    #: The code itself may use `run_s` of these; the rest is for waiting for a free interpreter.
    timeout_s = 30.0
    output_limit = 50_000
    reaches_outside = False
    has_side_effects = False
    run_s = 5.0
    #: Executed before the code.
    prelude = _SHOW

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Run ``arguments["code"]`` and return its output."""
        code = str(arguments["code"])
        if len(code) > _LONGEST_CODE:
            raise ToolError(f"The code is too long: {len(code):,} characters, at most {_LONGEST_CODE:,}.")
        shown = call_with_last_value(code, "__show__")
        output = Output(limit=self.output_limit)
        with self.session(stop) as (session, kill):
            remove_callback = stop.add_callback(kill)
            try:
                session.feed_run(shown or f"{code}\nNone", print_callback=output.collect(kill))
            except MontyCrashedError as error:
                raise ToolError(self.why_crashed(error, output, stop)) from error
            except (MontyRuntimeError, MontySyntaxError) as error:
                raise ToolError(self.explain(error, code) + output.before_that()) from error
            finally:
                # Before the worker goes back to the pool, where another call may get it.
                remove_callback()
        if output.full:  # the code ended before the kill reached it
            raise ToolError(self.too_much(output))
        if output.text:
            return output.text
        if shown is None:
            return "The code ran and printed nothing. Print what you want to see."
        return "The code ran and printed nothing. Print what you want to see, or end with an expression."

    @contextlib.contextmanager
    def session(self, stop: CancelToken) -> Iterator[tuple[MontySession, "Kill"]]:
        """Borrow an interpreter for the length of a block; also yields a function that kills it at once."""
        while not _pool.slots.acquire(timeout=0.05):
            if stop.is_set():
                raise ToolError(stop.reason)
        try:
            with self._checkout() as session:
                yield session, Kill(session.worker_pid)
        finally:
            _pool.slots.release()

    def _checkout(self) -> contextlib.AbstractContextManager[MontySession]:
        limits = ResourceLimits(max_feed_duration_secs=self.run_s, max_memory=128 * _MIB, max_total_sleep_secs=0.0)
        # A worker that died while idle is only noticed, and replaced, when it is used; all of them may have died.
        for _ in range(_WORKERS + 1):
            with contextlib.ExitStack() as attempt, contextlib.suppress(MontyCrashedError):
                session = attempt.enter_context(_pool.get().checkout(limits=limits))
                session.feed_run(self.prelude)
                return _closing(session, attempt.pop_all())
        raise ToolError("The Python interpreter could not be started.")

    def why_crashed(self, error: MontyCrashedError, output: "Output", stop: CancelToken) -> str:
        """Why the interpreter has died, as a sentence for the model."""
        if stop.is_set():
            return stop.reason
        if output.full:
            return self.too_much(output)
        if error.timed_out:
            return self._too_slow() + output.before_that()
        return "The Python interpreter crashed while it ran this code." + output.before_that()

    def too_much(self, output: "Output") -> str:
        """The error sentence for too much output."""
        return f"The code was stopped: it printed more than {self.output_limit // 1000} kB." + output.before_that()

    def _too_slow(self) -> str:
        return f"The code was stopped: it did not finish within {self.run_s:g} seconds."

    def explain(self, error: MontyRuntimeError | MontySyntaxError, code: str) -> str:
        """Describe an error as Python would, with the innermost line of the model's code."""
        message = error.display("type-msg")
        if message.startswith("TimeoutError: feed time limit exceeded"):
            return self._too_slow()
        if message.startswith("TimeoutError: sleep limit exceeded"):
            return "The code was stopped: sleeping is not possible in this sandbox."
        if message.startswith("MemoryError: memory limit exceeded"):
            return "The code was stopped: it needed more than 128 MiB of memory."
        frames = [frame for frame in error.traceback() if frame.filename == _USER_CODE]
        if not frames:
            return message
        lines = code.split("\n")
        number = min(frames[-1].line, len(lines))
        function = frames[-1].function_name
        where = f" in {function}" if function and function != "<module>" else ""
        return f"{message}\nLine {number}{where}: {lines[number - 1].strip()[:200]}"


@contextlib.contextmanager
def _closing(session: MontySession, stack: contextlib.ExitStack) -> Iterator[MontySession]:
    with stack:
        yield session


class Kill:
    """Kills an interpreter process at once, even if it no longer reacts."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid

    def __call__(self) -> None:
        """Kill the process. Does nothing once it has ended."""
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)


class Output:
    """What the code has printed, up to a limit in bytes."""

    def __init__(self, limit: int) -> None:
        self._parts: list[str] = []
        self._left = limit
        self.full = False

    def collect(self, kill: Kill) -> Callable[[Literal["stdout", "stderr"], str], None]:
        """Return the print callback for the interpreter; it calls ``kill`` when the limit is reached."""

        def callback(_stream: Literal["stdout", "stderr"], text: str) -> None:
            if self.full:
                return
            self._left -= len(text.encode())
            self._parts.append(text)
            if self._left < 0:
                # Raising here would not stop the code, which would go on printing.
                self.full = True
                kill()

        return callback

    @property
    def text(self) -> str:
        """The printed text."""
        return "".join(self._parts).rstrip("\n")

    def before_that(self) -> str:
        """The beginning of the output, to be put below an error."""
        text = self.text
        if not text:
            return ""
        return f"\nBefore that it printed:\n{text[:2_000]}" + ("…" if len(text) > 2_000 else "")


def call_with_last_value(code: str, function: str) -> str | None:
    """The code with its last expression wrapped in a call of ``function``; the line numbers stay the same.

    None if this Python can't parse it: the sandbox knows newer syntax. The value is shown within the sandbox, so the
    sandbox's limits apply however large it is.
    """
    tree = _parsed(code)
    if tree is None:
        return None
    body = tree.body
    if not body or not isinstance(last := body[-1], ast.Expr):
        return code
    end_line, end_column = last.end_lineno or last.lineno, last.end_col_offset or 0
    # Offsets count UTF-8 bytes in lines as the parser splits them.
    lines = [line.encode() for line in code.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    end = lines[end_line - 1]
    lines[end_line - 1] = end[:end_column] + b"))" + end[end_column:]
    start = lines[last.lineno - 1]
    lines[last.lineno - 1] = start[: last.col_offset] + f"{function}((".encode() + start[last.col_offset :]
    return b"\n".join(lines).decode()


def _parsed(code: str) -> ast.Module | None:
    try:
        # One thread at a time: CPython 3.11 counts the recursion depth of all threads together, and fails if that does not add up.
        with _parsing:
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def imported_modules(code: str) -> list[tuple[int, str]]:
    """The modules that code imports, each with its line; empty if this Python can't parse it."""
    tree = _parsed(code)
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Import):
            found += [(node.lineno, each.name.split(".")[0]) for each in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append((node.lineno, (node.module or "").split(".")[0]))
    return sorted(found)


# Python's warnings about users' code do not belong in our log.
warnings.filterwarnings("ignore", category=SyntaxWarning, module=re.escape(_USER_CODE))

#: Annotations stay strings, as in the sandbox, so no name in them is looked up.
_FLAGS = __future__.annotations.compiler_flag
#: With `exec` and `eval`, names may be bound that cannot be seen; with the exceptions, a missing name may be expected.
_LEAVE_NAMES_OPEN = {"exec", "eval", "NameError", "Exception", "BaseException"}


def unbound_names(code: str) -> list[tuple[int, str]]:
    """The names that code looks up but never binds, each with a line: builtins, given variables, and missing names.

    Empty if this Python can't compile the code, or if it may bind names in other ways. None of the code is run.
    """
    try:
        with _parsing:
            compiled = compile(code, _USER_CODE, "exec", flags=_FLAGS, dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    bound: set[str] = set()
    looked_up: list[tuple[int, str]] = []
    for block in _blocks(compiled):
        steps = [(step.opname, step.argval, step.positions) for step in dis.get_instructions(block)]
        stored = {name for done, name, _ in steps if done == "STORE_NAME"}
        bound |= {name for done, name, _ in steps if done == "STORE_GLOBAL"}
        if block is compiled:
            bound |= stored
        # Names bound by a class are visible in its own block only.
        looked_up += [
            (where.lineno or 0 if where else 0, name)
            for done, name, where in steps
            if done in ("LOAD_NAME", "LOAD_GLOBAL") and name not in stored
        ]
    names = {name for _, name in looked_up}
    if names & _LEAVE_NAMES_OPEN:
        return []
    # Within a class Python adds a prefix to some names; the sandbox doesn't.
    return sorted({(line, name) for line, name in looked_up if name not in bound and name in code})


def _blocks(code: CodeType) -> Iterator[CodeType]:
    """A code object, and those of all functions and classes within it."""
    blocks = [code]
    while blocks:
        yield (block := blocks.pop())
        blocks += [constant for constant in block.co_consts if isinstance(constant, CodeType)]
