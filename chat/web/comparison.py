"""The page that shows two runs side by side. It can be linked to."""

import re
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from chat.models import IS_ROOT, UNFINISHED, Run
from chat.protocol import as_uuid
from chat.rendering import comparison
from chat.rendering.markdown import prepare_markdown
from chat.rendering.rows import agent_title
from chat.store import branches, selectors
from chat.web.page import render_page, user_of, visible_session

_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: How many of the newest runs are offered for a comparison.
_MOST_OFFERED = 60


@require_safe
@login_required
def compare(request: HttpRequest) -> HttpResponse:
    """Two runs, named by ``a`` and ``b``; without ``b``, the runs that ``a`` can be compared with."""
    left = _run(request, request.GET.get("a", ""))
    other = request.GET.get("b", "").strip()
    if not other:
        offered = _offered(request, left)
        return render_page(
            request, "chat/compare.html", page="compare", left=left, current_id=left.session_id, offered=offered
        )
    # Any address that ends with a run's id is accepted, also that of a place in a conversation.
    right = _run(request, (_ID.findall(other) or [""])[-1])
    parts = [comparison.parts_of(str(run.pk), selectors.run_frames(run)) for run in (left, right)]
    compared = comparison.compare_parts(*parts)
    prepare_markdown(comparison.prose_of(compared))
    return render_page(
        request,
        "chat/compare.html",
        page="compare",
        current_id=left.session_id,
        left=left,
        right=right,
        sides=[_side(run, own) for run, own in zip((left, right), parts, strict=True)],
        # The agents' names are shown if the questions are the same.
        is_one_question=left.message == right.message,
        compared=compared,
    )


def _run(request: HttpRequest, name: str) -> Run:
    key = as_uuid(name)
    run = Run.objects.select_related("session", "agent_version").filter(IS_ROOT, pk=key).first() if key else None
    if run is None:
        raise Http404
    visible_session(request, run.session_id)
    return run


def _side(run: Run, parts: list[comparison.Part]) -> dict[str, object]:
    """The heading of a run's steps."""
    lasted = (run.ended_at - run.started_at).total_seconds() * 1000 if run.started_at and run.ended_at else None
    return {
        "run": run,
        "name": f"{agent_title(run.agent_name)} {run.agent_version.number}"
        if run.agent_version
        else agent_title(run.agent_name),
        "duration_ms": None if lasted is None else round(lasted),
        "calls": sum(part.kind == "tool" for part in parts),
        "is_live": run.status in UNFINISHED,
    }


def _offered(request: HttpRequest, left: Run) -> list[Run]:
    """Other runs of the session, and runs with which copies of it continue, newest first."""
    sessions: set[UUID] = {left.session_id}
    for place in branches.places_in(user_of(request), left.session):
        sessions |= {member.pk for member in place.members}
    runs = Run.objects.filter(IS_ROOT, session__in=sessions, copied_from=None, session__deleted_at=None)
    others = runs.exclude(pk__in=[left.pk, left.copied_from or left.pk])
    return list(others.select_related("session", "agent_version").order_by("-created_at")[:_MOST_OFFERED])
