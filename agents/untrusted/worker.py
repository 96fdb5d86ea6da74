"""A worker process of ``agents.untrusted.pool``: handles one call after another, each with a CPU limit, and dies with its parent.

Started as a file, with the number of its socket and the modules to import: it must not import the application.
"""

import fcntl
import importlib
import os
import resource
import signal
import socket
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgpack

_HEAD = struct.Struct(">I")
_MIB = 1 << 20
#: A longer message is refused by its recipient.
_LARGEST = 256 * _MIB
#: Address space; more is a MemoryError in this process, and does not affect the server.
_MEMORY = 768 * _MIB
#: A worker that uses more memory than this after a call is replaced, so that the memory is freed.
_RESTING_MEMORY = 160 * _MIB


def pack_message(message: Any) -> bytes:
    """A message with its length before it. Lone surrogates, which models do write, are preserved."""
    body: bytes = msgpack.packb(message, unicode_errors="surrogatepass")
    return _HEAD.pack(len(body)) + body


def unpack_message(body: bytes) -> Any:
    """The message that `pack_message` made, without its length."""
    return msgpack.unpackb(body, unicode_errors="surrogatepass", strict_map_key=False)


def receive_message(connection: socket.socket) -> Any:
    """The next message. Raises EOFError at the end of the connection, ValueError if it is not one of ours."""
    (size,) = _HEAD.unpack(_exactly(connection, _HEAD.size))
    if size > _LARGEST:
        raise ValueError(size)
    return unpack_message(_exactly(connection, size))


def _exactly(connection: socket.socket, size: int) -> bytes:
    body = bytearray(size)
    view, at = memoryview(body), 0
    while at < size:
        read = connection.recv_into(view[at:])
        if not read:
            raise EOFError
        at += read
    return bytes(body)


def _die_with_parent() -> None:
    """Have the kernel kill this process as soon as its standard input, whose other end only the parent has, is closed.

    This works also within a regular expression, which no thread and no signal handler of ours would interrupt.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)


def _limit() -> None:
    for kind, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (limit, limit))
    os.nice(5)


def main(handle: int, modules: list[str]) -> None:
    """Handle calls until the parent is gone."""
    # The parent decides when it ends: Ctrl-C, or a service manager's signal to the group, is handled by the server.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _die_with_parent()
    _limit()
    known = {name.rpartition(".")[2]: importlib.import_module(name) for name in modules}
    with socket.socket(fileno=handle) as connection:
        connection.sendall(pack_message("ready"))
        while True:
            name, items, cpu_s = receive_message(connection)
            module, _, function = name.partition(".")
            for arguments in items:
                connection.sendall(pack_message(_one(getattr(known[module], function), arguments, cpu_s)))


def _one(work: Any, arguments: list[Any], cpu_s: float) -> list[Any]:
    """Handle one call; returns whether it succeeded, its result, and whether this process should be replaced."""
    # By default the signal kills the process, even while the interpreter is blocked.
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        ok, came = True, work(*arguments)
    except Exception as error:  # noqa: BLE001 - told to the parent
        ok, came = False, type(error).__name__
    signal.setitimer(signal.ITIMER_PROF, 0)
    return [ok, came, _resident() > _RESTING_MEMORY]


def _resident() -> int:
    """Bytes of memory in use now (the maximum would include the parent's); 0 if the system has no such file."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return 0


if __name__ == "__main__":
    agents = Path(__file__).resolve().parent.parent
    sys.path.insert(0, str(agents.parent))
    # An empty package with our path: the __init__ of the real one imports all of the agents.
    sys.modules["agents"] = ModuleType("agents")
    sys.modules["agents"].__path__ = [str(agents)]
    try:
        main(int(sys.argv[1]), sys.argv[2:])
    except (EOFError, OSError):
        os._exit(0)
