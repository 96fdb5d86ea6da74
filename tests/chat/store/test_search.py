"""Search finds the same on both databases, only the user's own sessions, and accepts any query."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import InterfaceError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chat.accounts.models import User
from chat.models import Session, Step
from chat.runtime import database as runtime_database
from chat.store import search, session_lists
from chat.store.search import text as search_text
from chat.store.step_log import Entry
from tests.agents.untrusted.linear import assert_linear
from tests.chat import databases, making


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[str]:
    """Each of the two databases."""
    if request.param == "sqlite":
        yield "sqlite"
    else:
        with databases.postgresql(request.getfixturevalue("tables"), has_tables=True):
            yield "postgresql"
            databases.empty()


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]


def step(kind: str, number: int, content: str = "", **more: Any) -> Entry:
    return making.step(kind, content, step=number, **more)


def conversation(owner: User, *entries: Entry, title: str = "", message: str = "") -> Session:
    session = making.session(owner, title=title)
    run = making.run(session)
    start = {
        "agent": "researcher",
        "message": message,
        "user": owner.username,
        "enable_reasoning": True,
        "timestamp": 1.5,
    }
    making.append(run, Entry("reasoning_start", start), *entries)
    return session


def found(owner: User, text: str) -> list[tuple[str, int | None]]:
    return [(hit.type, hit.seq) for hit in search.find(owner, text)]


def marked(owner: User, text: str) -> list[str]:
    (hit,) = search.find(owner, text)
    return [piece for piece, is_term in hit.excerpt if is_term]


def test_each_kind_of_text_is_found_at_its_step() -> None:
    ada = making.user()
    session = conversation(
        ada,
        step("thought", 1, "Perhaps aardvarks know."),
        step(
            "tool_use",
            2,
            tool_name="python",
            tool_call_id="1",
            arguments={"code": "bison = 1\ncaribou = 2", "n": [7123]},
        ),
        step("tool_result", 3, "dolphin…", tool_name="python", tool_call_id="1", ok=True, truncated=True),
        step("tool_use", 4, tool_name="other", tool_call_id="2", arguments='{"broken": elephant'),
        step("final_answer", 5, "It is the flamingo."),
        message="Which gazelle?",
        title="About animals",
    )
    kinds = {
        "gazelle": [("message", 1)],
        "aardvarks": [("thought", 2)],
        "bison": [("tool_use", 3)],
        "caribou": [("tool_use", 3)],
        "7123": [("tool_use", 3)],
        "dolphin": [("tool_result", 4)],
        "elephant": [("tool_use", 5)],
        "flamingo": [("final_answer", 6)],
        "python": [("tool_use", 3)],
        "animals": [],
    }
    assert {word: found(ada, word) for word in kinds} == kinds
    (hit,) = search.find(ada, "flamingo")
    assert (hit.session_id, hit.session_title, hit.step) == (session.pk, "About animals", 5)
    assert hit.excerpt == [("It is the ", False), ("flamingo", True), (".", False)]
    assert hit.at == Step.objects.get(seq=6).created_at


def test_words_past_what_a_long_result_carries_are_found_and_shown() -> None:
    ada = making.user()
    conversation(ada, step("tool_result", 1, "x " * 1000, full="x " * 20_000 + "needle " + "y " * 500))
    assert found(ada, "needle") == [("tool_result", 2)]
    (hit,) = search.find(ada, "needle", width=40)
    assert ("needle", True) in hit.excerpt
    assert hit.excerpt[0] == hit.excerpt[-1] == ("…", False)
    assert len("".join(piece for piece, _ in hit.excerpt)) <= 42


@pytest.mark.parametrize("hits", [1, 20])
def test_however_many_hits_there_are_they_cost_the_same_statements(hits: int) -> None:
    ada = making.user()
    for _ in range(hits):
        conversation(ada, step("tool_result", 1, "x " * 1000, full="x " * 20_000 + "needle"))
    with CaptureQueriesContext(connection) as asked:
        shown = search.find(ada, "needle")
    assert [[piece for piece, is_term in hit.excerpt if is_term] for hit in shown] == [["needle"]] * hits
    assert len([each for each in asked if "chat_step" in each["sql"]]) <= 3


def test_a_run_without_reasoning_is_found_once_by_its_answer() -> None:
    ada = making.user()
    run = making.run(making.session(ada), enable_reasoning=False)
    making.append(
        run,
        Entry("reasoning_step", making.thought("the quagga").data, numbered=False),
        Entry("reasoning_step", step("final_answer", 2, "the okapi").data, numbered=False),
        Entry("response", {"content": "the okapi"}),
    )
    assert found(ada, "okapi") == [("response", 1)]
    assert found(ada, "quagga") == [("thought", None)]


def test_a_continued_run_does_not_repeat_its_message() -> None:
    ada = making.user()
    start = {"agent": "researcher", "message": "gazelle", "user": "ada", "enable_reasoning": True, "timestamp": 1.5}
    start["continues"] = "x"
    conversation(ada, Entry("reasoning_start", start), message="gazelle")
    assert found(ada, "gazelle") == [("message", 1)]


@pytest.mark.parametrize(
    ("text", "query", "marks"),
    [
        ("明天的天氣預報說會下雨。", "天氣", ["天氣"]),
        ("明天的天氣預報說會下雨。", "天氣預報", ["天氣預報"]),
        ("明天的天氣預報說會下雨。", "雨", ["雨"]),
        ("明天的天氣預報說會下雨。", "明", ["明"]),
        ("明天會下雨。天氣如何？", "下雨 天氣", ["下雨", "天氣"]),
        ("使用python寫程式", "Python", ["python"]),
        ("使用python寫程式", "程式 python", ["python", "程式"]),
        ("東京タワーへ行きます", "タワー", ["タワー"]),
        ("서울은 한국의 수도이다", "한국", ["한국"]),
        ("𠮷野家で食べる", "𠮷野", ["𠮷野"]),
        ("The Café is ÉLÉGANT", "cafe elegant", ["Café", "ÉLÉGANT"]),
        ("Straße und Ärger", "arger", ["Ärger"]),
        ("Ｆｕｌｌ　ｗｉｄｔｈ", "full width", ["Ｆｕｌｌ", "ｗｉｄｔｈ"]),
        ("Привет, МИР", "мир привет", ["Привет", "МИР"]),
        ("get_user_model() returns", "user_model", ["user", "model"]),
        ("They were invoiced twice", "invoic", ["invoiced"]),
        ("He said “don't”", "don't", ["don", "t"]),
    ],
)
def test_words_are_found_and_marked_in_any_script(text: str, query: str, marks: list[str]) -> None:
    ada = making.user()
    conversation(ada, making.thought("nothing of it"), making.thought(text, 2))
    assert marked(ada, query) == marks


@pytest.mark.parametrize("query", ["氣天", "預天", "天氣很好", "art", "noon", "天 雨 snow"])
def test_words_that_do_not_occur_are_not_found(query: str) -> None:
    ada = making.user()
    conversation(ada, making.thought("天氣預報: partly cloudy, 雨 in the afternoon, article 5"))
    assert found(ada, query) == []


def test_all_words_must_occur_in_the_same_step() -> None:
    ada = making.user()
    conversation(ada, making.thought("alpha beta"), making.thought("alpha gamma", 2))
    assert found(ada, "alpha") == [("thought", 3), ("thought", 2)]
    assert found(ada, "gamma alpha") == [("thought", 3)]
    assert found(ada, "beta gamma") == []


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("error", [OperationalError("server closed the connection"), InterfaceError("closed")])
def test_a_tools_search_waits_for_a_database_that_is_away_for_a_moment(
    monkeypatch: pytest.MonkeyPatch, error: Exception, times: int
) -> None:
    monkeypatch.setattr(runtime_database, "TOOL_RETRY_AFTER_S", (0.0,) * 3)
    ada = making.user()
    conversation(ada, making.thought("okapi"))
    left = iter([True] * times)

    def away(execute: Any, *statement: Any) -> Any:
        if next(left, False):
            raise error
        return execute(*statement)

    with connection.execute_wrapper(away):
        assert len(search.bound_to(ada)("okapi", 5)) == 1


def test_a_tools_search_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_database, "TOOL_RETRY_AFTER_S", (0.0,) * 3)
    asked = []

    def away(*_: Any) -> Any:
        asked.append(1)
        raise OperationalError("server closed the connection")

    ada = making.user()
    with connection.execute_wrapper(away), pytest.raises(OperationalError):
        search.bound_to(ada)("okapi", 5)
    assert len(asked) == 4


def test_only_ones_own_sessions_are_searched_even_by_staff() -> None:
    ada, root = making.user(), making.user("root", is_staff=True, is_superuser=True)
    mine = conversation(ada, making.thought("the secret okapi"), title="okapi")
    assert found(root, "okapi") == []
    assert list(search.Search(root, "okapi").sessions(Session.objects.all())) == [mine], "by its title alone"
    assert list(session_lists.past_sessions(root, text="okapi")) == []
    assert list(session_lists.past_sessions(ada, text="secret")) == [mine]


def test_ones_own_marks_cannot_be_typed() -> None:
    ada, bob = making.user(), making.user("bob")
    session = conversation(ada, making.thought("okapi"))
    for query in (f"\ue000{ada.pk}", f"\ue000{ada.pk} okapi", f"\ue001{session.pk.hex}", f'" OR "\ue000{ada.pk}" OR "'):
        assert found(bob, query) == []


def test_sessions_are_found_by_title_and_by_step() -> None:
    ada = making.user()
    by_title = conversation(ada, title="Über das Wetter 天氣預報")
    by_step = conversation(ada, making.thought("Das WETTER ist gut, 天氣很好"))
    conversation(ada, making.thought("nothing"))
    assert set(session_lists.past_sessions(ada, text="wetter")) == {by_title, by_step}
    assert set(session_lists.past_sessions(ada, text="天氣")) == {by_title, by_step}
    assert set(session_lists.past_sessions(ada, text="uber")) == {by_title}
    assert set(session_lists.past_sessions(ada, text="gut wetter")) == {by_step}
    assert not session_lists.past_sessions(ada, text="?!").exists()


def test_titles_of_the_latest_sessions_alone_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_MOST_TITLES", 2)
    ada = making.user()
    sessions = [conversation(ada, making.thought(f"step{n}"), title="the same") for n in range(4)]
    assert list(session_lists.past_sessions(ada, text="same")) == sessions[:1:-1]
    assert list(session_lists.past_sessions(ada, text="step0")) == sessions[:1], "by its step"


def test_common_words_are_found_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_text, "RECENT_STEPS", 2)
    monkeypatch.setattr(search_text, "RECENT_STEPS_FOR_COMMON", 9)
    ada, bob = making.user(), making.user("bob")
    rare = conversation(ada, making.thought("rare"))
    common = [conversation(ada, making.thought("common 天氣"), making.thought("common", 2)) for _ in range(4)]
    conversation(bob, making.thought("common"))
    assert set(session_lists.past_sessions(ada, text="common")) == set(common)
    assert set(session_lists.past_sessions(ada, text="天氣")) == set(common)
    assert set(session_lists.past_sessions(ada, text="rare")) == {rare}
    for limit in (1, 3, 8, 100):
        newest = [session.pk for session in reversed(common) for _ in range(2)]
        assert [hit.session_id for hit in search.find(ada, "common", limit)] == newest[:limit]


def test_entries_are_found_before_and_after_they_move_into_the_index(database: str) -> None:
    ada = making.user()
    run = making.run(making.session(ada))
    for lot in range(3):
        making.append(run, *[making.thought(f"lot{lot} step{n} 天氣", lot * 200 + n) for n in range(200)])
    if database == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT (SELECT count(*) FROM chat_search), (SELECT count(*) FROM chat_search_new)")
            assert cursor.fetchone() == (600 - 600 % 256, 600 % 256)
    hits = search.find(ada, "天氣", 1000)
    assert [hit.step for hit in hits] == list(range(599, -1, -1))
    assert [hit.step for hit in search.find(ada, "lot0 step7")] == [*range(79, 69, -1), 7]


@pytest.mark.parametrize("way", ["step", "session", "user", "everything"])
def test_no_word_outlives_its_step(way: str, database: str) -> None:
    ada, bob = making.user(), making.user("bob")
    sessions = [conversation(ada, *[making.thought(f"okapi {n}", n) for n in range(1, 200)]) for _ in range(2)]
    kept = conversation(bob, making.thought("okapi"))
    if way == "step":
        Step.objects.filter(session__in=sessions).delete()
    elif way == "session":
        for session in sessions:
            session.delete()
    elif way == "user":
        ada.delete()
    else:
        databases.let_audit_be_emptied()
        call_command("flush", interactive=False, verbosity=0)
    left = 0 if way == "everything" else kept.steps.exclude(body__contains='"message":""').count()
    tables = ("chat_search", "chat_search_new") if database == "sqlite" else ("chat_search",)
    with connection.cursor() as cursor:
        rows = 0
        for table in tables:
            cursor.execute(f"SELECT count(*) FROM {table}")
            rows += cursor.fetchone()[0]
    assert rows == left
    assert len(search.find(bob, "okapi")) == left


HOSTILE = [
    "",
    " ",
    '"',
    '""',
    "'",
    "\\",
    "*",
    "okapi*",
    '"okapi',
    "okapi AND",
    "AND OR NOT NEAR",
    "NEAR(okapi, 5)",
    "terms:okapi",
    "-okapi",
    "^okapi",
    "okapi:*",
    "!okapi & |",
    "<->",
    "%",
    "_",
    "%s %(x)s {0}",
    "\x00",
    "oka\x00pi",
    "\ud800",
    "\udfff okapi",
    "\n\t\u2028",
    "🙂",
    "🙂okapi🙂",
    "a" * 10_000,
    "a " * 5_000,
    '"' * 10_000,
    "天" * 10_000,
    "天氣 " * 3_000,
    "\u0301" * 50,
    "ﷺ" * 500,
    "'; DROP TABLE chat_search; --",
]


def test_no_query_makes_search_fail() -> None:
    ada = making.user()
    session = conversation(ada, making.thought("okapi"))
    for query in HOSTILE:
        assert len(search.find(ada, query)) <= 1, query
        assert session_lists.past_sessions(ada, text=query).count() <= 1, query
    for query in ("okapi*", '"okapi', "-okapi", "^okapi", "okapi:*", "🙂okapi🙂", "\udfff okapi", "!okapi & |"):
        assert found(ada, query) == [("thought", 2)], query
        assert list(session_lists.past_sessions(ada, text=query)) == [session], query


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200), st.text(max_size=40))
def test_any_text_is_stored_and_any_query_answered(text: str, query: str) -> None:
    ada = User.objects.filter(username="ada").first() or making.user()
    run = making.run(making.session(ada))
    making.append(run, making.thought(text))
    search.find(ada, query)
    if search_text.split_words(text):
        (hit,) = search.find(ada, text[:50] if search_text.split_words(text[:50]) else text, 1)
        assert hit.run_id == run.pk


@pytest.mark.parametrize(
    ("entry", "query", "excerpt"),
    [
        (making.thought("## Plan\n\nLook at **the okapi** in `zoo.py`"), "okapi", "Plan Look at the <okapi> in zoo.py"),
        (making.thought("see [the okapi](https://a.example/x)."), "okapi", "see the <okapi>."),
        (making.thought("**" + "b" * 300 + " the ok**api** and okapi** end"), "okapi", "…the <okapi> and <okapi> end"),
        (step("final_answer", 1, "- *okapi*\n- ~~quagga~~"), "quagga", "okapi <quagga>"),
        (Entry("response", {"content": "> the **okapi**"}), "okapi", "the <okapi>"),
        # Where the word is only in Markdown marks, these are what was found.
        (making.thought("see [it](https://okapi.example)"), "okapi", "see [it](https://<okapi>.example)"),
        # A text that no model wrote is not treated as Markdown.
        (step("tool_result", 1, "okapi ** 2", tool_name="python", tool_call_id="1", ok=True), "okapi", "<okapi> ** 2"),
        (
            step("tool_use", 1, tool_name="python", tool_call_id="1", arguments={"code": "*okapi"}),
            "okapi",
            "python code: *<okapi>",
        ),
    ],
)
def test_people_are_shown_words_without_marks(entry: Entry, query: str, excerpt: str) -> None:
    ada = making.user()
    conversation(ada, entry)
    (hit,) = search.find(ada, query)
    assert "".join(f"<{piece}>" if is_term else piece for piece, is_term in hit.excerpt) == excerpt


def test_an_excerpt_has_its_width_however_long_a_word_is() -> None:
    ada = making.user()
    conversation(ada, making.thought("okapi" * 10_000), making.thought("o" * 50_000, 2))
    for hit in (*search.find(ada, "okapiokapi"), *search.find(ada, "oooo")):
        assert len("".join(piece for piece, _ in hit.excerpt)) <= 162


#: What is searched for in many repetitions; a further one is one line.
LONG = ["okapi ", "okapi", "**okapi** ", "[okapi](", "天氣", "okapi\u0301 ", "_okapi"]


@pytest.mark.parametrize("unit", LONG)
def test_an_excerpt_takes_time_in_proportion(unit: str) -> None:
    query = search_text.SearchQuery("okapi 天氣")
    long = unit * (100_000 // len(unit))
    assert_linear(lambda text: search._excerpt(query, search._readable(query, text, 160), 160), long)


def test_a_tool_sees_its_user_s_other_sessions_as_they_were_written() -> None:
    ada, bob = making.user(), making.user("bob")
    past = conversation(ada, making.thought("the  **okapi**\nis shy"), title="Animals")
    present = conversation(ada, making.thought("what about the okapi"))
    conversation(bob, making.thought("okapi"))
    search_history = search.bound_to(ada, apart_from=present.pk)
    assert search_history("okapi", 5) == [
        {
            "session_id": str(past.pk),
            "session_title": "Animals",
            "step": 1,
            "type": "thought",
            "date": past.steps.get(seq=2).created_at,
            "excerpt": "the **okapi** is shy",
        }
    ]
    assert len(search.bound_to(ada)("okapi", 5)) == 2


def test_making_a_step_findable_costs_little() -> None:
    ada = making.user()
    run = making.run(making.session(ada))
    text = " ".join(f"word{n % 97} and 天氣{n}" for n in range(60))
    making.append(run, *[making.thought(text, n) for n in range(600)])
    steps = list(run.steps.all())
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM chat_search")
        cursor.execute("SELECT 1")
    began = time.process_time()
    for at in steps[: 256 * 2]:
        search.index(at.session_id, [search.Indexed(at.pk, at.event, at.type, at.body, is_sent=True)])
    per_step_ms = (time.process_time() - began) * 1000 / 512
    assert per_step_ms < 2, "ten times what it takes, so that only a change of kind is noticed"
