"""The start page's form, submitted by the browser itself."""

import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import AsyncClient

from chat.models import Run, Session
from chat.runtime import database
from tests.chat import making

HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


@pytest.fixture
async def ada(transactional_db: None) -> AsyncIterator[AsyncClient]:
    """A logged-in client whose CSRF tokens are checked."""
    client = AsyncClient(enforce_csrf_checks=True)
    await client.aforce_login(await database.write(making.user, "ada"))
    yield client
    database.close()


async def opened(client: AsyncClient) -> dict[str, str]:
    """The fields of the form as on the page, with a message."""
    html = (await client.get("/")).content.decode()
    form = re.search(r'(?s)<form class="composer".*?</form>', html)
    assert form is not None
    assert 'method="post" action="/sessions/new/"' in form[0]
    assert '<button type="submit"' in form[0]
    return {
        **dict(HIDDEN.findall(form[0])),
        "message": "What is 6 × 7?",
        "agent_name": "writer",
        "enable_reasoning": "on",
    }


async def sent(client: AsyncClient, fields: dict[str, str]) -> Any:
    return await client.post("/sessions/new/", fields)


async def test_a_message_opens_a_session_and_leads_there(ada: AsyncClient) -> None:
    answer = await sent(ada, await opened(ada) | {"message": " What is\r\n6 × 7? "})
    run = await Run.objects.select_related("session").aget()
    assert (answer.status_code, answer["Location"]) == (302, f"/sessions/{run.session_id}/")
    assert (run.message, run.agent_name, run.enable_reasoning) == (" What is\n6 × 7? ", "writer", True)
    assert (run.session.title, run.session.agent_name) == ("What is 6 × 7?", "writer")


async def test_the_switch_is_kept_with_the_session(ada: AsyncClient) -> None:
    fields = await opened(ada)
    del fields["enable_reasoning"]
    await sent(ada, fields)
    run = await Run.objects.select_related("session").aget()
    assert (run.enable_reasoning, run.session.enable_reasoning) == (False, False)


async def test_a_form_that_is_sent_twice_is_one_message(ada: AsyncClient) -> None:
    fields = await opened(ada)
    places = [(await sent(ada, fields))["Location"] for _ in range(2)]
    assert places[0] == places[1]
    assert await Run.objects.acount() == 1
    other = (await sent(ada, fields | {"message": "And 7 × 8?"}))["Location"]
    again = (await sent(ada, await opened(ada)))["Location"]
    assert len({places[0], other, again}) == 3


#: What is sent instead of the form's fields, with which settings; the answer's status and text. A further one is one line.
REFUSALS: dict[str, tuple[dict[str, str], dict[str, Any], int, str]] = {
    "nothing": ({"message": ""}, {}, 400, "The message is empty."),
    "spaces": ({"message": " \r\n\t"}, {}, 400, "The message is empty."),
    "too long": (
        {"message": "x" * 11},
        {"MAX_MESSAGE_CHARS": 10},
        413,
        "The message has 11 characters; at most 10 are allowed.",
    ),
    "no character": ({"message": "a\0b"}, {}, 400, "The text holds a character that cannot be stored"),
    "no such agent": ({"agent_name": "<b>"}, {}, 400, "There is no agent “<b>”."),
    "too many": ({}, {"MAX_MESSAGES_PER_MINUTE": 1}, 429, "The limit on messages is 1 a minute."),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refused_message_stays_in_the_box_with_the_reason(
    ada: AsyncClient, settings: LazySettings, case: str
) -> None:
    change, limits, status, words = REFUSALS[case]
    await sent(ada, await opened(ada))
    sessions = await Session.objects.acount()
    for name, value in limits.items():
        setattr(settings, name, value)
    answer = await sent(ada, await opened(ada) | change)
    html = answer.content.decode()
    refused = re.search(r'(?s)<p class="refused" id="refused" role="alert">(.*?)</p>', html)
    box = re.search(r"(?s)<textarea[^>]*>\n(.*?)</textarea>", html)
    assert answer.status_code == status
    assert refused is not None
    assert words in unescape(refused[1])
    assert box is not None
    assert unescape(box[1]) == change.get("message", "What is 6 × 7?").replace("\r\n", "\n")
    assert await Session.objects.acount() == sessions, "no session without its message"


async def test_a_message_typed_by_another_user_is_neither_sent_nor_shown(ada: AsyncClient) -> None:
    fields = await opened(ada)
    await ada.aforce_login(await database.write(making.user, "bo"))
    answer = await sent(ada, await opened(ada) | {"user": fields["user"], "message": "Ada's kumquat"})
    assert answer.status_code == 403
    assert "The page is older than your last login" in answer.content.decode()
    assert "kumquat" not in answer.content.decode()
    assert await Session.objects.acount() == 0


async def test_a_form_from_elsewhere_is_refused(ada: AsyncClient) -> None:
    answer = await sent(ada, await opened(ada) | {"csrfmiddlewaretoken": "x" * 64})
    assert answer.status_code == 403
    assert await Session.objects.acount() == 0


async def test_the_start_form_without_a_login_leads_to_the_login(transactional_db: None) -> None:
    answer = await AsyncClient().post("/sessions/new/", {"message": "hello"})
    assert answer["Location"].startswith("/accounts/login/")
    database.close()
