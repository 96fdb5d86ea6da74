"""Who asks, and what they may ask for: by the login of the pages, or by a token within its scope.

Each call says by its ``auth`` what a token must hold for it: `READ`, `ASK` or `MANAGE`. A call that says nothing takes no token.
"""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from ninja.security.base import AuthBase

from chat.api.askers import authenticate_request
from chat.models import Scope


class SessionCookieAuth(AuthBase):
    """How the API's description tells of the login of the pages; `TokenAuth` has looked at it."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = settings.SESSION_COOKIE_NAME

    async def __call__(self, request: HttpRequest) -> Any:
        """Return who is logged in, where the call takes no token."""
        login = await authenticate_request(request, None)
        request.login = login  # type: ignore[attr-defined]
        return login.user


class TokenAuth(AuthBase):
    """A token that holds as much as the call needs; whoever has logged in on the pages may call too."""

    openapi_type = "http"
    openapi_scheme = "bearer"

    def __init__(self, needed: Scope) -> None:
        super().__init__()
        self.needed = needed

    async def __call__(self, request: HttpRequest) -> Any:
        """Return whose token it is, or who is logged in."""
        login = await authenticate_request(request, self.needed)
        request.login = login  # type: ignore[attr-defined]
        return login.user


#: What a call's ``auth`` may be. The second of each is there for the description: the first takes both.
READ, ASK, MANAGE = ([TokenAuth(needed), SessionCookieAuth()] for needed in Scope)
#: Of calls that no token may make.
PAGES_ALONE = [SessionCookieAuth()]
