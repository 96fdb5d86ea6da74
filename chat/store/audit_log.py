"""Reading the audit log: filtered, page by page, newest first; each query by an index, however long the log is."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from chat.accounts.models import User
from chat.models import NOBODY, AuditEntry

#: The prefix of a deleted account's name; its pseudonym follows, in letters and digits.
_FORMER = "deleted-"


@dataclass(frozen=True, slots=True)
class Cursor:
    """An entry's place in the order; the next page has the entries before it."""

    at: datetime
    pk: int

    def __str__(self) -> str:
        return f"{self.at.isoformat()}~{self.pk}"

    @classmethod
    def read(cls, text: str) -> "Cursor | None":
        """The place in a page's address; None if there is none."""
        moment, _tilde, number = text.partition("~")
        try:
            at = parse_datetime(moment)
        except ValueError:
            return None
        is_number = number.isascii() and number.isdigit() and len(number) < 19
        return cls(at, int(number)) if at is not None and at.tzinfo is not None and is_number else None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """A filter of entries: by person (as actor or subject), act, door, session and time. None means any."""

    person: int | None = None
    action: str | None = None
    door: str | None = None
    session_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    def _condition(self) -> Q:
        named = {"action": self.action, "door": self.door, "session_id": self.session_id}
        times = {"at__gte": self.since, "at__lt": self.until}
        return Q(**{name: value for name, value in {**named, **times}.items() if value is not None})

    def entries(self, limit: int, before: Cursor | None = None) -> list[AuditEntry]:
        """At most ``limit`` entries before a place, newest first."""
        found = AuditEntry.objects.filter(self._condition()).order_by("-at", "-id")
        if before is not None:
            found = found.filter(Q(at__lt=before.at) | Q(at=before.at, id__lt=before.pk), at__lte=before.at)
        if self.person is None:
            return list(found[:limit])
        # Each by its own index, merged here: a single query would read and sort all entries.
        both: Iterable[QuerySet[AuditEntry]] = (
            found.filter(actor_id=self.person),
            found.filter(subject_id=self.person),
        )
        either = {entry.pk: entry for half in both for entry in half[:limit]}
        return sorted(either.values(), key=lambda entry: (entry.at, entry.pk), reverse=True)[:limit]


def person_of(text: str) -> int | None:
    """The id by which entries name a person, from a username, an account's id, or a deleted account's name; None if there is none."""
    text = text.strip()
    if text.startswith(_FORMER):
        try:
            return -int(text.removeprefix(_FORMER)[:16], 36)
        except ValueError:
            return None
    known = User.objects.filter(username=text).values_list("pk", flat=True).first()
    is_number = text.isascii() and text.isdigit() and len(text) < 18
    return int(text) if known is None and is_number else known


def names_in(entries: Iterable[AuditEntry]) -> dict[int | None, str]:
    """The names of the people in these entries, by id."""
    numbers = {number for entry in entries for number in (entry.actor_id, entry.subject_id) if number is not None}
    known: dict[int, str] = dict(User.objects.filter(pk__in=numbers).values_list("pk", "username"))
    names: dict[int | None, str] = {number: known.get(number) or _name_of(number) for number in numbers}
    return {None: "", **names}


def _name_of(number: int) -> str:
    if number == NOBODY:
        return "–"
    return former_name(number) if number < 0 else _("account %(number)s, deleted") % {"number": number}


def former_name(pseudonym: int) -> str:
    """The name by which a deleted account is shown."""
    digits, left = "", -pseudonym
    while left:
        left, digit = divmod(left, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return f"{_FORMER}{digits}"


#: The columns of the CSV file.
COLUMNS = ("at", "actor", "action", "door", "subject", "session", "run", "about", "details")


def file_row(entry: AuditEntry, names: dict[int | None, str], details: str) -> tuple[Any, ...]:
    """An entry as a row of the CSV file, in the protocol's terms."""
    return (
        entry.at.isoformat(),
        names[entry.actor_id],
        entry.action,
        entry.door,
        names[entry.subject_id],
        "" if entry.session_id.int == 0 else str(entry.session_id),
        str(entry.run_id or ""),
        entry.about,
        details,
    )
