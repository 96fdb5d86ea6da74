"""How requests get through Django: middleware without threads, and threads that are reused."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.signals import request_finished
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.utils.module_loading import import_string

from chat.runtime import database
from config.page_handler import PageHandler, PageThread
from tests.chat import making

threads: list[int] = []
started, release = threading.Event(), threading.Event()


def page(_request: HttpRequest) -> HttpResponse:
    """Record the thread of the view."""
    threads.append(threading.get_ident())
    return HttpResponse("made")


def slow(_request: HttpRequest) -> HttpResponse:
    """Wait until the test allows it to go on."""
    threads.append(threading.get_ident())
    started.set()
    release.wait(20)
    return HttpResponse("at last")


urlpatterns = [path("page/", page), path("slow/", slow)]


@pytest.fixture
def handler(settings: Any) -> PageHandler:
    """Django's chain of middleware, without what needs a database."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = []
    threads.clear()
    started.clear()
    release.clear()
    return PageHandler()


async def get(handler: PageHandler, address: str, left: asyncio.Event | None = None, cookie: bytes = b"") -> int:
    """Request a page, as a server does; with ``left`` the client disconnects."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": address,
        "headers": [(b"host", b"127.0.0.1"), (b"cookie", cookie)],
        "query_string": b"",
    }
    sent: list[dict[str, Any]] = []
    first = True

    async def receive() -> dict[str, Any]:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": b""}
        await (left or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await handler(scope, receive, send)
    return sent[0]["status"] if sent else 0


async def test_one_request_after_the_other_is_served_on_the_same_thread(handler: PageHandler) -> None:
    assert [await get(handler, "/page/") for _ in range(5)] == [200] * 5
    assert len(set(threads)) == 1


async def test_requests_at_the_same_time_do_not_wait_for_each_other(handler: PageHandler) -> None:
    waiting = asyncio.create_task(get(handler, "/slow/"))
    await asyncio.to_thread(started.wait, 20)
    assert await get(handler, "/page/") == 200
    release.set()
    assert await waiting == 200
    assert len(set(threads)) == 2


async def test_a_thread_whose_request_was_given_up_serves_nobody_until_it_is_done(handler: PageHandler) -> None:
    left = asyncio.Event()
    waiting = asyncio.create_task(get(handler, "/slow/", left))
    await asyncio.to_thread(started.wait, 20)
    left.set()
    assert await get(handler, "/page/") == 200
    release.set()
    await waiting
    assert len(set(threads)) == 2


def test_a_thread_says_whether_it_is_at_work() -> None:
    thread, may_end = PageThread(), threading.Event()
    assert not thread.is_busy
    done = thread.submit(may_end.wait, 20)
    assert thread.is_busy
    may_end.set()
    done.result()
    assert not thread.is_busy
    thread.retire()


@pytest.mark.parametrize("name", settings.MIDDLEWARE)
def test_no_middleware_takes_a_request_from_the_loop(name: str) -> None:
    """One that is not asynchronous would move everything after it to a thread."""
    assert import_string(name).async_capable


#: How often a request moves to its thread: for its view, for its template if that is separate, and for its end.
CHANGES = {"/accounts/login/": 3, "/": 2, "/sessions/": 2, "/api/sessions/": 1, "/healthz": 0}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("address", CHANGES)
async def test_an_answer_changes_threads_no_oftener_than_it_has_to(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    changes: list[Any] = []
    submit = ThreadPoolExecutor.submit

    def count(self: ThreadPoolExecutor, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self, PageThread):
            changes.append(fn)
        return submit(self, fn, *args, **kwargs)

    ended: list[Any] = []

    def end(**signal: Any) -> None:
        ended.append(signal)

    cookie = b"sessionid=" + (await sync_to_async(_log_in)()).encode()
    handler = PageHandler()
    monkeypatch.setattr(ThreadPoolExecutor, "submit", count)
    request_finished.connect(end)
    assert await get(handler, address, cookie=b"" if "login" in address else cookie) == 200
    assert len(changes) == CHANGES[address]
    assert len(ended) == (address != "/healthz")
    database.close()


def _log_in() -> str:
    client = Client()
    client.force_login(making.user())
    return client.cookies["sessionid"].value
