"""Pages for sharing a session: with whom it is shared, and the page behind a link."""

from datetime import datetime, timedelta
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from chat.access import Role, may_manage
from chat.api.errors import status_of
from chat.api.links import link_address
from chat.models import Door
from chat.protocol import as_uuid, group_messages
from chat.rendering.sentences import translate_sentence
from chat.rendering.template_row import Row
from chat.runs import sharing
from chat.runs.admission import Refused
from chat.runtime import groups
from chat.schedules import handover
from chat.serving import supervisor
from chat.web.page import reader_time, render_page, user_of, visible_session

#: For how many days a share may be made.
DAYS = (1, 7, 30)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def shares(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """With whom a session is shared; its owner shares it here, changes shares and withdraws them."""
    found, role = visible_session(request, session_id)
    if not may_manage(role):
        raise Http404
    context: Row = {}
    status = 200
    if request.method == "POST":
        try:
            secret = _perform(request, session_id)
        except Refused as refused:
            context = {"refused": translate_sentence(refused.message), "sent": request.POST}
            status = 400 if isinstance(refused, sharing.UnknownName) else status_of(refused.code)
        else:
            notify_sockets()
            if not secret:
                return redirect("shares", session_id)
            context = {"link": link_address(request, secret)}
    user = user_of(request)
    with reader_time(request):
        answer = render_page(
            request,
            "chat/shares.html",
            page="shares",
            session=found,
            current_id=found.pk,
            shares=sharing.list_shares(user, found.pk),
            own_groups=user.groups.order_by("name"),
            days=DAYS,
            offer=handover.offer_of(found.pk),
            **context,
        )
    answer.status_code = status
    return answer


def _perform(request: HttpRequest, session_id: UUID) -> str:
    """Apply the form. Returns the secret of a new link."""
    user, form = user_of(request), request.POST
    if "withdraw_offer" in form:
        handover.withdraw_offer(user, session_id, Door.PAGE)
        return ""
    if "owner" in form:
        handover.offer_session(user, session_id, form["owner"].strip(), Door.PAGE)
        return ""
    share_id = as_uuid(form.get("share", ""))
    if share_id is not None:
        if "withdraw" in form:
            sharing.withdraw_share(user, share_id, Door.PAGE)
        else:
            sharing.change_share(user, share_id, {"role": role_in_form(form)}, Door.PAGE)
        return ""
    kind = form.get("kind", "user")
    target = sharing.ShareTarget(
        form.get("user", "").strip() if kind == "user" else "",
        form.get("group", "") if kind == "group" else "",
        link=kind == "link",
    )
    role = Role.WATCHER if kind == "link" else role_in_form(form)
    _, secret = sharing.make_share(user, session_id, target, role, end_in_form(form), Door.PAGE)
    return secret


def role_in_form(form: QueryDict) -> Role:
    """The role in a form; a watcher's if it has no valid one."""
    return Role.DRIVER if form.get("role") == Role.DRIVER else Role.WATCHER


def end_in_form(form: QueryDict) -> datetime | None:
    """When a share that a form makes expires; None if it is valid until it is withdrawn."""
    days = form.get("days", "")
    return timezone.now() + timedelta(days=int(days)) if days in map(str, DAYS) else None


def notify_sockets() -> None:
    """Have every process check at once whether its open sockets may stay."""
    groups.publish_from_thread(supervisor.serving_loop(), groups.EVERYONE, group_messages.LOGINS_CHANGED)


@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest, secret: str) -> HttpResponse:
    """The page behind a link: what it shares, and a button to join. An invalid link is 404, whatever the reason."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    if request.method == "POST":
        session_id = sharing.join_session(user_of(request), secret, Door.PAGE)
        if session_id is None:
            raise Http404
        return redirect("session", session_id)
    share = sharing.find_link(secret)
    if share is None:
        raise Http404
    if share.session.owner_id == user_of(request).pk:
        return redirect("session", share.session_id)
    return render_page(request, "chat/join.html", page="join", share=share)
