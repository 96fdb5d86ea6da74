"""What is accepted is started, although the client disconnects: at each await of each way to start a run."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.test import override_settings
from django.utils import timezone

from chat.access import Role
from chat.api import runs as run_api
from chat.api import schedules as schedule_api
from chat.consumers import SessionConsumer
from chat.live import connections, handshake
from chat.live.connections import OpenSocket
from chat.live.handshake import Login
from chat.live.presence import presence
from chat.live.subscriptions import SessionSubscription
from chat.models import Connection, Run
from chat.protocol import Chat, Continue
from chat.runs import dispatch
from chat.runtime import database
from chat.schedules import commands as schedule_commands
from chat.schedules import occurrences
from chat.web import schedules as schedule_pages
from tests.faults.conftest import OpenWorld
from tests.faults.here import Here, here  # noqa: F401 - a fixture
from tests.serving import Browser

Work = Coroutine[Any, Any, Any]


class _Leaving:
    """Cancels work at one of its awaits: before the awaited result is there, or when it is there but has not been delivered yet."""

    def __init__(self, work: Work, at: int, *, add_connection: bool) -> None:
        self._work = work
        self._at = at
        self._has_come = add_connection
        self.was_left = False

    async def run(self) -> Any:
        return await self

    def __await__(self) -> Generator[Any, Any, Any]:
        answer: Any = None
        step: Callable[[Any], Any] = self._work.send
        waits = 0
        try:
            while True:
                waiting = step(answer)
                waits += 1
                if waits == self._at:
                    self._leave(waiting)
                try:
                    answer, step = (yield waiting), self._work.send
                except BaseException as error:  # noqa: BLE001 - passed on
                    answer, step = error, self._work.throw
        except StopIteration as end:
            return end.value

    def _leave(self, waiting: Any) -> None:
        self.was_left = True
        task = asyncio.current_task()
        assert task is not None
        if self._has_come and waiting is not None:
            waiting.add_done_callback(lambda _: task.cancel())
        else:
            asyncio.get_running_loop().call_soon(task.cancel)


class _Subscriber:
    """A subscriber to a feed that discards everything."""

    feed = SimpleNamespace(head=0)

    def cork(self) -> None: ...

    def uncork(self) -> None: ...

    def send_control(self, frame: str) -> None: ...


def _socket(here: Here) -> SessionConsumer:  # noqa: F811
    consumer = SessionConsumer()
    consumer.login = Login(here.user, "key")
    open_socket = OpenSocket(here.session.pk, here.user.pk, Role.OWNER, uuid4())
    consumer._subscription = SessionSubscription("process-1", open_socket, _Subscriber())  # type: ignore[arg-type]
    return consumer


async def _schedule(here: Here, **fields: Any) -> str:  # noqa: F811
    schedule = await sync_to_async(schedule_commands.make)(
        here.user, {"message": "What is 2 + 2?", "every_minutes": 60, **fields}, timezone.now()
    )
    return str(schedule.pk)


async def _message_over_http(here: Here) -> Work:  # noqa: F811
    return run_api.send_message(here.request(message="What is 2 + 2?"), str(here.session.pk))


async def _continue_over_http(here: Here) -> Work:  # noqa: F811
    return run_api.continue_run(here.request(), str((await here.earlier_run()).pk))


async def _schedule_over_http(here: Here) -> Work:  # noqa: F811
    return schedule_api.run_schedule(here.request(), await _schedule(here))


async def _schedule_by_form(here: Here) -> Work:  # noqa: F811
    return sync_to_async(schedule_pages.run)(here.request(), await _schedule(here))


async def _message_by_socket(here: Here) -> Work:  # noqa: F811
    return _socket(here)._handle(Chat(message="What is 2 + 2?"))


async def _queued_message(here: Here) -> Work:  # noqa: F811
    await _socket(here)._handle(Chat(message="What is 3 + 3?"))
    return _socket(here)._handle(Chat(message="What is 2 + 2?"))


async def _continue_by_socket(here: Here) -> Work:  # noqa: F811
    return _socket(here)._handle(Continue(run_id=str((await here.earlier_run()).pk)))


async def _look(here: Here) -> Work:  # noqa: F811
    """The periodic check that starts queued runs; a process that is told to stop cancels it."""
    await sync_to_async(occurrences.run_now)(await _schedule(here), timezone.now(), here.user)  # type: ignore[arg-type]
    session = await sync_to_async(lambda: Run.objects.get(status="queued").session_id)()
    return dispatch.dispatch_next(session)


#: Each way in which a run is started. A further one is one line.
WAYS = {
    "a message over HTTP": _message_over_http,
    "a continuation over HTTP": _continue_over_http,
    "a schedule that is run now, over HTTP": _schedule_over_http,
    "a schedule that is run now, by the page's form": _schedule_by_form,
    "a message by socket": _message_by_socket,
    "a queued message": _queued_message,
    "a continuation by socket": _continue_by_socket,
    "what waits, taken up": _look,
}


@pytest.mark.parametrize("add_connection", [False, True], ids=["while it waits", "when the answer has come"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_cancelled_request_leaves_no_stuck_run(
    here: Here,  # noqa: F811
    way: str,
    add_connection: bool,
) -> None:
    """Wherever the request is cancelled, there is no run, or one that ends; only the request itself starts it."""
    at = 0
    with override_settings(MAX_SCHEDULES_PER_USER=0, MAX_MESSAGES_PER_MINUTE=0):
        while True:
            at += 1
            leaving = _Leaving(await WAYS[way](here), at, add_connection=add_connection)
            await asyncio.gather(asyncio.create_task(leaving.run()), return_exceptions=True)
            assert await here.all_ended(), "a run was accepted and never started"
            if not leaving.was_left:
                break
    assert at > 1
    assert "completed" in await here.statuses()


@pytest.mark.parametrize("add_connection", [False, True], ids=["while it waits", "when the answer has come"])
async def test_a_socket_cancelled_at_each_await_of_its_opening_leaves_no_row(
    here: Here,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    add_connection: bool,
) -> None:
    """Wherever it is cancelled, no row says afterwards that the socket is open: it would count for as long as the process lives."""
    monkeypatch.setattr(handshake, "login_of", lambda _scope: Login(here.user, "key"))
    at = 0
    while True:
        at += 1
        leaving = _Leaving(_open_and_leave(here), at, add_connection=add_connection)
        await asyncio.gather(asyncio.create_task(leaving.run()), return_exceptions=True)
        async with asyncio.timeout(20):
            # The work that closing hands to the threads comes after the work that opening has handed to them.
            while True:
                is_written = await database.write(Connection.objects.exists)
                if not is_written and not connections.open_here and presence.writing is None:
                    break
        if not leaving.was_left:
            break
    assert at > 2


async def _open_and_leave(here: Here) -> None:  # noqa: F811
    consumer = SessionConsumer()
    route = {"kwargs": {"session_id": str(here.session.pk)}}
    consumer.scope = {"type": "websocket", "headers": [], "url_route": route, "query_string": b""}  # type: ignore[assignment]

    async def send(_message: Any) -> None:
        """Discard it."""

    consumer.base_send = send
    try:
        await consumer._enter()
    finally:
        await consumer._leave()


async def test_a_client_hangs_up_while_its_message_is_stored(open_world: OpenWorld) -> None:
    """Real requests, whose connections are closed earlier or later: each session has no run, or one that ends soon."""
    world = open_world("sqlite", RUN_LEASE_S="60")
    async with world.browser() as browser:
        sessions = [await browser.new_session() for _ in range(32)]
        for begin in range(0, len(sessions), 4):
            await asyncio.gather(
                *(_send_and_hang_up(browser, sessions[n], after_s=n * 0.01) for n in range(begin, begin + 4))
            )
        # The last client waits for its answer: what the others have handed to the threads is stored before that.
        status, _ = await browser.call("POST", f"sessions/{sessions[-1]}/messages/", {"message": "Say this [tokens=2]"})
        assert status == 202
        for session in sessions:
            await world.quiet(session, 15)
    ends = [run.status for session in sessions for run in world.database.runs(session)]
    assert set(ends) == {"completed"}
    assert len(ends) > 1


async def _send_and_hang_up(browser: Browser, session: str, *, after_s: float) -> None:
    body = b'{"message": "Say this [tokens=2 every=5]"}'
    cookies = "; ".join(f"{key}={value}" for key, value in browser.cookies.items())
    lines = [
        f"POST /api/sessions/{session}/messages/ HTTP/1.1",
        f"Host: {browser.url.removeprefix('http://')}",
        f"Cookie: {cookies}",
        f"X-CSRFToken: {browser.cookie('csrftoken')}",
        f"Referer: {browser.url}/",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    host, _, port = browser.url.removeprefix("http://").rpartition(":")
    _reader, writer = await asyncio.open_connection(host, int(port))
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    # How long the connection is open is what varies; the pause does not wait for anything.
    await asyncio.sleep(after_s)
    writer.transport.abort()
