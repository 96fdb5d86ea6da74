"""Serving below a path of a host that serves other things too."""

from typing import Any


class PathPrefix:
    """Adds the path to every address without it, and sets ASGI's ``root_path``.

    A proxy may keep the path or strip it: the application receives the same in both cases.
    """

    def __init__(self, application: Any, prefix: str) -> None:
        self._application = application
        self._prefix = prefix

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass one connection on."""
        if scope["type"] in {"http", "websocket"}:
            path = scope["path"]
            if path != self._prefix and not path.startswith(f"{self._prefix}/"):
                path = f"{self._prefix}{path}"
            scope = {**scope, "path": path, "root_path": self._prefix}
        await self._application(scope, receive, send)
