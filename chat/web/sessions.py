"""The pages. Each reads, asks who may, and renders; nothing here writes."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db import Error as DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

import agents
from chat import access, models
from chat.models import UNFINISHED, Door, RunStatus, Session
from chat.rendering import humanize, markdown, transcript
from chat.rendering import rows as rendering_rows
from chat.security import audit
from chat.store import search, selectors

#: Sessions in the list beside the conversation; all of them are on the page of past sessions.
SIDE_SESSIONS = 60
#: Sessions on one page of past sessions.
PAGE_SESSIONS = 40
#: Steps shown under a session that was found by them, the newest.
HITS = 3
#: Events of a run on one page of it.
RUN_EVENTS = 200
#: Steps of an inspected run on one page.
RUN_STEPS = 200


@require_safe
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Start something new, or go on with what was begun."""
    recent = selectors.past_sessions(_user(request))[:6]
    return page_of_app(
        request,
        "chat/home.html",
        page="home",
        recent=[_side_row(session) for session in recent],
        agents=_agents(),
        agent_name=agents.DEFAULT_AGENT,
        enable_reasoning=True,
        state={
            "user": _user(request).pk,
            "max_chars": settings.MAX_MESSAGE_CHARS,
        },
    )


@require_safe
@login_required
def sessions(request: HttpRequest) -> HttpResponse:
    """Past sessions, filtered as the address says; with words to search for, the steps in which they occur."""
    if request.GET.get("part") == "side":
        return page_of_app(request, "chat/_sessions.html", current_id=_uuid(request.GET.get("current", "")))
    filters = {name: request.GET.get(name, "") for name in ("q", "status", "agent", "archived")}
    found = selectors.past_sessions(
        _user(request),
        status=filters["status"],
        agent=filters["agent"],
        archived=filters["archived"] == "true",
    )
    looking = search.Search(_user(request), filters["q"])
    if filters["q"].strip():
        found = looking.sessions(found)
    page = Paginator(found, PAGE_SESSIONS).get_page(request.GET.get("page"))
    hits = looking.hits([session.pk for session in page], HITS)
    return page_of_app(
        request,
        "chat/sessions.html",
        page="sessions",
        filters=filters,
        filtered=any(filters.values()),
        agents=_agents(),
        statuses=_STATUSES,
        found=[_side_row(session) | {"hits": hits.get(session.pk, [])} for session in page],
        pages=page,
        query=urlencode({name: value for name, value in filters.items() if value}),
    )


_STATUSES = ("running", *(str(status) for status in RunStatus if status not in UNFINISHED))


@require_safe
@login_required
def session(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """One conversation: its latest steps, or those before a number."""
    found, role = _visible(request, session_id)
    before = _before(request, found)
    window = selectors.window(found, before=before)
    runs = _folded(window)
    # A message that was taken out of the line is no run to speak of, as long as there is another.
    at = next((at for at in reversed(range(len(runs))) if not runs[at].removed), len(runs) - 1)
    latest = runs[at] if runs else None
    live = before is None
    thoughts = (item.text for run in runs for item in run.items if item.kind == "thought")
    answers = [run.answer.text for run in runs if run.answer is not None]
    markdown.prepare_markdown([*answers, *markdown.newest_thoughts(thoughts)])
    return page_of_app(
        request,
        "chat/session.html",
        page="session",
        session=found,
        current_id=found.pk,
        role=str(role),
        may_drive=access.may_drive(role),
        may_manage=access.may_manage(role),
        agents=_agents(),
        agent_name=found.agent_name,
        enable_reasoning=found.enable_reasoning,
        agent_title=rendering_rows.agent_title(found.agent_name),
        runs=[rendering_rows.run_row(run) for run in runs],
        latest_run=latest.id if latest else None,
        head=rendering_rows.header(latest),
        window={"first": window.first, "last": found.last_seq, "more": window.earlier, "live": live},
        blank=rendering_rows.BLANK,
        state={
            "session": {"id": str(found.pk), "title": found.title, "agent": found.agent_name, "role": str(role)},
            "user": _user(request).pk,
            "name": _user(request).get_username(),
            "cursor": {"seq": window.frames[-1]["seq"], "id": window.frames[-1]["id"]}
            if window.frames
            else {"seq": 0, "id": None},
            "first": window.first,
            "live": live,
            "may": {"drive": access.may_drive(role), "stop": access.may_stop(request.user, found)},
            "runs": [_outlined(run) for run in runs[max(at, 0) :]],
            "run": selectors.live_run(found.pk),
            "queue": selectors.queue(found.pk),
            "now": timezone.now().timestamp(),
            "max_iterations": settings.MAX_ITERATIONS,
            "max_chars": settings.MAX_MESSAGE_CHARS,
            "agents": {agent["name"]: agent["title"] for agent in _agents()},
        },
    )


@require_safe
@login_required
def run(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """One run inspected: its steps over time, and its events as they were stored."""
    found = models.Run.objects.select_related("session__owner", "user").filter(pk=run_id).first()
    if found is None:
        raise Http404
    _session, role = _visible(request, found.session_id)
    frames = selectors.run_frames(found)
    folded = (transcript.fold(frames, known={str(found.pk): _known(found)}) or [_known(found)])[0]
    if found.status not in UNFINISHED or found.status == RunStatus.QUEUED:
        folded.status = found.status
    inspected = rendering_rows.inspection(folded, found)
    steps = Paginator(inspected["rows"], RUN_STEPS).get_page(request.GET.get("steps"))
    markdown.prepare_markdown(
        [
            *([folded.answer.text] if folded.answer else []),
            *markdown.newest_thoughts(row["text"] for row in steps if row["kind"] == "thought"),
        ]
    )
    events = Paginator(frames, RUN_EVENTS).get_page(request.GET.get("events"))
    return page_of_app(
        request,
        "chat/run.html",
        page="run",
        session=found.session,
        current_id=found.session_id,
        run=found,
        number_of_runs=found.session.runs.count(),
        role=str(role),
        agent_title=rendering_rows.asked_by(folded),
        inspected=inspected,
        steps=steps,
        head=rendering_rows.header(folded),
        events=events,
        rows=[rendering_rows.event_row(frame) for frame in events],
    )


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)


def _visible(request: HttpRequest, session_id: UUID) -> tuple[Session, access.Role]:
    """The session and the reader's role in it; what isn't theirs doesn't exist."""
    found = audit.open_session(request.user, session_id, Door.PAGE)
    if found is None:
        raise Http404
    return found


def _before(request: HttpRequest, found: Session) -> int | None:
    """Where a page of earlier steps ends: ``before`` a number, or so that it holds the step ``at`` one."""
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


def _folded(window: selectors.Window) -> list[transcript.Run]:
    """The window's runs; of those that it cuts, what the rest of the log says of them."""
    runs = transcript.fold(window.frames, known={str(key): _known(run) for key, run in window.runs.items()})
    if not runs:
        return runs
    first, last = window.frames[0], window.frames[-1]
    if first["type"] != "reasoning_start":
        runs[0].outside = selectors.steps_outside(UUID(runs[0].id), first["seq"], last["seq"])
        runs[0].model = selectors.model_asked(UUID(runs[0].id))
    if not runs[-1].ended:
        row = window.runs[UUID(runs[-1].id)]
        if row.is_finished:
            runs[-1].outside = selectors.steps_outside(row.pk, first["seq"], last["seq"])
            _end(runs[-1], row)
    return runs


def _end(run: transcript.Run, row: models.Run) -> None:
    """End a folded run whose last event lies elsewhere, as its row says."""
    run.status = row.status
    run.iteration = row.iterations
    run.cancelled_by = row.cancelled_by.get_username() if row.cancelled_by else None
    run.usage = {
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "estimated": row.usage_estimated,
    }
    if row.started_at and row.ended_at:
        run.duration_ms = round((row.ended_at - row.started_at).total_seconds() * 1000)


def _known(run: models.Run) -> transcript.Run:
    """What the run's row says of it, for pages that begin after its first event."""
    return transcript.Run(
        str(run.pk),
        status="running" if run.status in UNFINISHED else run.status,
        started_at=run.started_at.timestamp() if run.started_at else None,
        agent=run.agent_name,
        message=run.message,
        user=run.user.get_username() if run.user else "",
        enable_reasoning=run.enable_reasoning,
        continues=str(run.continues_id) if run.continues_id else None,
        iteration=run.iterations,
    )


def _outlined(run: transcript.Run) -> dict[str, Any]:
    """A folded run for the page's script, without the texts that the page shows already and that no later event touches."""
    state = asdict(run)
    for item in state["items"]:
        item["text"] = ""
        if any(call["result"] is None for call in item["calls"]):
            continue
        for call in item["calls"]:
            call["arguments"] = None
            if call["result"]["ok"]:
                call["result"]["content"] = ""
    if state["answer"] is not None:
        state["answer"]["text"] = ""
    return state


def _agents() -> list[dict[str, str]]:
    return [
        {"name": name, "title": spec.title, "description": spec.description} for name, spec in agents.AGENTS.items()
    ]


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
        title = _("Running") if session.status in UNFINISHED else _day(session.active_at, today)
        groups.setdefault(title, SideGroup(title)).rows.append(_side_row(session))
    running = groups.pop(_("Running"), None)
    return [*([running] if running else []), *groups.values()]


def _day(moment: datetime, today: Any) -> str:
    day = timezone.localtime(moment).date()
    if day >= today:
        return _("Today")
    if day == today - timedelta(days=1):
        return _("Yesterday")
    return _("Earlier this week") if day > today - timedelta(days=7) else _("Earlier")


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


#: When to try again where the database was away.
_RETRY_AFTER_S = 5


def our_fault(request: HttpRequest) -> HttpResponse:
    """What is shown in place of an answer that failed with us, in words of its own where it was the database that did; reads nothing."""
    away = isinstance(sys.exc_info()[1], DatabaseError)
    answer = HttpResponse(
        render_to_string("503.html" if away else "500.html", {"request": request}), status=503 if away else 500
    )
    if away:
        answer["Retry-After"] = str(_RETRY_AFTER_S)
    return answer


def page_of_app(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    """Render with the list of sessions, in the reader's time zone."""
    zone = reader_zone(request)
    with timezone.override(ZoneInfo(zone) if zone else None):
        beside = selectors.past_sessions(_user(request))[:SIDE_SESSIONS]
        shared: Mapping[str, Any] = {"side": _side(beside), "filters": {}, "current_id": None}
        return render(request, template, {**shared, **context})


def reader_zone(request: HttpRequest) -> str:
    """The name of the time zone that the reader's browser has told; empty where it has told none that there is."""
    zone = request.COOKIES.get("tz", "")
    return zone if zone in _ZONES else ""


_ZONES = frozenset(available_timezones())
