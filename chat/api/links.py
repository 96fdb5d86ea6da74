"""The address of a link that shares a session."""

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse


def link_address(request: HttpRequest, secret: str) -> str:
    """The full address of a link; empty if its secret is not known."""
    if not secret:
        return ""
    path = reverse("join", args=[secret])
    return f"{settings.PUBLIC_URL.origin}{path}" if settings.PUBLIC_URL.origin else request.build_absolute_uri(path)
