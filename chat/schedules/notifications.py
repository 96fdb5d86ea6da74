"""What a schedule's owner is told of its runs."""

from datetime import datetime, timedelta
from typing import cast

from django.conf import settings
from django.utils import translation

from chat.accounts.models import User
from chat.models import Occurrence, PauseReason
from chat.protocol.frame_data import Ended, NotificationData, WaitingData
from chat.rendering import humanize
from chat.schedules.selectors import outcome_word, pause_reason, took_ms
from chat.store import waiting_calls

#: Who asks again for what was told hears so much of the time before again, because what is stored first may be seen last.
_OVERLAP = timedelta(seconds=15)
_MOST_NOTIFICATIONS = 50


def notification(occurrence_id: int) -> tuple[int, NotificationData] | None:
    """What the owner's pages are told of an occurrence that has ended, and whose they are; None where it is gone."""
    found = Occurrence.objects.select_related("schedule", "run", "set_run").filter(pk=occurrence_id).first()
    return None if found is None else (found.schedule.owner_id, _notification(found))


def told_since(user: User, after: datetime) -> list[NotificationData | WaitingData]:
    """`notifications`, and what has begun to wait for the user since then and waits still, likewise."""
    waiting = waiting_calls.begun_since(user.pk, after - _OVERLAP, _MOST_NOTIFICATIONS)
    return [*notifications(user, after), *waiting]


def notifications(user: User, after: datetime) -> list[NotificationData]:
    """What the user's pages were told since then and a little before, oldest first: for those who may not have heard it."""
    ended = Occurrence.objects.filter(schedule__owner=user, settled_at__gt=after - _OVERLAP)
    newest = ended.select_related("schedule", "run", "set_run").order_by("-settled_at")[:_MOST_NOTIFICATIONS]
    return [_notification(occurrence) for occurrence in reversed(newest)]


def _notification(occurrence: Occurrence) -> NotificationData:
    schedule, run = occurrence.schedule, occurrence.run
    took = took_ms(occurrence)
    is_paused = not schedule.enabled and schedule.paused_because in (PauseReason.FAILURES, PauseReason.REFUSED)
    texts = {}
    for code, _name in settings.LANGUAGES:
        with translation.override(code):
            told = [
                outcome_word(occurrence),
                humanize.approx_duration(took),
                pause_reason(schedule) if is_paused else "",
            ]
        texts[code] = " · ".join(part for part in told if part)
    return {
        "id": occurrence.pk,
        "schedule_id": str(schedule.pk),
        "title": schedule.name,
        "text": texts[settings.LANGUAGE_CODE],
        # Each page of the owner's shows its own; whoever else reads it reads English.
        "texts": texts,
        "status": cast(Ended, str(occurrence.outcome)),
        "paused": is_paused,
        "run_id": str(run.pk) if run is not None else None,
        "session_id": str(run.session_id) if run is not None else None,
        "duration_ms": took,
        "timestamp": (occurrence.settled_at or occurrence.due_at).timestamp(),
    }
