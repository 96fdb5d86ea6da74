"""What happens to someone who keeps guessing passwords."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def client_address(request: HttpRequest) -> str:
    """Return whom to count a failed login against.

    Behind a proxy every request comes from the proxy. It is the last address of ``X-Forwarded-For`` then, the one that
    the proxy itself wrote; those before it are the client's own words.
    """
    forwarded = request.headers.get("X-Forwarded-For", "") if settings.SECURE_PROXY_SSL_HEADER else ""
    return forwarded.rpartition(",")[2].strip() or request.META.get("REMOTE_ADDR") or ""


def locked_out(request: HttpRequest, *_: object) -> HttpResponse:
    """Say that there were too many failed logins, and how long to wait."""
    wait = settings.AXES_COOLOFF_TIME
    page = render(request, "locked_out.html", {"minutes": round(wait.total_seconds() / 60)}, status=429)
    page["Retry-After"] = str(int(wait.total_seconds()))
    return page
