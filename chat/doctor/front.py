"""Checks the proxy in front of the processes: requests that are sent to the installation's `PUBLIC_URL` show how they arrive."""

import http.client
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import cast
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
from django.conf import settings
from django.utils import timezone

from agents.addresses import DEFAULT_PORTS
from chat.doctor.findings import Finding
from chat.security.passes import DOCTOR_HEADER, ReceivedRequest, doctor_pass

_PATIENCE_S = 8.0
_OFF_S = 2.0
#: The pieces of a stream arrive a quarter of a second apart, unless something buffers them.
_PAUSE_S, _PAUSES = 0.1, 2
_ECHO = "/healthz/echo"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: httpx2.Headers
    received: ReceivedRequest | None


def check_front() -> Iterator[Finding]:
    """Whether the public address leads here, and whether scheme, host, client address, sockets and streams pass the proxy unchanged."""
    public = settings.PUBLIC_URL
    if not public.host:
        yield Finding.ok("PUBLIC_URL is not set: plain http on this machine")
        return
    base = f"{public.origin}{public.path}"
    try:
        answer = _ask(f"{base}{_ECHO}")
    except (httpx2.HTTPError, OSError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        yield Finding.fail(
            f"{base} cannot be reached from here: {reason}",
            "Check that a process serves, that the name leads to the proxy, and that its certificate is valid.",
        )
        return
    yield from _check_date(answer.headers)
    if answer.received is None:
        yield Finding.fail(
            f"{base}{_ECHO} is not answered by this installation, but by something else ({answer.status})",
            "Let the proxy forward this address, with the header X-Doctor; all processes need the same SECRET_KEY, and all machines "
            "clocks that agree within a minute.",
        )
        return
    yield from _check_headers(answer.received)
    yield from _check_socket(base)
    yield from _check_stream(base)


def _ask(url: str) -> _Answer:
    with httpx2.Client(timeout=_PATIENCE_S, follow_redirects=False) as client:
        answer = client.get(url, headers={DOCTOR_HEADER: doctor_pass()})
    try:
        received = answer.json() if answer.status_code == 200 else None
    except ValueError:
        received = None
    is_ours = isinstance(received, dict) and "scheme" in received
    return _Answer(answer.status_code, answer.headers, cast(ReceivedRequest, received) if is_ours else None)


def _check_headers(received: ReceivedRequest) -> Iterator[Finding]:
    public = settings.PUBLIC_URL
    scheme, _, host = public.origin.partition("://")
    if received["ignored_peer"]:
        yield Finding.fail(
            f"X-Forwarded-… comes from {received['ignored_peer']}, which is not one of TRUSTED_PROXIES, and is ignored",
            f"Add {received['ignored_peer']} to TRUSTED_PROXIES.",
        )
    elif received["scheme"] != scheme:
        sent = (
            f"X-Forwarded-Proto: {received['forwarded_proto']}"
            if received["forwarded_proto"]
            else "no X-Forwarded-Proto"
        )
        yield Finding.fail(
            f"requests seem to use {received['scheme']}: the proxy sends {sent}",
            f"Let it send X-Forwarded-Proto: {scheme} (nginx: proxy_set_header X-Forwarded-Proto $scheme;).",
        )
    else:
        yield Finding.ok(f"requests use {scheme}")
    if received["host"] != host:
        yield Finding.fail(
            f"the host is lost on the way: {host} arrives as {received['host'] or 'nothing'}",
            "Let the proxy forward Host unchanged (nginx: proxy_set_header Host $http_host;).",
        )
    elif not received["host_is_known"]:
        yield Finding.fail(f"{host} is not one of ALLOWED_HOSTS", "Add it there.")
    else:
        yield Finding.ok("the host arrives unchanged")
    yield _judge_client(received)


def _judge_client(received: ReceivedRequest) -> Finding:
    if received["forwarded_for"] or received["ignored_peer"]:
        return Finding.ok(f"this machine is seen as {received['client']}")
    return Finding.warn(
        f"all clients are seen as {received['client']}: the proxy does not send their addresses",
        "Let it send X-Forwarded-For (nginx: $proxy_add_x_forwarded_for), unless there is no proxy: "
        "failed logins are limited by address.",
    )


def _check_date(headers: httpx2.Headers) -> Iterator[Finding]:
    try:
        date = parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return
    off = (timezone.now() - date).total_seconds()
    # The header has no fractions of a second, and the answer took time to arrive.
    if abs(off) > _OFF_S + 1:
        yield Finding.warn(f"the proxy's clock is {-off:+.0f} s off this machine's", "Set both by NTP.")


def _check_socket(base: str) -> Iterator[Finding]:
    status = _upgrade(base)
    if status == 101:
        yield Finding.ok("WebSockets are forwarded")
    elif status == 403:
        yield Finding.fail(
            "a socket of the site's own page is refused (403): scheme or host differ from PUBLIC_URL's",
            "Correct what the lines above name.",
        )
    else:
        yield Finding.fail(
            f"WebSockets are not forwarded (the answer is {status or 'missing'}): pages fall back to polling",
            "nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; Connection $connection_upgrade;",
        )


def _upgrade(base: str) -> int:
    """Request a WebSocket as one of our pages does, without a login; returns the status of the answer, 0 if there was none."""
    parts = urlsplit(base)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    # The port is always written: otherwise one would be read from after the last colon of an IPv6 address.
    connection = kind(parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme], timeout=_PATIENCE_S)
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Origin": settings.PUBLIC_URL.origin,
    }
    try:
        connection.request("GET", f"{parts.path}/ws/chat/{uuid4()}/", headers=headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _check_stream(base: str) -> Iterator[Finding]:
    arrived: list[float] = []
    headers = {DOCTOR_HEADER: doctor_pass()}
    try:
        with (
            httpx2.Client(timeout=_PATIENCE_S) as client,
            client.stream("GET", f"{base}{_ECHO}?stream", headers=headers) as answer,
        ):
            arrived.extend(time.monotonic() for _ in answer.iter_raw())
    except (httpx2.HTTPError, OSError) as error:
        yield Finding.fail(f"a stream is interrupted: {type(error).__name__}", "See the proxy's log.")
        return
    if sum(later - earlier > _PAUSE_S for earlier, later in pairwise(arrived)) >= _PAUSES:
        yield Finding.ok("streams are forwarded without delay")
    else:
        yield Finding.warn(
            "streams are buffered, and arrive all at once",
            "nginx: proxy_buffering off; and no compression of text/event-stream.",
        )
