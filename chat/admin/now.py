"""What runs, waits or is stuck at present: a page that polls every two seconds, and the figures on the first page of the admin.

The page polls, and is not a subscriber: the events come from all processes, and one small query every two seconds for each open page costs
less than a group that every step of every run is published to.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext

from chat.admin.actions import user_pk
from chat.admin.formatting import admin_link, username_of
from chat.models import LIVE, MANY_SESSIONS, Door, Run, RunStatus
from chat.rendering import humanize
from chat.rendering.rows import agent_title
from chat.rendering.template_row import Row
from chat.runs import queue as run_queue
from chat.runtime import clock
from chat.security import audit
from chat.store import at_work, waiting_calls

_MAY_SEE = "chat.view_run"


def show_now(page: Any, request: HttpRequest) -> HttpResponse:
    """The page, or with ``?part`` the part of it that changes. ``page`` is the admin class of runs, which knows the actions."""
    if not page.has_view_permission(request):
        raise PermissionDenied
    audit.record_view(user_pk(request), MANY_SESSIONS, Door.ADMIN)
    now = clock.now()
    runs = at_work.unfinished_runs()
    kinds = waiting_calls.kinds_open({run.session_id for run in runs if run.status == RunStatus.WAITING})
    context = {
        "queue": run_queue.count_unfinished(),
        "runs": [_row(page, request, run, now, kinds) for run in runs],
        "most": at_work.MOST if len(runs) == at_work.MOST else 0,
        "ended": [_row(page, request, run, now) for run in at_work.continuable_runs()],
        "processes": at_work.processes(),
        "servers": at_work.model_servers(),
        "calls": at_work.CALLS,
    }
    if "part" in request.GET:
        answer = TemplateResponse(request, "admin/chat/_now.html", context)
        answer["Cache-Control"] = "no-store"
        return answer
    whole = {**page.admin_site.each_context(request), "title": gettext("At work now"), "opts": page.opts}
    return TemplateResponse(request, "admin/chat/now.html", {**whole, **context})


def _row(
    page: Any, request: HttpRequest, run: Run, now: datetime, kinds: Mapping[UUID, str] = MappingProxyType({})
) -> Row:
    is_live = run.status in LIVE
    since = run.ended_at or (run.started_at if is_live else None) or run.created_at
    step_at = getattr(run, "last_step_at", None)
    return {
        "run": run,
        "link": admin_link(run, run.beginning or str(run)),
        "user": username_of(run.user),
        "agent": agent_title(run.agent_name),
        "word": humanize.waiting(kinds.get(run.session_id, ""))
        if run.status == RunStatus.WAITING
        else run.get_status_display(),
        "is_stuck": at_work.is_stuck(run, now),
        "is_live": is_live,
        "lasts": _age(since, now),
        "heartbeat": _age(run.heartbeat_at, now) if is_live else "",
        "step": _age(step_at, now) if is_live else "",
        "iteration": getattr(run, "at_iteration", None) if is_live else None,
        "acts": page.acts_on(request, run, back="now"),
    }


def _age(moment: datetime | None, now: datetime) -> str:
    return "" if moment is None else humanize.approx_duration(max(0, round((now - moment).total_seconds())) * 1000)


def overview(request: HttpRequest) -> Row:
    """The figures on the first page of the admin, for users who may view runs."""
    if not request.user.has_perm(_MAY_SEE):
        return {}
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    runs = reverse("admin:chat_run_changelist")
    failures, queue = at_work.failures_since(today), run_queue.count_unfinished()
    silent = sum(process.is_silent for process in at_work.processes())
    since = f"ended_at__gte={today.astimezone(timezone.get_default_timezone()):%Y-%m-%d+%H:%M:%S%%2B00:00}"
    tiles = [
        (gettext("At work"), queue.at_work, reverse("admin:chat_run_now"), "live" if queue.at_work else ""),
        (gettext("In the queue"), queue.queued, f"{runs}?status=queued", ""),
        (gettext("Failed today"), failures.failed, f"{runs}?status=failed&{since}", "fail" if failures.failed else ""),
        (
            gettext("Interrupted today"),
            failures.interrupted,
            f"{runs}?status=interrupted&{since}",
            "fail" if failures.interrupted else "",
        ),
        (gettext("Silent processes"), silent, reverse("admin:chat_process_changelist"), "fail" if silent else ""),
    ]
    return {"tiles": tiles, "codes": failures.codes.most_common(5)}


def further_pages(request: HttpRequest) -> dict[str, list[Row]]:
    """The entry in the admin's list of pages, for users who may view runs."""
    if not request.user.has_perm(_MAY_SEE):
        return {}
    return {
        "work": [{"object_name": "now", "name": gettext("At work now"), "admin_url": reverse("admin:chat_run_now")}]
    }
