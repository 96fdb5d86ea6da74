"""A gate before everything that hashes a password: few at a time, in a fair and bounded queue, so that a flood of logins blocks no others.

It is before Django, which gives each running request a thread.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.template.loader import render_to_string
from django.utils import translation

from chat.web.languages import scope_language
from config import content_security, proxies
from config.proxies import Application, Scope

#: Addresses where a password is sent, or an account is made.
PATHS = ("/accounts/", "/admin/login/", "/admin/accounts/user/", "/admin/password_change/")
#: Addresses where a provider or a mail server is called, which may take long.
PROVIDER_PATHS = ("/accounts/oidc/", "/accounts/email/")
#: How long a request waits before it is refused, in seconds.
PATIENCE_S = 10.0
_RETRY_AFTER_S = 10


class Full(Exception):
    """The queue is too long, or too slow."""


@dataclass(slots=True)
class FairQueue:
    """A few at a time; waiting clients take turns, so that one with many requests delays only itself."""

    at_once: int
    most: int
    most_of_one: int
    _at_work: int = 0
    _waiting: "OrderedDict[str, deque[asyncio.Future[None]]]" = field(default_factory=OrderedDict)
    _length: int = 0

    async def enter(self, client: str) -> None:
        """Wait in the queue. Raises `Full`; every caller that gets in must call `leave`."""
        if self._at_work < self.at_once and not self._length:
            self._at_work += 1
            return
        own = self._waiting.get(client, ())
        if self._length >= self.most or len(own) >= self.most_of_one:
            raise Full
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        self._length += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                await turn
        except BaseException as ended:
            if turn.done() and not turn.cancelled():
                self.leave()
            else:
                self._forget(client, turn)
            if isinstance(ended, TimeoutError):
                raise Full from None
            raise

    def leave(self) -> None:
        """Let the next one in."""
        self._at_work -= 1
        while self._length and self._at_work < self.at_once:
            client, turns = next(iter(self._waiting.items()))
            turn = turns[0]
            self._waiting.move_to_end(client)
            self._forget(client, turn)
            if not turn.done():
                self._at_work += 1
                turn.set_result(None)

    def _forget(self, client: str, turn: "asyncio.Future[None]") -> None:
        turns = self._waiting.get(client)
        if turns is None or turn not in turns:
            return
        turns.remove(turn)
        self._length -= 1
        if not turns:
            del self._waiting[client]


class LoginGate:
    """Lets few requests at a time through to where passwords are hashed, and answers the others that they have to wait."""

    def __init__(self, application: Application) -> None:
        self._application = application
        # Requests that send a password; the pages with the forms do not wait for them, nor for a slow provider.
        self._hashing, self._asking, self._reading = (
            FairQueue(4, 512, 128),
            FairQueue(8, 256, 64),
            FairQueue(16, 1024, 512),
        )

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass one request on when its turn has come."""
        path = scope.get("path", "").removeprefix(scope.get("root_path") or "")
        if scope["type"] != "http" or not path.startswith(PATHS):
            await self._application(scope, receive, send)
            return
        queue = self._reading if scope["method"] in {"GET", "HEAD", "OPTIONS"} else self._hashing
        if path.startswith(PROVIDER_PATHS):
            queue = self._asking
        client = proxies.client_network((scope.get("client") or ("", 0))[0])
        try:
            await queue.enter(client)
        except Full:
            await _refuse(scope, send)
            return
        try:
            await self._application(scope, receive, send)
        finally:
            queue.leave()


async def _refuse(scope: Scope, send: Any) -> None:
    page = busy_page(scope_language(scope.get("headers", [])))
    headers = [
        (b"vary", b"Accept-Language, Cookie"),
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(page)).encode()),
        (b"retry-after", str(_RETRY_AFTER_S).encode()),
        (b"cache-control", b"no-store"),
        (b"content-security-policy", content_security.plain_policy().encode()),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else page})


@cache
def busy_page(language: str) -> bytes:
    """The page that asks people to wait, rendered once in each language, because there is no time to render it when it is needed."""
    with translation.override(language):
        return render_to_string("busy.html").encode()
