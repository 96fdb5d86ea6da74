"""``manage.py serve``: the whole product in one process."""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from types import FrameType
from typing import Any, cast

import uvicorn
from daphne.http_protocol import HTTPFactory
from daphne.ws_protocol import WebSocketFactory
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from twisted.internet import reactor

from chat.serving import lifecycle, supervisor
from chat.serving.daphne import DaphneServer, DaphneSocket
from chat.serving.http_limits import LimitedChannel
from chat.serving.uvicorn import UvicornSocket
from config.asgi import application

logger = logging.getLogger(__name__)

_BACKLOG = 2048
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: How long a connection may rest before its next request, as on daphne. A proxy must give it up sooner: see the Caddyfile.
_REST_S = 60
#: How long requests may take that are being answered when the server has ended its runs, on either server.
_FINISH_S = 5
#: Shorter than the 24 h after which a channel layer forgets its members.
_LONGEST_SOCKET_S = 12 * 3600


class Command(BaseCommand):
    """Own the data, end what an earlier process left, then serve pages, the API and sockets, and execute runs."""

    help = "Serve pages, API and sockets, and execute runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the address and the server."""
        parser.add_argument("--host", default=settings.HOST)
        parser.add_argument("--port", type=int, default=settings.PORT, help="0 takes a free one")
        parser.add_argument("--server", choices=("daphne", "uvicorn"), default="daphne")

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until SIGTERM, SIGHUP (a terminal that was closed) or Ctrl-C."""
        for number in _STOPS:
            # Until the loop takes them: nothing has begun that would have to be ended.
            signal.signal(number, _leave)
        host, port = options["host"], options["port"]
        with _listening(host, port) as listener:
            try:
                ended = lifecycle.prepare_process()
            except lifecycle.StartRefused as refused:
                raise CommandError(str(refused)) from None
            if ended:
                self.stdout.write(f"{ended} run(s) that an earlier process left were ended as interrupted.")
            shown = f"[{host}]" if ":" in host else host
            self.stdout.write(f"Thinkaloud is at http://{shown}:{listener.getsockname()[1]}/")
            self.stdout.flush()
            serve = _with_uvicorn if options["server"] == "uvicorn" else _with_daphne
            serve(listener)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)  # an exception would end in whatever callback it interrupts


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen before anything else: an address that is taken is told at once, and early visitors wait in line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as problem:
        listener.close()
        if problem.errno == errno.EADDRINUSE:
            raise CommandError(f"Port {port} on {host} is in use. Set PORT to another one.") from None
        raise CommandError(f"Cannot listen on {host}, port {port}: {problem.strerror}.") from None
    listener.listen(_BACKLOG)
    with listener:
        yield listener


def _with_daphne(listener: socket.socket) -> None:
    def ready() -> None:
        loop = asyncio.get_event_loop()
        # Held for the server's life: the loop keeps only weak references to tasks.
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
            logger.exception("The server could not be stopped in good order")
        finally:
            # Twisted's own stop is found on the reactor it chose, which its types do not know.
            cast(Any, reactor).stop()

    WebSocketFactory.protocol = DaphneSocket
    HTTPFactory.protocol = LimitedChannel
    server = DaphneServer(
        application,
        # It closes what it is given.
        endpoints=[f"fd:fileno={os.dup(listener.fileno())}"],
        signal_handlers=False,
        ready_callable=ready,
        server_name="thinkaloud",
        websocket_timeout=_LONGEST_SOCKET_S,
        ping_interval=20,
        ping_timeout=30,
    )
    server.run()


def _with_uvicorn(listener: socket.socket) -> None:
    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # Its own raises the signal again when all is done, and the process would end by it.
            for number in _STOPS:
                asyncio.get_running_loop().add_signal_handler(number, self.handle_exit, number, None)
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            supervisor.start_clockwork()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.should_exit:
                supervisor.force_stop()
            super().handle_exit(sig, frame)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for server in self.servers:
                server.close()
            for listening in sockets or ():
                listening.close()
            await supervisor.stop_clockwork()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        application,
        lifespan="off",
        ws=UvicornSocket,
        ws_max_size=1024 * 1024,
        ws_ping_interval=20,
        ws_ping_timeout=30,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=_REST_S,
        timeout_graceful_shutdown=_FINISH_S,
    )
    Server(config).run(sockets=[listener])
    sys.stdout.flush()
