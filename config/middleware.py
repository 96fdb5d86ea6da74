"""Django's middleware on the event loop.

What these do before and after a view asks neither database nor disk, so it is done where it is called. As Django has them, each would
change to a thread and back, twice a request, which costs more than the work itself.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async
from csp.middleware import CSPMiddleware, PolicyParts
from django.contrib.auth.middleware import AuthenticationMiddleware as StockAuthentication
from django.contrib.messages.middleware import MessageMiddleware as StockMessages
from django.contrib.sessions.middleware import SessionMiddleware as StockSessions
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware as StockXFrameOptions
from django.middleware.common import CommonMiddleware as StockCommon
from django.middleware.csrf import CsrfViewMiddleware as StockCsrf
from django.middleware.security import SecurityMiddleware as StockSecurity
from django.urls import reverse


class OnLoop:
    """Comes before one of Django's middleware classes, whose hooks it calls without a thread."""

    async_mode: bool
    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)  # type: ignore[call-arg] # the middleware class that follows takes it
        if self.async_mode and hasattr(self, "process_view"):
            self.process_view = as_coroutine(self.process_view)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer, or pass the request on."""
        early = self.process_request(request) if hasattr(self, "process_request") else None
        response = early or await self.get_response(request)
        if not hasattr(self, "process_response"):
            return response
        if self.asks_database(request):
            return await sync_to_async(self.process_response)(request, response)
        answer: HttpResponseBase = self.process_response(request, response)
        return answer

    def asks_database(self, request: HttpRequest) -> bool:
        """Whether what is done with this response takes a thread after all."""
        return False


def as_coroutine(hook: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """A hook that waits for nothing, as asynchronous Django calls it."""

    async def called(*args: Any, **kwargs: Any) -> Any:
        return hook(*args, **kwargs)

    return called


class SecurityMiddleware(OnLoop, StockSecurity):
    """The headers of security."""


class CommonMiddleware(OnLoop, StockCommon):
    """Slashes that are missing, and lengths."""


class CsrfMiddleware(OnLoop, StockCsrf):
    """Refuses forged requests. The forms that it looks into have been read: see `config.forms`."""


class AuthenticationMiddleware(OnLoop, StockAuthentication):
    """Who asks, found out when somebody wants to know."""


class XFrameOptionsMiddleware(OnLoop, StockXFrameOptions):
    """No page stands in another one's frame."""


class SessionMiddleware(OnLoop, StockSessions):
    """The login's own store."""

    def asks_database(self, request: HttpRequest) -> bool:
        """Whether there is something to save."""
        return bool(request.session.modified)


class MessageMiddleware(OnLoop, StockMessages):
    """Words for the next page."""

    def asks_database(self, request: HttpRequest) -> bool:
        """Whether words were shown or added: long ones are kept in the session."""
        stored = request._messages  # type: ignore[attr-defined] # noqa: SLF001 - the name that Django's class gives it
        return bool(stored.used or stored.added_new)


class ContentSecurityMiddleware(OnLoop, CSPMiddleware):
    """Sends the policy with every page; Django's admin, whose scripts know no Trusted Types, does without those."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        """Return the policy of one response."""
        parts = super().get_policy_parts(request, response, report_only)
        if request.path_info.startswith(reverse("admin:index")):
            parts.replace = {**(parts.replace or {}), "require-trusted-types-for": None}
        return parts
