"""Periodic chores over the whole database that one process at a time does: when each is due, and its progress.

If a process dies while doing one, another continues at the same place after at most `HELD_S`.
"""

from datetime import datetime, timedelta

from chat.models import Chore

#: For how many seconds a process has claimed a chore, from when it claimed it or last stored its progress.
HELD_S = 60.0


def is_due(name: str, now: datetime) -> bool:
    """Whether a chore is due. Reads only."""
    return not Chore.objects.filter(name=name, next_at__gt=now).exists()


def claim(name: str, now: datetime) -> str | None:
    """Claim a chore if it is due. Returns where to continue, empty for the beginning; None if another process has claimed it."""
    Chore.objects.get_or_create(name=name, defaults={"next_at": now})
    chore = Chore.objects.get(name=name)
    mine = Chore.objects.filter(name=name, next_at=chore.next_at, next_at__lte=now)
    return chore.place if mine.update(next_at=now + timedelta(seconds=HELD_S)) else None


def store_progress(name: str, place: str, next_at: datetime) -> None:
    """Store a chore's progress, and when it is due again."""
    Chore.objects.filter(name=name).update(place=place, next_at=next_at)
