"""An agent's policy as a table: how it is parsed, what is refused, and the preview for a call before it is saved."""

from typing import Any

import pytest
from django import forms
from django.http import QueryDict
from django.test import Client

from agents import read_policy
from chat.admin.policy_field import PolicyField, PolicyWidget, read_call
from chat.catalog import built_in
from chat.models import Agent, AgentVersion
from tests.chat import making

Rows = list[tuple[str, str, str]]


def sent(rows: Rows) -> QueryDict:
    data = QueryDict(mutable=True)
    for tool, arguments, decision in rows:
        for name, value in (("tool", tool), ("arguments", arguments), ("decision", decision)):
            data.appendlist(f"policy-{name}", value)
    return data


def cleaned(rows: Rows) -> list[dict[str, Any]]:
    return PolicyField().clean(PolicyWidget().value_from_datadict(sent(rows), {}, "policy"))  # type: ignore[arg-type] # nothing is read of files


TAKEN: list[tuple[Rows, list[dict[str, Any]]]] = [
    ([], []),
    ([("", " ", "ask"), ("", "", "deny")], []),
    ([(" fetch_* ", "", "ask")], [{"tool": "fetch_*", "decision": "ask"}]),
    (
        [("", "", "ask"), ("python", "code: *os.*\r\n\r\n limit : 1:2 ", "deny"), ("*", "", "allow")],
        [
            {"tool": "python", "arguments": {"code": "*os.*", "limit": "1:2"}, "decision": "deny"},
            {"tool": "*", "decision": "allow"},
        ],
    ),
]


@pytest.mark.parametrize(("rows", "rules"), TAKEN)
def test_rows_are_rules(rows: Rows, rules: list[dict[str, Any]]) -> None:
    assert cleaned(rows) == rules
    assert PolicyField().has_changed(rules, [dict(row) for row in rules]) is False


REFUSED: list[tuple[Rows, str]] = [
    ([("*", "", "allow"), ("", "url: *", "ask")], "Rule 2 needs a tool"),
    ([("a", "url", "ask")], "Rule 1: write each argument"),
    ([("a", ": x", "ask")], "Rule 1: write each argument"),
    ([("a", "url:", "ask")], "Rule 1: write each argument"),
    ([("a", "url: x\nurl: y", "ask")], "names the argument “url” twice"),
    ([("a", "", "perhaps")], "Rule 1 needs a “decision”"),
    ([("x" * 501, "", "ask")], "Rule 1 needs a “tool”"),
    ([("a", "", "ask")] * 201, "at most 200 rules"),
]


@pytest.mark.parametrize(("rows", "words"), REFUSED)
def test_odd_rows_are_refused_by_their_number(rows: Rows, words: str) -> None:
    with pytest.raises(forms.ValidationError, match=words.replace("(", r"\(")):
        cleaned(rows)


CALLS: list[tuple[str, tuple[str, dict[str, Any]]]] = [
    ("current_time", ("current_time", {})),
    (' python {"code": "import os"} ', ("python", {"code": "import os"})),
    ("fetch_page url=https://a.example/?b=c", ("fetch_page", {"url": "https://a.example/?b=c"})),
    ("send to='a b' n=1", ("send", {"to": "a b", "n": "1"})),
]


@pytest.mark.parametrize(("text", "call"), CALLS)
def test_a_call_is_read_as_people_write_it(text: str, call: tuple[str, dict[str, Any]]) -> None:
    assert read_call(text) == call


@pytest.mark.parametrize("text", ["", "  ", "python {", "python words", "python =1"])
def test_text_that_is_no_call_is_refused(text: str) -> None:
    with pytest.raises(forms.ValidationError):
        read_call(text)


@pytest.fixture
def client(db: None) -> Client:
    built_in.make_built_in()
    client = Client()
    client.force_login(making.staff("chat.view_agent", "chat.change_agent"))
    return client


TRIED: list[tuple[str, list[str]]] = [
    ("python code=import-os", ["This table: rule 1 (python · code: *os*) fits: ask people.", "So it is: deny."]),
    (
        "python code=1",
        ["This table: rule 2 (*) fits: allow.", "The installation: rule 1 (pyth*) fits: deny.", "So it is: deny."],
    ),
    ("fetch_page", ["The installation: no rule fits, so it is allowed.", "So it is: allow."]),
    ("", ["Write a call"]),
    ("python {", ["no JSON object"]),
]


@pytest.mark.parametrize(("call", "words"), TRIED)
def test_a_table_is_tried_before_it_is_saved(client: Client, settings: Any, call: str, words: list[str]) -> None:
    settings.APPROVAL_POLICY = read_policy([{"tool": "pyth*", "decision": "deny"}])
    form = sent([("python", "code: *os*", "ask"), ("*", "", "allow")])
    form["call"] = call
    answer = client.post(
        "/admin/chat/agent/policy/", form.urlencode(), content_type="application/x-www-form-urlencoded"
    )
    assert answer.status_code == 200
    for each in words:
        assert each in answer.json()["text"]


def test_the_form_keeps_the_rules_in_their_order(client: Client) -> None:
    agent = Agent.objects.get(name="writer")
    address = f"/admin/chat/agent/{agent.pk}/change/"
    page = client.get(address)
    form = page.context["adminform"].form
    data = sent([("b*", "", "ask"), ("", "", "ask"), ("a*", "url: *", "deny")])
    for field in form:
        if field.name != "policy" and field.value() not in (None, False):
            values = field.value() if isinstance(field.value(), list) else [field.value()]
            data.setlist(field.html_name, [str(value) for value in values])
    saved = client.post(address, data.urlencode(), content_type="application/x-www-form-urlencoded")
    assert saved.status_code == 302, saved.context["adminform"].form.errors
    newest = AgentVersion.objects.filter(agent=agent).order_by("-number")[0]
    assert newest.policy == [
        {"tool": "b*", "decision": "ask"},
        {"tool": "a*", "arguments": {"url": "*"}, "decision": "deny"},
    ]
    assert 'value="b*"' in client.get(address).content.decode()


@pytest.mark.parametrize(("agent_class", "is_warned"), [("", False), ("poet", True)])
def test_the_form_says_where_nothing_can_wait(client: Client, agent_class: str, is_warned: bool) -> None:
    agent = Agent.objects.get(name="writer")
    AgentVersion.objects.filter(agent=agent).update(agent_class=agent_class)
    page = client.get(f"/admin/chat/agent/{agent.pk}/change/").content.decode()
    assert ("cannot wait for people" in page) is is_warned
