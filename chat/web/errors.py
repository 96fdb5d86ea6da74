"""What is shown in place of an answer that failed, or that somebody may not have."""

import sys
from functools import partial

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import translation
from django.views.decorators.csrf import requires_csrf_token

from chat.runtime import database
from chat.web.page import render_page

#: When to try again where the database was away.
_RETRY_AFTER_S = 5


def server_error(request: HttpRequest) -> HttpResponse:
    """What is shown in place of an answer that failed with us, in words of its own where it was the database that did; reads nothing."""
    away = isinstance(sys.exc_info()[1], DatabaseError)
    answer = HttpResponse(
        render_to_string("503.html" if away else "500.html", {"request": request}), status=503 if away else 500
    )
    if away:
        answer["Retry-After"] = str(_RETRY_AFTER_S)
    return answer


@requires_csrf_token
def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """There is nothing at this address, or nothing for whoever asks."""
    return _show(request, "404.html", 404)


@requires_csrf_token
def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Whoever asks may not do this."""
    return _show(request, "403.html", 403)


def _show(request: HttpRequest, template: str, status: int) -> HttpResponse:
    """The page beside the list of sessions for whoever is logged in; alone for others, and where that list cannot be made."""
    answer = None
    if settings.SESSION_COOKIE_NAME in request.COOKIES:
        make = partial(_beside_sessions, request, template, translation.get_language())
        try:
            # Django calls this on a thread of its own, which is to have no connection: it would keep it.
            answer = async_to_sync(database.read)(make) if isinstance(request, ASGIRequest) else make()
        except DatabaseError:
            answer = None
    answer = answer or render(request, template)
    answer.status_code = status
    return answer


def _beside_sessions(request: HttpRequest, template: str, language: str) -> HttpResponse | None:
    if not (hasattr(request, "user") and request.user.is_authenticated):
        return None
    with translation.override(language):
        return render_page(request, template, frame="account.html")
