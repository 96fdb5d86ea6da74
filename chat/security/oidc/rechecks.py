"""The OpenID provider's last answer about each account: stored, and asked for again."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

import requests
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from agents.json_types import JsonObject
from chat.accounts.models import ProviderLogin, User
from chat.models import NOBODY, Act, Door
from chat.security import audit, tokens
from chat.security.oidc import membership, provider
from chat.security.sealing import decrypt_text, encrypt_text

logger = logging.getLogger(__name__)

#: How many seconds later the provider is asked again if it could not answer.
_AWAY_S = 30
#: How many users one call asks about, and for how many seconds no other process asks about them.
_AT_ONCE = 20
_CLAIMED_S = 120
_LONGEST_S = 10_000_000
#: A provider's errors for a token that is not valid any more. Other errors are problems of the provider or of this client.
_REFUSALS = frozenset({"invalid_grant", "access_denied"})


@dataclass(frozen=True, slots=True)
class Answer:
    """The provider's answer about a user, and the tokens by which it is asked again."""

    claims: JsonObject
    tokens: JsonObject


class _Refused(Exception):
    """The provider refuses the user."""


@transaction.atomic
def confirm_account(user: User, answer: Answer) -> None:
    """Store that the provider confirms a user, with groups and staff status. An account that was refused may log in again."""
    now = timezone.now()
    row = ProviderLogin.objects.filter(user=user).first() or ProviderLogin(user=user)
    row.issuer, row.subject, row.refresh_token = settings.OIDC_ISSUER, answer.claims["sub"], ""
    _keep_answer(row, answer, now)
    row.save()
    _apply(user, answer, Door.PAGE)
    if user.refused_at is not None:
        User.objects.filter(pk=user.pk).update(refused_at=None)
        user.refused_at = None


@transaction.atomic
def refuse_account(user_id: int) -> None:
    """Store that the provider refuses a user: all logins and tokens of the account end, and no password is accepted for it."""
    now = timezone.now()
    user = User.objects.select_for_update().get(pk=user_id)
    user.refused_at = user.refused_at or now
    # Sessions depend on the password's hash: changing it ends them, also if the user is confirmed again later.
    user.set_unusable_password()
    tokens.revoke_all(user.pk, by=NOBODY, door=Door.SCHEDULE)
    user.save(update_fields=["refused_at", "password"])
    audit.record_action(NOBODY, Act.DENY, Door.SCHEDULE, subject_id=user.pk, about=f"user {user.pk}")
    ProviderLogin.objects.filter(user=user).update(next_check_at=None, refresh_token="", access_token="")


def _keep_answer(row: ProviderLogin, answer: Answer, now: datetime) -> None:
    """Store the token for the next question: the refresh token or, if the provider issues none, the access token until it expires."""
    refresh, access = answer.tokens.get("refresh_token"), answer.tokens.get("access_token")
    if isinstance(refresh, str) and refresh:
        row.refresh_token = encrypt_text(refresh)
    if row.refresh_token:
        row.access_token, row.access_expires_at = "", None
    elif isinstance(access, str) and len(answer.tokens) > 1:
        # The provider has just issued it, with all its fields.
        lasts = answer.tokens.get("expires_in")
        row.access_token = encrypt_text(access)
        row.access_expires_at = now + timedelta(seconds=min(lasts, _LONGEST_S)) if isinstance(lasts, int) else None
    row.confirmed_at = now
    row.next_check_at = now + timedelta(seconds=settings.OIDC_RECHECK_S) if settings.OIDC_RECHECK_S else None


def is_due() -> bool:
    """Whether the provider has to be asked about a user."""
    return ProviderLogin.objects.filter(next_check_at__lte=timezone.now(), issuer=settings.OIDC_ISSUER).exists()


def check_due() -> bool:
    """Ask the provider again about some users whose time has come. Returns whether one was refused, or has other rights now.

    Blocks: call it in a thread of its own. Any number of processes may call it: no two ask about the same user.
    """
    now = timezone.now()
    due = ProviderLogin.objects.filter(next_check_at__lte=now, issuer=settings.OIDC_ISSUER)
    changed = False
    for row in due.select_related("user").order_by("next_check_at")[:_AT_ONCE]:
        ours = ProviderLogin.objects.filter(pk=row.pk, next_check_at=row.next_check_at)
        if ours.update(next_check_at=now + timedelta(seconds=_CLAIMED_S)):
            row.next_check_at = now + timedelta(seconds=_CLAIMED_S)
            changed |= _check(row)
    return changed


def _check(row: ProviderLogin) -> bool:
    """Ask about one account and store the answer, unless a login has stored a newer one meanwhile."""
    asked_with = {"pk": row.pk, "refresh_token": row.refresh_token, "access_token": row.access_token}
    try:
        answer = _ask(row)
        if not membership.may_enter(answer.claims) and _has_groups(answer):
            raise _Refused("no rule lets them in")
    except _Refused as refused:
        with transaction.atomic():
            if not ProviderLogin.objects.select_for_update().filter(**asked_with).exists():
                return False
            refuse_account(row.pk)
        logger.warning("The provider no longer accepts account %s, which was logged out: %s", row.pk, refused)
        return True
    except (requests.RequestException, OAuth2Error) as error:
        again = min(_AWAY_S, settings.OIDC_RECHECK_S)
        ProviderLogin.objects.filter(**asked_with).update(next_check_at=timezone.now() + timedelta(seconds=again))
        logger.warning("The provider did not answer about account %s; its last answer stays valid: %s", row.pk, error)
        return False
    with transaction.atomic():
        if not ProviderLogin.objects.select_for_update().filter(**asked_with).exists():
            return False
        _keep_answer(row, answer, timezone.now())
        row.save()
        return _has_groups(answer) and _apply(row.user, answer, Door.SCHEDULE)


def _apply(user: User, answer: Answer, door: Door) -> bool:
    if not membership.apply_claims(user, answer.claims):
        return False
    groups = sorted(user.groups.values_list("pk", flat=True))
    audit.record_action(
        NOBODY, Act.PERMIT, door, subject_id=user.pk, about=f"user {user.pk}", is_staff=user.is_staff, groups=groups
    )
    return True


def _has_groups(answer: Answer) -> bool:
    """Whether groups that are missing in the answer mean none: it has all the claims of a login, or names some groups."""
    return "id_token" in answer.tokens or bool(membership.claimed_groups(answer.claims))


def _ask(row: ProviderLogin) -> Answer:
    if row.refresh_token:
        tokens = _refresh(decrypt_text(row.refresh_token))
    else:
        access = decrypt_text(row.access_token) if row.access_token else None
        has_ended = row.access_expires_at is not None and row.access_expires_at <= timezone.now()
        if access is None or has_ended:
            raise _Refused("there is no token by which to ask")
        tokens = {"access_token": access}
    try:
        return Answer(provider.read_claims(tokens, subject=row.subject), tokens)
    except requests.HTTPError as error:
        if error.response is not None and error.response.status_code in {401, 403}:
            raise _Refused(f"it answers {error.response.status_code}") from error
        raise


def _refresh(token: str | None) -> JsonObject:
    if token is None:
        raise _Refused("its token was encrypted with another key")
    status, answer = provider.ask_tokens({"grant_type": "refresh_token", "refresh_token": token})
    if status in {400, 401, 403} and answer.get("error") in _REFUSALS:
        raise _Refused(f"it answers {answer['error']}")
    if status != requests.codes.ok or not isinstance(answer.get("access_token"), str):
        raise OAuth2Error(f"The provider gave no tokens: {status} {str(answer.get('error', ''))[:80]}")
    return answer
