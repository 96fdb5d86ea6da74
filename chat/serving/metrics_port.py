"""A worker's metrics: it serves no pages, so they are at a port of its own (`WORKER_METRICS_PORT`), for clients with `METRICS_TOKEN`."""

import logging
import threading
from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.conf import settings
from prometheus_client import make_wsgi_app

from chat.runtime import metrics
from chat.runtime.listening import listen_on
from chat.security.passes import is_metrics_token

logger = logging.getLogger(__name__)

#: A client that connects and sends nothing is disconnected after so many seconds.
_SILENCE_S = 10


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Listen on IPv6 and IPv4, without resolving a name."""
        self.socket.close()
        self.server_name, self.server_port = settings.HOST, settings.WORKER_METRICS_PORT
        self.socket = listen_on(self.server_name, self.server_port, self.request_queue_size)
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE_S

    def log_message(self, *_: Any) -> None:
        """Do nothing: requests for metrics are not logged."""


def serve_figures() -> Callable[[], None]:
    """Serve this process's metrics in a thread, if a port is set. Returns a function that ends it. If the port is taken, that is logged."""
    if not settings.WORKER_METRICS_PORT:
        return lambda: None
    figures = make_wsgi_app(metrics.REGISTRY)

    def guarded(environ: dict[str, Any], start_response: Any) -> Any:
        if is_metrics_token(environ.get("HTTP_AUTHORIZATION", "")):
            return figures(environ, start_response)
        start_response("401 Unauthorized", [("Content-Type", "text/plain"), ("WWW-Authenticate", "Bearer")])
        return [b"Send METRICS_TOKEN as bearer.\n"]

    try:
        server = make_server(settings.HOST, settings.WORKER_METRICS_PORT, guarded, _Server, _Handler)
    except OSError as error:
        logger.warning("This worker's metrics cannot be served at port %d: %s", settings.WORKER_METRICS_PORT, error)
        return lambda: None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()

    def end() -> None:
        server.shutdown()
        server.server_close()

    return end
