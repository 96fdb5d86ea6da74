"""Tickers in processes of their own, which tests kill and freeze.

``python -m tests.faults.ticker_process loop CLOCK`` ticks by the time in the file CLOCK. ``… at`` reads lines like ``kill 7 CLOCK`` and
answers each: a child of it does one tick by that clock, and is killed (or with ``stop`` frozen) when it is about to execute its seventh
statement. It answers ``killed``, ``stopped PID`` or, where there were fewer statements, ``survived``.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import django
from django.db import connection
from django.db.backends.signals import connection_created

from tests import programs

PAUSE_S = 0.05


def clock(file: Path) -> Callable[[], datetime]:
    """A clock whose time is read from a file."""
    return lambda: datetime.fromisoformat(file.read_text("utf-8"))


def set_clock(file: Path, now: datetime) -> None:
    """Set the time of such a clock, atomically."""
    draft = file.with_suffix(".new")
    draft.write_text(now.isoformat(), "utf-8")
    draft.replace(file)


def _loop(file: Path) -> None:
    from chat.runs import registry as run_registry  # noqa: PLC0415 - not before Django is set up
    from chat.schedules import ticker  # noqa: PLC0415

    run_registry.stop_accepting()
    print("ticking", flush=True)  # noqa: T201 - whoever has started it reads this
    asyncio.run(ticker.Ticker(clock(file)).run(PAUSE_S))


def _at() -> None:
    for line in sys.stdin:
        what, number, file = line.split(maxsplit=2)
        child = os.fork()
        if not child:
            _tick_until(signal.SIGKILL if what == "kill" else signal.SIGSTOP, int(number), Path(file.strip()))
            os._exit(0)
        _, status = os.waitpid(child, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            print(f"stopped {child}", flush=True)  # noqa: T201 - likewise
            # Runs until the end, after whoever sent `stop` has let it continue.
            os.waitpid(child, 0)
            print("ended", flush=True)  # noqa: T201 - likewise
        else:
            print("killed" if os.WIFSIGNALED(status) else "survived", flush=True)  # noqa: T201 - likewise


def _tick_until(number: signal.Signals, statements: int, file: Path) -> None:
    """One tick without the ticker's loop, on one connection, up to a statement."""
    from chat.schedules import occurrences  # noqa: PLC0415 - not before Django is set up

    left = statements

    def count(execute: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), number)
        return execute(*arguments)

    def opened(connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(count)

    connection_created.connect(opened, weak=False)
    now = clock(file)()
    for schedule in occurrences.due_schedules(now, 100):
        occurrences.claim(schedule, now)
    for schedule in occurrences.ended_schedules():
        occurrences.settle(schedule, now)
    for schedule in occurrences.waiting_schedules():
        occurrences.start_waiting(schedule, now)
    connection.close()


class Breakable:
    """The process of the mode ``at``, for tests."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.ticker_process", "at"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str, statement: int, file: Path) -> str:
        """Run one tick in a child; returns what happened to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what} {statement} {file}\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> str:
        """Read the next line of its output."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def breakable(environment: dict[str, str]) -> Iterator[Breakable]:
    """Start such a process for the length of a block."""
    process = Breakable(environment)
    try:
        yield process
    finally:
        process.end()


class Loop:
    """The process of the mode ``loop``, which can be killed and started again."""

    def __init__(self, environment: dict[str, str], file: Path) -> None:
        self._environment = environment
        self._file = file
        self._process: programs.Program | None = None
        self.starts = 0

    def start(self) -> None:
        """Start it, and wait for its first tick."""
        self.starts += 1
        self._process = programs.start_program(
            ["-m", "tests.faults.ticker_process", "loop", str(self._file)], self._environment
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ticking\n"

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)


if __name__ == "__main__":
    django.setup()
    if sys.argv[1] == "loop":
        _loop(Path(sys.argv[2]))
    else:
        _at()
