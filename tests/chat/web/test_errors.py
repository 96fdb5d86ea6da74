"""Error pages: beside the list of sessions for logged-in users, without it for others, in the reader's language."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.core.exceptions import SuspiciousOperation
from django.db import DatabaseError
from django.http import HttpRequest
from django.test import AsyncClient, Client

from chat.accounts.models import User
from chat.runtime import database
from chat.web import errors
from chat.web import sessions as session_pages
from config.login_limits import locked_out
from tests.chat import making

LANGUAGES = {"en": "There is nothing here", "zh-Hant": "這裡沒有東西", "zh-Hans": "这里没有东西"}
NOWHERE = "/sessions/00000000-0000-0000-0000-000000000000/"
#: Text of the application's frame, and of the page without it.
FRAME, ALONE = 'id="side-list"', 'class="sheet-page'


@pytest.fixture
async def asked(transactional_db: None) -> AsyncIterator[AsyncClient]:
    """As the product is served: Django calls error views in a thread of its own."""
    client = AsyncClient()
    user = await database.write(making.user)
    await database.write(making.session, user, title="Tea and cake")
    await client.aforce_login(user)
    yield client
    database.close()


async def test_there_is_nothing_and_the_way_back_is_beside_it(asked: AsyncClient) -> None:
    for path in ("/nothing/at/all/", NOWHERE):
        page = await asked.get(path)
        text = page.content.decode()
        assert page.status_code == 404
        assert (FRAME in text, ALONE in text) == (True, False)
        assert "Tea and cake" in text
        assert "Content-Security-Policy" in page.headers


@pytest.mark.parametrize("language", LANGUAGES)
async def test_an_error_page_is_in_the_readers_language(asked: AsyncClient, language: str) -> None:
    page = await asked.get(NOWHERE, headers={"Accept-Language": language})
    assert LANGUAGES[language] in page.content.decode()


async def test_an_error_page_without_a_login_is_without_the_list(asked: AsyncClient) -> None:
    for cookie in ("", "x" * 32):
        visitor = AsyncClient()
        if cookie:
            visitor.cookies["sessionid"] = cookie
        page = await visitor.get("/nothing/at/all/")
        text = page.content.decode()
        assert page.status_code == 404
        assert (FRAME in text, ALONE in text) == (False, True)


async def test_an_error_page_is_without_the_list_if_that_fails(
    asked: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise DatabaseError

    monkeypatch.setattr(errors, "render_page", away)
    page = await asked.get("/nothing/at/all/")
    text = page.content.decode()
    assert page.status_code == 404
    assert (FRAME in text, ALONE in text, "Tea and cake" in text) == (True, False, False)


#: An error page: its status, whether the list of sessions is beside it, the error of the view, and a text of the page in each language.
#: Errors of the product itself make no further query.
PLACES: dict[str, tuple[int, bool, Any, dict[str, str]]] = {
    "not understood": (
        400,
        True,
        SuspiciousOperation,
        {"en": "Bad request", "zh-Hant": "錯誤的要求", "zh-Hans": "错误的请求"},
    ),
    "forged": (
        403,
        True,
        None,
        {"en": "This request was not accepted", "zh-Hant": "這項要求未被接受", "zh-Hans": "这项请求未被接受"},
    ),
    "too many": (
        429,
        True,
        locked_out,
        {"en": "Too many attempts to log in", "zh-Hant": "登入嘗試次數太多", "zh-Hans": "登录尝试次数太多"},
    ),
    "ours": (
        500,
        False,
        RuntimeError,
        {"en": "This page could not be shown", "zh-Hant": "無法顯示這個頁面", "zh-Hans": "无法显示这个页面"},
    ),
    "database": (
        503,
        False,
        DatabaseError,
        {"en": "The database does not answer", "zh-Hant": "資料庫沒有回應", "zh-Hans": "数据库没有响应"},
    ),
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("place", PLACES)
async def test_every_such_page_is_in_the_frame(
    asked: AsyncClient, monkeypatch: pytest.MonkeyPatch, place: str, language: str
) -> None:
    status, has_list, comes, words = PLACES[place]

    def view(request: HttpRequest, *_: Any, **__: Any) -> Any:
        if isinstance(comes, type):
            raise comes
        return comes(request)

    monkeypatch.setattr(session_pages, "render_page", view)
    client = AsyncClient(enforce_csrf_checks=True, raise_request_exception=False)
    client.cookies = asked.cookies
    headers = {"Accept-Language": language}
    page = await (
        client.get("/sessions/", headers=headers) if comes else client.post("/sessions/new/", headers=headers)
    )
    text = page.content.decode()
    assert page.status_code == status
    assert words[language] in text
    assert (FRAME in text, ALONE in text, "Tea and cake" in text) == (True, False, has_list)
    assert 'href="/sessions/"' in text
    assert ("Retry-After" in page.headers) == (status in (429, 503))


async def test_a_stranger_s_bad_request_stands_alone(asked: AsyncClient) -> None:
    visitor = AsyncClient(enforce_csrf_checks=True)
    for page, status in (
        (await visitor.post("/sessions/new/"), 403),
        (await asked.get("/sessions/", headers={"Host": "evil.example"}), 400),
    ):
        text = page.content.decode()
        assert (page.status_code, FRAME in text, ALONE in text) == (status, False, True)


@pytest.mark.django_db
def test_a_forbidden_page_is_in_the_frame(client: Client) -> None:
    user: User = making.staff("chat.view_run")
    client.force_login(user)
    page = client.get("/admin/chat/webhook/")
    text = page.content.decode()
    assert page.status_code == 403
    assert "Your account may not do that." in text
    assert FRAME in text
