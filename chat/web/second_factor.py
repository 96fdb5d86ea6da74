"""Second factors: at the login; and the pages to set up, show and remove them, for users who have just proven who they are."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from allauth.account.internal.decorators import login_stage_required
from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.internal.flows import delete_and_cleanup, post_authentication
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.stages import AuthenticateStage
from allauth.mfa.totp.internal import auth as totp
from allauth.mfa.webauthn.internal import auth as webauthn
from axes.helpers import get_lockout_response
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from chat.accounts.models import User
from chat.models import Act
from chat.rendering.template_row import Row
from chat.security import second_factor
from chat.security.login_stages import (
    STAGES_S,
    SetUpStage,
    begin_login,
    has_second_factor,
    is_still_proven,
    proven_recently,
)
from chat.security.logins import must_have_second_factor
from chat.web.page import render_account_page
from chat.web.provider_login import safe_next

View = Callable[..., HttpResponse]
_LONGEST_NAME = 80
Type = Authenticator.Type


# At the login


@require_http_methods(["GET", "POST"])
@login_stage_required(stage=AuthenticateStage.key, redirect_urlname="login")  # type: ignore[untyped-decorator]
def ask_second_factor(request: HttpRequest) -> HttpResponse:
    """Require the second factor of a user who has given the password, and log them in."""
    stage = request._login_stage  # type: ignore[attr-defined] # noqa: SLF001 - as allauth hands it over
    user = stage.login.user
    if user is None or not has_second_factor(user) or not is_still_proven(request, user):
        return redirect("login")
    if request.method == "POST":
        factor, refusal = _prove(request, user)
        if refusal is not None:
            return refusal
        if factor is not None:
            post_authentication(request, factor)
            answer: HttpResponse = stage.exit()
            return answer
    return render(request, "registration/second_factor.html", _questions(request, user))


def _questions(request: HttpRequest, user: User) -> Row:
    """The data of a page that requires a second factor."""
    types = set(Authenticator.objects.filter(user=user).values_list("type", flat=True))
    return {
        "failed": request.method == "POST",
        "has_codes": bool(types & {Type.TOTP, Type.RECOVERY_CODES}),
        "has_app": Type.TOTP in types,
        "passkey": json.dumps(webauthn.begin_authentication(user)) if Type.WEBAUTHN in types else None,
    }


def _prove(request: HttpRequest, user: User) -> tuple[Authenticator | None, HttpResponse | None]:
    """The factor that was sent, if it is one of this user's; or the response after too many attempts."""
    if not second_factor.may_try(request, user):
        return None, cast(HttpResponse, get_lockout_response(request))
    passkey = request.POST.get("credential", "")
    if passkey:
        factor = second_factor.prove_passkey(user, passkey)
    else:
        factor = second_factor.prove_code(user, request.POST.get("code", "").replace(" ", "")[:40])
    if factor is None and second_factor.count_failure(request, user):
        return None, cast(HttpResponse, get_lockout_response(request))
    return factor, None


@require_http_methods(["GET", "POST"])
@login_stage_required(stage=SetUpStage.key, redirect_urlname="login")  # type: ignore[untyped-decorator]
def require_second_factor(request: HttpRequest) -> HttpResponse:
    """Have a user who must have a second factor set one up, and log them in."""
    stage = request._login_stage  # type: ignore[attr-defined] # noqa: SLF001
    user = stage.login.user
    if user is None or not is_still_proven(request, user):
        return redirect("login")
    if request.method == "POST" and "seen" in request.POST and has_second_factor(user):
        answer: HttpResponse = stage.exit()
        return answer
    if has_second_factor(user):
        return _show_codes(request, user, is_stage=True)
    return _set_up_app(request, user, is_stage=True)


def _offer_passkey(request: HttpRequest) -> HttpResponse:
    """The challenge that a passkey of any user is to sign."""
    # The challenge is stored for as long as an answer takes.
    if not request.user.is_authenticated:
        request.session.set_expiry(STAGES_S)
    return JsonResponse({"options": webauthn.begin_authentication(None)})


@never_cache
@require_POST
def log_in_by_passkey(request: HttpRequest) -> HttpResponse:
    """Log in with a passkey alone: it counts as two factors, because its holder has to unlock it."""
    if "credential" not in request.POST:
        return _offer_passkey(request)
    if not second_factor.may_try(request, None):
        return cast(HttpResponse, get_lockout_response(request))
    factor = second_factor.prove_passkey(None, request.POST["credential"])
    if factor is None:
        if second_factor.count_failure(request, None):
            return cast(HttpResponse, get_lockout_response(request))
        messages.error(request, _("This passkey lets nobody in here."))
        return redirect("login")
    factor.record_usage()
    return begin_login(
        request, factor.user, "mfa", safe_next(request), id=factor.pk, type=factor.type, passwordless=True
    )


# In the user's account


def recent_proof_required(view: View) -> View:
    """Require users to prove again who they are, unless they just did, before a page that changes how they log in."""

    @never_cache
    @login_required
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not proven_recently(request):
            going = request.get_full_path() if request.method == "GET" else reverse("security")
            return redirect(f"{reverse('account_confirm')}?{urlencode({'next': going})}")
        return view(request, *args, **kwargs)

    return guarded


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def confirm(request: HttpRequest) -> HttpResponse:
    """Have the logged-in user prove again who they are: by the password, the second factor, or the OpenID provider."""
    user = cast(User, request.user)
    if request.method == "POST":
        if request.POST.get("password"):
            # Counted by Axes, which refuses after too many attempts.
            if authenticate(request, username=user.get_username(), password=request.POST["password"]) == user:
                record_authentication(request, user, method="password")
                return redirect(safe_next(request))
        else:
            factor, refusal = _prove(request, user)
            if refusal is not None:
                return refusal
            if factor is not None:
                post_authentication(request, factor)
                return redirect(safe_next(request))
    context = {
        **_questions(request, user),
        "has_password": user.has_usable_password(),
        "provider": settings.OIDC_NAME if settings.OIDC_ISSUER and hasattr(user, "provider_login") else "",
        "next": safe_next(request),
    }
    return render_account_page(request, "registration/confirm.html", **context)


@require_GET
@never_cache
@login_required
def show_security(request: HttpRequest) -> HttpResponse:
    """The page about the user's second factors."""
    user = cast(User, request.user)
    factors = list(Authenticator.objects.filter(user=user).order_by("created_at"))
    codes = next((factor for factor in factors if factor.type == Type.RECOVERY_CODES), None)
    context = {
        "app": next((factor for factor in factors if factor.type == Type.TOTP), None),
        "passkeys": [(factor, factor.wrap().name) for factor in factors if factor.type == Type.WEBAUTHN],
        "codes_left": len(codes.wrap().get_unused_codes()) if codes else None,
        "is_required": must_have_second_factor(user),
        "provider": settings.OIDC_NAME if settings.OIDC_ISSUER and hasattr(user, "provider_login") else "",
    }
    return render_account_page(request, "registration/security.html", **context)


@require_http_methods(["GET", "POST"])
@recent_proof_required
def set_up_app(request: HttpRequest) -> HttpResponse:
    """Set up an authenticator app."""
    user = cast(User, request.user)
    if Authenticator.objects.filter(user=user, type=Type.TOTP).exists():
        return redirect("security")
    return _set_up_app(request, user)


def _set_up_app(request: HttpRequest, user: User, *, is_stage: bool = False) -> HttpResponse:
    failed = False
    if request.method == "POST":
        if not second_factor.may_try(request, user):
            return cast(HttpResponse, get_lockout_response(request))
        secret = totp.get_totp_secret()
        code = request.POST.get("code", "").replace(" ", "")[:40]
        if totp.validate_totp_code(secret, code):
            factor = _keep_app(user, secret, code)
            totp.clear_totp_secret(request)
            post_authentication(request, factor)
            return redirect("second_factor_required" if is_stage else "recovery_codes")
        failed = True
        if second_factor.count_failure(request, user):
            return cast(HttpResponse, get_lockout_response(request))
    secret = totp.get_totp_secret(regenerate=not failed)
    adapter = get_adapter()
    svg = adapter.build_totp_svg(adapter.build_totp_url(user, secret))
    context = {
        "qr": mark_safe(svg[svg.index("<svg") :]),  # noqa: S308 - drawn here, of a secret made here
        "secret": " ".join(secret[start : start + 4] for start in range(0, len(secret), 4)),
        "failed": failed,
        "is_stage": is_stage,
    }
    return render_account_page(request, "registration/second_factor_app.html", **context)


@transaction.atomic
def _keep_app(user: User, secret: str, code: str) -> Authenticator:
    Authenticator.objects.filter(user=user, type=Type.TOTP).delete()
    totp.TOTP.activate(user, secret)
    RecoveryCodes.activate(user)
    second_factor.prove_code(user, code)
    factor = Authenticator.objects.get(user=user, type=Type.TOTP)
    second_factor.note_change(user, Act.FACTOR_ADDED, factor)
    return factor


@require_http_methods(["GET", "POST"])
@recent_proof_required
def recovery_codes(request: HttpRequest) -> HttpResponse:
    """Show the recovery codes, or create new ones, which invalidates the old."""
    user = cast(User, request.user)
    if not has_second_factor(user):
        return redirect("security")
    if request.method == "POST":
        with transaction.atomic():
            Authenticator.objects.filter(user=user, type=Type.RECOVERY_CODES).delete()
            RecoveryCodes.activate(user)
        return redirect("recovery_codes")
    return _show_codes(request, user)


def _show_codes(request: HttpRequest, user: User, *, is_stage: bool = False) -> HttpResponse:
    codes = RecoveryCodes.activate(user).get_unused_codes()
    return render_account_page(request, "registration/recovery_codes.html", codes=codes, is_stage=is_stage)


@require_http_methods(["GET", "POST"])
@recent_proof_required
def add_passkey(request: HttpRequest) -> HttpResponse:
    """Add a passkey. It stays on the device or security key, and works only for this site."""
    user = cast(User, request.user)
    if request.method == "POST":
        name = request.POST.get("name", "").strip()[:_LONGEST_NAME]
        name = name or get_adapter().generate_authenticator_name(user, Type.WEBAUTHN)
        had_one = has_second_factor(user)
        factor = second_factor.add_passkey(user, name, request.POST.get("credential", ""))
        if factor is not None:
            record_authentication(request, user, method="mfa", id=factor.pk, type=factor.type)
            return redirect("security" if had_one else "recovery_codes")
    context = {
        "creation": json.dumps(webauthn.begin_registration(user, True)),
        "failed": request.method == "POST",
        "name": get_adapter().generate_authenticator_name(user, Type.WEBAUTHN),
    }
    return render_account_page(request, "registration/passkey_add.html", **context)


@require_POST
@recent_proof_required
def remove_factor(request: HttpRequest, factor_id: int) -> HttpResponse:
    """Remove an app or a passkey; with the last of them, the recovery codes are removed, too."""
    factor = get_object_or_404(Authenticator, pk=factor_id, user=request.user, type__in=[Type.TOTP, Type.WEBAUTHN])
    if get_adapter().can_delete_authenticator(factor):
        with transaction.atomic():
            second_factor.note_change(cast(User, request.user), Act.FACTOR_REMOVED, factor)
            delete_and_cleanup(request, factor)
        messages.success(request, _("Removed."))
    else:
        messages.error(request, str(get_adapter().error_messages["cannot_delete_authenticator"]))
    return redirect("security")
