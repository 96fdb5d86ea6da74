"""The JSON API, under ``/api/``: what the socket does, for clients without one; lists of sessions, and schedules.

Every error has the wire's shape, ``{"error": {"code", "message", "id"}}``.
"""

import logging
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, re_path

from chat.api.askers import PAGE_HEADER
from chat.api.docs import asyncapi_document, openapi_document
from chat.api.errors import ErrorResponse, error_response, refuse_anonymous
from chat.api.routes import api

logger = logging.getLogger(__name__)


def _in_own_words(view: Callable[..., Any]) -> Callable[..., Any]:
    """Report errors in the protocol's format; to pages, also with the parts that they translate."""

    @wraps(view)
    async def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        asked = request.method
        if asked == "HEAD":
            # As GET is answered: what serves the request sends nothing but the head.
            request.method = "GET"
        response: HttpResponseBase = await view(request, *args, **kwargs)
        request.method = asked
        if isinstance(response, HttpResponseNotAllowed):
            response = await _refuse_method(request, response["Allow"])
        if isinstance(response, ErrorResponse) and PAGE_HEADER in request.headers:
            response.add_template()
        return response

    return wrapped


async def _refuse_method(request: HttpRequest, allowed: str) -> HttpResponse:
    """Answer a method that an address does not have, to logged-in users alone."""
    if refusal := await refuse_anonymous(request):
        return refusal
    refused = error_response("bad_frame", f"This address takes {allowed}.", 405)
    refused["Allow"] = allowed
    return refused


async def unknown(request: HttpRequest) -> HttpResponse:
    """Any other address."""
    if refusal := await refuse_anonymous(request):
        return refusal
    return error_response("not_found", "There is no such address.")


unknown.csrf_exempt = True  # type: ignore[attr-defined] # there is nothing here to forge


def _addresses() -> Iterator[URLPattern]:
    for pattern in api.urls[0]:
        # Ninja's own root, which has nothing to show, is left out.
        if isinstance(pattern, URLPattern) and pattern.name != "api-root":
            yield path(str(pattern.pattern), _in_own_words(pattern.callback), name=pattern.name)


urlpatterns = [
    path("openapi.json", openapi_document, name="api-schema"),
    path("asyncapi.json", asyncapi_document, name="socket-schema"),
    *_addresses(),
    re_path(r"", unknown, name="api-unknown"),
]
