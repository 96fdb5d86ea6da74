"""The site's addresses."""

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLResolver, include, path, re_path, reverse
from django.urls.resolvers import RoutePattern
from django.utils.http import urlencode
from django.views.generic import RedirectView

from chat.web import echo, health, metrics

# For clients that request it without having read a page. The plain name, because this answer may be cached longer than the file's hashed
# name exists.
icon = RedirectView.as_view(url=f"{settings.STATIC_URL}chat/favicon/done.svg", permanent=True)

# The accounts' address in the admin while they were Django's own users.
former_accounts = RedirectView.as_view(
    url=f"{settings.FORCE_SCRIPT_NAME or ''}/admin/accounts/user/%(rest)s", query_string=True, permanent=True
)


def redirect_to_login(request: HttpRequest) -> HttpResponse:
    """Redirect to the login page, and from there to the requested page."""
    going = urlencode({"next": request.GET.get("next") or reverse("admin:index")})
    return redirect(f"{reverse('login')}?{going}")


class Later(URLResolver):
    """Addresses whose views are loaded when one of them is first requested, or reversed by its namespaced name.

    The calls of the API and what describes them take a quarter of a start, and the first page needs none.
    """

    def _populate(self) -> None:
        """Exclude their names from those of the other addresses, so that the others are found without loading these."""


urlpatterns = [
    path("", include("chat.urls")),
    Later(RoutePattern("api/"), "chat.api.urls", app_name="api", namespace="api"),
    Later(RoutePattern("v1/"), "chat.openai.urls", app_name="v1", namespace="v1"),
    path("accounts/", include("chat.web.accounts")),
    re_path(r"^admin/auth/user/(?P<rest>.*)$", former_accounts),
    # There is one login for everybody.
    path("admin/login/", redirect_to_login),
    path("admin/", admin.site.urls),
    path("favicon.ico", icon, name="icon"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("healthz/echo", echo.echo, name="echo"),
    path("metrics", metrics.metrics_page, name="metrics"),
]

handler400 = "chat.web.errors.bad_request"
handler403 = "chat.web.errors.forbidden"
handler404 = "chat.web.errors.not_found"
handler500 = "chat.web.errors.server_error"
