"""`/metrics`: the metrics of this process for Prometheus, and for staff with that permission."""

import asyncio

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from chat.access import has_right_now
from chat.api.askers import NotLoggedIn, OutOfScope, authenticate_request
from chat.models import Scope
from chat.runtime import database, metrics
from chat.security.passes import is_metrics_token
from chat.security.tokens import BadToken, TooManyAttempts
from chat.serving.gauges import gauges

VIEW_METRICS = "chat.view_metrics"
#: Simultaneous requests share one rendering: with thousands of series it takes a while.
_making: dict[str, "asyncio.Task[tuple[bytes, str]]"] = {}


@require_safe
@never_cache
async def metrics_page(request: HttpRequest) -> HttpResponse:
    """The metrics, for requests with `METRICS_TOKEN`, and for staff with that permission, by their login or a token."""
    if has_token(request):
        return await metrics_answer(request)
    try:
        login = await authenticate_request(request, Scope.READ)
    except TooManyAttempts as many:
        return _refuse(f"Too many tokens that are none came from there. Wait {many.wait_s:.0f} s.", 429)
    except (NotLoggedIn, BadToken):
        return _refuse("Log in, or send METRICS_TOKEN or a token of yours as bearer.", 401)
    except OutOfScope:
        return _refuse("This token does not hold for that.", 403)
    # Elsewhere a token's user has no staff rights; here they count.
    if not await database.read(has_right_now, login.user.pk, VIEW_METRICS):
        return _refuse(f"Metrics are for staff with the permission {VIEW_METRICS}.", 403)
    return await metrics_answer(request)


def has_token(request: HttpRequest) -> bool:
    """Whether a request has `METRICS_TOKEN`, if one is set."""
    return is_metrics_token(request.headers.get("Authorization", ""))


@require_safe
@never_cache
async def metrics_answer(request: HttpRequest) -> HttpResponse:
    """The metrics as text, rendered in a thread; the database is queried now and then."""
    await gauges.refresh()
    accept = request.headers.get("Accept", "")[:1_000]
    making = _making.get(accept)
    if making is None:
        making = _making[accept] = asyncio.create_task(asyncio.to_thread(metrics.render_figures, accept))
        making.add_done_callback(lambda _: _making.pop(accept, None))
    body, content_type = await asyncio.shield(making)
    return HttpResponse(body, content_type=content_type)


def _refuse(message: str, status: int) -> HttpResponse:
    refused = HttpResponse(f"{message}\n", status=status, content_type="text/plain; charset=utf-8")
    if status == 401:
        refused["WWW-Authenticate"] = "Bearer"
    return refused
