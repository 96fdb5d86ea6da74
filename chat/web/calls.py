"""The page of one model call: what was sent to the model, and what it answered."""

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from chat import models
from chat.access import VIEW_SESSIONS, Role, has_right
from chat.rendering import calls as call_rows
from chat.store import branches, call_reader
from chat.web.page import render_page, user_of, visible_session


@require_safe
@login_required
def call(request: HttpRequest, run_id: UUID, number: int) -> HttpResponse:
    """One of a run's model calls, numbered from 1 on, in full."""
    run = models.Run.objects.select_related("session__owner").filter(pk=run_id).first()
    if run is None:
        raise Http404
    _session, role = visible_session(request, run.session_id)
    executed = branches.executed_run(user_of(request), run)
    found = call_reader.full_call(executed, number) if role is not Role.WATCHER and number < 10**9 else None
    if found is None:
        raise Http404
    of = executed.calls.count()
    hides = call_reader.hides_instructions(executed) and not has_right(request.user, VIEW_SESSIONS)
    messages = call_rows.without_instructions(found.messages) if hides else found.messages
    shown = call_rows.call_page(found.data, messages, found.tools, number=number, of=of, is_hidden=hides)
    shown["before"] = reverse("call", args=[run_id, number - 1]) if number > 1 else ""
    shown["after"] = reverse("call", args=[run_id, number + 1]) if number < of else ""
    return render_page(
        request,
        "chat/call.html",
        page="run",
        session=run.session,
        current_id=run.session_id,
        run=run,
        call=shown,
    )
