"""Pages in place of an answer: beside the list of sessions for whoever is logged in, alone for others, in the reader's language."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import AsyncClient, Client

from chat.accounts.models import User
from chat.runtime import database
from chat.web import errors
from tests.chat import making

LANGUAGES = {"en": "There is nothing here", "zh-Hant": "這裡沒有東西", "zh-Hans": "这里没有东西"}
NOWHERE = "/sessions/00000000-0000-0000-0000-000000000000/"
#: What marks the frame of the application, and the page that stands alone.
FRAME, ALONE = 'id="side-list"', 'class="sheet-page'


@pytest.fixture
async def asked(transactional_db: None) -> AsyncIterator[AsyncClient]:
    """As the product is served: Django calls error pages on a thread of its own."""
    client = AsyncClient()
    user = await database.write(making.user)
    await database.write(making.session, user, title="Tea and cake")
    await client.aforce_login(user)
    yield client
    database.close()


async def test_there_is_nothing_and_the_way_back_is_beside_it(asked: AsyncClient) -> None:
    for path in ("/nothing/at/all/", NOWHERE):
        page = await asked.get(path)
        told = page.content.decode()
        assert page.status_code == 404
        assert (FRAME in told, ALONE in told) == (True, False)
        assert "Tea and cake" in told
        assert "Content-Security-Policy" in page.headers


@pytest.mark.parametrize("language", LANGUAGES)
async def test_it_is_said_in_the_reader_s_language(asked: AsyncClient, language: str) -> None:
    page = await asked.get(NOWHERE, headers={"Accept-Language": language})
    assert LANGUAGES[language] in page.content.decode()


async def test_whoever_is_not_logged_in_gets_the_page_alone(asked: AsyncClient) -> None:
    for cookie in ("", "x" * 32):
        stranger = AsyncClient()
        if cookie:
            stranger.cookies["sessionid"] = cookie
        page = await stranger.get("/nothing/at/all/")
        told = page.content.decode()
        assert page.status_code == 404
        assert (FRAME in told, ALONE in told) == (False, True)


async def test_where_the_list_cannot_be_made_the_page_stands_alone(
    asked: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise DatabaseError

    monkeypatch.setattr(errors, "render_page", away)
    page = await asked.get("/nothing/at/all/")
    assert page.status_code == 404
    assert ALONE in page.content.decode()


@pytest.mark.django_db
def test_what_somebody_may_not_do_is_said_in_the_frame(client: Client) -> None:
    user: User = making.staff("chat.view_run")
    client.force_login(user)
    page = client.get("/admin/chat/webhook/")
    told = page.content.decode()
    assert page.status_code == 403
    assert "Your account may not do that." in told
    assert FRAME in told
