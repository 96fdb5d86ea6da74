"""Sends the deliveries of webhooks, a few at a time, in threads of their own."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from django.conf import settings

import agents
from agents.sentence import Sentence
from chat.runtime import background, database
from chat.store import webhooks
from chat.store.webhooks import Attempt

#: How many deliveries this process sends at the same time.
_AT_ONCE = 4
_SWEEP_EVERY_S = 3_600.0


def _check_host(host: str) -> None:
    if not settings.FETCH_HOSTS.allows(host):
        raise agents.ToolError(Sentence("The operator does not allow “%(host)s”.", host=host))


class Deliverer:
    """The deliveries that this process is sending. For use on one event loop."""

    def __init__(self, poster: agents.Poster | None = None) -> None:
        self._poster = poster or agents.Poster(check_host=_check_host)
        self._busy: set[UUID] = set()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook")
        self._swept_at = 0.0

    async def send_due(self) -> None:
        """Claim due deliveries and start sending them; returns before they are sent."""
        if not settings.WEBHOOKS or len(self._busy) >= _AT_ONCE:
            return
        if time.monotonic() - self._swept_at > _SWEEP_EVERY_S or not self._swept_at:
            self._swept_at = time.monotonic()
            await database.write(webhooks.sweep_deliveries)
        if not await database.read(webhooks.is_any_due):
            return
        for attempt in await database.write(webhooks.claim_due, _AT_ONCE - len(self._busy), set(self._busy)):
            self._busy.add(attempt.webhook_id)
            background.spawn(self._send(attempt), "webhook")

    async def _send(self, attempt: Attempt) -> None:
        try:
            status, error = await asyncio.get_running_loop().run_in_executor(self._threads, self._post, attempt)
            await database.write(webhooks.settle, attempt, status, error)
        finally:
            self._busy.discard(attempt.webhook_id)

    def _post(self, attempt: Attempt) -> tuple[int | None, str]:
        """Send one. Returns the status of the answer, and why it has not arrived, if it hasn't."""
        if attempt.secret is None:
            return None, webhooks.lost_secret()
        try:
            status = self._poster.post(attempt.url, attempt.body, attempt.headers(time.time()))
        except agents.ToolError as failure:
            return None, str(failure)
        if 200 <= status < 300:
            return status, ""
        return status, Sentence("It answered with status %(status)d.", status=status)
