"""allauth's adapter for the OpenID provider: its client, which users may log in, and which account belongs to them."""

import logging
import re
from hashlib import sha256
from typing import Any

import requests
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.base import AuthError
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from agents.json_types import JsonObject
from chat.accounts.models import User
from chat.security.login_stages import forget_attempt
from chat.security.oidc import membership, provider, rechecks
from chat.security.oidc.http import BoundedSession
from chat.security.oidc.provider import find_apps

logger = logging.getLogger(__name__)

_LONGEST_NAME = 140


def nonce_of(verifier: str) -> str:
    """The nonce that the ID token of a login must have, from the login's PKCE verifier, which only the session knows."""
    return sha256(f"nonce {verifier}".encode()).hexdigest()


def absolute_address(request: HttpRequest, page: str) -> str:
    """A page's absolute address, as it is sent to the provider."""
    path = reverse(page)
    return f"{settings.PUBLIC_URL.origin}{path}" if settings.PUBLIC_URL.origin else request.build_absolute_uri(path)


class ProviderClient(OpenIDConnectOAuth2Adapter):  # type: ignore[misc] # untyped
    """One login by the provider. Addresses come from `find_endpoints`; tokens are checked by `read_claims`."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request, settings.OIDC_ISSUER)
        self._verifier = ""

    @property
    def openid_config(self) -> JsonObject:
        """The provider's configuration document."""
        return provider.find_endpoints()

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        """The address to which the provider sends people back."""
        return absolute_address(request, "oidc_callback")

    def get_access_token_data(
        self, request: HttpRequest, app: SocialApp, client: Any, pkce_code_verifier: Any = None
    ) -> JsonObject:
        """Exchange the code for tokens."""
        self._verifier = pkce_code_verifier or ""
        form = {
            "grant_type": "authorization_code",
            "code": request.GET.get("code", ""),
            "redirect_uri": client.callback_url,
            "code_verifier": self._verifier,
        }
        status, tokens = provider.ask_tokens(form)
        if status != requests.codes.ok or not isinstance(tokens.get("access_token"), str):
            raise OAuth2Error(f"The provider gave no tokens: {status} {str(tokens.get('error', ''))[:80]}")
        return tokens

    def parse_token(self, data: JsonObject) -> SocialToken:
        """The tokens for later questions to the provider. `rechecks` stores them encrypted."""
        return SocialToken()

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **answer: Any) -> SocialLogin:
        """The login of a user, from the provider's claims."""
        tokens = answer["response"]
        claims = provider.read_claims(tokens, nonce=nonce_of(self._verifier))
        found: SocialLogin = self.get_provider().sociallogin_from_response(request, {"id_token": claims})
        found.answer = rechecks.Answer(claims, tokens)
        return found


class Provider(OpenIDConnectProvider):  # type: ignore[misc] # untyped
    """The provider as allauth knows it."""

    def get_oauth2_adapter(self, request: HttpRequest) -> ProviderClient:
        """The client for a login."""
        return ProviderClient(request)

    def get_pkce_params(self) -> dict[str, str]:
        """The parameters that bind the code, and with it the ID token, to the session."""
        parameters: dict[str, str] = super().get_pkce_params()
        return {**parameters, "nonce": nonce_of(parameters["code_verifier"])}

    def extract_extra_data(self, data: Any) -> JsonObject:
        """Empty: claims are not stored with the account."""
        return {}

    def extract_common_fields(self, data: Any) -> dict[str, str]:
        """Names and e-mail address, if they are texts, without characters that do not belong in a name."""
        claimed = super().extract_common_fields(data)
        return {name: clean_text(value) for name, value in claimed.items() if isinstance(value, str)}

    def extract_email_addresses(self, data: Any) -> list[Any]:
        """Empty: users confirm their addresses here."""
        return []


class ProviderAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc] # untyped
    """allauth's rules for users of the provider."""

    def list_apps(
        self, request: HttpRequest, provider: str | None = None, client_id: str | None = None
    ) -> list[SocialApp]:
        """The client from the environment; the database has none."""
        return [
            SocialApp(provider="openid_connect", **each)
            for each in find_apps()
            if provider in {None, "openid_connect", each["provider_id"]}
        ]

    def get_provider(self, request: HttpRequest, provider: str, client_id: str | None = None) -> Provider:
        """The provider, as a `Provider`."""
        apps = self.list_apps(request)
        if not apps:
            raise SocialApp.DoesNotExist
        return Provider(request, app=apps[0])

    def get_requests_session(self) -> BoundedSession:
        """The HTTP session for requests to the provider."""
        return BoundedSession()

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Always open: users whom the provider authenticates and a rule admits get an account. `ALLOW_SIGNUP` is for all others."""
        return True

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Refuse users whom no rule admits. For an existing account, store its claims now."""
        answer: rechecks.Answer = sociallogin.answer
        # What is stored during a further stage of the login must contain no token.
        sociallogin.token = None
        if not membership.may_enter(answer.claims):
            if sociallogin.is_existing:
                rechecks.refuse_account(sociallogin.user.pk)
            raise ImmediateHttpResponse(_refuse(request, "not_let_in", 403))
        forget_attempt(request)
        if sociallogin.is_existing:
            rechecks.confirm_account(sociallogin.user, answer)

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> Any:
        """Create an account with its claims."""
        sociallogin.user.username = free_username(sociallogin.answer.claims)
        with transaction.atomic():
            user = super().save_user(request, sociallogin, form)
            rechecks.confirm_account(user, sociallogin.answer)
        return user

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, **_: Any
    ) -> None:
        """Show that the login failed, in this product's own page."""
        raise ImmediateHttpResponse(self.explain_failure(request, exception or error))

    def explain_failure(self, request: HttpRequest, problem: Exception | str) -> HttpResponse:
        """The page that says that the login failed; the reason is only logged."""
        logger.warning("A login by the provider failed: %s", problem)
        if isinstance(problem, requests.RequestException):
            return _refuse(request, "unreachable", 503)
        return _refuse(request, "cancelled" if problem == AuthError.CANCELLED else "failed", 403)


def _refuse(request: HttpRequest, kind: str, status: int) -> HttpResponse:
    return render(
        request, "registration/provider_refused.html", {"kind": kind, "provider": settings.OIDC_NAME}, status=status
    )


def clean_text(text: str) -> str:
    """A claim that may be shown and stored: without NUL and without characters that change the reading direction."""
    return "".join(letter for letter in text if letter.isprintable())[:_LONGEST_NAME]


def free_username(claims: JsonObject) -> str:
    """A free username: the provider's name for the user, with a number if that is taken."""
    claimed = clean_text(str(claims.get("preferred_username") or claims.get("name") or "user"))
    name = re.sub(r"[^\w.@+-]+", "-", User.normalize_username(claimed)).strip("-")[:_LONGEST_NAME] or "user"
    number = 1
    free = name
    while User.objects.filter(username__iexact=free).exists():
        number += 1
        free = f"{name}-{number}"
    return free
