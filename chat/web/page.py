"""What every page of the application has: the list of sessions beside it, and the reader's time zone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import orjson
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from chat import access, models
from chat.accounts.models import User
from chat.catalog import agents as catalog
from chat.models import UNFINISHED, Door, RunStatus, Session
from chat.rendering import humanize, transcript
from chat.rendering import rows as rendering_rows
from chat.security import audit
from chat.store import selectors

#: Sessions in the list beside the conversation; all of them are on the page of past sessions.
SIDE_SESSIONS = 60


def user_of(request: HttpRequest) -> User:
    """Who asks: every page here is for those who are logged in."""
    return cast(User, request.user)


def visible_session(request: HttpRequest, session_id: UUID) -> tuple[Session, access.Role]:
    """The session and the reader's role in it; what isn't theirs doesn't exist."""
    found = audit.open_session(request.user, session_id, Door.PAGE)
    if found is None:
        raise Http404
    # How its agents are called.
    catalog.refresh()
    return found


def run_from_row(run: models.Run) -> transcript.Run:
    """What the run's row says of it, for pages that begin after its first event."""
    return transcript.Run(
        str(run.pk),
        status="running" if run.status in UNFINISHED else run.status,
        started_at=run.started_at.timestamp() if run.started_at else None,
        agent=run.agent_name,
        message=run.message,
        files=orjson.loads(run.files) if run.files else [],
        user=run.user.get_username() if run.user else "",
        enable_reasoning=run.enable_reasoning,
        continues=str(run.continues_id) if run.continues_id else None,
        iteration=run.iterations,
        removed=run.status == RunStatus.CANCELLED and run.started_at is None,
    )


@dataclass(slots=True)
class SideGroup:
    """Sessions under one heading of the list."""

    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)


def _side(sessions: Iterable[Session]) -> list[SideGroup]:
    """The list beside the conversation: what runs, then by day."""
    groups: dict[str, SideGroup] = {}
    today = timezone.localdate()
    for session in sessions:
        title = pgettext("sessions", "Running") if session.status in UNFINISHED else _day(session.active_at, today)
        groups.setdefault(title, SideGroup(title)).rows.append(_side_row(session))
    running = groups.pop(pgettext("sessions", "Running"), None)
    return [*([running] if running else []), *groups.values()]


def _day(moment: datetime, today: Any) -> str:
    day = timezone.localtime(moment).date()
    if day >= today:
        return _("Today")
    if day == today - timedelta(days=1):
        return _("Yesterday")
    return _("Earlier this week") if day > today - timedelta(days=7) else pgettext("sessions", "Earlier")


_TONES = {"running": "t-live", "cancelling": "t-live", "queued": "t-live", "failed": "t-fail", "interrupted": "t-wait"}


def _side_row(session: Session) -> dict[str, Any]:
    agent = rendering_rows.agent_title(session.agent_name)
    ended_well = session.status in ("", RunStatus.COMPLETED)
    word = (
        "" if ended_well else _("Working") if session.status == RunStatus.RUNNING else humanize.status(session.status)
    )
    return {
        "id": session.pk,
        "title": session.title,
        "agent": agent,
        "status": session.status,
        "word": humanize.status(session.status, begun=True) if session.status else _("Nothing asked yet"),
        "archived": session.archived,
        "active_at": session.active_at,
        "is_live": session.status in UNFINISHED,
        "tone": _TONES.get(session.status, ""),
        "ending": word,
        "events": session.last_seq,
    }


def render_page(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    """Render with the list of sessions, in the reader's time zone."""
    zone = reader_zone(request)
    # How agents are called, for all that names one.
    catalog.refresh()
    with timezone.override(ZoneInfo(zone) if zone else None):
        beside = selectors.past_sessions(user_of(request))[:SIDE_SESSIONS]
        shared: Mapping[str, Any] = {"side": _side(beside), "filters": {}, "current_id": None}
        return render(request, template, {**shared, **context})


def reader_zone(request: HttpRequest) -> str:
    """The name of the time zone that the reader's browser has sent; empty where it has sent none that there is."""
    zone = request.COOKIES.get("tz", "")
    return zone if zone in _ZONES else ""


_ZONES = frozenset(available_timezones())
