"""Authentication of requests at all addresses that take tokens: by a token or the login of the pages.

Apart from `chat.api.auth`, which does the same for the API's library: pages need this much, and a start loads no more than pages need.
"""

from django.http import HttpRequest

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.live.handshake import Login
from chat.models import Scope
from chat.security.csrf import explain_refusal, forgery_reason
from chat.security.tokens import BadToken, Token

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
#: The user that a page was made for, as sent by the page: if another has logged in since, they must not send what was typed there.
PAGE_HEADER = "X-Page-User"


class ForgedRequest(Exception):
    """A write that does not prove that it comes from a page of this site; the message says why."""


class NotLoggedIn(Exception):
    """Nobody is logged in, and no token was sent."""


class OutOfScope(Exception):
    """A valid token that does not allow this call; ``needed`` is the scope that it would need, None if no token may make the call."""

    def __init__(self, needed: Scope | None) -> None:
        super().__init__()
        self.needed = needed


async def authenticate_request(request: HttpRequest, needed: Scope | None) -> Login:
    """Authenticates requests at addresses that accept tokens; see `chat.security.tokens`.

    ``needed``: the scope that a token needs; None refuses every token. Raises `BadToken`, `OutOfScope`, `NotLoggedIn` or, for a write
    with a page's login that does not prove that it comes from a page of ours, `ForgedRequest`; `chat.api.errors` turns them into answers.
    """
    token = token_of(request)
    if token is not None:
        if needed is None or not token.scope.holds(needed):
            raise OutOfScope(needed)
        return Login(token.user, "", token)
    user = await request.auser()
    if not isinstance(user, User):
        raise NotLoggedIn
    if request.method not in _SAFE_METHODS and (reason := forgery_reason(request)):
        raise ForgedRequest(explain_refusal(request, reason))
    if request.headers.get(PAGE_HEADER, str(user.pk)) != str(user.pk):
        raise ForgedRequest(
            Sentence(
                "Somebody else has logged in meanwhile. What you typed is kept on this device; log in again to go on."
            )
        )
    return Login(user, request.session.session_key or "")


def token_of(request: HttpRequest) -> Token | None:
    """The request's token; None if it has none. Raises `BadToken`."""
    token: Token | BadToken | None = getattr(request, "token", None)
    if isinstance(token, BadToken):
        raise token
    return token
