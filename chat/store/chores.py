"""What one process at a time does now and then over everything: whose turn it is, and how far it has come, in the database.

A process that dies at it has held it for `HELD_S` at most; then another goes on at the same place.
"""

from datetime import datetime, timedelta

from chat.models import Chore

#: For so long a chore is its process's, from when it was taken up or has come on.
HELD_S = 60.0


def is_due(name: str, now: datetime) -> bool:
    """Whether somebody is to see to it. Reads only."""
    return not Chore.objects.filter(name=name, next_at__gt=now).exists()


def claim(name: str, now: datetime) -> str | None:
    """Take a chore up where it is due; the place that it has come to, empty for the beginning; None where another process has it."""
    Chore.objects.get_or_create(name=name, defaults={"next_at": now})
    seen = Chore.objects.get(name=name)
    mine = Chore.objects.filter(name=name, next_at=seen.next_at, next_at__lte=now)
    return seen.place if mine.update(next_at=now + timedelta(seconds=HELD_S)) else None


def put_down(name: str, place: str, next_at: datetime) -> None:
    """Say how far it has come, and when it is due again."""
    Chore.objects.filter(name=name).update(place=place, next_at=next_at)
