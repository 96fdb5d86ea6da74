"""Logging in through the OpenID provider: to it and back; and logging out of it."""

import logging

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

logger = logging.getLogger(__name__)


def safe_next(request: HttpRequest) -> str:
    """The page to go to after the login; the first page if the requested one is not of this site."""
    place = request.GET.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(place, {request.get_host()}, require_https=request.is_secure())
    return place if is_ours else reverse(settings.LOGIN_REDIRECT_URL)


@never_cache
@require_GET
def begin_provider_login(request: HttpRequest) -> HttpResponse:
    """Redirect to the provider. Requests from other sites get the login page instead, where the user has to click."""
    if not settings.OIDC_ISSUER:
        raise Http404
    if request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        return redirect(f"{reverse('login')}?{request.GET.urlencode()}")
    # Imported where it is used: an installation without a provider needs none of it.
    from allauth.socialaccount.providers.oauth2.client import OAuth2Error  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    from chat.security.login_stages import STAGES_S  # noqa: PLC0415
    from chat.security.oidc.adapter import ProviderAdapter  # noqa: PLC0415

    adapter = ProviderAdapter(request)
    provider = adapter.get_provider(request, settings.OIDC_ISSUER)
    if not request.user.is_authenticated:
        request.session.set_expiry(STAGES_S)
    parameters = {"prompt": "login"} if "again" in request.GET else {}
    try:
        answer: HttpResponse = provider.redirect(
            request, process="login", next_url=safe_next(request), auth_params=parameters
        )
    except (OAuth2Error, RequestException) as problem:
        return adapter.explain_failure(request, problem)
    return answer


@never_cache
@require_GET
def end_provider_login(request: HttpRequest) -> HttpResponse:
    """Complete the login of a user who comes back from the provider."""
    if not settings.OIDC_ISSUER:
        raise Http404
    from allauth.socialaccount.providers.oauth2.client import OAuth2Error  # noqa: PLC0415
    from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView  # noqa: PLC0415

    from chat.security.oidc.adapter import ProviderAdapter, ProviderClient  # noqa: PLC0415

    # The provider names itself in its answer (RFC 9207), if it supports that.
    if request.GET.get("iss", settings.OIDC_ISSUER) != settings.OIDC_ISSUER:
        return ProviderAdapter(request).explain_failure(request, OAuth2Error("The answer is another provider's"))
    answer: HttpResponse = OAuth2CallbackView.adapter_view(ProviderClient)(request)
    return answer


@never_cache
@require_GET
def leave_provider(request: HttpRequest) -> HttpResponse:
    """Show a user who has logged out here that they are still logged in at the provider, and where to log out."""
    if not settings.OIDC_ISSUER:
        raise Http404
    if request.user.is_authenticated:
        return redirect(settings.LOGIN_REDIRECT_URL)
    from allauth.socialaccount.providers.oauth2.client import OAuth2Error  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    from chat.security.oidc.adapter import absolute_address  # noqa: PLC0415
    from chat.security.oidc.provider import logout_address  # noqa: PLC0415

    try:
        address = logout_address(absolute_address(request, "login"))
    except (OAuth2Error, RequestException) as problem:
        logger.warning("The provider's logout address could not be read: %s", problem)
        address = ""
    if not address:
        return redirect("login")
    return render(request, "registration/provider_logout.html", {"address": address, "provider": settings.OIDC_NAME})


urlpatterns = [
    path("oidc/login/", begin_provider_login, name="oidc_login"),
    path("oidc/callback/", end_provider_login, name="oidc_callback"),
    path("oidc/logout/", leave_provider, name="oidc_logout"),
]
