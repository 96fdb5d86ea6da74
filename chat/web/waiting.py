"""Pages for calls that wait for people: the list over all sessions, and the form of each call, which works without scripts."""

import contextlib
from datetime import datetime
from typing import cast
from uuid import UUID

import orjson
from asgiref.sync import async_to_sync
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from agents.approval import PRIVATE
from agents.json_types import JsonObject
from chat import protocol
from chat.access import may_drive
from chat.api.errors import status_of
from chat.models import Door, WaitingCall, WaitingKind
from chat.protocol import BadFrame
from chat.rendering import decision_form
from chat.rendering import waiting as waiting_rows
from chat.rendering.decision_form import BadForm
from chat.rendering.sentences import translate_sentence
from chat.rendering.template_row import Row
from chat.runs import deciding, waiting
from chat.runs.admission import Refused
from chat.store import waiting_calls, waiting_pages
from chat.web.page import reader_time, render_page, user_of, visible_session

#: How many calls are on one page of the list.
PAGE_CALLS = 30


@require_safe
@login_required
def index(request: HttpRequest) -> HttpResponse:
    """All calls that wait for the reader, each with its form."""
    listed = waiting_calls.list_open(user_of(request).pk, _after(request.GET.get("after", "")), PAGE_CALLS)
    shown = waiting_pages.shown_calls([entry.pk for entry in listed.entries])
    return render_page(
        request,
        "chat/waiting.html",
        page="waiting",
        found=[_shown(call) | {"back": "waiting"} for call in shown],
        after=""
        if listed.next_after is None
        else urlencode({"after": f"{listed.next_after[0].isoformat()}~{listed.next_after[1]}"}),
    )


def _after(text: str) -> tuple[datetime, int] | None:
    """Where a page of the list begins, from the query string."""
    moment, _sign, key = text.partition("~")
    try:
        deadline = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return (deadline, int(key)) if deadline.tzinfo and key.isdecimal() and len(key) < 16 else None


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def decide(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """One waiting call with its form; only the form, for use in another page, if the query string says so."""
    call = _found(request, run_id)
    refused, status = "", 200
    if call is not None and request.method == "POST":
        refused, status = _try(request, call)
        if not refused and "part" not in request.GET:
            return redirect(_place(request, call))
        call = waiting_pages.waiting_call(run_id, call.tool_call_id)
    if call is None:
        values = {"refused": refused or _("Nothing waits here any more.")}
        return render(request, "chat/_decide_part.html", values, status=409)
    context = _shown(call, request if refused else None) | {"refused": refused, "back": request.POST.get("back", "")}
    if "part" in request.GET:
        with reader_time(request):
            return render(request, "chat/_decide_part.html", context, status=status)
    context |= {"page": "waiting", "session": call.session, "current_id": call.session_id}
    answer = render_page(request, "chat/decide.html", **context)
    answer.status_code = status
    return answer


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def allowed(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """The standing approvals of a session; its drivers withdraw them here."""
    session, role = visible_session(request, session_id)
    if not may_drive(role):
        raise PermissionDenied
    if request.method == "POST":
        key = request.POST.get("approval", "")
        if not (key.isdecimal() and len(key) < 16):
            raise Http404
        # Somebody else may have withdrawn it already.
        with contextlib.suppress(Refused):
            async_to_sync(deciding.revoke)(user_of(request), session_id, int(key), Door.PAGE)
        return redirect("allowed", session_id)
    approvals = waiting_pages.standing_approvals(session_id)
    return render_page(
        request, "chat/allowed.html", page="allowed", session=session, current_id=session_id, standing=approvals
    )


def _found(request: HttpRequest, run_id: UUID) -> WaitingCall | None:
    """The call, for users who may decide it; None if it waits no more and an open page requests it. Raises `Http404`."""
    session_id = waiting_pages.session_of(run_id)
    if session_id is None:
        raise Http404
    _session, role = visible_session(request, session_id)
    if not may_drive(role):
        raise PermissionDenied
    call = waiting_pages.waiting_call(run_id, request.GET.get("call", "")[:200])
    if call is None and "part" not in request.GET:
        raise Http404
    return call


def _try(request: HttpRequest, call: WaitingCall) -> tuple[str, int]:
    """Apply the form. Returns why it was refused, if it was, and the response's status."""
    try:
        _perform(request, call)
    except BadForm as bad:
        return str(bad), 400
    except (BadFrame, Refused) as bad:
        return translate_sentence(bad.message), status_of(bad.code)
    return "", 200


def _shown(call: WaitingCall, request: HttpRequest | None = None) -> Row:
    """A call with its form, for the templates."""
    schema = _schema(call)
    return {
        "call": waiting_rows.waiting_row(call),
        "address": urlencode({"call": call.tool_call_id}),
        "rules": waiting_rows.wanting_rules(call, waiting.policies_over(call.run)),
        # In a session that has read private data, each call is decided on its own; and scheduled runs may have no session of their own.
        "may_allow_session": call.rule != PRIVATE and not waiting_pages.is_by_clock(call.run),
        **waiting_rows.form_row(call, schema, request.POST if request is not None else None),
    }


def _schema(call: WaitingCall) -> JsonObject:
    """The tool's parameters, as they were when it was called."""
    return cast(JsonObject, orjson.loads(call.parameters or "{}"))


def _place(request: HttpRequest, call: WaitingCall) -> str:
    """The page to go to after a form that was sent without scripts."""
    if request.POST.get("back") == "waiting":
        return reverse("waiting")
    return f"{reverse('session', args=[call.session_id])}#run-{call.run_id}"


def _perform(request: HttpRequest, call: WaitingCall) -> None:
    """Apply the form. Raises `BadForm`, `BadFrame` or `Refused`."""
    form, user = request.POST, user_of(request)
    where = call.session_id, call.run_id
    if call.kind == WaitingKind.QUESTION:
        answers = decision_form.read_answers(form, waiting_rows.fields_of(call))
        reply = protocol.validate_payload(protocol.Reply, {"tool_call_id": call.tool_call_id, "answers": answers})
        async_to_sync(deciding.answer)(user, *where, reply.tool_call_id, reply.answers, Door.PAGE)
        return
    chosen = form.get("decision", "")
    is_allowed = chosen in ("allow", "session")
    if not is_allowed and chosen != "deny":
        raise BadForm(_("Choose whether it may be called."))
    arguments = waiting_rows.arguments_of(call)
    edited = decision_form.read_arguments(form, arguments, _schema(call)) if is_allowed else None
    decision = {
        "tool_call_id": call.tool_call_id,
        "decision": "allow" if is_allowed else "deny",
        "arguments": edited,
        "scope": "session" if chosen == "session" else "once",
        "reason": form.get("reason", "").strip(),
    }
    approval = deciding.approval_of(protocol.validate_payload(protocol.Decide, decision))
    async_to_sync(deciding.approve)(user, *where, approval, Door.PAGE)
