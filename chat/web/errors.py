"""Error pages."""

import secrets
import sys
from functools import partial
from typing import Any

import orjson
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext
from django.views.decorators.csrf import requires_csrf_token

from agents.sentence import format_sentence
from chat.protocol import ErrorCode, error_data
from chat.rendering.template_row import Row
from chat.runtime import database
from chat.security.csrf import explain_refusal
from chat.web.page import render_page

#: After how many seconds to try again if the database does not answer.
_RETRY_AFTER_S = 5
#: Addresses of APIs, which have their own formats of errors.
PROGRAM_PATHS = ("/api/", "/v1/")
_NOT_OURS = "This server does not answer to the name in “Host”; its operator can add it to ALLOWED_HOSTS."


def server_error(request: HttpRequest) -> HttpResponse:
    """The page of an internal error, with a text of its own if the database does not answer. Makes no query."""
    is_unavailable = isinstance(sys.exc_info()[1], DatabaseError)
    page = render_to_string(
        "503.html" if is_unavailable else "500.html", {"request": request, "frame": _still_frame(request)}
    )
    answer = HttpResponse(page, status=503 if is_unavailable else 500)
    if is_unavailable:
        answer["Retry-After"] = str(_RETRY_AFTER_S)
    return answer


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The page for a request that cannot be parsed; it does not read a form in it again."""
    message = _NOT_OURS if isinstance(exception, DisallowedHost) else "This request cannot be understood."
    return refuse_program(request, 400, "bad_frame", message) or show_error(request, "400.html", 400)


def refuse_program(request: HttpRequest, status: int, code: ErrorCode, message: str) -> HttpResponse | None:
    """An error in the format of the API at this address; None if the address is a page's."""
    path = request.path.removeprefix(settings.PUBLIC_URL.path)
    if not path.startswith(PROGRAM_PATHS):
        return None
    error: dict[str, object] = dict(error_data(code, message, secrets.token_hex(4)))
    if path.startswith("/v1/"):
        error |= {"type": "invalid_request_error", "param": None}
    return HttpResponse(orjson.dumps({"error": error}), status=status, content_type="application/json")


@requires_csrf_token
def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The page for an address without a page, or with nothing that the user may see."""
    return show_error(request, "404.html", 404)


@requires_csrf_token
def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The page for something that the user may not do."""
    return show_error(request, "403.html", 403)


def show_error(request: HttpRequest, template: str, status: int, **context: Any) -> HttpResponse:
    """An error page: with the list of sessions for logged-in users, alone for others; without the list if that cannot be queried.

    Must not be called on the event loop's thread.
    """
    answer = None
    if settings.SESSION_COOKIE_NAME in request.COOKIES and hasattr(request, "user"):
        make = partial(_beside_sessions, request, template, context, translation.get_language())
        try:
            # Django calls this on a thread of its own, which must not get a database connection: it would keep it.
            answer = async_to_sync(database.read)(make) if isinstance(request, ASGIRequest) else make()
        except DatabaseError:
            # Without the user, who would perhaps have to be read from the database.
            answer = HttpResponse(
                render_to_string(template, {"request": request, "frame": _still_frame(request), **context})
            )
    answer = answer or render(request, template, context)
    answer.status_code = status
    return answer


def refuse_forgery(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Refuse a write that does not prove that it comes from a page of this site, with the reason. Django's ``CSRF_FAILURE_VIEW``."""
    cause = format_sentence(explain_refusal(request, reason), gettext)
    return show_error(request, "403_csrf.html", 403, cause=cause)


def _still_frame(request: HttpRequest) -> str:
    """The page's frame without any query, if the browser says that its user was logged in."""
    return "still.html" if settings.SESSION_COOKIE_NAME in request.COOKIES else "plain.html"


def _beside_sessions(request: HttpRequest, template: str, context: Row, language: str) -> HttpResponse | None:
    if not request.user.is_authenticated:
        return None
    with translation.override(language):
        return render_page(request, template, frame="account.html", **context)
