"""Pages for branches: asking a question again or changed, continuing from an earlier event; copies, and changes of owner."""

import secrets
from hashlib import sha256
from uuid import UUID

import orjson
from asgiref.sync import async_to_sync
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from agents.sentence import Sentence
from chat.access import may_copy
from chat.api.errors import status_of
from chat.catalog import agents as catalog
from chat.models import IS_ROOT, Door, Run, Step
from chat.protocol import group_messages
from chat.rendering.agents import agent_rows
from chat.rendering.sentences import translate_sentence
from chat.rendering.template_row import Row
from chat.runs import sharing
from chat.runs.admission import Refused
from chat.runs.branching import Branch, make_branch
from chat.runtime import background, groups
from chat.schedules import handover
from chat.serving import supervisor
from chat.store import selectors
from chat.web.acts import form_action
from chat.web.page import render_page, user_of, visible_session


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def branch(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """Ask a run's question again or changed, or continue from its end, in a new session of the user's; the original stays as it is."""
    run = Run.objects.filter(IS_ROOT, pk=run_id).first()
    if run is None:
        raise Http404
    session, role = visible_session(request, run.session_id)
    end = Step.objects.filter(run=run, event="reasoning_complete").values_list("seq", flat=True).first()
    if not may_copy(role):
        return _refuse(request, Refused("not_allowed", Sentence("You may look at this session, but not copy it.")))
    if end is None:
        raise Http404
    context: Row = {"message": "" if run.continues_id else run.message, "agent_name": run.agent_name}
    status = 200
    if request.method == "POST":
        values = {name: request.POST.get(name, "") for name in ("message", "agent_name")}
        values["message"] = values["message"].replace("\r\n", "\n")
        try:
            made = async_to_sync(make_branch)(user_of(request), _wish(request, run, end, values), Door.PAGE)
        except Refused as refused:
            context = {**values, "refused": translate_sentence(refused.message)}
            status = 400 if refused.code == "too_large" else status_of(refused.code)
        else:
            return redirect("session", made.session_id)
    usable = catalog.usable_by(user_of(request).pk)
    answer = render_page(
        request,
        "chat/branch.html",
        page="branch",
        session=session,
        current_id=session.pk,
        run=run,
        files=orjson.loads(run.files) if run.files else [],
        agents=agent_rows(usable),
        form_key=secrets.token_hex(16),
        **context,
    )
    answer.status_code = status
    return answer


def _wish(request: HttpRequest, run: Run, end: int, values: dict[str, str]) -> Branch:
    """The branch that the form asks for: with ``on`` it continues after the run; else it asks again in its place."""
    # A form that is sent twice creates one session.
    parts = (request.POST.get("form_key"), "on" in request.POST, values)
    key = sha256(repr(parts).encode()).hexdigest()
    if "on" in request.POST:
        return Branch(run.session_id, end, key=key)
    before, _ = selectors.place_before(run.pk)
    files = tuple(file["id"] for file in orjson.loads(run.files)) if run.files else ()
    return Branch(run.session_id, before, values["message"], values["agent_name"] or None, files, key)


@form_action
def copy(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Copy a session, and go to the copy."""
    visible_session(request, session_id)
    try:
        made = async_to_sync(make_branch)(user_of(request), Branch(session_id), Door.PAGE)
    except Refused as refused:
        return _refuse(request, refused)
    return redirect("session", made.session_id)


@form_action
def owner(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Accept or decline a session, as the user that it is offered to; or withdraw the offer, as its owner."""
    user = user_of(request)
    try:
        if "accept" not in request.POST:
            handover.withdraw_offer(user, session_id, Door.PAGE)
            return redirect("sessions")
        handover.accept_offer(user, session_id, Door.PAGE)
    except Refused:
        raise Http404 from None
    loop = supervisor.serving_loop()
    groups.publish_from_thread(loop, groups.EVERYONE, group_messages.LOGINS_CHANGED)
    if loop is not None:
        loop.call_soon_threadsafe(lambda: background.spawn(handover.move_index(), "move index"))
    return redirect("session", session_id)


@form_action
def leave(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Leave a session that was shared with the user."""
    visible_session(request, session_id)
    try:
        sharing.leave_session(user_of(request), session_id, Door.PAGE)
    except Refused as refused:
        return _refuse(request, refused)
    groups.publish_from_thread(supervisor.serving_loop(), groups.EVERYONE, group_messages.LOGINS_CHANGED)
    return redirect("sessions")


def _refuse(request: HttpRequest, refused: Refused) -> HttpResponse:
    """A page with the reason for a refusal."""
    answer = render_page(request, "chat/refused.html", page="refused", refused=translate_sentence(refused.message))
    answer.status_code = 400 if refused.code == "too_large" else status_of(refused.code)
    return answer
