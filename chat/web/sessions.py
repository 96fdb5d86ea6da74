"""The pages of sessions. Each of them reads, checks access and renders; nothing in here writes."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from chat import access
from chat.catalog import agents as catalog
from chat.catalog.setups import most_iterations
from chat.models import UNFINISHED, RunStatus, Session
from chat.rendering import rows
from chat.rendering.agents import AgentRow, agent_rows
from chat.rendering.template_row import Row
from chat.runs import retention
from chat.runs.admission import MOST_FILES
from chat.schedules import handover
from chat.store import branches, notes, search, selectors, session_lists, steering, waiting_calls
from chat.web import conversation
from chat.web.page import (
    listed_rows,
    listed_sessions,
    reader_time,
    render_page,
    session_row,
    user_of,
    visible_session,
)

#: How many sessions are on one page of past sessions.
PAGE_SESSIONS = 40
#: How many recent sessions the start page shows.
RECENT = 6
#: How many matching steps are shown with a found session, the newest first.
HITS = 3
#: A session that will be deleted within this time says so at its top; earlier it says so only in its menu.
EXPIRES_SOON = timedelta(days=7)


@require_safe
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """The start page: ask something new, or continue a recent session."""
    return start_page(request)


def start_page(request: HttpRequest, **values: Any) -> HttpResponse:
    """The start page; ``values``: the content of a form that was ``refused``, and why."""
    offer = _offer(request)
    beside = listed_sessions(request)
    with reader_time(request):
        recent = SafeString("".join(listed_rows("chat/_recent.html", beside[:RECENT])))
    return render_page(
        request,
        "chat/home.html",
        beside,
        page="home",
        recent=recent,
        agents=offer.agents,
        state={
            "user": user_of(request).pk,
            "max_chars": settings.MAX_MESSAGE_CHARS,
            "max_files": MOST_FILES,
        },
        form_key=secrets.token_hex(16),
        **{"agent_name": offer.chosen, "enable_reasoning": True, **values},
    )


@require_safe
@login_required
def sessions(request: HttpRequest) -> HttpResponse:
    """Past sessions, filtered by the query string; with a search, also the matching steps."""
    if request.GET.get("part") == "side":
        return render_page(request, "chat/_sessions.html", current_id=_uuid(request.GET.get("current", "")))
    filters = {name: request.GET.get(name, "") for name in ("q", "status", "agent", "archived", "shared")}
    user, is_shared = user_of(request), filters["shared"] == "true"
    looking = search.Search(user, filters["q"])
    if is_shared:
        found = session_lists.shared_sessions(
            user, text=filters["q"], status=filters["status"], agent=filters["agent"]
        ).select_related("owner")
    else:
        found = session_lists.past_sessions(
            user, status=filters["status"], agent=filters["agent"], archived=filters["archived"] == "true"
        )
        if filters["q"].strip():
            found = looking.sessions(found)
        elif not filters["status"] and not filters["agent"]:
            found = session_lists.one_of_each_family(found)
    page = Paginator(found, PAGE_SESSIONS).get_page(request.GET.get("page"))
    sizes = {} if is_shared else branches.family_sizes(user, list(page))
    kinds = waiting_calls.kinds_open([session.pk for session in page if session.status == RunStatus.WAITING])
    offers = [] if any(filters.values()) else handover.offers_to(user)
    hits = {} if is_shared else looking.hits([session.pk for session in page], HITS)
    return render_page(
        request,
        "chat/sessions.html",
        page="sessions",
        filters=filters,
        offers=offers,
        filtered=any(filters.values()),
        agents=_offer(request).agents,
        statuses=_STATUSES,
        found=[
            session_row(session, kinds.get(session.pk, ""))
            | {
                "branches": sizes.get(session.family, 0) if session.family else 0,
                "hits": hits.get(session.pk, []),
                "owner": session.owner.get_username() if is_shared else "",
            }
            for session in page
        ],
        pages=page,
        query=urlencode({name: value for name, value in filters.items() if value}),
    )


_STATUSES = ("running", "waiting", *(str(status) for status in RunStatus if status not in UNFINISHED))


@require_safe
@login_required
def session(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """One conversation: its latest steps, or those before a number."""
    found, role = visible_session(request, session_id)
    before = _before(request, found)
    window = selectors.window(found.pk, before=before)
    may_drive = access.may_drive(role) and found.imported_at is None
    with reader_time(request):
        runs = conversation.shown_runs(found, window, may_drive=may_drive, may_copy=access.may_copy(role))
    # A message that was removed from the queue only counts if there is no other run.
    at = next((at for at in reversed(range(len(runs))) if not runs[at].removed), len(runs) - 1)
    latest = runs[at] if runs else None
    live = before is None
    expires_at = retention.expires_at(found, found.owner)
    offer = _offer(request, found.agent_name)
    parted = _parted(request, found, window)
    return render_page(
        request,
        "chat/session.html",
        page="session",
        session=found,
        current_id=found.pk,
        role=str(role),
        may_drive=may_drive,
        may_manage=access.may_manage(role),
        agents=offer.agents,
        agent_name=offer.chosen,
        withdrawn="" if offer.chosen == found.agent_name else rows.agent_title(found.agent_name),
        enable_reasoning=found.enable_reasoning,
        comments=notes.newest_comments(found.pk) if found.notes_version else (),
        shows_reading=user_of(request).shows_reading,
        expires_at=expires_at,
        expires_soon=expires_at is not None and expires_at - timezone.now() < EXPIRES_SOON,
        agent_title=rows.agent_title(found.agent_name),
        runs=[{"html": run.html, "parted": parted.get(run.id, [])} for run in runs],
        parted={"first": parted.get("", [])},
        may_copy=access.may_copy(role),
        may_leave=role in (access.Role.DRIVER, access.Role.WATCHER),
        latest_run=latest.id if latest else None,
        head=latest.head if latest else rows.header(None),
        window={"first": window.first, "last": found.last_seq, "more": window.earlier, "live": live},
        state=_script_state(request, found, role, window, offer)
        | {"live": live, "runs": [state for run in runs[max(at, 0) :] for state in (run.state, *run.within)]},
    )


def _parted(request: HttpRequest, session: Session, window: selectors.Window) -> dict[str, list[Row]]:
    """The other sessions of the family that continue differently, by the run after which they do; empty for the beginning."""
    parted: dict[str, list[Row]] = {}
    if window.first == 0 and session.last_seq:
        return parted
    for place in branches.places_in(user_of(request), session):
        behind = [stretch for stretch in window.stretches if stretch.last <= place.after_seq]
        run = str(max(behind, key=lambda stretch: stretch.last).run_id) if behind else ""
        if behind or window.first <= place.after_seq + 1:
            at, members = place.number - 1, place.members
            links = {
                "after_seq": place.after_seq,
                "number": place.number,
                "count": len(members),
                "before": members[at - 1] if at else None,
                "after": members[at + 1] if place.number < len(members) else None,
            }
            parted.setdefault(run, []).append(links)
    return parted


@dataclass(frozen=True, slots=True)
class _Offer:
    """The agents to choose from, the chosen one, and how many model calls a run of it may make; 0 if there is no limit."""

    agents: tuple[AgentRow, ...]
    chosen: str
    max_iterations: int


def _offer(request: HttpRequest, agent_name: str = "") -> _Offer:
    """The composer's agent: the one of that name if the user may use it, else the default."""
    usable = {version.spec.name: version for version in catalog.usable_by(user_of(request).pk)}
    chosen = agent_name if agent_name in usable else catalog.default_for(usable.values())
    most = most_iterations(usable[chosen].spec.limits) if chosen else settings.MAX_ITERATIONS
    return _Offer(agent_rows(usable.values()), chosen, most)


def _script_state(
    request: HttpRequest, session: Session, role: access.Role, window: selectors.Window, offer: _Offer
) -> dict[str, Any]:
    """What the page's scripts begin with: everything that does not depend on the runs that are shown."""
    view = selectors.session_view(session.pk)
    newest, user = window.newest, user_of(request)
    return {
        "session": {"id": str(session.pk), "title": session.title, "agent": session.agent_name, "role": str(role)},
        "user": user.pk,
        "name": user.get_username(),
        "cursor": {"seq": newest.last, "id": str(newest.last_id)} if newest else {"seq": 0, "id": None},
        "first": window.first,
        "may": {
            "drive": access.may_drive(role) and session.imported_at is None,
            "stop": access.may_stop(request.user, session),
            "note": role is not access.Role.STAFF,
        },
        "shows_reading": user.shows_reading,
        "run": view.run if view else None,
        "queue": view.queue if view else [],
        "steering": view.steering if view else [],
        "late": steering.queued_among(session.pk, view.queue) if view else [],
        "now": timezone.now().timestamp(),
        "max_iterations": offer.max_iterations,
        "max_chars": settings.MAX_MESSAGE_CHARS,
        "max_files": MOST_FILES,
        "agents": {agent.name: agent.title for agent in offer.agents},
    }


def _before(request: HttpRequest, found: Session) -> int | None:
    """Where a page of earlier steps ends: ``before`` a number, or so that it contains the step ``at`` a number."""
    before, at = _number(request.GET.get("before")), _number(request.GET.get("at"))
    if at is not None and at <= found.last_seq - selectors.PAGE_STEPS:
        return at + selectors.PAGE_STEPS // 2
    return before if before is not None and before <= found.last_seq else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 16 else None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
