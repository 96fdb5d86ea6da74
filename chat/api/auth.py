"""Who asks: the login of the pages."""

from django.conf import settings
from django.http import HttpRequest
from ninja.security.base import AuthBase

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.security.csrf import explain_refusal, forgery_reason

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
#: Whom a page was made for, as it says itself: in another tab somebody else may have logged in, who is not to say what was typed here.
PAGE_HEADER = "X-Page-User"


class ForgedRequest(Exception):
    """A write that does not prove that it comes from a page of ours; the text says why."""


class SessionCookieAuth(AuthBase):
    """The login of the pages; what changes something must prove that it comes from them."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = settings.SESSION_COOKIE_NAME

    async def __call__(self, request: HttpRequest) -> User | None:
        """Return who is logged in; None where nobody is."""
        user = await request.auser()
        if not isinstance(user, User):
            return None
        if request.method not in _SAFE_METHODS and (reason := forgery_reason(request)):
            raise ForgedRequest(explain_refusal(request, reason))
        if request.headers.get(PAGE_HEADER, str(user.pk)) != str(user.pk):
            raise ForgedRequest(
                Sentence(
                    "Somebody else has logged in meanwhile. What you typed is kept on this device; log in again to go on."
                )
            )
        return user
