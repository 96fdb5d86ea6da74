"""The `python` tool in its real sandbox: results, limits, stops, crashes."""

import contextlib
import ctypes
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic_monty import Monty, MontyError

from agents.tools import CancelToken, ToolError, python
from agents.tools.python import MODULES, PythonTool, _Pool, call_with_last_value


def run(code: str, stop: CancelToken | None = None, tool: PythonTool | None = None) -> str:
    return (tool or PythonTool()).call({"code": code}, stop or CancelToken())


def failure(code: str, stop: CancelToken | None = None, tool: PythonTool | None = None) -> str:
    with pytest.raises(ToolError) as caught:
        run(code, stop, tool)
    return str(caught.value)


def hasty() -> PythonTool:
    tool = PythonTool()
    tool.run_s = 0.5
    return tool


def eventually(condition: Callable[[], bool], within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def workers(of: int | None = None) -> list[psutil.Process]:
    """The interpreter processes of a process, but not those of servers that tests have started from it."""
    found = []
    for supervisor in psutil.Process(of).children():
        try:
            if "-IS" in supervisor.cmdline():
                found += [child for child in supervisor.children() if "monty" in child.cmdline()[0]]
        except (psutil.NoSuchProcess, psutil.ZombieProcess, IndexError):
            continue
    return found


class Working:
    """The interpreter process that begins to work while this context is open."""

    def __init__(self) -> None:
        self.before = {worker.pid: worker.cpu_times().user for worker in workers()}

    def process(self) -> psutil.Process:
        found: list[psutil.Process] = []

        def look() -> bool:
            for worker in workers():
                try:
                    if worker.cpu_times().user > self.before.get(worker.pid, 0) + 0.05:
                        found.append(worker)
                except psutil.NoSuchProcess:
                    continue
            return bool(found)

        assert eventually(look), "no interpreter is working"
        return found[0]


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("17 / 100 * 2340", "397.8"),
        ("from datetime import date\ndate(2031, 3, 1).strftime('%A')", "'Saturday'"),
        ("print('one')\nprint('two')", "one\ntwo"),
        ("print('first')\n2 + 2", "first\n4"),
        ("x = 3; x", "3"),
        ("(\n  1 +\n  2\n)  # a comment", "3"),
        ("1, 2", "(1, 2)"),
        ("*[1], 2", "(1, 2)"),
        ("x = 1\r\nx + 1\r\n# end", "2"),
        ("print = 5\n3", "3"),
        ("class A:\n    def __repr__(self):\n        return 'an A'\nA()", "an A"),
        ("import sys\nprint('to stderr', file=sys.stderr)", "to stderr"),
        ("import asyncio\nasync def f():\n    return 4\nawait f()", "4"),
        ("'天氣 🎉'", "'天氣 🎉'"),
        ("x = '天'; print('氣'); x", "氣\n'天'"),
    ],
)
def test_returns_what_is_printed_and_the_last_value(code: str, output: str) -> None:
    assert run(code) == output


@pytest.mark.parametrize("code", ["x = 1", "", "None", "if 1:\n    5", "lambda_ = [].sort()"])
def test_says_when_there_is_no_output(code: str) -> None:
    assert run(code).startswith("The code ran and printed nothing.")


def test_newer_syntax_runs_too() -> None:
    assert run('d = {\'a\': 1}\nprint(f"{d["a"]}")') == "1"


def test_calls_do_not_share_state() -> None:
    run("secret = 42")
    assert failure("secret").startswith("NameError")


def test_the_description_names_exactly_the_modules_that_exist() -> None:
    candidates = sorted(
        {name for name in sys.stdlib_module_names if not name.startswith("_")} - {"posixpath"}
    )  # os.path
    importable = []
    with Monty() as pool, pool.checkout() as session:
        for name in candidates:
            try:
                session.feed_run(f"import {name}")
            except MontyError:
                continue
            importable.append(name)
    assert importable == sorted(MODULES)
    assert all(name in PythonTool.description for name in MODULES)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1/0", "ZeroDivisionError: division by zero\nLine 1: 1/0"),
        ("def f():\n    return 1/0\n\nf()", "ZeroDivisionError: division by zero\nLine 2 in f: return 1/0"),
        (
            "print('got here')\nraise ValueError('boo')",
            "ValueError: boo\nLine 2: raise ValueError('boo')\nBefore that it printed:\ngot here",
        ),
        ("x = (", "SyntaxError: unexpected EOF while parsing\nLine 1: x = ("),
        ("nope", "NameError: name 'nope' is not defined\nLine 1: nope"),
    ],
)
def test_errors_are_pythons_own_with_the_line(code: str, message: str) -> None:
    assert failure(code) == message


@pytest.mark.parametrize(
    "code", ["raise SystemExit(3)", "\x00", "'\ud800'", "def f():\n    return f()\nf()", "2 ** 100000", "(" * 5000]
)
def test_odd_failures_are_sentences_without_our_traceback(code: str) -> None:
    message = failure(code)
    assert message
    assert "Traceback" not in message
    assert "__show__" not in message


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd').read()",
        "from pathlib import Path\nPath('/etc/passwd').read_text()",
        "open('new.txt', 'w')",
        "import os\nos.listdir('/')",
        "import os\nos.environ['PATH']",
        "import os\nos.getenv('PATH')",
        "import os\nos.system('id')",
        "import subprocess",
        "import socket",
        "import urllib.request",
        "import ctypes",
        "__import__('os').popen('id')",
        "input()",
    ],
)
def test_files_network_and_system_are_refused(code: str) -> None:
    with pytest.raises(ToolError):
        run(code)


def test_the_limit_of_time_is_five_seconds_and_ends_an_endless_loop() -> None:
    assert PythonTool.run_s == 5
    began = time.monotonic()
    message = failure("while True: pass", tool=hasty())
    assert message == "The code was stopped: it did not finish within 0.5 seconds."
    assert time.monotonic() - began < 3


def test_output_before_the_time_limit_is_kept() -> None:
    message = failure("print('so far')\nwhile True: pass", tool=hasty())
    assert "Before that it printed:\nso far" in message


@pytest.mark.parametrize("code", ["import time\ntime.sleep(60)", "import asyncio\nawait asyncio.sleep(60)"])
def test_sleeping_is_refused_at_once(code: str) -> None:
    began = time.monotonic()
    assert failure(code) == "The code was stopped: sleeping is not possible in this sandbox."
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("code", ["'a' * (1 << 30)", "x = []\nwhile True: x.append('a' * 1_000_000)", "9 ** 9 ** 9"])
def test_too_much_memory_is_refused(code: str) -> None:
    assert failure(code) == "The code was stopped: it needed more than 128 MiB of memory."


def test_a_large_last_value_counts_as_output() -> None:
    assert failure("'a' * 60_000").startswith("The code was stopped: it printed more than 50 kB.")


def test_a_flood_of_output_kills_the_worker() -> None:
    run("1")
    before = {worker.pid for worker in workers()}
    message = failure("while True: print('天' * 500)")
    assert message.startswith("The code was stopped: it printed more than 50 kB.\nBefore that it printed:\n天天天")
    assert len(message) < 3_000
    assert eventually(lambda: not before <= {worker.pid for worker in workers()})
    assert run("1 + 1") == "2"


def test_output_just_below_the_limit_is_whole() -> None:
    assert len(run("print('a' * 49_999)")) == 49_999


def test_cancel_kills_the_worker_and_the_next_call_works() -> None:
    stop, watch, errors = CancelToken(), Working(), []
    calling = threading.Thread(target=lambda: errors.append(failure("while True: pass", stop)))
    calling.start()
    worker = watch.process()
    stop.set("Stopped by Mei.")
    calling.join(1)
    assert errors == ["Stopped by Mei."]
    assert eventually(lambda: gone(worker), within_s=1)
    assert run("1 + 1") == "2"


def test_cancel_before_the_call_runs_nothing() -> None:
    stop = CancelToken()
    stop.set("Stopped by Mei.")
    assert failure("while True: pass", stop) == "Stopped by Mei."


def test_a_stop_after_the_call_does_not_hurt_whoever_has_the_worker_now() -> None:
    stop = CancelToken()
    assert run("1", stop) == "1"
    stop.set("Stopped too late.")
    assert run("2") == "2"


def test_a_worker_that_dies_is_a_sentence_and_the_next_call_works() -> None:
    watch, errors = Working(), []
    calling = threading.Thread(target=lambda: errors.append(failure("while True: pass")))
    calling.start()
    watch.process().kill()
    calling.join(5)
    assert errors == ["The Python interpreter crashed while it ran this code."]
    assert run("1 + 1") == "2"


def test_a_worker_that_died_while_idle_is_not_noticed() -> None:
    run("1")
    for worker in workers():
        worker.kill()
        worker.wait(5)
    assert run("1 + 1") == "2"


def test_twenty_at_once() -> None:
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda n: run(f"sum(range({n})) + sum(i % 7 for i in range(20_000)) * 0"), range(20)))
    assert results == [str(sum(range(n))) for n in range(20)]


def test_twenty_programs_are_parsed_at_once() -> None:
    """With a switch of threads in the middle of it, as by a garbage collection that runs Python code."""

    def hand_over(*_: Any) -> None:
        time.sleep(0)

    thresholds = gc.get_threshold()
    gc.callbacks.append(hand_over)
    gc.set_threshold(50)
    try:
        with ThreadPoolExecutor(20) as pool:
            shown = list(
                pool.map(
                    partial(call_with_last_value, function="__show__"), ["sum(i % 7 for i in range(20)) * 0"] * 200
                )
            )
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(hand_over)
    assert set(shown) == {"__show__((sum(i % 7 for i in range(20)) * 0))"}


def test_a_call_that_waits_for_a_free_worker_can_be_cancelled() -> None:
    tool = PythonTool()
    busy = [CancelToken() for _ in range(16)]
    with ThreadPoolExecutor(17) as pool:
        for each in busy:
            pool.submit(tool.call, {"code": "while True: pass"}, each)
        assert eventually(lambda: len(workers()) >= 16)
        stop = CancelToken()
        waiting = pool.submit(failure, "1", stop, tool)
        stop.set("Stopped by Mei.")
        assert waiting.result(2) == "Stopped by Mei."
        for each in busy:
            each.set("Enough.")
    assert run("1") == "1"


def test_interpreters_do_not_outlive_our_process() -> None:
    script = (
        "import sys\nfrom agents.tools import CancelToken\nfrom agents.tools.python import PythonTool\n"
        "PythonTool().call({'code': '1'}, CancelToken())\nprint('ready', flush=True)\n"
        "PythonTool().call({'code': 'while True: pass'}, CancelToken())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path.cwd()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        left = workers(process.pid)
        assert left
        process.kill()
    assert eventually(lambda: all(gone(worker) for worker in left))


def test_interpreters_are_confined() -> None:
    """They gain no privileges, open few files and write none; where the system has libseccomp, they have no network either."""
    run("1")
    worker = workers()[0]
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines())
    assert status["NoNewPrivs"].strip() == "1"
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        assert status["Seccomp"].strip() == "0"
    else:
        assert status["Seccomp"].strip() == "2"
    assert worker.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert worker.rlimit(psutil.RLIMIT_NOFILE) == (64, 64)
    assert worker.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert worker.rlimit(psutil.RLIMIT_AS) == (2 << 30, 2 << 30)


def test_interpreters_work_where_they_cannot_be_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    for confined in (None, "/no/such/program"):
        monkeypatch.setattr(python, "sandboxed_program", lambda *_, path=confined: path)
        with contextlib.closing(_Pool()) as pool:
            monkeypatch.setattr(python, "_pool", pool)
            assert run("1 + 1") == "2"


def test_a_very_long_program_is_refused() -> None:
    assert failure("#" * 100_001) == "The code is too long: 100,001 characters, at most 100,000."
