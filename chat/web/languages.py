"""The reader's language: the account's choice, else this browser's, else what the browser prefers, else English."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, parse_cookie
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import get_supported_language_variant
from django.utils.translation.trans_real import parse_accept_lang_header
from django.views.decorators.http import require_POST

from chat.accounts.models import User

_KEPT_FOR_S = 365 * 24 * 3600

Answer = Callable[[HttpRequest], Any]


def is_known(code: str) -> bool:
    """Whether there are translations for a language's code."""
    return any(code == known for known, _name in settings.LANGUAGES)


def language_asked_for(accept: str) -> str:
    """The best language for an ``Accept-Language`` header, even an invalid one; empty if it accepts none of ours.

    ``zh-TW`` and ``zh-HK`` are Traditional Chinese; ``zh-CN``, ``zh-SG`` and a plain ``zh`` Simplified.
    """
    for code, quality in parse_accept_lang_header(accept):
        if code == "*":
            return ""
        if not quality:
            continue  # q=0: not accepted
        try:
            return get_supported_language_variant(code)
        except LookupError:
            continue
    return ""


def browser_language(cookies: Mapping[str, str], accept: str) -> str:
    """The language that was chosen in this browser, or else the one that it prefers."""
    chosen = cookies.get(settings.LANGUAGE_COOKIE_NAME, "")
    return chosen if is_known(chosen) else language_asked_for(accept) or settings.LANGUAGE_CODE


def scope_language(headers: list[tuple[bytes, bytes]]) -> str:
    """`browser_language` for a request that Django has not seen yet."""
    named = {name: value.decode("latin1") for name, value in headers if name in (b"cookie", b"accept-language")}
    return browser_language(parse_cookie(named.get(b"cookie", "")), named.get(b"accept-language", ""))


def account_language(user: AbstractBaseUser | AnonymousUser) -> str:
    """The account's language; empty if none was chosen, or no one is logged in."""
    return user.language if isinstance(user, User) and is_known(user.language) else ""


class _InLanguage(ABC):
    """Middleware that responds in a language, on the event loop: it never blocks, except to load the logged-in user."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Answer) -> None:
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Respond in that language."""
        if iscoroutinefunction(self._get_response):
            return self._answer(request)
        language = self.find_language(request)
        if not language:
            return self._get_response(request)
        with translation.override(language):
            return _marked(self._get_response(request), language)

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        if self.asks_database(request):
            language = await sync_to_async(self.find_language)(request)
        else:
            language = self.find_language(request)
        if not language:
            answer: HttpResponseBase = await self._get_response(request)
            return answer
        with translation.override(language):
            return _marked(await self._get_response(request), language)

    @abstractmethod
    def find_language(self, request: HttpRequest) -> str:
        """The language to respond in; empty leaves it unchanged."""

    def asks_database(self, request: HttpRequest) -> bool:
        """Whether finding it needs a thread, because it queries the database."""
        return False


class LanguageMiddleware(_InLanguage):
    """The outermost middleware: every page, including error pages, is in the language that the browser prefers."""

    def find_language(self, request: HttpRequest) -> str:
        """The browser's language."""
        return _language_of(request)


class AccountLanguageMiddleware(_InLanguage):
    """Comes after the login: the account's choice has precedence over the browser's."""

    def find_language(self, request: HttpRequest) -> str:
        """The account's language."""
        return "" if _is_for_programs(request) else account_language(request.user)

    def asks_database(self, request: HttpRequest) -> bool:
        """Whether there may be a logged-in user who was not loaded yet."""
        may_be = settings.SESSION_COOKIE_NAME in request.COOKIES and not _is_for_programs(request)
        return may_be and not hasattr(request, "_cached_user")


def _language_of(request: HttpRequest) -> str:
    if _is_for_programs(request):
        return settings.LANGUAGE_CODE
    return browser_language(request.COOKIES, request.headers.get("Accept-Language", ""))


def _is_for_programs(request: HttpRequest) -> bool:
    """Whether the response is for programs: the API and its document are in English, and pages translate its errors."""
    return request.path_info.startswith("/api/")


def _marked(response: HttpResponseBase, language: str) -> HttpResponseBase:
    """Set the response's ``Content-Language`` and ``Vary`` headers. Responses for programs are in English."""
    if response.get("Content-Type", "").startswith("text/html") and not response.has_header("Content-Language"):
        response["Content-Language"] = translation.to_locale(language).replace("_", "-")
        patch_vary_headers(response, ("Accept-Language", "Cookie"))
    return response


@require_POST
def choose_language(request: HttpRequest) -> HttpResponse:
    """Save the chosen language, and go back. An unknown one resets it to the browser's."""
    chosen = request.POST.get("language", "")
    chosen = chosen if is_known(chosen) else ""
    back = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure()):
        back = resolve_url("home")
    answer = HttpResponseRedirect(back)
    path = settings.LANGUAGE_COOKIE_PATH
    if chosen:
        secure = settings.LANGUAGE_COOKIE_SECURE
        answer.set_cookie(
            settings.LANGUAGE_COOKIE_NAME,
            chosen,
            max_age=_KEPT_FOR_S,
            path=path,
            secure=secure,
            httponly=True,
            samesite="Lax",
        )
    else:
        answer.delete_cookie(settings.LANGUAGE_COOKIE_NAME, path=path, samesite="Lax")
    if isinstance(request.user, User):
        request.user.language = chosen
        request.user.save(update_fields=["language"])
    return answer
