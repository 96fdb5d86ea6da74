"""Authentication of API calls: by the login of the pages, or by a token within its scope.

Each call names by its ``auth`` the scope that a token needs for it: `READ`, `ASK` or `MANAGE`. A call without it takes no token.
"""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from ninja.security.base import AuthBase

from chat.api.askers import authenticate_request
from chat.models import Scope


class SessionCookieAuth(AuthBase):
    """The login of the pages, for the API's description; `TokenAuth` has checked it."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = settings.SESSION_COOKIE_NAME

    async def __call__(self, request: HttpRequest) -> Any:
        """The logged-in user, for calls that accept no token."""
        login = await authenticate_request(request, None)
        request.login = login  # type: ignore[attr-defined]
        return login.user


class TokenAuth(AuthBase):
    """A token of the needed scope; users who are logged in on the pages may call too."""

    openapi_type = "http"
    openapi_scheme = "bearer"

    def __init__(self, needed: Scope) -> None:
        super().__init__()
        self.needed = needed

    async def __call__(self, request: HttpRequest) -> Any:
        """Return the user of the token or of the login."""
        login = await authenticate_request(request, self.needed)
        request.login = login  # type: ignore[attr-defined]
        return login.user


#: The possible values of a call's ``auth``. The second of each is only for the API's description: the first checks both.
READ, ASK, MANAGE = ([TokenAuth(needed), SessionCookieAuth()] for needed in Scope)
#: For calls that no token may make.
PAGES_ALONE = [SessionCookieAuth()]
