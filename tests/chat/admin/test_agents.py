"""Agents and model servers in the admin, for staff with only one of the permissions."""

import contextlib
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.urls import reverse

from agents import ModelSettings
from agents.models import server_facts
from agents.models.address_list import AddressList
from chat.accounts.models import User
from chat.admin.agent_form import MOST_INSTRUCTIONS, AgentForm
from chat.catalog import agents as catalog
from chat.catalog import model_servers, server_changes
from chat.models import Agent, AgentVersion, AuditEntry, McpServer, ModelServer, VersionState
from tests.chat import making
from tests.model_server import ModelServer as Model
from tests.model_server import Script

pytestmark = pytest.mark.django_db(transaction=True)
CHANGE = ("chat.view_agent", "chat.add_agent", "chat.change_agent")
ALLOWED = "https://models.example/v1"


@pytest.fixture(autouse=True)
def servers_allowed(settings: Any) -> None:
    settings.MODEL_SERVER_ADDRESSES = AddressList(["https://models.example"])
    settings.FIELD_KEY = "a key of at least thirty-two characters"


@pytest.fixture
def writer(client: Client) -> User:
    """A member of staff who may change agents, and nothing else."""
    user = making.staff(*CHANGE, name="writer")
    client.force_login(user)
    return user


@pytest.fixture
def publisher() -> Client:
    made = Client()
    made.force_login(making.staff(*CHANGE, "chat.publish_agent", name="publisher"))
    return made


def agent(name: str = "researcher") -> Agent:
    return Agent.objects.select_related("current").get(name=name)


def at(page: str, *args: Any) -> str:
    return reverse(f"admin:chat_agent_{page}", args=args)


def form_fields(**changes: Any) -> dict[str, Any]:
    """The form's fields as a browser sends them."""
    form = {
        "based_on": 1,
        "title": "Researcher",
        "description": "",
        "instructions": "You are careful.",
        "instructions_shown": "on",
        "tools": ["python"],
        "all_servers": "on",
        "thinking": "",
        "note": "shorter",
    }
    return {name: value for name, value in {**form, **changes}.items() if value is not None}


def errors(answer: Any) -> str:
    return " ".join(str(error) for found in answer.context["errors"] for error in found)


def test_a_save_is_a_draft_and_publishing_makes_runs_take_it(client: Client, writer: User, publisher: Client) -> None:
    first = agent().current
    assert client.get(at("change", agent().pk)).status_code == 200
    wishes = {
        "temperature": "0.3",
        "thinking": "false",
        "extra_body": '{"top_k": 5}',
        "iterations": "3",
        "budget": "0.5 usd",
        "starters": "What is new?\n\n  And   then?",
        "sub_agents": ["writer"],
        "model": "big",
    }
    answer = client.post(at("change", agent().pk), form_fields(**wishes))
    assert answer.status_code == 302, errors(answer)
    made = agent().versions.get(number=2)
    assert (made.state, made.created_by, made.note, agent().current) == (VersionState.DRAFT, writer, "shorter", first)
    assert made.instructions == "You are careful."
    assert made.parameters == {"temperature": 0.3, "thinking": False, "extra_body": {"top_k": 5}}
    assert made.limits == {"iterations": 3, "budget": "0.5 USD"}
    assert (made.starters, made.sub_agents, made.tools, made.mcp) == (
        ["What is new?", "And then?"],
        ["writer"],
        ["python"],
        None,
    )
    assert publisher.post(at("act", made.agent_id, "publish"), {"number": 2}).status_code == 302
    assert agent().current == made
    catalog.forget()
    assert catalog.load_version(made.pk).spec.parameters.temperature == 0.3


def test_a_form_saved_unchanged_changes_nothing(client: Client, writer: User) -> None:
    client.post(at("change", agent().pk), form_fields(temperature="0.3", thinking="true", starters="Why?", time_s="9"))
    form = client.get(at("change", agent().pk)).context["adminform"].form
    shown = {name: form[name].value() for name in form.fields}
    again = {name: value for name, value in shown.items() if value not in (None, False, [], "")}
    again["extra_body"] = ""
    assert client.post(at("change", agent().pk), again).status_code == 302
    second, third = (agent().versions.get(number=number) for number in (2, 3))
    page = client.get(at("version", second.agent_id, 3)).content.decode()
    assert "They say the same." in page
    assert (second.parameters, second.limits) == (third.parameters, third.limits)


def test_the_later_of_two_editors_is_told_and_loses_nothing(client: Client, writer: User, publisher: Client) -> None:
    address = at("change", agent().pk)
    assert publisher.post(address, form_fields(instructions="Theirs.")).status_code == 302
    answer = client.post(address, form_fields(instructions="Mine.", note="mine"))
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "Version 2 was saved by publisher while you were writing." in page
    assert "Mine." in page
    assert at("version", agent().pk, 2) in page
    assert agent().versions.count() == 2
    based_on = re.search(r'name="based_on" value="(\d+)"', page)
    assert based_on is not None
    assert client.post(address, form_fields(instructions="Mine.", based_on=based_on[1])).status_code == 302
    assert list(agent().versions.values_list("instructions", flat=True))[:2] == ["Mine.", "Theirs."]


@pytest.mark.usefixtures("on_each_database")
def test_one_of_two_who_save_at_the_same_moment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    both, clean = threading.Barrier(2), AgentForm.clean

    def clean_together(form: AgentForm) -> dict[str, Any]:
        data = clean(form)
        # If the second request did not have to wait, both would have found that nobody has saved meanwhile.
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(1)
        return data

    def save(client: Client) -> int:
        try:
            return client.post(at("change", agent().pk), form_fields()).status_code
        finally:
            connection.close()

    monkeypatch.setattr(AgentForm, "clean", clean_together)
    clients = [Client(), Client()]
    for number, client in enumerate(clients):
        client.force_login(making.staff(*CHANGE, name=f"writer {number}"))
    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(save, clients)) == [200, 302]
    assert agent().versions.count() == 2


def test_a_difference_shows_what_each_version_says(client: Client, writer: User) -> None:
    client.post(at("change", agent().pk), form_fields(instructions="One.\nTwo.", tools=["python"], max_tokens="9"))
    client.post(
        at("change", agent().pk), form_fields(instructions="One.\n<b>Three.", tools=[], max_tokens="9", based_on=2)
    )
    page = " ".join(client.get(at("version", agent().pk, 3)).content.decode().split())
    for shown in ("<p>One.</p>", "<del>Two.</del>", "<ins>&lt;b&gt;Three.</ins>", "<del>python</del> <ins>–</ins>"):
        assert shown in page
    assert "max_tokens" not in page
    first = client.get(at("version", agent().pk, 3), {"with": "1"}).content.decode()
    assert "max_tokens" in first
    assert "There is no version before it." in client.get(at("version", agent().pk, 1)).content.decode()


def test_a_new_agent_is_offered_to_nobody_before_it_is_published(
    client: Client, writer: User, publisher: Client
) -> None:
    answer = client.post(at("add"), form_fields(name="poet", title="Poet", based_on=None))
    assert answer.status_code == 302, errors(answer)
    assert "poet" not in [version.spec.name for version in catalog.usable_by(writer.pk)]
    publisher.post(at("act", agent("poet").pk, "publish"), {"number": 1})
    catalog.forget()
    assert "poet" in [version.spec.name for version in catalog.usable_by(writer.pk)]
    assert AuditEntry.objects.filter(about="agent poet 1").count() == 2


#: How many tools of a server, how many in all, and whether the page warns that they are many.
@pytest.mark.parametrize(("offered", "warns"), [(127, False), (128, True), (400, True)])
@pytest.mark.parametrize("choice", ["many", "many\ttool0"])
def test_more_tools_than_many_servers_take_are_told(
    client: Client, writer: User, offered: int, warns: bool, choice: str
) -> None:
    tools = {f"tool{at}": "" for at in range(offered)}
    McpServer.objects.create(name="many", address="https://models.example/mcp", transport="http", offered=tools)
    sent = form_fields(all_servers=None, servers=[choice])
    page = client.post(at("change", agent().pk), sent, follow=True).content.decode()
    assert "is saved as a draft" in page
    words = f"This agent has {offered + 1} tools. Many model servers take 128 at a time at most"
    assert (words in page) is (warns and choice == "many")


#: What may be sent by mistake or on purpose. A further one is one line: the fields, and a word of the error.
REFUSED = [
    ({"instructions": "x" * 1_000_000}, "1,000,000 characters; at most 50,000"),
    ({"instructions": "x" * (MOST_INSTRUCTIONS + 1)}, "50,001 characters"),
    ({"title": ""}, "required"),
    ({"title": "x" * 81}, "at most 80"),
    ({"tools": ["rm"]}, "rm is not one of the available choices"),
    ({"sub_agents": ["researcher"]}, "not one of the available choices"),
    ({"all_servers": None, "servers": ["sh -c 'id'"]}, "not one of the available choices"),
    ({"temperature": "9"}, "less than or equal to 2"),
    ({"temperature": "nan"}, "Enter a number"),
    ({"max_tokens": "0"}, "greater than or equal to 1"),
    ({"extra_body": "[1]"}, "JSON object"),
    ({"extra_body": "{"}, "valid JSON"),
    ({"extra_body": '{"messages": [], "model": "x"}'}, "own: messages, model"),
    ({"extra_body": '{"a": "' + "x" * 20_000 + '"}'}, "10,000"),
    ({"budget": "much"}, "0.50 USD"),
    ({"iterations": "-1"}, "greater than or equal to 1"),
    ({"starters": "\n".join("q" * 9)}, "At most 8 questions"),
    ({"model_server": "999"}, "Select a valid choice"),
    ({"instructions": "a\x00b"}, "Null characters"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_invalid_fields_are_refused_with_an_error(
    client: Client, writer: User, changes: dict[str, Any], words: str
) -> None:
    answer = client.post(at("change", agent().pk), form_fields(**changes))
    assert answer.status_code == 200
    assert words in errors(answer)
    assert agent().versions.count() == 1


def test_a_server_of_ones_own_has_no_model_by_itself(client: Client, writer: User) -> None:
    own = ModelServer.objects.create(name="own", address=ALLOWED)
    answer = client.post(at("change", agent().pk), form_fields(model_server=own.pk, model=""))
    assert "Say which of the server" in errors(answer)
    assert agent().versions.count() == 1


@pytest.mark.parametrize("name", ["Poet", "1st", "a b", "a-b", "x" * 41, "researcher", "é", "poet\n"])
def test_names_that_no_agent_may_have(client: Client, writer: User, name: str) -> None:
    answer = client.post(at("add"), form_fields(name=name, based_on=None))
    if name == "poet\n":  # white space around a name is removed
        assert Agent.objects.filter(name="poet").exists()
        return
    assert answer.status_code == 200
    assert Agent.objects.count() == 3


# What the permission to change agents does not allow


def acts(of: Agent) -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        "publish": (at("act", of.pk, "publish"), {"number": 1}),
        "archive": (at("act", of.pk, "archive"), {}),
        "bring back": (at("act", of.pk, "bring_back"), {}),
        "enter a model server": (reverse("admin:chat_modelserver_add"), {"name": "x", "address": ALLOWED}),
        "see model servers": (reverse("admin:chat_modelserver_changelist"), {}),
        "enter a tool server": (reverse("admin:chat_mcpserver_add"), {"name": "x", "address": ALLOWED}),
        "see tool servers": (reverse("admin:chat_mcpserver_changelist"), {}),
        "change a tool server": (reverse("admin:chat_mcpserver_change", args=(1,)), {"name": "x", "address": ALLOWED}),
        "try a tool server": (reverse("admin:chat_mcpserver_try", args=(1,)), {}),
        "delete": (at("delete", of.pk), {"post": "yes"}),
    }


@pytest.mark.parametrize("act", list(acts(Agent(pk=1))))
def test_the_right_to_change_agents_allows_nothing_else(client: Client, writer: User, act: str) -> None:
    address, form = acts(agent())[act]
    assert client.post(address, form).status_code == 403
    assert agent().archived_at is None
    assert not ModelServer.objects.exists()
    assert not McpServer.objects.exists()


def test_the_groups_of_an_agent_are_not_for_writers_to_change(client: Client, writer: User, publisher: Client) -> None:
    inside = Group.objects.create(name="inside")
    client.post(at("change", agent().pk), form_fields(groups=[inside.pk]))
    assert not agent().groups.exists()
    publisher.post(at("change", agent().pk), form_fields(groups=[inside.pk], based_on=2))
    assert list(agent().groups.all()) == [inside]
    # Saving later does not change that.
    client.post(at("change", agent().pk), form_fields(based_on=3))
    assert list(agent().groups.all()) == [inside]


@pytest.mark.parametrize("nobody", [None, "bare"])
def test_others_see_nothing_of_agents(client: Client, nobody: str | None) -> None:
    if nobody:
        client.force_login(making.staff(name=nobody))
    pages = (
        at("changelist"),
        at("change", agent().pk),
        at("version", agent().pk, 1),
        at("try", agent().pk, 1),
        at("models"),
    )
    assert {client.get(page).status_code for page in pages} == {403 if nobody else 302}


# Trying a draft


@pytest.fixture
def model(settings: Any) -> Iterator[Model]:
    """A model server on this machine, which the operator has allowed and staff have entered."""
    server_facts.forget_facts()
    with Model() as running:
        running.is_judging = False  # a strict server refuses pictures
        settings.MODEL_SERVER_ADDRESSES = AddressList([f"http://{running.host}:*"])
        settings.AGENT_MODEL = ModelSettings()
        yield running


def test_a_draft_is_tried_at_its_own_server_before_it_is_published(client: Client, writer: User, model: Model) -> None:
    own = server_changes.save_server(
        ModelServer(), writer, name="own", address=model.url, key="sk-own", seeing_models=["scripted"]
    )
    model_servers.forget()
    assert client.get(at("models"), {"server": own.pk}).json() == {"models": ["scripted"], "message": ""}
    made = client.post(at("change", agent().pk), form_fields(model_server=own.pk, model="scripted", temperature="0.1"))
    assert made.status_code == 302, errors(made)
    model.enqueue(Script("It is 42."), Script("red"))
    page = client.post(at("try", agent().pk, 2), {"question": "What is it?"}).content.decode()
    assert "It is 42." in page
    asked = model.requests[0]
    assert (asked.body["temperature"], asked.headers["Authorization"]) == (0.1, "Bearer sk-own")
    assert "sees pictures" in page
    assert AgentVersion.objects.get(number=2).state == VersionState.DRAFT
    # An error is shown for a server that is gone, too.
    server_changes.close_server(own, writer, closed=True)
    model_servers.forget()
    assert "was closed" in client.post(at("try", agent().pk, 2), {"question": "?"}).content.decode()
