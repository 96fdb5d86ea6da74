"""The ASGI application: HTTP for Django, WebSockets for the session consumer."""

import os
from typing import Any, cast

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
http = get_asgi_application()

# Models can be imported only once Django is set up.
from chat.consumers import RefuseConsumer, SessionConsumer  # noqa: E402
from config.login_gate import LoginGate  # noqa: E402
from config.proxies import TrustedProxies  # noqa: E402

# Channels routes with Django's own patterns, whose types know of HTTP views only.
_SOCKETS: list[Any] = [
    re_path(r"^ws/chat/(?P<session_id>[^/]+)/?$", cast(Any, SessionConsumer.as_asgi())),
    re_path(r"", cast(Any, RefuseConsumer.as_asgi())),
]
application = TrustedProxies(
    cast(Any, ProtocolTypeRouter({"http": cast(Any, LoginGate(cast(Any, http))), "websocket": URLRouter(_SOCKETS)}))
)
