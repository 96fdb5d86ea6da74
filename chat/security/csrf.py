"""Refuses writes that do not prove that they come from a page of this site, and explains why to the user and the operator."""

from typing import Any, cast

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.middleware import csrf

from agents.sentence import Sentence
from chat.security.origins import explain_mismatch, warn_once


class _Check(csrf.CsrfViewMiddleware):
    """Django's own check, but it returns its reason instead of a response."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def forgery_reason(request: HttpRequest) -> str | None:
    """Django's reason for not accepting that a request comes from a page of this site; None if it does."""
    check = _Check(lambda _: HttpResponse())
    request.csrf_processing_done = False  # type: ignore[attr-defined]
    check.process_request(request)
    return cast("str | None", check.process_view(request, lambda _: HttpResponse(), (), {}))


def explain_refusal(request: HttpRequest, reason: str) -> str:
    """What is wrong, for the user. If addresses differ, the operator has to correct that: it is logged once."""
    if reason.startswith("Origin checking failed"):
        cause = explain_mismatch(request.headers.get("Origin", ""), _asked_as(request))
        warn_once(cause)
        return cause
    if reason == csrf.REASON_NO_REFERER:
        return Sentence(
            "The browser does not say which page this came from: neither the header Origin nor Referer was sent."
        )
    if reason.startswith("Referer checking failed"):
        cause = explain_mismatch(request.headers.get("Referer", ""), _asked_as(request))
        warn_once(cause)
        return cause
    if reason == csrf.REASON_NO_CSRF_COOKIE:
        return Sentence("The browser sent no cookie csrftoken. Allow this site its cookies, then reload the page.")
    if reason == csrf.REASON_CSRF_TOKEN_MISSING:
        return Sentence("The request has no token: the field csrfmiddlewaretoken or the header X-CSRFToken is missing.")
    return Sentence("The page is older than your last login, perhaps in another tab. Reload it and try again.")


def _asked_as(request: HttpRequest) -> str:
    try:
        host = request.get_host()
    except DisallowedHost:
        host = request.META.get("HTTP_HOST", "")
    return f"{request.scheme}://{host}"
