"""Which language a user reads; and that pages, errors and notifications are all in that language."""

import json
import re
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.utils import timezone, translation

from agents.events import LeftOut
from agents.history import explain_left_out
from agents.sentence import Sentence, join_sentences, parts_of
from agents.snapshots import StepSplitter
from chat.accounts.models import User
from chat.models import Occurrence, Outcome, Schedule
from chat.protocol import error_data
from chat.rendering import humanize, rows, transcript
from chat.rendering.sentences import translate_error, translate_sentence, translate_thought
from chat.runs.admission import Refused, check_agent, check_message
from chat.schedules import notifications
from chat.web import languages
from config.login_gate import busy_page
from tests.chat import making

LOGIN = "/accounts/login/"
LOG_IN = {"en": "Log in", "zh-hant": "登入", "zh-hans": "登录"}

#: What browsers send, and what should never be sent. A further header is one line.
ACCEPTED = [
    ("", "en"),
    ("zh-TW", "zh-hant"),
    ("zh-HK", "zh-hant"),
    ("zh-MO", "zh-hant"),
    ("zh-Hant", "zh-hant"),
    ("zh-Hant-TW", "zh-hant"),
    ("zh-Hant-HK", "zh-hant"),
    ("zh-CN", "zh-hans"),
    ("zh-SG", "zh-hans"),
    ("zh-MY", "zh-hans"),
    ("zh-Hans-CN", "zh-hans"),
    ("zh", "zh-hans"),
    ("ZH-tw", "zh-hant"),
    ("zh-TW,zh;q=0.9,en-US;q=0.8,en;q=0.7", "zh-hant"),
    ("zh-CN,zh;q=0.9,en;q=0.8", "zh-hans"),
    ("en-GB,en;q=0.9,zh-TW;q=0.8", "en"),
    ("de-DE,de;q=0.9,zh-TW;q=0.5,en;q=0.3", "zh-hant"),
    ("de-DE,de;q=0.9", "en"),
    ("en;q=0.2, zh-TW;q=0.4", "zh-hant"),
    ("*", "en"),
    ("*, zh-TW", "en"),
    ("zh-TW;q=0", "en"),
    ("zh-TW;q=0, zh-CN;q=0.000", "en"),
    ("en;q=0, zh-TW", "zh-hant"),
    ("zh-TW;q=0, zh-CN", "zh-hans"),
    ("zh-TW;q=2", "en"),
    ("zh-TW;q=nonsense", "en"),
    (";;;,,,", "en"),
    ("zh_TW", "en"),
    ("../../etc/passwd", "en"),
    ("zh-" + "x" * 600, "en"),
    ("zh-TW," * 20_000, "zh-hant"),
    ("x" * 100_000, "en"),
    ("\u00e9\u00ff", "en"),
    ("zh-TW\r\nX-Evil: 1", "en"),
]


@pytest.mark.parametrize(("header", "expected"), ACCEPTED, ids=[repr(header)[:40] for header, _ in ACCEPTED])
def test_the_browser_says_which(client: Client, db: None, header: str, expected: str) -> None:
    answer = client.get(LOGIN, headers={"Accept-Language": header})
    assert (answer.status_code, answer["Content-Language"].lower()) == (200, expected)
    assert f">{LOG_IN[expected]}</button>" in answer.content.decode()
    assert f'<html lang="{answer["Content-Language"]}" dir="ltr"' in answer.content.decode()
    assert {"Accept-Language", "Cookie"} <= {name.strip() for name in answer["Vary"].split(",")}


@pytest.mark.parametrize(("header", "expected"), ACCEPTED[:6])
def test_the_page_of_the_full_queue_is_in_it_too(header: str, expected: str) -> None:
    language = languages.scope_language([(b"accept-language", header.encode("latin1")), (b"cookie", b"a=b")])
    assert language == expected
    assert languages.scope_language([(b"cookie", b"language=zh-hans; x"), (b"accept-language", b"zh-TW")]) == "zh-hans"
    assert LOG_IN["zh-hant"] in busy_page("zh-hant").decode()
    assert "logging in" in busy_page("en").decode()


@pytest.mark.parametrize("cookie", ["zh-hant", "zh-hans", "en"])
def test_the_choice_of_a_browser_goes_before_what_it_asks_for(client: Client, db: None, cookie: str) -> None:
    client.cookies["language"] = cookie
    answer = client.get(LOGIN, headers={"Accept-Language": "zh-TW"})
    assert answer["Content-Language"].lower() == cookie


@pytest.mark.parametrize("cookie", ["", "de", "zh", "zh-tw", "../../", "x" * 5_000, "ZH-HANT"])
def test_a_choice_that_is_none_is_none(client: Client, db: None, cookie: str) -> None:
    client.cookies["language"] = cookie
    assert client.get(LOGIN, headers={"Accept-Language": "zh-CN"})["Content-Language"] == "zh-Hans"


def choose(client: Client, language: str, back: str = LOGIN) -> HttpResponse:
    answer: Any = client.post("/accounts/language/", {"language": language, "next": back})
    return answer  # type: ignore[no-any-return]


@pytest.mark.parametrize("language", ["zh-hant", "zh-hans", "en"])
def test_a_language_is_chosen_and_left_to_the_browser_again(client: Client, db: None, language: str) -> None:
    client.get(LOGIN)
    answer = choose(client, language)
    assert (answer.status_code, answer["Location"]) == (302, LOGIN)
    kept = client.cookies["language"]
    assert (kept.value, kept["httponly"], kept["samesite"]) == (language, True, "Lax")
    assert client.get(LOGIN, headers={"Accept-Language": "de"})["Content-Language"].lower() == language
    choose(client, "")
    assert client.get(LOGIN, headers={"Accept-Language": "zh-TW"})["Content-Language"] == "zh-Hant"


@pytest.mark.parametrize(
    "place", ["https://elsewhere.example/", "//elsewhere.example/", "/\\elsewhere.example", "javascript:alert(1)", ""]
)
def test_choosing_never_leads_to_another_site(client: Client, db: None, place: str) -> None:
    assert choose(client, "zh-hant", place)["Location"] == "/"


def test_choosing_is_a_write_of_this_sites_own_pages(db: None) -> None:
    visitor = Client(enforce_csrf_checks=True)
    assert choose(visitor, "zh-hant").status_code == 403
    assert "language" not in visitor.cookies
    assert visitor.get("/accounts/language/").status_code == 405


@pytest.mark.parametrize(
    ("of_account", "cookie", "expected"),
    [
        ("zh-hans", "zh-hant", "zh-hans"),
        ("", "zh-hant", "zh-hant"),
        ("en", "zh-hant", "en"),
        ("nonsense", "zh-hant", "zh-hant"),
    ],
)
def test_the_accounts_choice_goes_before_the_browsers(of_account: str, cookie: str, expected: str) -> None:
    request: Any = RequestFactory().get("/")
    request.COOKIES["language"] = cookie
    request.user = User(language=of_account)

    def view(_: Any) -> HttpResponse:
        return HttpResponse(translation.get_language() or "")

    inner = languages.AccountLanguageMiddleware(view)
    answer: Any = languages.LanguageMiddleware(inner)(request)
    assert (answer.content.decode(), answer["Content-Language"].lower()) == (expected, expected)
    assert translation.get_language() == "en", "and nothing of it is left to the next request"


def test_an_account_keeps_its_language_for_every_browser(client: Client, db: None) -> None:
    user = making.user()
    client.force_login(user)
    choose(client, "zh-hant", "/accounts/")
    user.refresh_from_db()
    assert user.language == "zh-hant"
    another = Client(headers={"Accept-Language": "zh-CN"})
    assert another.get(LOGIN)["Content-Language"] == "zh-Hans"
    another.force_login(user)
    assert another.get("/")["Content-Language"] == "zh-Hant"
    choose(client, "", "/accounts/")
    assert another.get("/")["Content-Language"] == "zh-Hans"


def test_answers_for_programs_are_english(client: Client, db: None) -> None:
    for path in ("/api/sessions/", "/healthz"):
        answer = client.get(path, headers={"Accept-Language": "zh-TW"})
        assert "Content-Language" not in answer
        assert answer.content.isascii()


#: Pages that are shown instead of the requested one, and a text of each.
ODD_PAGES = [
    ("/nothing/here/", {}, 404, "這裡沒有東西"),
    ("/accounts/login/", {"HTTP_HOST": "elsewhere.example"}, 400, "錯誤的要求"),
]


@pytest.mark.parametrize(("path", "more", "status", "words"), ODD_PAGES)
def test_pages_of_errors_are_in_it_too(
    client: Client, db: None, path: str, more: dict[str, str], status: int, words: str
) -> None:
    client.force_login(making.user())
    answer = client.get(path, headers={"Accept-Language": "zh-TW"}, **more)  # type: ignore[arg-type]
    assert (answer.status_code, words in answer.content.decode()) == (status, True), answer.content.decode()


# Errors that are translated later


def test_a_sentence_is_a_string_that_knows_its_parts() -> None:
    inner = Sentence("The model server failed (%(status)d)", status=500)
    outer = Sentence("%(what)s: %(reason)s", what=inner, reason="100 % busy")
    assert outer == "The model server failed (500): 100 % busy"
    assert parts_of(outer) == {
        "template": "%(what)s: %(reason)s",
        "values": {
            "what": {"template": "The model server failed (%(status)d)", "values": {"status": 500}},
            "reason": "100 % busy",
        },
    }
    assert parts_of("plain") == {}
    assert json.loads(json.dumps(error_data("x", outer, "1")))["values"]["what"]["values"] == {"status": 500}
    with translation.override("zh-hant"):
        assert translate_sentence(outer) == "模型伺服器發生錯誤 (500)：100 % busy"
        assert translate_error(error_data("x", outer, "1")) == "模型伺服器發生錯誤 (500)：100 % busy"
        assert translate_error({"message": "Of an older version."}) == "Of an older version."


def test_notes_of_the_product_in_a_thought_are_translated() -> None:
    words = join_sentences([explain_left_out(LeftOut(2, 3_000)), Sentence("One last answer follows, without tools.")])
    noted = StepSplitter().note(words).data
    assert noted["content"] == words
    stored = json.loads(json.dumps(noted))
    with translation.override("zh-hant"):
        assert translate_thought(stored) == (
            "對話超過模型一次能讀取的長度：從這裡起略去最舊的 2 則訊息，連同縮短的部分約 3,000 個 Token。接下來是最後一次答案，不使用工具。"
        )
        assert translate_thought({**stored, "values": {}}) == words
        del stored["template"]
        assert translate_thought(stored) == words


@pytest.mark.parametrize(
    "error",
    [
        {"template": "%(n)d messages", "values": {}, "message": "Seven messages"},
        {"template": "%(n)d messages", "values": {"n": "seven"}, "message": "Seven messages"},
        {"template": "100 %", "message": "Seven messages"},
        {"template": "%(n)d messages", "values": None, "message": "Seven messages"},
    ],
)
def test_parts_that_do_not_fit_are_said_in_english(error: dict[str, Any]) -> None:
    assert translate_error(error) == "Seven messages"


#: Errors of the use cases. Each is shown in the page's language, with its values.
REFUSALS = [
    (lambda: check_message(" "), "訊息是空的。"),
    (lambda: check_message("x" * 40_000), "訊息有 40,000 個字元；最多 32,000 個。"),
    (lambda: check_agent("nobody", 1), "沒有名為「nobody」的代理。可用的有：researcher, developer, writer。"),
]


@pytest.mark.parametrize(("act", "words"), REFUSALS)
def test_refusals_are_said_in_it(db: None, act: Any, words: str) -> None:
    with pytest.raises(Refused) as refused, override_settings(MAX_MESSAGE_CHARS=32_000):
        act()
    assert refused.value.message.isascii() or "“" in refused.value.message
    with translation.override("zh-hant"):
        assert translate_sentence(refused.value.message) == words


def test_why_a_run_failed_is_said_in_it() -> None:
    error = error_data(
        "model_timeout", Sentence("The model was silent for %(n)s s, so the run ended.", n="120"), "7f3a9c1e"
    )
    frames = [
        {
            "type": "reasoning_start",
            "seq": 1,
            "run_id": "r",
            "data": {"agent": "researcher", "message": "?", "user": "mei", "timestamp": 1.0},
        },
        {"type": "error", "seq": 2, "run_id": "r", "data": error},
        {"type": "reasoning_complete", "seq": 3, "run_id": "r", "data": {"status": "failed"}},
    ]
    run = transcript.fold(frames)[0]
    with translation.override("zh-hant"):
        banner = rows.failure_banner(run)
    assert banner is not None
    assert (banner["title"], banner["text"]) == ("模型停止回應。", "模型沉默了 120 秒，所以執行結束了。報告 7f3a9c1e。")


def test_a_notification_brings_its_text_in_each_language(db: None) -> None:
    schedule = Schedule.objects.create(
        owner=making.user(),
        name="Morning",
        agent_name="researcher",
        message="?",
        cron="0 9 * * *",
        since=timezone.now(),
    )
    now = timezone.now()
    missed = Occurrence.objects.create(schedule=schedule, due_at=now, outcome=Outcome.MISSED, times=3, settled_at=now)
    with translation.override("zh-hans"):
        found = notifications.notification(missed.pk)
    assert found is not None
    assert found[1]["text"] == "Missed, 3 times"
    assert found[1]["texts"] == {"en": "Missed, 3 times", "zh-hans": "已错过 3 次", "zh-hant": "已錯過 3 次"}


def test_numbers_and_plurals() -> None:
    with translation.override("zh-hant"):
        assert humanize.duration(123_000) == "2\u00a0分\u00a003\u00a0秒"
        assert humanize.steps(1) == "1\u00a0個步驟"
        assert (
            humanize.summarize_tools(["fetch_page", "fetch_page", "search_history"])
            == "讀了 2 個網頁、搜尋了過去的對話"
        )
    with translation.override("zh-hans"):
        assert re.fullmatch(
            "读取了 2 个网页、搜索了历史会话", humanize.summarize_tools(["fetch_page", "fetch_page", "search_history"])
        )


def test_an_admin_page_is_in_it(client: Client, db: None) -> None:
    user = User.objects.create_superuser("root", "", "correct horse 18")
    client.force_login(user)
    page = client.get("/admin/chat/run/", headers={"Accept-Language": "zh-TW"}).content.decode()
    assert "執行" in page
    assert "Select run" not in page
