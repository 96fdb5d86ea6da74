"""What a worker refuses at its start, with a clear error; and that it understands notifications of other versions."""

import inspect
import os
import subprocess
import sys
from typing import Any

import pytest

from chat import tasks
from tests.serving import ROOT

#: Settings with addresses where nothing listens: nothing is connected to.
ADDRESSES = {
    "DATABASE_URL": "postgres://someone@127.0.0.1:1/nothing",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "BROKER_URL": "redis://127.0.0.1:1/1",
}


def worker(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "config", "worker", *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ([], {}, "A worker needs BROKER_URL."),
        (["--pool", "processes"], ADDRESSES, "A worker of Thinkaloud works with Celery's threads"),
    ],
)
def test_invalid_settings_of_a_worker_are_refused_with_an_error(
    options: list[str], environment: dict[str, str], words: str
) -> None:
    done = worker(*options, **environment)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        pytest.param(["a"], {}, id="the version before"),
        pytest.param([], {"session_id": "a"}, id="this one"),
        pytest.param([], {"session_id": "a", "more": 1}, id="a later one"),
    ],
)
def test_a_notification_of_another_version_names_the_session(args: list[Any], kwargs: dict[str, Any]) -> None:
    """As Celery calls the task with the arguments that a process of that version has put into the message."""
    bound = inspect.signature(tasks.execute_next_run.run).bind(*args, **kwargs)
    assert bound.arguments["session_id"] == "a"
