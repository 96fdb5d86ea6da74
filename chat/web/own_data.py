"""Pages about the user's data: how long they are kept, and all of them as a file."""

from collections.abc import AsyncIterator
from typing import cast

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from chat.accounts.models import User
from chat.models import Act, Door
from chat.runs import retention
from chat.runtime import database
from chat.security import audit
from chat.store import own_data
from chat.web.page import render_account_page

#: The users to whom this process is sending an archive.
_being_sent: set[int] = set()
#: How many archives are sent at the same time.
_AT_ONCE = 4


@require_GET
@login_required
def show_data(request: HttpRequest) -> HttpResponse:
    """The page about the user's data, and how long sessions are kept."""
    return render_account_page(request, "registration/data.html", days=retention.days_kept(cast(User, request.user)))


@require_GET
@never_cache
@login_required
def send_archive(request: HttpRequest) -> HttpResponseBase:
    """All data of the account, as one file."""
    user = cast(User, request.user)
    if user.pk in _being_sent or len(_being_sent) >= _AT_ONCE:
        message = gettext("An archive is being made already. Try again when it has arrived.")
        days = retention.days_kept(user)
        answer = render_account_page(request, "registration/data.html", days=days, problem=message)
        answer.status_code = 429
        answer["Retry-After"] = "60"
        return answer
    audit.record_action(user.pk, Act.EXPORT, Door.PAGE, subject_id=user.pk, about="account")
    headers = {"Content-Disposition": f'attachment; filename="thinkaloud-{timezone.now():%Y-%m-%d}.zip"'}
    return StreamingHttpResponse(_pieces(user), content_type="application/zip", headers=headers)


async def _pieces(user: User) -> AsyncIterator[bytes]:
    """The archive; each piece is made when the one before was sent."""
    _being_sent.add(user.pk)
    pieces = own_data.archive(user)
    try:
        while (piece := await database.read(next, pieces, None)) is not None:
            yield piece
    finally:
        _being_sent.discard(user.pk)
