"""The address by which a link to a session is opened."""

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse


def link_address(request: HttpRequest, secret: str) -> str:
    """The whole address of a link; empty without its secret."""
    if not secret:
        return ""
    path = reverse("join", args=[secret])
    return f"{settings.PUBLIC_URL.origin}{path}" if settings.PUBLIC_URL.origin else request.build_absolute_uri(path)
