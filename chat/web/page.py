"""What all pages of the application share: the list of sessions next to them, and the reader's time zone."""

from collections.abc import Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from chat import access, models
from chat.accounts.models import User
from chat.catalog import agents as catalog
from chat.models import UNFINISHED, Door, RunStatus, Session
from chat.rendering import humanize, transcript
from chat.rendering import rows as rendering_rows
from chat.rendering.fragments import cached_fragment, reader_key
from chat.rendering.template_row import Row
from chat.schedules.recurrence import zone_names
from chat.security import audit
from chat.store import selectors, session_lists, waiting_calls
from chat.store.session_lists import ListedSession

#: How many sessions are in the list next to a page; all are on the page of past sessions.
SIDE_SESSIONS = 60
#: The reader's open requests are counted up to this number.
_MOST_NEEDS = 99


def user_of(request: HttpRequest) -> User:
    """The logged-in user: every page here requires a login."""
    return cast(User, request.user)


def visible_session(request: HttpRequest, session_id: UUID) -> tuple[Session, access.Role]:
    """The session, and the reader's role in it. Raises `Http404` if it does not exist, or if the reader may not see it."""
    found = audit.open_session(request.user, session_id, Door.PAGE)
    if found is None:
        raise Http404
    # For agents' titles.
    catalog.refresh()
    return found


def run_from_row(run: models.Run) -> transcript.Run:
    """A folded run from its row, for pages that do not contain its first event."""
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
        parent=None if run.parent_id is None else selectors.parent_of(run),
        iteration=run.iterations,
        removed=run.status == RunStatus.CANCELLED and run.started_at is None,
    )


@dataclass(slots=True)
class SideGroup:
    """Sessions under one heading of the list."""

    title: str
    rows: list[SafeString] = field(default_factory=list)

    @property
    def html(self) -> SafeString:
        """The rendered rows."""
        return SafeString("".join(self.rows))


def _side(sessions: Sequence[ListedSession], current_id: UUID | None) -> list[SideGroup]:
    """The list next to a page: sessions that wait for the reader, running ones, then the others by day."""
    waiting, running, days = SideGroup(_("Needs you")), SideGroup(pgettext("sessions", "Running")), _days()
    for session, row in zip(sessions, listed_rows("chat/_session.html", sessions, current_id), strict=True):
        if session.status == RunStatus.WAITING:
            group = waiting
        elif session.status in UNFINISHED:
            group = running
        else:
            group = next(group for since, group in days if session.active_at >= since)
        group.rows.append(row)
    return [group for group in (waiting, running, *(group for _since, group in days)) if group.rows]


def _days() -> list[tuple[datetime, SideGroup]]:
    """The headings by day, each with the time since which its sessions have been active."""
    midnight = datetime.combine(timezone.localdate(), time.min, timezone.get_current_timezone())
    return [
        (midnight, SideGroup(_("Today"))),
        (midnight - timedelta(days=1), SideGroup(_("Yesterday"))),
        (midnight - timedelta(days=6), SideGroup(_("Earlier this week"))),
        (datetime.min.replace(tzinfo=UTC), SideGroup(pgettext("sessions", "Earlier"))),
    ]


def listed_rows(template: str, sessions: Iterable[ListedSession], current_id: UUID | None = None) -> list[SafeString]:
    """Sessions as rows of a list, each rendered once for the same values."""
    # Agents' titles are part of the rows.
    around = reader_key(), catalog.all_titles()
    return [_listed_row(template, session, session.pk == current_id, around) for session in sessions]


def _listed_row(template: str, session: ListedSession, is_current: bool, around: Hashable) -> SafeString:
    key = around, session, is_current
    return cached_fragment(template, key, lambda: session_row(session, session.waits_for) | {"is_current": is_current})


_TONES = {
    "running": "t-live",
    "cancelling": "t-live",
    "queued": "t-live",
    "failed": "t-fail",
    "interrupted": "t-wait",
    "waiting": "t-wait",
}


def session_row(session: Session | ListedSession, waits_for: str = "") -> Row:
    """A session's row in a list, with what it waits for."""
    agent = rendering_rows.agent_title(session.agent_name)
    ended_well = session.status in ("", RunStatus.COMPLETED)
    status = humanize.status(session.status, begun=True, waits_for=waits_for)
    word = "" if ended_well else _("Working") if session.status == RunStatus.RUNNING else status
    return {
        "id": session.pk,
        "title": session.title,
        "agent": agent,
        "status": session.status,
        "word": status if session.status else _("Nothing asked yet"),
        "archived": session.archived,
        "active_at": session.active_at,
        "is_live": session.status in UNFINISHED and session.status != RunStatus.WAITING,
        "tone": _TONES.get(session.status, ""),
        "ending": word,
        "events": session.last_seq,
        "imported": session.imported_at is not None,
    }


def render_page(
    request: HttpRequest, template: str, beside: Sequence[ListedSession] | None = None, **context: Any
) -> HttpResponse:
    """Render a page with the list of sessions, which may be passed in ``beside``, in the reader's time zone."""
    # For agents' titles.
    catalog.refresh()
    with reader_time(request):
        listed = listed_sessions(request) if beside is None else beside
        side = _side(listed, context.get("current_id"))
        waiting = waiting_calls.open_keys(user_of(request).pk, _MOST_NEEDS)
        needs = {
            "needs": len(waiting),
            "open_calls": orjson.dumps(waiting if len(waiting) < _MOST_NEEDS else None).decode(),
        }
        return render(request, template, {"side": side, **needs, "filters": {}, "current_id": None, **context})


def render_account_page(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    """Render a page about the user's account: with the list of sessions, or alone for users who are still logging in."""
    if request.user.is_authenticated:
        return render_page(request, template, **context)
    return render(request, template, context)


class AccountPageMixin:
    """For class-based views about the user's account: shows them with the list of sessions."""

    request: HttpRequest
    template_name: str

    def render_to_response(self, context: dict[str, Any], **_kwargs: Any) -> HttpResponse:
        """Render as `render_account_page` does."""
        return render_page(self.request, self.template_name, **context)


def listed_sessions(request: HttpRequest) -> list[ListedSession]:
    """The sessions of the list next to a page."""
    return session_lists.listed_sessions(user_of(request), SIDE_SESSIONS)


def reader_time(request: HttpRequest) -> AbstractContextManager[None]:
    """Activate the reader's time zone, in which pages show times."""
    zone = reader_zone(request)
    return timezone.override(ZoneInfo(zone) if zone else None)


def reader_zone(request: HttpRequest) -> str:
    """The name of the time zone that the reader's browser has sent; empty if it has sent none, or an unknown one."""
    zone = request.COOKIES.get("tz", "")
    return zone if zone and zone in zone_names() else ""
