"""Pages for sharing a set: with whom it is shared, and leaving it."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from chat.access import may_manage
from chat.api.errors import status_of
from chat.cases import selectors as case_selectors
from chat.cases import sharing
from chat.models import Door
from chat.protocol import as_uuid
from chat.rendering.sentences import translate_sentence
from chat.rendering.template_row import Row
from chat.runs.admission import Refused
from chat.runs.sharing import ShareTarget, UnknownName
from chat.web.acts import form_action
from chat.web.page import reader_time, render_page, user_of
from chat.web.sharing import DAYS, end_in_form, notify_sockets, role_in_form


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def shares(request: HttpRequest, set_id: UUID) -> HttpResponse:
    """With whom a set is shared; its owner shares it here, changes shares and withdraws them."""
    user = user_of(request)
    found = case_selectors.find_set(user, set_id)
    if found is None or not may_manage(found[1]):
        raise Http404
    context: Row = {}
    status = 200
    if request.method == "POST":
        try:
            _perform(request, set_id)
        except Refused as refused:
            context = {"refused": translate_sentence(refused.message), "sent": request.POST}
            status = 400 if isinstance(refused, UnknownName) else status_of(refused.code)
        else:
            notify_sockets()
            return redirect("case-set-shares", set_id)
    with reader_time(request):
        answer = render_page(
            request,
            "chat/set_shares.html",
            page="shares",
            case_set=found[0],
            shares=sharing.list_shares(user, set_id),
            own_groups=user.groups.order_by("name"),
            days=DAYS,
            **context,
        )
    answer.status_code = status
    return answer


def _perform(request: HttpRequest, set_id: UUID) -> None:
    """Apply the form."""
    user, form = user_of(request), request.POST
    share_id = as_uuid(form.get("share", ""))
    if share_id is not None and "withdraw" in form:
        sharing.withdraw_share(user, set_id, share_id, Door.PAGE)
    elif share_id is not None:
        sharing.change_share(user, set_id, share_id, {"role": role_in_form(form)}, Door.PAGE)
    else:
        is_group = form.get("kind") == "group"
        target = ShareTarget(group=form.get("group", "")) if is_group else ShareTarget(form.get("user", "").strip())
        sharing.make_share(user, set_id, target, role_in_form(form), end_in_form(form), Door.PAGE)


@form_action
def leave(request: HttpRequest, set_id: UUID) -> HttpResponse:
    """Leave a set that was shared with the user."""
    if case_selectors.find_set(user_of(request), set_id) is None:
        raise Http404
    try:
        sharing.leave_set(user_of(request), set_id, Door.PAGE)
    except Refused as refused:
        messages.error(request, translate_sentence(refused.message))
        return redirect("case-set", set_id)
    notify_sockets()
    return redirect("case-sets")
