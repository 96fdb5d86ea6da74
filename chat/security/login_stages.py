"""A login from its first proof to its end: password, passkey or provider, then the second factor, then in. There is no other way in."""

import time
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records, perform_login, record_authentication
from allauth.account.internal.stagekit import clear_login
from allauth.account.models import Login
from allauth.account.stages import LoginStage
from allauth.mfa.models import Authenticator
from django.contrib.auth import login as django_login
from django.contrib.auth import logout as django_logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from chat.accounts.models import User
from chat.security.logins import must_have_second_factor

#: By what a login is kept to be found again. Logins of earlier versions have it, too.
BACKEND = "django.contrib.auth.backends.ModelBackend"
#: How long somebody may take over the stages; and how long a proof lets change how one logs in. In seconds.
STAGES_S, RECENT_S = 900, 600
#: What proves a person besides the password or the provider.
SECOND_FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


def has_second_factor(user: User) -> bool:
    """Whether the account asks for a second factor."""
    return bool(Authenticator.objects.filter(user=user, type__in=SECOND_FACTORS).exists())


def begin_login(request: HttpRequest, user: User, method: str, next_url: str, **proof: Any) -> HttpResponse:
    """Go on with somebody whom ``method`` (``password``, ``mfa``) has just proven: to the next stage, or in and to ``next_url``."""
    forget_attempt(request)
    record_authentication(request, user, method=method, **proof)
    answer: HttpResponse = perform_login(request, Login(user=user, redirect_url=next_url))
    return answer


def forget_attempt(request: HttpRequest) -> None:
    """End what login there is, and forget what an earlier attempt has proven: a new one proves all of it anew."""
    if request.user.is_authenticated:
        django_logout(request)
    clear_login(request)
    # Until somebody is in, there is little to keep it for.
    request.session.set_expiry(STAGES_S)


def proven_recently(request: HttpRequest) -> bool:
    """Whether whoever is logged in here has shown who they are a moment ago: to change how they log in, it must be they themselves."""
    records = get_authentication_records(request, request.user)
    return any(time.time() - record["at"] < RECENT_S for record in records)


class SetUpStage(LoginStage):  # type: ignore[misc] # untyped
    """Where a second factor is a must, who has none sets one up before getting in."""

    key = "set_up_second_factor"
    urlname = "second_factor_required"

    def handle(self) -> tuple[HttpResponse | None, bool]:
        """Lead there, or go on."""
        user = self.login.user
        if must_have_second_factor(user) and not has_second_factor(user):
            return HttpResponseRedirect(reverse(self.urlname)), True
        return None, True


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc] # untyped
    """Which rules allauth keeps for every login."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "too_many_login_attempts": _("Too many attempts failed. Wait a while, then try again."),
    }

    def get_login_stages(self) -> list[str]:
        """What comes between the first proof and being in."""
        return ["allauth.mfa.stages.AuthenticateStage", f"{__name__}.{SetUpStage.__name__}"]

    def pre_login(self, request: HttpRequest, user: User, **_: Any) -> HttpResponse | None:
        """Turn away whose account is closed, deactivated, or refused by its provider."""
        return None if user.may_enter else turn_away(request)

    def login(self, request: HttpRequest, user: User) -> None:
        """Be in."""
        # What was stored for the stages was to be kept only as long as those take.
        request.session.set_expiry(None)
        django_login(request, user, backend=BACKEND)

    def populate_username(self, request: HttpRequest, user: User) -> None:
        """Names are chosen where accounts are made."""

    def add_message(self, *_: Any, **__: Any) -> None:
        """Say nothing: pages have words of their own."""


def turn_away(request: HttpRequest) -> HttpResponse:
    """Tell somebody who has proven to be who they are that their account lets nobody in."""
    return render(request, "registration/provider_refused.html", {"kind": "closed"}, status=403)
