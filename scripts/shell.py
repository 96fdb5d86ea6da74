"""Helpers of all scripts: run programs quietly, log, exit with one line. Standard library only, for any Python."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn


class BootstrapError(Exception):
    """Something that the machine lacks; the message is the one line that is shown."""


def run_quietly(command: Sequence[str], doing: str, environ: dict[str, str] | None = None) -> None:
    """Run a command and show no output; if it fails, its last line is the error."""
    try:
        done = subprocess.run(
            command,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise BootstrapError(f"This failed: {doing} ({error}).") from error
    if done.returncode:
        with tempfile.NamedTemporaryFile(
            "w", prefix="thinkaloud-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(done.stdout)
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()] or ["it said nothing"]
        complaint = next((line for line in lines if re.match(r"(npm )?err(or)?\b", line, re.IGNORECASE)), lines[-1])
        raise BootstrapError(
            f"This failed: {doing} ({complaint}). Is a package registry reachable? Its output is in {log.name}."
        )


def file_hash(path: Path) -> str:
    """A hash that changes with the file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def log_line(text: str) -> None:
    """Print a line for the user."""
    print(text, file=sys.stderr, flush=True)


def exec_program(program: Path, *arguments: str) -> NoReturn:
    """Replace this process by the program."""
    os.execv(program, [str(program), *arguments])
