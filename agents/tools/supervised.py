"""Starts programs so that they, and what they start, end with this process, however it ends; see `agents.tools.supervise`."""

import errno
import functools
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PROGRAM = str(Path(__file__).with_name("supervise.py"))
_IS_LINUX = sys.platform == "linux"


def supervised_command(command: str, arguments: Sequence[str], env: Mapping[str, str], cwd: str) -> list[str]:
    """The command line that runs a program under supervision. Raises `FileNotFoundError` if there is no such program."""
    place = os.path.join(cwd, command) if "/" in command else command  # noqa: PTH118 - as the system joins them
    if shutil.which(place, path=env.get("PATH")) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command)
    if not _IS_LINUX:
        return [command, *arguments]
    return [sys.executable, "-I", "-S", _PROGRAM, command, *arguments]


@functools.lru_cache(1)
def sandboxed_program(program: str, _process: int) -> str | None:
    """The path of a program that runs ``program`` under supervision and in a sandbox, with the arguments that it is given.

    For callers that can only be given a path. It is a file in memory, which exists as long as this process; ``_process``, its
    id, is part of the cache's key. None if the system has no such files.
    """
    if not _IS_LINUX or len(sys.executable) > 200:
        return None
    text = (
        f"#!{sys.executable} -IS\nimport runpy, sys\nsys.argv[1:1] = ['--sandbox', {program!r}]\n"
        f"runpy.run_path({_PROGRAM!r}, run_name='__main__')\n"
    )
    try:
        descriptor = os.memfd_create("sandbox", 0)
        os.write(descriptor, text.encode())
        # The kernel executes no file that is open for writing.
        reading = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        os.close(descriptor)
    except OSError:
        return None
    return f"/proc/{os.getpid()}/fd/{reading}"
