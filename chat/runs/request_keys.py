"""The header ``Idempotency-Key``: within a day, the same key returns what was created the first time.

A key of an account belongs to one request, whichever call it was for.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from django.utils import timezone

from agents.sentence import Sentence
from chat.models import RequestKey, Session
from chat.runs.admission import Refused

HEADER = "Idempotency-Key"
#: For how long a key is valid.
HOLDS = timedelta(hours=24)
_KEY = re.compile(r"[!-~]{1,64}")


@dataclass(frozen=True, slots=True)
class AskedKey:
    """The key of a request, and the request's digest."""

    key: str
    digest: str


class Made(NamedTuple):
    """What was created with a key."""

    session_id: UUID
    run_id: UUID | None


def read_key(header: str | None, asked: bytes) -> AskedKey | None:
    """The key of a request; None if it has none. ``asked``: everything by which requests differ. Raises `Refused`."""
    if header is None:
        return None
    if not _KEY.fullmatch(header):
        raise Refused("bad_frame", Sentence("Idempotency-Key: 1 to 64 visible ASCII characters."))
    return AskedKey(header, sha256(asked).hexdigest())


def claim_key(owner_id: int, asked: AskedKey | None) -> Made | None:
    """What was created with a key before; None: the caller creates it, in the same transaction, and calls `settle_key`.

    A request with the same key at the same time waits here until that transaction has ended. Raises `Refused` for a key of another request.
    Do work that takes long before, and discard it if the key has been used.
    """
    if asked is None:
        return None
    while True:
        own = RequestKey(owner_id=owner_id, key=asked.key, digest=asked.digest)
        RequestKey.objects.bulk_create([own], ignore_conflicts=True)
        known = RequestKey.objects.get(owner=owner_id, key=asked.key)
        if known.pk == own.pk:
            return None
        if (made := _made(known, asked)) is not None:
            return made
        RequestKey.objects.filter(pk=known.pk).delete()


def find_made(owner_id: int, asked: AskedKey | None) -> Made | None:
    """What was created with a key before; to be read before work that takes long. Raises `Refused` for a key of another request."""
    known = None if asked is None else RequestKey.objects.filter(owner=owner_id, key=asked.key).first()
    return None if known is None or asked is None else _made(known, asked)


def _made(known: RequestKey, asked: AskedKey) -> Made | None:
    """What was created with a key; None if the key has expired, or if that was deleted."""
    holds = known.created_at > timezone.now() - HOLDS
    if not holds or known.session_id is None or not Session.objects.filter(pk=known.session_id).exists():
        return None
    if known.digest != asked.digest:
        raise Refused("conflict", Sentence("This Idempotency-Key was used for another request before."))
    return Made(known.session_id, known.run_id)


def settle_key(owner_id: int, asked: AskedKey | None, session_id: UUID, run_id: UUID | None = None) -> None:
    """Store what the caller has created with a claimed key, in the same transaction."""
    if asked is not None:
        RequestKey.objects.filter(owner=owner_id, key=asked.key).update(session_id=session_id, run_id=run_id)


def sweep_keys(most: int) -> bool:
    """Delete some of the expired keys. Returns whether there may be more."""
    old = RequestKey.objects.filter(created_at__lt=timezone.now() - HOLDS)
    keys = list(old.order_by("created_at").values_list("pk", flat=True)[:most])
    RequestKey.objects.filter(pk__in=keys).delete()
    return len(keys) == most
