"""The ASGI application: HTTP for Django, WebSockets for the session consumer."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
http = get_asgi_application()

# Models can be imported only once Django is set up.
from chat.consumers import RefuseConsumer, SessionConsumer  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": URLRouter(
            [
                re_path(r"^ws/chat/(?P<session_id>[^/]+)/?$", SessionConsumer.as_asgi()),
                re_path(r"", RefuseConsumer.as_asgi()),
            ]
        ),
    }
)
