"""Forked programs are like those that Python starts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import programs

#: What a program can tell of itself.
PROGRAM = """
import json, os, random, signal, sys, threading
print(json.dumps([
    __name__, sys.argv, os.getcwd(), sorted(os.environ.items()), os.umask(0), threading.active_count(),
    [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)],
    sorted(os.listdir("/proc/self/fd"))[:3], {"agents", "chat", "config"} & sys.modules.keys() == set(),
]))
print("an error", file=sys.stderr)
sys.exit(3)
"""


def test_a_forked_program_has_arguments_environment_and_output_of_its_own(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OF_ITS_OWN": "1"}
    arguments = [str(program), "--one", "two"]
    forked = programs.run_program(arguments, environment)
    started = subprocess.run(
        [sys.executable, *arguments],
        cwd=programs.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert started.returncode == 3
    assert (forked.stdout, forked.stderr, forked.returncode) == (started.stdout, started.stderr, 3)


def test_how_a_forked_program_ends_is_known(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import time; print('up'); time.sleep(60)")
    process = programs.start_program([str(program)], os.environ)
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == "up\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
        assert not output.read()
    # Another process may have its number by now: nothing is sent to it.
    process.kill()


def test_what_only_a_new_interpreter_reads_makes_a_new_one(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys; print(sys.flags.optimize)")
    assert programs.run_program([str(program)], {**os.environ, "PYTHONOPTIMIZE": "2"}).stdout == "2\n"
