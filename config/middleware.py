"""Django's middleware on the event loop.

What these do before and after a view uses neither database nor disk, so it is done on the event loop. Django itself would change to a
thread and back for each, twice a request, which takes longer than the work itself.
"""

import inspect
from functools import cache, partial
from typing import Any, cast

from asgiref.sync import sync_to_async
from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware as StockAuthentication
from django.contrib.auth.middleware import get_user as find_django_user
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages.middleware import MessageMiddleware as StockMessages
from django.contrib.sessions.middleware import SessionMiddleware as StockSessions
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware as StockXFrameOptions
from django.middleware.common import CommonMiddleware as StockCommon
from django.middleware.csrf import CsrfViewMiddleware as StockCsrf
from django.middleware.security import SecurityMiddleware as StockSecurity
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin
from django.utils.functional import SimpleLazyObject

from chat.accounts.models import User
from chat.runtime import database
from chat.security import tokens
from chat.security.logins import StoredLogin, find_login, lacks_second_factor


class OnLoop(MiddlewareMixin):
    """A base for Django's middleware classes, whose hooks it calls on the event loop instead of a thread."""

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer, or pass the request on."""
        hooks: Any = self
        early = hooks.process_request(request) if hasattr(self, "process_request") else None
        response: HttpResponseBase = early or await hooks.get_response(request)
        if not hasattr(self, "process_response"):
            return response
        if self.asks_database(request):
            response = await sync_to_async(hooks.process_response)(request, response)
        else:
            response = hooks.process_response(request, response)
        return response

    def asks_database(self, request: HttpRequest) -> bool:
        """Whether this response needs a thread after all."""
        return False


class SecurityMiddleware(OnLoop, StockSecurity):
    """The security headers."""


class CommonMiddleware(OnLoop, StockCommon):
    """Missing slashes, and Content-Length."""


class CsrfMiddleware(OnLoop, StockCsrf):
    """Django's CSRF middleware. The forms that it reads were parsed before: see `config.forms`."""

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        if self.async_mode:
            self.process_view = self._process_view_on_loop  # type: ignore[assignment] # what asynchronous Django awaits

    async def _process_view_on_loop(self, *args: Any) -> HttpResponseBase | None:
        refused: Any = super().process_view(*args)
        return await refused if inspect.isawaitable(refused) else cast("HttpResponseBase | None", refused)

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        """The error page shows the user's sessions: it is rendered in a thread, like Django's error pages."""
        refuse = super()._reject  # type: ignore[misc] # Django's own name
        return (
            sync_to_async(refuse, thread_sensitive=False)(request, reason)
            if self.async_mode
            else refuse(request, reason)
        )


class AuthenticationMiddleware(OnLoop, StockAuthentication):
    """The requesting user: read once, on a reading connection, where a cookie or a token may prove a login.

    What proves no login, or has to be renewed, is left to Django, which looks when somebody wants to know; whom it finds is held to the
    same rules. With a token, where those are taken, nobody looks at a cookie. A request has its token as ``token``, or why it has none:
    see `chat.api.auth`.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Let ``request.user`` and ``request.auser`` load the user when they are first used."""
        super().process_request(request)
        asked: Any = request
        asked.user = SimpleLazyObject(partial(_find_user, request))
        asked.auser = partial(_find_user_later, request)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on, with its user."""
        self.process_request(request)
        asked: Any = request
        bearer = request.META.get("HTTP_AUTHORIZATION", "")
        session_key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        try:
            if tokens.is_bearer(bearer) and tokens.is_token_path(request.path_info):
                await _authenticate_token(asked, bearer)
            elif session_key:
                _set_login(asked, await database.read(find_login, session_key))
        except DatabaseError as error:
            # Raised where the user is used, and handled there.
            asked.user = SimpleLazyObject(partial(_fail, error))
            asked.auser = partial(_fail_later, error)
        response: HttpResponseBase = await cast(Any, self).get_response(request)
        return response


def _find_user(request: HttpRequest) -> User | AnonymousUser:
    """The user of the session according to Django; anonymous if such a login is not valid."""
    asked: Any = request
    user: Any = find_django_user(request)
    if user.is_authenticated and (not user.may_enter or lacks_second_factor(user, request.session)):
        user = asked._cached_user = asked._acached_user = AnonymousUser()  # noqa: SLF001 - Django's own names
    return cast("User | AnonymousUser", user)


async def _find_user_later(request: HttpRequest) -> User | AnonymousUser:
    asked: Any = request
    if not hasattr(asked, "_acached_user"):
        asked._acached_user = await sync_to_async(_find_user)(request)  # noqa: SLF001 - Django's own name
    return cast("User | AnonymousUser", asked._acached_user)  # noqa: SLF001


def _set_login(asked: Any, login: StoredLogin | None) -> None:
    if login is not None and login.is_by_current_key:
        asked.session._session_cache = login.data  # noqa: SLF001 - as loaded, which `load` has no way to be given
        asked.session.accessed = True
        asked._cached_user = asked._acached_user = login.user  # noqa: SLF001 - Django's own names


async def _authenticate_token(asked: Any, bearer: str) -> None:
    asked._cached_user = asked._acached_user = AnonymousUser()  # noqa: SLF001
    address = asked.META.get("REMOTE_ADDR") or ""
    try:
        digest = tokens.find_digest(bearer, address)
        asked.token = token = await database.read(tokens.find_token, digest, address)
    except tokens.BadToken as bad:
        asked.token = bad
        return
    asked._cached_user = asked._acached_user = token.user  # noqa: SLF001
    tokens.record_use(token, tokens.door_of(asked.path_info))


def _fail(error: DatabaseError) -> Any:
    raise error


async def _fail_later(error: DatabaseError) -> Any:
    raise error


class XFrameOptionsMiddleware(OnLoop, StockXFrameOptions):
    """Forbid showing a page in a frame of another one."""


class SessionMiddleware(OnLoop, StockSessions):
    """Django's sessions of logins. No cache that several people share may keep an answer that depends on one."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save the session, and add the headers."""
        used = request.session.accessed
        answer = super().process_response(request, response)
        if used:
            answer.headers.setdefault("Cache-Control", "private")
        return answer

    def asks_database(self, request: HttpRequest) -> bool:
        """Whether there is something to save."""
        return bool(request.session.modified)


class MessageMiddleware(OnLoop, StockMessages):
    """Messages for the next page."""

    def asks_database(self, request: HttpRequest) -> bool:
        """Whether messages were shown or added: long ones are stored in the session."""
        stored = request._messages  # type: ignore[attr-defined] # noqa: SLF001 - the name that Django's class gives it
        return bool(stored.used or stored.added_new)


@cache
def _admin_path() -> str:
    return reverse("admin:index")


class ContentSecurityMiddleware(OnLoop, CSPMiddleware):
    """Sends the policy with every page; Django's admin, whose scripts do not use Trusted Types, gets one without those."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        """The policy for a response."""
        parts = super().get_policy_parts(request, response, report_only)
        if request.path_info.startswith(_admin_path()):
            parts.replace = {**(parts.replace or {}), "require-trusted-types-for": None}
        return parts
