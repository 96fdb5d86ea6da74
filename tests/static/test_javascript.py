"""Runs the page's own tests, ``*.test.js`` in this folder, with Node."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import bootstrap

HERE = Path(__file__).resolve().parent
SUITES = sorted(HERE.rglob("*.test.js"))


@pytest.fixture(scope="session")
def node() -> str:
    """The path of a Node that is new enough."""
    return bootstrap.find_node(Path(sys.executable))


def test_there_are_suites() -> None:
    assert SUITES


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.relative_to(HERE).as_posix())
def test_suite(suite: Path, node: str) -> None:
    done = subprocess.run(
        [node, "--test", str(suite)], cwd=bootstrap.BASE_DIR, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 0\n" not in done.stdout.replace("ℹ", "#")
