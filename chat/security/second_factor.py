"""Second factors: their secrets are encrypted, a code is valid once, and guessing is limited as for passwords."""

import json
import logging
import secrets
from base64 import b32encode
from typing import Any, cast

from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.adapter import DefaultMFAAdapter, get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from allauth.mfa.webauthn.internal import auth as webauthn
from axes.handlers.proxy import AxesProxyHandler
from cryptography.exceptions import InvalidSignature
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat.accounts.models import User
from chat.models import Act, Door
from chat.security import audit
from chat.security.logins import must_have_second_factor
from chat.security.sealing import decrypt_text, encrypt_text

logger = logging.getLogger(__name__)


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc] # untyped
    """allauth's rules for second factors."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": _("This code is not right, or was used before."),
        "cannot_delete_authenticator": _("Your account must have a second factor: set up another one first."),
    }

    def get_totp_label(self, user: User) -> str:
        """The account's name in an authenticator app."""
        return user.get_username()

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """The site that a passkey is for; browsers show its name."""
        entity: dict[str, str] = super().get_public_key_credential_rp_entity()
        return {**entity, "name": "Thinkaloud"}

    def get_public_key_credential_user_entity(self, user: User) -> dict[str, Any]:
        """A passkey's user, as the browser shows it."""
        entity: dict[str, Any] = super().get_public_key_credential_user_entity(user)
        return {**entity, "name": user.get_username(), "display_name": user.get_full_name() or user.get_username()}

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:  # noqa: A002 - allauth's own
        """The name of a passkey that its user has not named."""
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return gettext("Passkey %(number)s") % {"number": number}

    def encrypt(self, text: str) -> str:
        """A secret, encrypted for storage."""
        return encrypt_text(text)

    def decrypt(self, encrypted_text: str) -> str:
        """A stored secret; if no key can decrypt it any more, a random one, which nothing proves."""
        found = decrypt_text(encrypted_text)
        if found is None:
            logger.error(
                "A second factor was encrypted with another key than FIELD_KEY or SECRET_KEY: it cannot be used any more"
            )
            return b32encode(secrets.token_bytes(20)).decode()
        return found

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """Whether the user may remove this factor."""
        user = authenticator.user
        others = (
            Authenticator.objects.filter(user=user)
            .exclude(pk=authenticator.pk)
            .exclude(type=Authenticator.Type.RECOVERY_CODES)
        )
        return not must_have_second_factor(user) or others.exists()


@transaction.atomic
def prove_code(user: User, code: str) -> Authenticator | None:
    """The factor that a code proves: of an app, or a recovery code; each is valid once. None if it proves nothing."""
    for factor in (
        Authenticator.objects.select_for_update()
        .filter(user=user)
        .exclude(type=Authenticator.Type.WEBAUTHN)
        .order_by("pk")
    ):
        if factor.type == Authenticator.Type.TOTP:
            period = _period_of(factor, code)
            # Nor may it be earlier than the last used code: whoever has seen that could use it while it is valid.
            # allauth remembers used codes in one process only.
            if period is None or period <= factor.data.get("last_period", 0):
                continue
            factor.data["last_period"] = period
            factor.save(update_fields=["data"])
        elif not factor.wrap().validate_code(code):
            continue
        factor.refresh_from_db()
        return cast(Authenticator, factor)
    return None


def _period_of(factor: Authenticator, code: str) -> int | None:
    """The TOTP counter of a code; None if the code is not valid now."""
    secret = get_adapter().decrypt(factor.data["secret"])
    periods = totp.yield_hotp_counters_from_time()
    codes = ((period, totp.format_hotp_value(totp.hotp_value(secret, period))) for period in periods)
    return next((period for period, expected in codes if compare_user_code(actual=code, expected=expected)), None)


#: Exceptions for an answer that no browser sends, or that another key has signed.
_BAD_ANSWER = (ValidationError, InvalidSignature, ValueError, TypeError, KeyError, AttributeError, RecursionError)


def prove_passkey(user: User | None, answer: str) -> Authenticator | None:
    """The passkey that a browser's answer, JSON, proves. Without ``user``, the answer names the user, who must have been verified."""
    try:
        credential = json.loads(answer)
        parsed = webauthn.parse_authentication_response(credential)
        whose = user or webauthn.extract_user_from_response(credential)
        factor = webauthn.complete_authentication(whose, credential)
        if user is None and not parsed.response.authenticator_data.is_user_verified():
            return None
    except _BAD_ANSWER as bad:
        logger.info("A passkey was refused: %s", type(bad).__name__)
        return None
    return cast(Authenticator, factor)


def add_passkey(user: User, name: str, answer: str) -> Authenticator | None:
    """Store the passkey that a browser has created, as JSON; None if it is invalid."""
    try:
        credential = json.loads(answer)
        webauthn.parse_registration_response(credential)
        if not webauthn.complete_registration(credential).is_user_verified():
            return None
    except _BAD_ANSWER as bad:
        logger.info("A passkey could not be added: %s", type(bad).__name__)
        return None
    with transaction.atomic():
        made = webauthn.WebAuthn.add(user, name, credential).instance
        RecoveryCodes.activate(user)
        note_change(user, Act.FACTOR_ADDED, made)
    return cast(Authenticator, made)


def may_try(request: HttpRequest, user: User | None) -> bool:
    """Whether this user, from this client, may try another code; without a user, whether anything may be tried from here."""
    return bool(AxesProxyHandler.is_allowed(request, _credentials(user)))


def count_failure(request: HttpRequest, user: User | None) -> bool:
    """Count a wrong code or passkey like a wrong password. Returns whether that was one too many."""
    # Receivers that count wrong passwords count this, too.
    user_login_failed.send(__name__, credentials=_credentials(user), request=request)
    return bool(getattr(request, "axes_locked_out", False))


def _credentials(user: User | None) -> dict[str, str]:
    return {"username": user.get_username() if user else ""}


def note_change(user: User, action: Act, factor: Authenticator) -> None:
    """Audit that a user has added or removed a factor."""
    audit.record_action(user.pk, action, Door.PAGE, subject_id=user.pk, about=f"{factor.type} {factor.pk}")


@transaction.atomic
def remove_factors(actor_id: int, user: User) -> None:
    """Remove all second factors of an account; staff do this for users who have lost them."""
    if Authenticator.objects.filter(user=user).delete()[0]:
        audit.record_action(actor_id, Act.FACTOR_REMOVED, Door.ADMIN, subject_id=user.pk)
