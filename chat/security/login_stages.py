"""A login from its first proof to its end: password, passkey or provider, then the second factor. There is no other way to log in."""

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
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _

from chat.accounts.models import User
from chat.security.logins import must_have_second_factor

#: The backend that is stored with a login; logins of earlier versions have it, too.
BACKEND = "django.contrib.auth.backends.ModelBackend"
#: How many seconds the stages may take; and for how many a proof allows a user to change how they log in.
STAGES_S, RECENT_S = 900, 600
#: The session key of the password's hash when a login began.
_PROVEN_BY = "login_proven_by"
#: Proofs other than the password or the provider.
SECOND_FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


def has_second_factor(user: User) -> bool:
    """Whether the account has a second factor."""
    return bool(Authenticator.objects.filter(user=user, type__in=SECOND_FACTORS).exists())


def begin_login(request: HttpRequest, user: User, method: str, next_url: str, **proof: Any) -> HttpResponse:
    """Continue with a user whom ``method`` (``password``, ``mfa``) has just proven: to the next stage, or log in and go to ``next_url``."""
    forget_attempt(request)
    request.session[_PROVEN_BY] = user.get_session_auth_hash()
    record_authentication(request, user, method=method, **proof)
    answer: HttpResponse = perform_login(request, Login(user=user, redirect_url=next_url))
    return answer


def forget_attempt(request: HttpRequest) -> None:
    """End the present login, and forget what an earlier attempt has proven: a new one has to prove everything again."""
    if request.user.is_authenticated:
        django_logout(request)
    clear_login(request)
    # The session is not needed for longer before the login is complete.
    request.session.set_expiry(STAGES_S)


def is_still_proven(request: HttpRequest, user: User) -> bool:
    """Whether the password is still the one with which this login began. Changing it invalidates earlier proofs."""
    proven_by = request.session.get(_PROVEN_BY)
    return proven_by is None or constant_time_compare(proven_by, user.get_session_auth_hash())


def proven_recently(request: HttpRequest) -> bool:
    """Whether the logged-in user has just proven who they are: required to change how they log in."""
    records = get_authentication_records(request, request.user)
    return any(time.time() - record["at"] < RECENT_S for record in records)


class SetUpStage(LoginStage):  # type: ignore[misc] # untyped
    """If a second factor is required, users without one have to set it up before they are logged in."""

    key = "set_up_second_factor"
    urlname = "second_factor_required"

    def handle(self) -> tuple[HttpResponse | None, bool]:
        """Go to that page, or continue."""
        user = self.login.user
        if must_have_second_factor(user) and not has_second_factor(user):
            return HttpResponseRedirect(reverse(self.urlname)), True
        return None, True


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc] # untyped
    """allauth's rules for every login."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "too_many_login_attempts": _("Too many attempts failed. Wait a while, then try again."),
    }

    def get_login_stages(self) -> list[str]:
        """The stages between the first proof and being logged in."""
        return ["allauth.mfa.stages.AuthenticateStage", f"{__name__}.{SetUpStage.__name__}"]

    def pre_login(self, request: HttpRequest, user: User, **_: Any) -> HttpResponse | None:
        """Refuse users whose account is closed, deactivated, or refused by its provider."""
        return None if user.may_enter else show_refused_login(request)

    def login(self, request: HttpRequest, user: User) -> None:
        """Log in."""
        # The session was to last only as long as the stages.
        request.session.set_expiry(None)
        django_login(request, user, backend=BACKEND)

    def populate_username(self, request: HttpRequest, user: User) -> None:
        """Do nothing: names are chosen where accounts are created."""

    def add_message(self, *_: Any, **__: Any) -> None:
        """Show nothing: pages have messages of their own."""


def show_refused_login(request: HttpRequest) -> HttpResponse:
    """Show a user who has proven who they are that their account may not log in."""
    return render(request, "registration/provider_refused.html", {"kind": "closed"}, status=403)
