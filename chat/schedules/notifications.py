"""Notifications to a schedule's owner about its runs."""

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

#: A request for notifications after a time also gets those of so many seconds before: what was stored first may become visible last.
_OVERLAP = timedelta(seconds=15)
_MOST_NOTIFICATIONS = 50


def notification(occurrence_id: int) -> tuple[int, NotificationData] | None:
    """The notification about an ended occurrence, and its recipient; None if it was deleted."""
    found = Occurrence.objects.select_related("schedule", "run", "set_run").filter(pk=occurrence_id).first()
    return None if found is None else (found.schedule.owner_id, _notification(found))


def notifications_since(user: User, after: datetime) -> list[NotificationData | WaitingData]:
    """`notifications`, followed by the requests that were made to the user since then and are still open."""
    waiting = waiting_calls.begun_since(user.pk, after - _OVERLAP, _MOST_NOTIFICATIONS)
    return [*notifications(user, after), *waiting]


def notifications(user: User, after: datetime) -> list[NotificationData]:
    """The user's notifications since a time, and a little before it, oldest first, for clients that may have missed them."""
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
            lines = [
                outcome_word(occurrence),
                humanize.approx_duration(took),
                pause_reason(schedule) if is_paused else "",
            ]
        texts[code] = " · ".join(part for part in lines if part)
    return {
        "id": occurrence.pk,
        "schedule_id": str(schedule.pk),
        "title": schedule.name,
        "text": texts[settings.LANGUAGE_CODE],
        # Pages show the text in their own language; other clients the English one.
        "texts": texts,
        "status": cast(Ended, str(occurrence.outcome)),
        "paused": is_paused,
        "run_id": str(run.pk) if run is not None else None,
        "session_id": str(run.session_id) if run is not None else None,
        "duration_ms": took,
        "timestamp": (occurrence.settled_at or occurrence.due_at).timestamp(),
    }
