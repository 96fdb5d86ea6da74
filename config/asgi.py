"""The ASGI application: HTTP for Django, WebSockets for the session consumer."""

import os
import re
from collections.abc import Awaitable
from typing import Any

import django
from django.conf import settings

from config.path_prefix import PathPrefix

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup(set_prefix=False)

# Models can be imported only once Django is set up.
from chat.consumers import RefuseConsumer, SessionConsumer  # noqa: E402
from chat.serving.body_limits import BodyLimits  # noqa: E402
from chat.serving.lifecycle import LifespanApplication  # noqa: E402
from config.login_gate import LoginGate  # noqa: E402
from config.page_handler import PageHandler  # noqa: E402
from config.proxies import TrustedProxies  # noqa: E402
from config.static_files import serve_static_files  # noqa: E402

_SESSION = re.compile(r"/*ws/chat/(?P<session_id>[^/]+)/?")
pages: Any = BodyLimits(serve_static_files(LoginGate(PageHandler())))


def serve_connection(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
    """Route a connection by its protocol, and a socket by its path.

    Not by Channels' `ProtocolTypeRouter` and `URLRouter`: while a socket is open, those keep two coroutines and a copy of its scope, which
    is 1.5 KiB of the 22 that an idle socket may take.
    """
    if scope["type"] == "http":
        served: Awaitable[None] = pages(scope, receive, send)
        return served
    if scope["type"] != "websocket":
        raise ValueError(f"No application serves connections of the type {scope['type']!r}.")
    path, root = scope["path"], scope.get("root_path") or ""
    found = _SESSION.fullmatch(path[len(root) :]) if path.startswith(root) else None
    if found is None:
        return RefuseConsumer()(scope, receive, send)
    scope["url_route"] = {"kwargs": found.groupdict()}
    return SessionConsumer()(scope, receive, send)


application: Any = serve_connection
if settings.PUBLIC_URL.path:
    application = PathPrefix(application, settings.PUBLIC_URL.path)
application = LifespanApplication(TrustedProxies(application))
