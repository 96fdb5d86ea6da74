"""Forms on pages that have no page of their own."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, get_script_prefix, resolve, reverse
from django.utils.http import url_has_allowed_host_and_scheme

from chat.web.errors import show_error

View = Callable[..., HttpResponseBase]


def form_action(view: View) -> View:
    """A decorator for views that accept only POST, from logged-in users.

    Other users log in first, and are then led to the page with the form: there they can send it again; this address has no page to show.
    """

    @wraps(view)
    def checked_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method != "POST":
            refused = show_error(request, "405.html", 405)
            refused["Allow"] = "POST"
            return refused
        return view(request, *args, **kwargs) if request.user.is_authenticated else redirect_to_login(_page_of(request))

    checked_view.is_form_action = True  # type: ignore[attr-defined]
    return checked_view


def _page_of(request: HttpRequest) -> str:
    """The page of this site from which a form was sent, by the browser's header; the first page if it names none, or another site's."""
    named = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(named, {request.get_host()}, request.is_secure()):
        return reverse("home")
    parts = urlsplit(named)
    try:
        found = resolve(parts.path.removeprefix(get_script_prefix().rstrip("/")))
    except Resolver404:
        return reverse("home")
    if getattr(found.func, "is_form_action", False):
        return reverse("home")
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
