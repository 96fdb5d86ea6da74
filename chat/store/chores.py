"""Chores that one process at a time does now and then over the whole database: when each is due, and how far it has come.

A process that dies while doing one holds it for `HELD_S` at most; then another continues at the same place.
"""

from datetime import datetime, timedelta

from chat.models import Chore

#: Seconds for which a process holds a chore, from when it claimed it or last stored its progress.
HELD_S = 60.0


def is_due(name: str, now: datetime) -> bool:
    """Whether a chore is due. Reads only."""
    return not Chore.objects.filter(name=name, next_at__gt=now).exists()


def claim(name: str, now: datetime) -> str | None:
    """Claim a chore where it is due: returns where to continue, empty for the beginning; None where another process has it."""
    Chore.objects.get_or_create(name=name, defaults={"next_at": now})
    seen = Chore.objects.get(name=name)
    mine = Chore.objects.filter(name=name, next_at=seen.next_at, next_at__lte=now)
    return seen.place if mine.update(next_at=now + timedelta(seconds=HELD_S)) else None


def put_down(name: str, place: str, next_at: datetime) -> None:
    """Say how far it has come, and when it is due again."""
    Chore.objects.filter(name=name).update(place=place, next_at=next_at)
