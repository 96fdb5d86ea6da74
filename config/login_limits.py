"""Limits for guessing passwords, and for creating accounts."""

from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_client_username
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from chat.web.errors import show_error
from config import proxies

#: How many failed logins are allowed, for a name from an address, for an address, and for a name. The second is for a whole office behind
#: one address; the third ends guesses from many addresses. Each is counted for ``AXES_COOLOFF_TIME``.
LIMITS = {("username", "ip_address"): 8, ("ip_address",): 50, ("username",): 100}


#: How many characters of an unknown name are counted; the rest is ignored.
_LONGEST_NAME = 200


class LimitsHandler(AxesDatabaseHandler):  # type: ignore[misc] # untyped
    """Axes, with a different limit for each combination of name and address."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """How close the count that is closest to its limit is, on a scale that ends at ``AXES_FAILURE_LIMIT``."""
        nearest = 0.0
        named = bool(get_client_username(request, credentials))
        for attempts, parameters in zip(self.get_user_attempts(request, credentials), _parameters(), strict=True):
            if not named and "username" in parameters:
                continue  # a user who signs up has no name yet
            limit = LIMITS[parameters]
            failures = sum(attempts.order_by().values_list("failures_since_start", flat=True)[:limit])
            nearest = max(nearest, failures / limit)
        return int(nearest * settings.AXES_FAILURE_LIMIT)

    def user_login_failed(
        self, sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
    ) -> None:
        """Count a failure; a name that is too long for the table is shortened."""
        name = str(credentials.get("username") or "")
        if len(name) > _LONGEST_NAME:
            credentials = {**credentials, "username": name[:_LONGEST_NAME]}
        super().user_login_failed(sender, credentials, request, **kwargs)

    def reset_user_attempts(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Forget a name's failures from an address after a login from there; not the address's, which one valid account could reset."""
        both = self.filter_user_attempts(request, credentials)[0]
        count: int = both.delete()[0]
        return count


def _parameters() -> list[tuple[str, ...]]:
    named = settings.AXES_LOCKOUT_PARAMETERS
    return [(names,) if isinstance(names, str) else tuple(names) for names in named]


def client_address(request: HttpRequest) -> str:
    """The client that a failed login is counted for: an address, or a network for IPv6."""
    forwarded = request.headers.get("X-Forwarded-For", "")
    return proxies.client_network(proxies.client_address(request.META.get("REMOTE_ADDR") or "", forwarded))


def locked_out(request: HttpRequest, *_: object) -> HttpResponse:
    """The page that says that there were too many failed logins, and how long to wait."""
    wait = settings.AXES_COOLOFF_TIME
    page = show_error(request, "locked_out.html", 429, minutes=round(wait.total_seconds() / 60))
    page["Retry-After"] = str(int(wait.total_seconds()))
    return page
