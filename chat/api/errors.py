"""Errors of the API, in the shape that the socket's have: ``{"error": {"code", "message", "id"}}``."""

import logging
import math
import secrets
from typing import TYPE_CHECKING

import orjson
from django.http import HttpRequest, HttpResponse

from agents.sentence import Sentence
from chat.api.askers import OutOfScope, token_of
from chat.protocol import ErrorCode, ErrorData, error_data
from chat.runs.admission import Refused
from chat.security.tokens import BadToken, TooManyAttempts

if TYPE_CHECKING:
    from ninja.errors import ValidationError

logger = logging.getLogger(__name__)


_STATUS: dict[ErrorCode, int] = {
    "not_allowed": 403,
    "not_found": 404,
    "not_continuable": 409,
    "not_waiting": 409,
    "nothing_to_cancel": 409,
    "conflict": 409,
    "budget_exceeded": 409,
    "too_large": 413,
    "too_many_files": 413,
    "unsupported_media": 415,
    "rate_limited": 429,
    "queue_full": 429,
    "storage": 503,
    "internal": 500,
}


#: After how many seconds a retry makes sense, if a limit was reached or a database did not answer.
RETRY_AFTER_S: dict[str, int] = {"rate_limited": 10, "queue_full": 5, "storage": 5}
#: Fields for pages alone.
_FOR_PAGES = frozenset({"template", "values"})


def status_of(code: ErrorCode) -> int:
    """The status of an answer with this code, unless the address itself was wrong."""
    return _STATUS.get(code, 400)


class ErrorResponse(HttpResponse):
    """An error in the protocol's shape, ``{"error": {"code", "message", "id"}}``, in English."""

    def __init__(self, data: ErrorData, status: int) -> None:
        plain = {name: value for name, value in data.items() if name not in _FOR_PAGES}
        super().__init__(orjson.dumps({"error": plain}), status=status, content_type="application/json")
        self._data = data

    def add_template(self) -> None:
        """Add the sentence's template and values: a page translates it."""
        self.content = orjson.dumps({"error": self._data})


def error_response(code: ErrorCode, message: str, status: int | None = None) -> ErrorResponse:
    """An error's data, with an id by which it is found in the log."""
    error_id = secrets.token_hex(4)
    status = status or status_of(code)
    logger.info("Refused a request: %s %s (%d)", code, error_id, status)
    response = ErrorResponse(error_data(code, message, error_id), status)
    if code in RETRY_AFTER_S:
        response["Retry-After"] = str(RETRY_AFTER_S[code])
    return response


def refused_command(_: HttpRequest, failure: Refused) -> HttpResponse:
    """The answer to a command that is refused."""
    response = error_response(failure.code, failure.message)
    if failure.wait_s is not None:
        response["Retry-After"] = str(failure.wait_s)
    return response


def not_logged_in() -> HttpResponse:
    """The answer to a request without a login."""
    return error_response("not_allowed", Sentence("Please log in."), 401)


async def refuse_anonymous(request: HttpRequest) -> HttpResponse | None:
    """The answer to a request without login and token, at an address that is no call; None for others."""
    try:
        token_of(request)
    except BadToken as bad:
        return bad_token(request, bad)
    return not_logged_in() if (await request.auser()).is_anonymous else None


def bad_token(_: HttpRequest, failure: BadToken) -> HttpResponse:
    """The answer to a token that is unknown, expired or revoked; and to the address from which too many such have come."""
    if isinstance(failure, TooManyAttempts):
        response = error_response(
            "rate_limited", Sentence("Too many tokens that are none came from there. Please wait.")
        )
        response["Retry-After"] = str(math.ceil(failure.wait_s))
        return response
    response = error_response("not_allowed", Sentence("This token is unknown, has expired or was revoked."), 401)
    response["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    return response


def out_of_scope(_: HttpRequest, failure: OutOfScope) -> HttpResponse:
    """The answer to a token that may not do this."""
    if failure.needed is None:
        return error_response("not_allowed", Sentence("No token may do this; log in on the pages."))
    message = Sentence("This needs a token with the scope “%(scope)s”.", scope=failure.needed.value)
    response = error_response("not_allowed", message)
    response["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{failure.needed.value}"'
    return response


def invalid_input(_: HttpRequest, failure: "ValidationError") -> HttpResponse:
    """The response to a query string that is not valid."""
    first = failure.errors[0]
    name = str(first["loc"][-1])
    return error_response("bad_last_seq" if name == "after" else "bad_frame", f"{name}: {first['msg']}.")


def internal_error(request: HttpRequest, failure: Exception) -> HttpResponse:
    """The response to an internal error; the cause is logged."""
    response = error_response("internal", Sentence("Something in this program went wrong; it has been noted."))
    logger.error("A request failed (%s)", request.path, exc_info=failure)
    return response


def storage_error(request: HttpRequest, failure: Exception) -> HttpResponse:
    """The response if the database did not answer; the cause is logged."""
    logger.error("The database did not answer (%s)", request.path, exc_info=failure)
    return error_response(
        "storage", Sentence("The database did not answer. Please try again; a message is not taken twice.")
    )
