"""`make check` is part of the suite."""

import subprocess
import sys

import pytest

from scripts import bootstrap


@pytest.mark.parametrize("check", bootstrap.CHECKS)
def test_check(check: str) -> None:
    done = subprocess.run(
        [sys.executable, *bootstrap.CHECKS[check]], cwd=bootstrap.BASE_DIR, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
