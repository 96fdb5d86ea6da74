"""The pages. Each reads, asks who may, and renders; nothing here writes."""

from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from chat import access, models
from chat.catalog import agents as catalog
from chat.models import UNFINISHED, RunStatus, Session
from chat.rendering import markdown, rows, transcript
from chat.rendering.agents import agent_rows
from chat.runs.admission import MOST_FILES
from chat.store import search, selectors
from chat.web.page import _side_row, render_page, run_from_row, user_of, visible_session

#: Sessions on one page of past sessions.
PAGE_SESSIONS = 40
#: Steps shown under a session that was found by them, the newest.
HITS = 3


@require_safe
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Start something new, or go on with what was begun."""
    recent = selectors.past_sessions(user_of(request))[:6]
    usable = catalog.usable_by(user_of(request).pk)
    offered = agent_rows(usable)
    return render_page(
        request,
        "chat/home.html",
        page="home",
        recent=[_side_row(session) for session in recent],
        agents=offered,
        agent_name=catalog.default_for(usable),
        enable_reasoning=True,
        state={
            "user": user_of(request).pk,
            "max_chars": settings.MAX_MESSAGE_CHARS,
            "max_files": MOST_FILES,
        },
    )


@require_safe
@login_required
def sessions(request: HttpRequest) -> HttpResponse:
    """Past sessions, filtered as the address says; with words to search for, the steps in which they occur."""
    if request.GET.get("part") == "side":
        return render_page(request, "chat/_sessions.html", current_id=_uuid(request.GET.get("current", "")))
    filters = {name: request.GET.get(name, "") for name in ("q", "status", "agent", "archived")}
    found = selectors.past_sessions(
        user_of(request),
        status=filters["status"],
        agent=filters["agent"],
        archived=filters["archived"] == "true",
    )
    looking = search.Search(user_of(request), filters["q"])
    if filters["q"].strip():
        found = looking.sessions(found)
    page = Paginator(found, PAGE_SESSIONS).get_page(request.GET.get("page"))
    hits = looking.hits([session.pk for session in page], HITS)
    return render_page(
        request,
        "chat/sessions.html",
        page="sessions",
        filters=filters,
        filtered=any(filters.values()),
        agents=agent_rows(catalog.usable_by(user_of(request).pk)),
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
    found, role = visible_session(request, session_id)
    before = _before(request, found)
    window = selectors.window(found, before=before)
    runs = _folded(window)
    # A message that was taken out of the line is no run to speak of, as long as there is another.
    at = next((at for at in reversed(range(len(runs))) if not runs[at].removed), len(runs) - 1)
    latest = runs[at] if runs else None
    live = before is None
    thoughts = (item.text for run in runs for item in run.items if item.kind == "thought")
    usable = catalog.usable_by(user_of(request).pk)
    offered = agent_rows(usable)
    is_there = any(agent["name"] == found.agent_name for agent in offered)
    chosen = found.agent_name if is_there else catalog.default_for(usable)
    answers = [run.answer.text for run in runs if run.answer is not None]
    markdown.prepare_markdown([*answers, *markdown.newest_thoughts(thoughts)])
    return render_page(
        request,
        "chat/session.html",
        page="session",
        session=found,
        current_id=found.pk,
        role=str(role),
        may_drive=access.may_drive(role),
        may_manage=access.may_manage(role),
        agents=offered,
        agent_name=chosen,
        withdrawn="" if chosen == found.agent_name else rows.agent_title(found.agent_name),
        enable_reasoning=found.enable_reasoning,
        agent_title=rows.agent_title(found.agent_name),
        runs=[rows.run_row(run) for run in runs],
        latest_run=latest.id if latest else None,
        head=rows.header(latest),
        window={"first": window.first, "last": found.last_seq, "more": window.earlier, "live": live},
        blank=rows.BLANK,
        state={
            "session": {"id": str(found.pk), "title": found.title, "agent": found.agent_name, "role": str(role)},
            "user": user_of(request).pk,
            "name": user_of(request).get_username(),
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
            "max_files": MOST_FILES,
            "agents": {agent["name"]: agent["title"] for agent in offered},
        },
    )


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
    runs = transcript.fold(window.frames, known={str(key): run_from_row(run) for key, run in window.runs.items()})
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
