"""API tokens: created, recognised, revoked. An invalid token costs no query, and clients that keep trying are blocked for a while.

A token is ``tk_``, 43 letters and digits with 256 random bits, and a checksum of six.
"""

import re
import secrets
import string
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_network
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from chat.accounts.models import User
from chat.models import Act, ApiToken, Door, Scope, holds_now
from chat.runtime import background, database
from chat.runtime.kept import Kept
from chat.runtime.prepared import PreparedQuery
from chat.security import audit

#: Paths that accept tokens: the API, the APIs of other products' clients, and the metrics.
_PATHS = ("/api/", "/v1/", "/metrics")
#: The most tokens of an account, and how many expired or revoked ones are kept to be shown.
MOST_TOKENS = 50
_MOST_ENDED = 50
#: At most once in so many seconds it is stored that a token was used.
_NOTED_EVERY_S = 60
_LETTERS = string.digits + string.ascii_letters
_SECRET, _CHECKSUM = 43, 6
_TOKEN = re.compile(rf"tk_([0-9A-Za-z]{{{_SECRET}}})([0-9A-Za-z]{{{_CHECKSUM}}})")
_BEARER = re.compile(r"bearer(?: +(\S+))? *", re.IGNORECASE)
_ANY_BEARER = re.compile(r"(?:^|,)\s*(?:bearer\b|tk_)", re.IGNORECASE)


class BadToken(Exception):
    """The token is not valid."""


class TooManyAttempts(BadToken):
    """The client has sent so many invalid tokens that no further one is checked for ``wait_s`` seconds."""

    def __init__(self, wait_s: float) -> None:
        super().__init__()
        self.wait_s = wait_s


class TooManyTokens(Exception):
    """The account has the most tokens that are allowed."""


@dataclass(frozen=True, slots=True)
class Token:
    """A valid token, and its user, who has no staff rights here, whatever rights they have on pages."""

    id: UUID
    user: User
    scope: Scope
    noted_at: datetime | None


# Created and revoked


@transaction.atomic
def make_token(
    user: User, name: str, scope: Scope, expires_at: datetime | None, door: Door = Door.PAGE
) -> tuple[ApiToken, str]:
    """Create a token. Returns its row, and the token itself, which is not stored. Raises `TooManyTokens`."""
    # Locked, so that of two simultaneous requests the second counts the first.
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    own = ApiToken.objects.filter(user=user)
    if own.filter(holds_now()).count() >= MOST_TOKENS:
        raise TooManyTokens
    ended = list(own.exclude(holds_now()).values_list("pk", flat=True)[_MOST_ENDED:])
    ApiToken.objects.filter(pk__in=ended).delete()
    secret = _in_letters(secrets.randbits(256), _SECRET)
    text = f"tk_{secret}{_checksum(secret)}"
    made = ApiToken(user=user, name=name, scope=scope, expires_at=expires_at, prefix=text[:9], digest=_digest(text))
    made.save(force_insert=True)
    about = f"token {made.pk}"
    audit.record_action(user.pk, Act.TOKEN_MADE, door, subject_id=user.pk, about=about, scope=scope.value)
    return made, text


@transaction.atomic
def revoke_token(user_id: int, token_id: UUID, *, by: int | None = None, door: Door = Door.PAGE) -> bool:
    """Revoke one of an account's tokens. Returns False if there is none of that identifier, or it was already revoked.

    ``by``: the user who does it, if it is not the owner. Sockets and streams that were opened with it are closed within a second; at once
    if `group_messages.LOGINS_CHANGED` is published after this.
    """
    own = ApiToken.objects.filter(user=user_id, pk=token_id, revoked_at=None)
    if not own.update(revoked_at=timezone.now()):
        return False
    actor_id = user_id if by is None else by
    audit.record_action(actor_id, Act.TOKEN_REVOKED, door, subject_id=user_id, about=f"token {token_id}")
    return True


def revoke_all(user_id: int, *, by: int | None = None, door: Door = Door.PAGE) -> int:
    """Revoke all of an account's tokens. Returns how many there were.

    Called when the password changes, and when the account is deactivated or refused by its provider: see `account_acts`.
    """
    own = ApiToken.objects.filter(user=user_id, revoked_at=None).values_list("pk", flat=True)
    return sum(revoke_token(user_id, token_id, by=by, door=door) for token_id in list(own))


def tokens_of(user_id: int) -> list[ApiToken]:
    """An account's tokens, newest first, without revoked ones."""
    return list(ApiToken.objects.filter(user=user_id, revoked_at=None))


def still_holding(token_ids: Iterable[UUID]) -> set[UUID]:
    """Which of these tokens are still valid, and belong to an account that may log in."""
    alive = ApiToken.objects.filter(holds_now(), pk__in=list(token_ids), user__is_active=True, user__refused_at=None)
    return set(alive.values_list("pk", flat=True))


# Recognised


def is_token_path(path: str) -> bool:
    """Whether this path takes tokens."""
    return path.startswith(_PATHS)


def door_of(path: str) -> str:
    """The name of the API at a path, by which people are shown where a token was last used."""
    if path.startswith("/metrics"):
        return "metrics"
    if path.startswith("/v1/"):
        return Door.V1
    if path.startswith("/api/agui/"):
        return Door.AGUI
    return Door.STREAM if path.endswith("/stream/") else Door.API


def is_bearer(header: str) -> bool:
    """Whether an ``Authorization`` header, or several joined into one list, is meant as a token. Other schemes are meant for a proxy."""
    return _ANY_BEARER.search(header) is not None


def find_digest(header: str, address: str) -> str:
    """The digest of the token in a header. Raises `BadToken` if it cannot be a token. Makes no query."""
    bearer = _BEARER.fullmatch(header)
    match = _TOKEN.fullmatch(bearer[1] or "") if bearer else None
    if match is None or not secrets.compare_digest(_checksum(match[1]), match[2]):
        _attempts.count_failure(address)
        raise BadToken
    digest = _digest(match[0])
    if digest in _ended:
        raise BadToken
    if digest not in _seen and (wait_s := _attempts.seconds_to_wait(address)):
        raise TooManyAttempts(wait_s)
    return digest


_ACCOUNT = [field.attname for field in User._meta.concrete_fields]


class _Found(NamedTuple):
    """A token's row and its account's; the names are the columns'."""

    id: UUID
    scope: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    user: User


def _of_digest(digest: str) -> QuerySet[ApiToken, Any]:
    tokens = ApiToken.objects.filter(digest=digest).order_by()
    return tokens.values_list(*_Found._fields[:-1], *(f"user__{name}" for name in _ACCOUNT))


def _found(*columns: Any) -> _Found:
    own = len(_Found._fields) - 1
    return _Found._make((*columns[:own], User.from_db(connection.alias, _ACCOUNT, columns[own:])))


_by_digest = PreparedQuery(_of_digest, str, make=_found)


def find_token(digest: str, address: str) -> Token:
    """The token of a digest, and its account, by one query. Raises `BadToken`."""
    found = _by_digest.rows(digest)
    if not found:
        _attempts.count_failure(address)
        raise BadToken
    token = found[0]
    if token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= timezone.now()):
        _ended.keep(digest, True, len(digest))
        raise BadToken
    if not token.user.may_enter:
        raise BadToken
    _seen.keep(digest, True, len(digest))
    token.user.is_staff = token.user.is_superuser = False
    return Token(token.id, token.user, Scope(token.scope), token.last_used_at)


def read_token(header: str, address: str) -> Token:
    """`find_digest` and `find_token` for a header. Raises `BadToken`."""
    return find_token(find_digest(header, address), address)


def record_use(token: Token, door: str) -> None:
    """Have it stored, soon and at most once a minute, that a token was used. Call it on the event loop."""
    now = time.monotonic()
    if token.noted_at is not None and (timezone.now() - token.noted_at).total_seconds() < _NOTED_EVERY_S:
        return
    if now - (_noted.get(token.id) or -_NOTED_EVERY_S) < _NOTED_EVERY_S:
        return
    _noted.keep(token.id, now, 16)
    background.spawn(database.write(_write_use, token.id, door), "note a token's use")


def _write_use(token_id: UUID, door: str) -> None:
    now = timezone.now()
    is_due = Q(last_used_at=None) | Q(last_used_at__lte=now - timedelta(seconds=_NOTED_EVERY_S))
    ApiToken.objects.filter(is_due, pk=token_id).update(last_used_at=now, last_used_door=door)


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def _checksum(secret: str) -> str:
    return _in_letters(zlib.crc32(secret.encode()), _CHECKSUM)


def _in_letters(number: int, length: int) -> str:
    letters = []
    for _ in range(length):
        number, rest = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[rest])
    return "".join(letters)


# Clients that keep trying


class Attempts:
    """How many failed attempts each address has left: one more every few seconds, up to a limit. Thread-safe."""

    MOST = 300
    ONE_MORE_S = 3.0
    _ADDRESSES = 10_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: When all attempts would be available again.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def count_failure(self, address: str) -> None:
        """Count a failed attempt. Raises `TooManyAttempts` if it was one too many."""
        wait_s = self.seconds_to_wait(address)
        if wait_s:
            raise TooManyAttempts(wait_s)
        with self._lock:
            key = _network(address)
            now = time.monotonic()
            self._full_at[key] = max(self._full_at.pop(key, now), now) + self.ONE_MORE_S
            if len(self._full_at) > self._ADDRESSES:
                self._full_at.popitem(last=False)

    def seconds_to_wait(self, address: str) -> float:
        """How many seconds an address has to wait for its next attempt; 0 if it has some left."""
        with self._lock:
            owed_s = self._full_at.get(_network(address), 0.0) - time.monotonic()
        return max(0.0, owed_s - (self.MOST - 1) * self.ONE_MORE_S)

    def forget(self) -> None:
        """Reset all counts."""
        with self._lock:
            self._full_at.clear()


def _network(address: str) -> str:
    """The network that counts as one client: for IPv6, that of one household."""
    return str(ip_network(f"{address.partition('%')[0]}/64", strict=False)) if ":" in address else address


_attempts = Attempts()
#: Digests of tokens that were valid when last used, and of tokens that will never be valid again; and when each use was last stored.
_seen: Kept[str, bool] = Kept(1 << 20)
_ended: Kept[str, bool] = Kept(1 << 20)
_noted: Kept[UUID, float] = Kept(1 << 20)


def forget_attempts() -> None:
    """Unblock all clients. For tests, and for operators in a shell."""
    _attempts.forget()
