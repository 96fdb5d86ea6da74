"""Characters that change the direction of text are shown by their number on every page, and unchanged in the fields of forms."""

import re
import time

import pytest
from django.test import Client

from chat.models import Session
from config.visible_text import make_visible
from tests.chat import making

RLO = "\u202e"


@pytest.mark.parametrize("char", [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))], ids=ascii)
def test_each_such_character_is_shown(char: str) -> None:
    assert make_visible(f"<p>a{char}b</p>".encode()) == f"<p>a[U+{ord(char):04X}]b</p>".encode()


@pytest.mark.parametrize(
    "html",
    [
        "<p>\u200ea\u200fb\u061cc “d” … – 天 ‰</p>",
        f"<textarea name=x>\n{RLO}\n</textarea>",
        f'<input value="{RLO}">',
    ],
)
def test_other_text_stays_unchanged(html: str) -> None:
    assert make_visible(html.encode()).decode() == html


@pytest.mark.parametrize("unit", ["<textarea ", "<input ", "<textarea>", RLO, "\u2028"])
def test_showing_characters_takes_linear_time(unit: str) -> None:
    def took(times: int) -> float:
        page = (unit * times + RLO).encode()
        before = time.process_time()
        make_visible(page)
        return time.process_time() - before

    assert took(80_000) <= 8 * max(0.02, took(20_000))


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["/", "/sessions/", "/sessions/{}/", "/admin/chat/session/"])
def test_a_title_turns_nothing_round(client: Client, page: str) -> None:
    user = making.user("ada", is_staff=True, is_superuser=True)
    session = Session.objects.create(owner=user, title=f"report{RLO}gpj.exe", agent_name="researcher")
    client.force_login(user)
    answer = client.get(page.format(session.pk))
    # A browser is sent no other such character.
    assert int(answer["Content-Length"]) == len(answer.content)
    html = answer.content.decode()
    assert RLO not in re.sub("<input[^>]*>", "", html)
    assert "report[U+202E]gpj.exe" in html
