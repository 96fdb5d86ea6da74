"""Extensions at the start of a process: each kind of process reports a faulty one in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def started(command: list[str], data: Path, extensions: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        env={**os.environ, "DATA_DIR": str(data), "EXTENSIONS": extensions},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "command", [["manage.py", "check"], ["-c", "import config.asgi"], ["-m", "celery", "-A", "config", "worker"]]
)
def test_each_kind_of_process_refuses_to_start_with_one_that_is_wrong(command: list[str], tmp_path: Path) -> None:
    ended = started(command, tmp_path, "no_such_module, json")
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "Thinkaloud cannot start: EXTENSIONS: no_such_module can't be imported: there is no such module.",
        "Thinkaloud cannot start: EXTENSIONS: json contains no tool and no agent.",
    ]


def test_a_process_starts_with_those_that_are_right(tmp_path: Path) -> None:
    ended = started(["manage.py", "check"], tmp_path, "tests.example_extension")
    assert (ended.returncode, ended.stderr) == (0, "")
