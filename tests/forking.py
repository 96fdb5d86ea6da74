"""A process that has imported the libraries and forks a program of the product at each request, see ``tests/programs.py``."""

import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading

from django.conf import settings

#: Libraries that the product imports anyway, of which none reads Django's settings, starts a thread or installs a Twisted reactor.
LIBRARIES = (
    "aiohttp",
    "atif",
    "autobahn.twisted.websocket",
    "celery.app.base",
    "channels.generic.websocket",
    "cryptography.fernet",
    "csp.middleware",
    "django.core.cache.utils",
    "django.core.management.commands.migrate",
    "django.db.backends.sqlite3.base",
    "django.middleware.common",
    "django.middleware.security",
    "jsonschema",
    "kombu.connection",
    "prometheus_client.core",
    "psycopg",
    "pydantic_monty",
    "pydantic_settings",
    "redis.asyncio",
    "servestatic.storage",
    "structlog",
    "twisted.internet.posixbase",
    "twisted.web.http",
)
_LARGEST_REQUEST = 1 << 20


def _wait_for_request(control: socket.socket) -> list[str]:
    """Fork at each request. Returns in each child alone, with its arguments; the first process exits once nobody can ask any more."""
    # Those in between end without being waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, _LARGEST_REQUEST, 3)
        if not request:
            sys.exit()
        out, err, watch = descriptors
        if os.fork() == 0:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if (pid := os.fork()) == 0:
                return _become(request, out, err, watch)
            _watch(pid, out, err, watch)
        for descriptor in descriptors:
            os.close(descriptor)


def _become(request: bytes, out: int, err: int, watch: int) -> list[str]:
    os.dup2(out, 1)
    os.dup2(err, 2)
    for descriptor in {out, err, watch}:
        os.close(descriptor)
    arguments, environment = json.loads(request)
    os.environ.clear()
    os.environ.update(environment)
    return list(arguments)


def _watch(pid: int, out: int, err: int, watch: int) -> None:
    """Tell the number of the child and how it ends; never returns."""
    os.close(out)
    if err != out:
        os.close(err)
    connection = socket.socket(fileno=watch)
    connection.send(str(pid).encode())
    # The number stays the child's until the other side has heard of its end, or is gone.
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    try:
        connection.send(str(status).encode())
        connection.recv(1)
    except OSError:
        pass
    os.waitpid(pid, 0)
    os._exit(0)


def _import_libraries() -> None:
    for name in LIBRARIES:
        importlib.import_module(name)
    assert not settings.configured
    assert threading.active_count() == 1
    assert "twisted.internet.reactor" not in sys.modules
    assert not {"agents", "chat", "config"} & sys.modules.keys()


if __name__ == "__main__":
    _import_libraries()
    # Here all children go on.
    sys.argv = _wait_for_request(socket.socket(fileno=int(sys.argv[1])))
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
