"""Rate limit of public forms: each submission counts like a failed login from its address."""

from typing import Any, cast

from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_lockout_response
from django.http import HttpRequest, HttpResponse

_NOBODY = {"username": ""}


def count_attempt(request: HttpRequest, sender: Any) -> HttpResponse | None:
    """Count a form that was sent. Returns the response if it was one too many, else None."""
    if AxesProxyHandler.is_allowed(request, _NOBODY):
        AxesProxyHandler.user_login_failed(sender, dict(_NOBODY), request)
        if not getattr(request, "axes_locked_out", False):
            return None
    return cast(HttpResponse, get_lockout_response(request))
