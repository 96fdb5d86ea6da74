"""Requests that are answered before anything else reads them: health checks, and plain http, which is redirected to https, once."""

from collections.abc import Awaitable, Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any, cast

from asgiref.sync import async_to_sync, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase, HttpResponsePermanentRedirect
from django.shortcuts import render

from agents.sentence import Sentence
from chat.rendering.sentences import translate_sentence
from chat.security.origins import warn_once
from chat.web import echo, health, metrics
from chat.web.errors import PROGRAM_PATHS
from config import content_security, proxies

#: Set by the redirect from http to https, and deleted by the first request over https: a request over http that has it was redirected in a
#: circle.
_REDIRECTED = "led_to_https"
_REDIRECTED_FOR_S = 30
#: Headers that proxies add. A request with one of these and none about https came through a proxy that does not send it.
_SIGNS = ("X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Forwarded", "Via")

#: The escape of NUL in a query, and of the character that `clean_text` replaces it with.
_NUL, _REPLACEMENT = "%00", "%EF%BF%BD"

Answer = Callable[[HttpRequest], Any]


class EdgeMiddleware:
    """Answers health checks, and `/metrics` to the operator's token, with any host name or scheme; and redirects to https.

    Health checks and scrapers use IP addresses. NUL in a query, which PostgreSQL does not accept, is replaced. It works where it is
    called, without a thread.
    """

    sync_capable = async_capable = True
    #: The views of the health checks' addresses.
    probes: Mapping[str, Callable[[HttpRequest], Awaitable[HttpResponseBase]]] = {
        "/healthz": health.healthz,
        "/readyz": health.readyz,
        "/healthz/echo": echo.echo,
    }

    def __init__(self, get_response: Answer) -> None:
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Answer, or pass the request on."""
        if _NUL in request.META["QUERY_STRING"] and not request.path_info.startswith(PROGRAM_PATHS):
            request.META["QUERY_STRING"] = request.META["QUERY_STRING"].replace(_NUL, _REPLACEMENT)
        if iscoroutinefunction(self._get_response):
            return self._answer(request)
        if probe := self._probe(request):
            return async_to_sync(probe)(request)
        return redirect_to_https(request) or _forget_redirect(request, self._get_response(request))

    def _probe(self, request: HttpRequest) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]] | None:
        if request.path_info == "/metrics" and metrics.has_token(request):
            return metrics.metrics_answer
        return self.probes.get(request.path_info)

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        if probe := self._probe(request):
            return await probe(request)
        return redirect_to_https(request) or _forget_redirect(request, await self._get_response(request))


def redirect_to_https(request: HttpRequest) -> HttpResponse | None:
    """Redirect plain http to https, where `PUBLIC_URL` has that; or explain why the redirect would be endless."""
    if not settings.SECURE_SSL_REDIRECT or request.is_secure():
        return None
    if not request.COOKIES.get(_REDIRECTED) and not _is_forgetful(request):
        host = settings.SECURE_SSL_HOST or request.get_host()
        answer = HttpResponsePermanentRedirect(f"https://{host}{request.get_full_path()}")
        # A browser that kept it would loop without asking again.
        answer["Cache-Control"] = "no-store"
        answer.set_cookie(_REDIRECTED, "1", max_age=_REDIRECTED_FOR_S, httponly=True, samesite="Lax")
        return answer
    cause = _why_not_https(request)
    warn_once(cause)
    response = render(request, "https_unknown.html", {"cause": translate_sentence(cause)}, status=500)
    response["Cache-Control"] = "no-store"
    response["Content-Security-Policy"] = content_security.plain_policy()
    response.delete_cookie(_REDIRECTED, samesite="Lax")
    return response


def _forget_redirect(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Delete the cookie of the redirect, because this request came by https."""
    if request.COOKIES.get(_REDIRECTED):
        response.delete_cookie(_REDIRECTED, samesite="Lax")
    return response


def _ignored_peer(request: HttpRequest) -> str | None:
    return cast("str | None", getattr(request, "scope", {}).get(proxies.IGNORED))


def _is_forgetful(request: HttpRequest) -> bool:
    """Whether a proxy forwarded this without a trusted header about https."""
    if _ignored_peer(request) is not None:
        return True
    return "X-Forwarded-Proto" not in request.headers and any(sign in request.headers for sign in _SIGNS)


def _why_not_https(request: HttpRequest) -> str:
    peer, proto = _ignored_peer(request), request.headers.get("X-Forwarded-Proto")
    own = settings.CSRF_TRUSTED_ORIGINS[-1] if settings.CSRF_TRUSTED_ORIGINS else "https"
    if peer is not None:
        return Sentence(
            "PUBLIC_URL is %(own)s, but X-Forwarded-… came from %(peer)s, which is none of TRUSTED_PROXIES, and was not believed. "
            "Add that address there.",
            own=own,
            peer=peer,
        )
    if proto is not None:
        return Sentence(
            "PUBLIC_URL is %(own)s, but the proxy in front says X-Forwarded-Proto: %(said)s where https was expected.",
            own=own,
            said=proto[:40],
        )
    return Sentence(
        "PUBLIC_URL is %(own)s, but the proxy in front sends no X-Forwarded-Proto. Let it send X-Forwarded-Proto: https "
        "(nginx: proxy_set_header X-Forwarded-Proto $scheme;).",
        own=own,
    )
