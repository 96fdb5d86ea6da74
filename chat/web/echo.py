"""`/healthz/echo`: shows how a request has reached this process, for `manage.py doctor`, which requests it through the proxy in front."""

import asyncio
from collections.abc import AsyncIterator

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from chat.security.passes import DOCTOR_HEADER, ReceivedRequest, is_doctor

#: As in the product's streams: pieces with pauses between them, and headers that make proxies pass them on at once.
_PIECES, _PAUSE_S = 4, 0.25
_STREAM_HEADERS = {"Cache-Control": "no-transform", "X-Accel-Buffering": "no"}


@require_safe
@never_cache
async def echo(request: HttpRequest) -> HttpResponseBase:
    """Answer the doctor with how its request has arrived, or with a stream; 404 for everyone else."""
    if not is_doctor(request.headers.get(DOCTOR_HEADER, "")):
        return HttpResponse("There is no such page.\n", status=404, content_type="text/plain; charset=utf-8")
    if "stream" in request.GET:
        return StreamingHttpResponse(_pieces(), content_type="text/event-stream", headers=_STREAM_HEADERS)
    return JsonResponse(_received(request))


async def _pieces() -> AsyncIterator[bytes]:
    for number in range(_PIECES):
        yield f"data: {number}\n\n".encode()
        await asyncio.sleep(_PAUSE_S)


def _received(request: HttpRequest) -> ReceivedRequest:
    try:
        request.get_host()
        host_is_known = True
    except DisallowedHost:
        host_is_known = False
    return {
        "scheme": "https" if request.is_secure() else "http",
        "host": request.META.get("HTTP_HOST", ""),
        "host_is_known": host_is_known,
        "client": request.META.get("REMOTE_ADDR", ""),
        "forwarded_for": request.headers.get("X-Forwarded-For", ""),
        "forwarded_proto": request.headers.get("X-Forwarded-Proto", ""),
        "ignored_peer": getattr(request, "scope", {}).get("thinkaloud.ignored_proxy", ""),
    }
