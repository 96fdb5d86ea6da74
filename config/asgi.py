"""The ASGI application: HTTP for Django, WebSockets for the session consumer."""

import os
from typing import Any, cast

import django
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import re_path

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

# Channels routes with Django's own patterns, whose types know of HTTP views only.
_SOCKETS: list[Any] = [
    re_path(r"^ws/chat/(?P<session_id>[^/]+)/?$", cast(Any, SessionConsumer.as_asgi())),
    re_path(r"", cast(Any, RefuseConsumer.as_asgi())),
]
pages: Any = BodyLimits(serve_static_files(LoginGate(PageHandler())))
application: Any = ProtocolTypeRouter({"http": pages, "websocket": URLRouter(_SOCKETS)})
if settings.PUBLIC_URL.path:
    application = PathPrefix(application, settings.PUBLIC_URL.path)
application = LifespanApplication(TrustedProxies(application))
