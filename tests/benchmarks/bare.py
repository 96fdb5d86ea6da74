"""The reference for single requests: a minimal ASGI application on Daphne. Prints its address."""

from typing import Any

from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server

_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"3")]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": b"ok\n"})


def main() -> None:
    """Serve until ended."""
    endpoints = build_endpoint_description_strings(host="127.0.0.1", port=0)
    server = Server(application, endpoints=endpoints, signal_handlers=False, verbosity=0)
    server.ready_callable = lambda: print(f"http://127.0.0.1:{server.listening_addresses[0][1]}", flush=True)
    server.run()


if __name__ == "__main__":
    main()
