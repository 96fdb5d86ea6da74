"""The pages of calls that wait: the list, and the form of each call, which works without scripts."""

import html
import re
from datetime import timedelta
from itertools import zip_longest
from typing import Any

import orjson
import pytest
from django.test import Client
from django.utils import timezone
from django.utils.http import urlencode

from agents import read_policy
from chat.accounts.models import User
from chat.catalog import built_in
from chat.models import Run, RunStatus, Session, Share, StandingApproval, WaitingCall
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)

ARGUMENTS = {"to": "orders@mill.example", "copies": 2}
FIELDS = [
    {"name": "where", "label": "Where to?", "kind": "text", "required": True},
    {"name": "which", "label": "Which?", "kind": "choices", "options": ["red", "blue"], "required": False},
    {"name": "sure", "label": "Sure?", "kind": "yes_no", "required": True},
]


@pytest.fixture
def ada(transactional_db: None, settings: Any) -> User:
    built_in.make_built_in()
    settings.APPROVAL_POLICY = read_policy(
        [{"tool": "send_*", "arguments": {"to": "*@mill.example"}, "decision": "ask"}]
    )
    return making.user("ada")


@pytest.fixture
def session(ada: User) -> Session:
    return making.session(ada, title="Apples <b>")


@pytest.fixture
def client(ada: User) -> Client:
    return logged_in(ada)


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def waiting(session: Session, call_id: str = "c 1/ü", **more: Any) -> WaitingCall:
    """A call for which the session's run waits, and a second one, so that the run goes on waiting when the first is decided."""
    run = making.run(session)
    making.append(run, making.step("tool_use", tool_call_id=call_id, tool_name="send_mail", arguments=ARGUMENTS))
    Run.objects.filter(pk=run.pk).update(status=RunStatus.WAITING, waiting_since=timezone.now(), owner="")
    Session.objects.filter(pk=session.pk).update(status=RunStatus.WAITING)
    values = {"tool_name": "send_mail", "arguments": orjson.dumps(ARGUMENTS).decode(), "rule": "r", **more}
    common = {"run": run, "session": session, "deadline": timezone.now() + timedelta(hours=1)}
    WaitingCall.objects.create(
        **common | {"tool_call_id": "another", **values, "deadline": timezone.now() + timedelta(hours=2)}
    )
    return WaitingCall.objects.create(**common, tool_call_id=call_id, **values)


def asking(session: Session) -> WaitingCall:
    asked = {"arguments": '{"question": "Two <i>things"}', "fields": orjson.dumps(FIELDS).decode(), "kind": "question"}
    return waiting(session, tool_name="ask_user", **asked)


def address(call: WaitingCall, **query: str) -> str:
    return f"/runs/{call.run_id}/decide/?{urlencode({'call': call.tool_call_id, **query})}"


DECISIONS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "allowed": ({"decision": "allow"}, {"decision": "allow", "new_arguments": ""}),
    "allowed with others": (
        {"decision": "allow", "a0": "me@mill.example", "a1": "2"},
        {"decision": "allow", "new_arguments": '{"to":"me@mill.example","copies":2}'},
    ),
    "allowed with others, as JSON": (
        {"decision": "allow", "a0": "orders@mill.example", "a1": "2", "json": '{"to": "you", "copies": 2}'},
        {"decision": "allow", "new_arguments": '{"to":"you","copies":2}'},
    ),
    "denied": (
        {"decision": "deny", "reason": " Not today. ", "a1": "not a number"},
        {"decision": "deny", "reason": "Not today.", "new_arguments": ""},
    ),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_a_form_decides(client: Client, session: Session, name: str) -> None:
    form, expected = DECISIONS[name]
    call = waiting(session)
    shown = client.get(address(call)).content.decode()
    assert 'value="orders@mill.example"' in shown
    assert "Denied by itself" in shown
    assert "<code>send_* · to: *@mill.example</code>" in shown
    done = client.post(address(call), form)
    assert done.headers["Location"] == f"/sessions/{session.pk}/#run-{call.run_id}"
    call.refresh_from_db()
    assert {field: getattr(call, field) for field in expected} == expected
    assert call.decided_by == session.owner


def test_a_call_is_allowed_for_the_session(client: Client, session: Session) -> None:
    call = waiting(session)
    client.post(address(call), {"decision": "session", "back": "waiting"})
    assert list(StandingApproval.objects.values_list("tool_name", "user__username")) == [("send_mail", "ada")]
    page = f"/sessions/{session.pk}/allowed/"
    match = re.search(r'name="approval" value="(\d+)"', client.get(page).content.decode())
    assert match is not None
    assert client.post(page, {"approval": "0"}).headers["Location"] == page, "somebody else was faster"
    assert client.post(page, {"approval": "x"}).status_code == 404
    assert client.post(page, {"approval": match[1]}).headers["Location"] == page
    assert not StandingApproval.objects.exists()
    assert "Nothing is allowed beforehand" in client.get(page).content.decode()


def test_a_question_is_answered(client: Client, session: Session) -> None:
    call = asking(session)
    shown = client.get(address(call)).content.decode()
    assert "Two &lt;i&gt;things" in shown
    done = client.post(address(call), {"q0": "Taipei\r\nor Tainan", "q1": ["1", "0"], "q2": "no", "back": "waiting"})
    assert done.headers["Location"] == "/waiting/"
    call.refresh_from_db()
    assert orjson.loads(call.answers) == {"where": "Taipei\nor Tainan", "which": ["red", "blue"], "sure": False}


REFUSED: dict[str, tuple[bool, dict[str, Any], str]] = {
    "no decision": (False, {}, "Choose whether it may be called."),
    "another word": (False, {"decision": "maybe"}, "Choose whether it may be called."),
    "no number": (False, {"decision": "allow", "a1": "two"}, "“copies” is not valid JSON."),
    "broken JSON": (False, {"decision": "allow", "json": "{"}, "“All arguments” is not valid JSON."),
    "no object": (False, {"decision": "allow", "json": "[1]"}, "The arguments have to be a JSON object."),
    "NaN": (False, {"decision": "allow", "json": '{"copies": NaN}'}, "“All arguments” is not valid JSON."),
    "two ways": (False, {"decision": "allow", "a0": "x", "json": '{"to": "y"}'}, "Change one of the two."),
    "a NUL": (False, {"decision": "deny", "reason": "a\0b"}, "cannot be stored"),
    "too long a reason": (False, {"decision": "deny", "reason": "x" * 2_001}, "at most 2000"),
    "nothing answered": (True, {}, "“Where to?” needs an answer."),
    "half of it": (True, {"q0": "Taipei"}, "“Sure?” needs an answer."),
    "an option that is none": (True, {"q0": "Taipei", "q2": "perhaps"}, "“Sure?” needs an answer."),
    "too long a text": (True, {"q0": "x" * 5_000, "q2": "yes"}, "a text of at most 4,000 characters"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("part", [True, False])
def test_an_invalid_decision_is_shown_in_the_form(client: Client, session: Session, name: str, part: bool) -> None:
    is_question, form, words = REFUSED[name]
    call = asking(session) if is_question else waiting(session)
    answer = client.post(address(call, **({"part": "form"} if part else {})), form)
    assert answer.status_code == 400
    html = answer.content.decode()
    assert words in html
    assert ("<html" in html) is not part
    for typed in form.values():
        if (
            typed.isascii()
            and typed.isalnum()
            and len(typed) < 20
            and typed not in ("allow", "deny", "maybe", "perhaps")
        ):
            assert typed in html, "what was typed stays"
    call.refresh_from_db()
    assert call.decided_at is None


def test_a_second_decision_is_told_who_was_first(client: Client, ada: User, session: Session) -> None:
    bo = making.user("bo")
    Share.objects.create(session=session, user=bo, role="driver")
    call = waiting(session)
    assert logged_in(bo).post(address(call, part="form"), {"decision": "deny", "reason": "No"}).status_code == 200
    second = client.post(address(call, part="form"), {"decision": "allow"})
    assert second.status_code == 409
    assert "Denied by bo" in second.content.decode()
    assert "<form" not in second.content.decode()
    assert "Denied by bo" in client.get(address(call)).content.decode()
    # The run ends: the open requests are gone.
    other = WaitingCall.objects.get(run=call.run, tool_call_id="another")
    where = address(other, part="form")
    other.delete()
    gone = client.post(where, {"decision": "allow"})
    assert (gone.status_code, "Nothing waits here" in gone.content.decode()) == (409, True)
    assert client.get(address(other)).status_code == 404


@pytest.mark.parametrize(("role", "expected"), [("driver", 200), ("watcher", 403), (None, 404)])
def test_only_who_drives_decides(session: Session, role: str | None, expected: int) -> None:
    call, bo = waiting(session), making.user("bo")
    if role:
        Share.objects.create(session=session, user=bo, role=role)
    client = logged_in(bo)
    for where in (address(call), address(call, part="form")):
        assert client.get(where).status_code == expected
    listed = client.get("/waiting/").content.decode()
    assert (address(call).replace("&", "&amp;") in listed) is (expected == 200)
    assert ('id="needs" hidden' not in re.sub(r"\s+", " ", listed)) is (expected == 200)
    assert client.post(address(call, part="form"), {"decision": "deny"}).status_code == expected


def test_the_list_has_pages_and_takes_odd_addresses(
    client: Client, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.web.waiting.PAGE_CALLS", 1)
    waiting(session, "first")
    page = client.get("/waiting/").content.decode()
    assert "Apples &lt;b&gt;" in page
    match = re.search(r'rel="next" href="(\?after=[^"]+)"', page)
    assert match is not None
    assert "call=first" in page
    following = client.get(f"/waiting/{match[1]}").content.decode()
    assert "call=another" in following
    assert "call=first" not in following
    for odd in ("?after=x", "?after=2026-01-01~1", "?after=~", f"?after=2026-01-01T00:00:00%2B00:00~{'9' * 30}"):
        assert "call=first" in client.get(f"/waiting/{odd}").content.decode(), odd


def test_a_session_that_waits_stands_at_the_head_of_the_list(
    client: Client, session: Session, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    making.run(making.session(ada, title="At work"))
    waiting(session)
    page = client.get("/sessions/?part=side").content.decode()
    assert page.index("Needs you") < page.index("Apples") < page.index("Running") < page.index("At work")
    assert 'data-needs="2"' in page
    match = re.search(r'data-open="([^"]+)"', page)
    assert match is not None
    calls = WaitingCall.objects.values_list("run_id", "tool_call_id")
    assert sorted(orjson.loads(html.unescape(match[1]))) == sorted(f"{run}/{call}" for run, call in calls)
    monkeypatch.setattr("chat.web.page._MOST_NEEDS", 2)
    assert 'data-open="null"' in client.get("/sessions/?part=side").content.decode()


@pytest.mark.parametrize(
    ("kinds", "word"),
    [
        (["approval", "approval"], "Waiting for approval"),
        (["question", "question"], "Waiting for an answer"),
        (["question", "approval"], "Waiting for approval"),
        ([], "Waiting for somebody"),
    ],
)
def test_lists_say_what_a_session_waits_for_as_its_page_does(
    client: Client, session: Session, ada: User, kinds: list[str], word: str
) -> None:
    waiting(session)
    for call, kind in zip_longest(WaitingCall.objects.order_by("pk"), kinds):
        call.kind, call.decided_at = kind or "approval", None if kind else timezone.now()
        call.save()
    staff = logged_in(making.staff("chat.view_run", "chat.view_session", name="staff"))
    pages = {
        "beside": client.get("/sessions/?part=side"),
        "past": client.get("/sessions/"),
        "begin": client.get("/"),
        "now": staff.get("/admin/chat/run/now/"),
        "runs": staff.get("/admin/chat/run/"),
    }
    # In a filter every status has its own word.
    texts = {name: re.sub("<option.*?</option>", "", page.content.decode()) for name, page in pages.items()}
    assert {name for name, text in texts.items() if word not in text} == set()
