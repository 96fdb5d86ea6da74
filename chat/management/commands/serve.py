"""``manage.py serve``: the whole product in one process."""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
from argparse import ArgumentParser
from collections.abc import Iterator
from types import FrameType
from typing import Any, cast

from daphne.http_protocol import HTTPFactory
from daphne.ws_protocol import WebSocketFactory
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from twisted.internet import reactor

from chat.runtime.leaving import leave_within
from chat.runtime.listening import NoHost, listen_on, own_address, read_host
from chat.serving import lifecycle, supervisor
from chat.serving.daphne import DaphneServer, DaphneSocket
from chat.serving.http_limits import LimitedChannel
from config.asgi import application

logger = logging.getLogger(__name__)

_BACKLOG = 2048
_LAST_PORT = 65_535
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: How long requests that are being answered may still take after the server has ended its runs.
_FINISH_S = 5
#: … and threads after them, in seconds.
_EXIT_S = 2
#: Shorter than the 24 h after which a channel layer forgets its members.
_LONGEST_SOCKET_S = 12 * 3600


class Command(BaseCommand):
    """Lock the data directory, end runs that an earlier process left, then serve pages, API and sockets, and execute runs."""

    help = "Serve pages, API and sockets, and execute runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The address to listen on."""
        parser.add_argument("--host", default=settings.HOST)
        parser.add_argument("--port", type=int, default=settings.PORT, help="0 takes a free one")

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until SIGTERM, SIGHUP (the terminal was closed) or Ctrl-C."""
        for number in _STOPS:
            # Until the loop handles signals, nothing has started that would have to be stopped.
            signal.signal(number, _leave)
        host, port = options["host"], options["port"]
        with _listening(host, port) as listener:
            try:
                ended = lifecycle.prepare_process()
            except lifecycle.StartRefused as refused:
                raise CommandError(str(refused)) from None
            if ended:
                self.stdout.write(f"{ended} run(s) that an earlier process left were ended as interrupted.")
            self.stdout.write(f"Thinkaloud is at {own_address(read_host(host), listener.getsockname()[1])}/")
            self.stdout.flush()
            _serve(listener)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)  # an exception would be lost in whatever callback it interrupts


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen before anything else: an address in use is reported at once, and early requests wait in the listener's backlog."""
    if not 0 <= port <= _LAST_PORT:
        raise CommandError(f"Cannot listen on {host}, port {port}: a port is a number up to {_LAST_PORT}.")
    try:
        listener = listen_on(read_host(host), port, _BACKLOG)
    except NoHost as bad:
        raise CommandError(f"--host {bad}, not '{host}'.") from None
    except OSError as problem:
        if problem.errno == errno.EADDRINUSE:
            raise CommandError(f"Port {port} on {host} is in use. Set PORT to another one.") from None
        raise CommandError(f"Cannot listen on {host}, port {port}: {problem.strerror}.") from None
    with listener:
        yield listener


def _serve(listener: socket.socket) -> None:
    def ready() -> None:
        loop = asyncio.get_event_loop()
        # Kept for the server's lifetime: the loop has only weak references to tasks.
        stopping: list[asyncio.Task[None]] = []

        def stop() -> None:
            if stopping:
                supervisor.force_stop()
            else:
                stopping.append(loop.create_task(end()))

        for number in _STOPS:
            loop.add_signal_handler(number, stop)
        loop.call_soon(supervisor.start_clockwork)

    async def end() -> None:
        try:
            await server.stop_listening()
            listener.close()
            await supervisor.stop_clockwork()
            await server.finish_requests(_FINISH_S)
        except Exception:
            logger.exception("The server could not be shut down cleanly")
        finally:
            # `stop` is a method of the reactor that Twisted has chosen, which its types do not declare.
            cast(Any, reactor).stop()

    WebSocketFactory.protocol = DaphneSocket
    HTTPFactory.protocol = LimitedChannel
    server = DaphneServer(
        application,
        listener,
        signal_handlers=False,
        ready_callable=ready,
        server_name="thinkaloud",
        websocket_timeout=_LONGEST_SOCKET_S,
        ping_interval=20,
        ping_timeout=30,
    )
    server.run()
    leave_within(_EXIT_S)
