"""What staff who may only change agents must not be able to do: run commands, send keys elsewhere, choose addresses of servers.

Each rule is tried in every way that can change a version: forms, fields that no form has, addresses, restored and imported versions.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

import agents
from agents import ModelSettings
from agents.models import server_facts
from agents.models.address_list import AddressList
from chat.accounts.models import User
from chat.catalog import agents as catalog
from chat.catalog import mcp_servers, model_servers, server_changes
from chat.models import Agent, AgentVersion, McpServer, ModelServer, VersionState
from tests.chat import making
from tests.chat.admin.test_agents import CHANGE, agent, at, errors, form_fields
from tests.model_server import ModelServer as Model
from tests.model_server import Script

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "sk-of-the-keeper"


@pytest.fixture(autouse=True)
def servers(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Model, Model]]:
    """Two model servers on this machine, both allowed by the operator, and an MCP server from the environment."""
    server_facts.forget_facts()
    monkeypatch.setenv("AGENT_KEY", "from the environment")
    with Model() as one, Model() as two:
        for each in (one, two):
            each.is_judging = False  # a strict server refuses pictures
        settings.MODEL_SERVER_ADDRESSES = AddressList([f"http://{one.host}:*"])
        settings.MCP_SERVER_ADDRESSES = AddressList(["https://tools.example"])
        settings.MCP_SERVERS = {"time": {"command": "time-server"}}
        settings.AGENT_MODEL = ModelSettings()
        settings.FIELD_KEY = "a key of at least thirty-two characters"
        yield one, two
    model_servers.forget()
    mcp_servers.forget()


@pytest.fixture
def writer(client: Client) -> User:
    """A member of staff who may change agents, and nothing else."""
    user = making.staff(*CHANGE, name="writer")
    client.force_login(user)
    return user


@pytest.fixture
def own(servers: tuple[Model, Model]) -> ModelServer:
    """A model server that another member of staff has entered, with a key."""
    return server_changes.save_server(
        ModelServer(), making.staff(name="keeper"), name="own", address=servers[0].url, key=KEY
    )


def newest() -> AgentVersion:
    found = agent().versions.order_by("-number").first()
    assert found is not None
    return found


#: Values of a version that would break the rules, by the names of its columns and related tables.
SMUGGLED = {
    "agent_class": "os.system",
    "mcp": '[{"server": "sh", "command": "sh", "args": ["-c", "id"]}]',
    "command": "sh",
    "args": "-c",
    "env": "PATH=/tmp",
    "address": "https://evil.test/v1",
    "url": "https://evil.test/v1",
    "base_url": "https://evil.test/v1",
    "server": "https://evil.test/v1",
    "key": "env:SECRET_KEY",
    "new_key": "env:AGENT_KEY",
    "api_key": "env:AGENT_KEY",
    "headers": '{"X-Key": "env:AGENT_KEY"}',
    "key_header": "X-Key",
    "parameters": '{"api_key": "env:AGENT_KEY"}',
    "limits": "{}",
    "state": "published",
    "published_at": "2001-01-01",
    "current": "1",
    "archived_at": "2001-01-01",
    "created_by": "1",
    "number": "9",
    "agent": "2",
    "id": "2",
    "versions-TOTAL_FORMS": "1",
    "versions-INITIAL_FORMS": "0",
    "versions-0-agent_class": "os.system",
    "_popup": "1",
}


def test_fields_that_the_form_has_not_say_nothing(client: Client, writer: User) -> None:
    before = agent()
    answer = client.post(at("change", before.pk), form_fields(**SMUGGLED))
    assert answer.status_code == 302, errors(answer)
    made = newest()
    assert (made.number, made.state, made.created_by, made.published_at) == (2, VersionState.DRAFT, writer, None)
    assert (made.agent_class, made.mcp, made.parameters, made.limits) == ("", None, {}, {})
    assert (made.model_server, made.model) == (None, "")
    assert (agent().name, agent().current, agent().archived_at) == (before.name, before.current, None)
    assert not ModelServer.objects.exists()
    assert not McpServer.objects.exists()
    assert AgentVersion.objects.count() == 4


def test_the_right_to_change_agents_does_not_allow_to_add_one(client: Client) -> None:
    client.force_login(making.staff("chat.view_agent", "chat.change_agent"))
    copied = client.post(at("change", agent().pk), form_fields(name="another", _saveasnew="1"))
    assert (copied.status_code, Agent.objects.count()) == (403, 3)


#: Choices that the form does not have: what is sent, and a word of the error.
NO_CHOICES = [
    ({"all_servers": None, "servers": ["time\tsh -c id"]}, "not one of the available choices"),
    ({"all_servers": None, "servers": ['{"command": "sh"}']}, "not one of the available choices"),
    ({"all_servers": None, "servers": ["https://evil.test/mcp"]}, "not one of the available choices"),
    ({"all_servers": None, "servers": ["closed"]}, "not one of the available choices"),
    ({"model_server": "https://evil.test/v1", "model": "m"}, "Select a valid choice"),
    ({"model_server": "closed", "model": "m"}, "Select a valid choice"),
    ({"tools": ["os.system"]}, "not one of the available choices"),
    ({"sub_agents": ["nobody"]}, "not one of the available choices"),
    ({"thinking": "__import__"}, "Select a valid choice"),
]


@pytest.mark.parametrize(("changes", "words"), NO_CHOICES, ids=lambda value: value if isinstance(value, str) else "")
def test_choices_that_were_not_offered_are_refused(
    client: Client, writer: User, own: ModelServer, changes: dict[str, Any], words: str
) -> None:
    server_changes.close_server(own, writer, closed=True)
    McpServer.objects.create(name="closed", address="https://tools.example/mcp", archived_at=timezone.now())
    changes = {name: str(own.pk) if value == "closed" else value for name, value in changes.items()}
    answer = client.post(at("change", agent().pk), form_fields(**changes))
    assert words in errors(answer)
    assert agent().versions.count() == 1


#: Texts in the field for further parameters that are no object which can be stored and sent: sent by mistake or on purpose.
ODD_BODIES = [
    '{"a": NaN}',
    '{"a": -Infinity}',
    '{"a": 1e999}',
    '{"a": ' + "9" * 40 + "}",
    '{"a": "\\u0000"}',
    '{"\\u0000": 1}',
    '{"a": ' + "9" * 5_000 + "}",
    '{"a": "\\ud800"}',
    '{"a": ' + "[" * 1_500 + "]" * 1_500 + "}",
    '{"a":' * 1_600 + "1" + "}" * 1_600,
    '{"a": 1, "stream_options": {}}',
    '{"Model": 1, "model": 2}',
    '"env:AGENT_KEY"',
]


@pytest.mark.usefixtures("on_each_database")
def test_a_body_that_no_server_could_be_sent_is_refused(client: Client) -> None:
    client.force_login(making.staff(*CHANGE, name="writer"))
    for body in ODD_BODIES:
        answer = client.post(at("change", agent().pk), form_fields(extra_body=body))
        assert answer.status_code == 200, f"{body[:60]} was taken"
        assert errors(answer), body[:60]
    assert agent().versions.count() == 1


#: Addresses of the admin: the request, and the answer. None of them may send anything to a server or change a version.
ADDRESSES: list[tuple[str, dict[str, str], int]] = [
    ("models", {"server": "https://evil.test/v1"}, 404),
    ("models", {"server": "999"}, 404),
    ("models", {"server": "-1"}, 404),
    ("models", {"server": "9" * 30}, 404),
    ("models", {"address": "https://evil.test/v1", "key": "env:AGENT_KEY"}, 200),
    ("changelist", {"current__model_server__key__startswith": "f"}, 400),
    ("changelist", {"current__model_server__address__contains": "a"}, 400),
    ("changelist", {"versions__created_by__password__startswith": "p"}, 400),
    ("changelist", {"groups__user__password__startswith": "p"}, 400),
    *(
        ("add", {name: value}, 200)
        for name in ("policy", "extra_body", "servers", "tools", "groups", "model_server", "based_on", "starters")
        for value in ("x", "{", "\0", "-1")
    ),
    ("add", dict(SMUGGLED), 200),
]


def test_addresses_lead_to_nothing_else(
    client: Client, writer: User, own: ModelServer, servers: tuple[Model, Model]
) -> None:
    for page, query, status in ADDRESSES:
        answer = client.get(f"{at(page)}?{urlencode(query)}")
        assert answer.status_code == status, (page, query)
        assert KEY not in answer.content.decode()
        assert own.key not in answer.content.decode()
    assert not servers[0].requests
    assert not servers[1].requests
    assert Agent.objects.count() == AgentVersion.objects.count() == 3
    of_others = [
        reverse("admin:chat_modelserver_change", args=(own.pk,)),
        reverse("admin:chat_modelserver_history", args=(own.pk,)),
        reverse("admin:chat_modelserver_delete", args=(own.pk,)),
    ]
    for address in of_others:
        assert client.get(address).status_code == 403
        assert client.post(address, {"name": "own", "address": servers[1].url, "post": "yes"}).status_code == 403
    own.refresh_from_db()
    assert own.address == servers[0].url
    names = {"app_label": "chat", "model_name": "agentversion", "field_name": "model_server", "term": "o"}
    assert client.get(reverse("admin:autocomplete"), names).status_code in (403, 404)


def test_a_chosen_server_is_sent_its_key_and_nobody_else_is(
    client: Client, writer: User, own: ModelServer, servers: tuple[Model, Model]
) -> None:
    """Tried as a draft, which the writer may do: the key is only sent where the member of staff who entered it said."""
    one, two = servers
    body = {"base_url": two.url, "api_key": "env:AGENT_KEY", "extra_headers": {"Authorization": "x"}}
    saved = client.post(
        at("change", agent().pk), form_fields(model_server=own.pk, model="m", extra_body=json.dumps(body))
    )
    assert saved.status_code == 302, errors(saved)
    one.enqueue(Script("It is 42."))
    assert "It is 42." in client.post(at("try", agent().pk, 2), {"question": "?"}).content.decode()
    assert {each.headers["Authorization"] for each in one.requests} == {f"Bearer {KEY}"}
    assert "from the environment" not in json.dumps([each.body for each in one.requests])
    assert not two.requests


def test_a_restored_version_takes_no_key_to_another_address(
    client: Client, writer: User, own: ModelServer, servers: tuple[Model, Model]
) -> None:
    one, two = servers
    client.post(at("change", agent().pk), form_fields(model_server=own.pk, model="m"))
    client.post(at("change", agent().pk), form_fields(based_on=2))
    server_changes.save_server(own, making.staff(name="another"), name="own", address=two.url, key=None)
    model_servers.forget()
    assert client.post(at("act", agent().pk, "restore"), {"number": 2}).status_code == 302
    assert (newest().number, newest().model_server, newest().state) == (4, own, VersionState.DRAFT)
    two.enqueue(Script("It is 42."))
    assert "It is 42." in client.post(at("try", agent().pk, 4), {"question": "?"}).content.decode()
    assert KEY not in str([dict(each.headers) for each in two.requests])
    assert not one.requests


def test_a_restored_version_opens_nothing_that_was_closed(client: Client, writer: User, own: ModelServer) -> None:
    tools = McpServer.objects.create(name="far", address="https://tools.example/mcp")
    mcp_servers.forget()
    chosen = form_fields(model_server=own.pk, model="m", all_servers=None, servers=["far"])
    assert client.post(at("change", agent().pk), chosen).status_code == 302
    server_changes.close_server(own, writer, closed=True)
    McpServer.objects.filter(pk=tools.pk).update(archived_at=timezone.now())
    model_servers.forget()
    mcp_servers.forget()
    assert client.post(at("act", agent().pk, "restore"), {"number": 2}).status_code == 302
    assert "was closed" in client.post(at("try", agent().pk, 3), {"question": "?"}).content.decode()
    missing: list[str] = []
    spec = catalog.spec_of(newest())
    box = agents.Toolbox(mcp_servers=mcp_servers.configured_for(spec.mcp))
    assert agents.tools.build_tools([], box, None, missing.append, spec.mcp) == {}
    assert missing == ["The MCP server “far” could not be started: its configuration was closed by staff."]
    publisher = Client()
    publisher.force_login(making.staff(*CHANGE, "chat.publish_agent", name="publisher"))
    page = publisher.post(at("act", agent().pk, "publish"), {"number": 3}, follow=True).content.decode()
    assert "“own” was closed" in page
    assert agent().current is not None
    assert agent().current.number == 1


#: Values of a version that no form can make, as in a file from elsewhere.
BROUGHT_IN: dict[str, Any] = {
    "mcp": [
        {"server": "time", "command": "sh", "args": ["-c", "id"], "env": {"A": "env:SECRET_KEY"}},
        {"server": "mine", "url": "https://evil.test/mcp", "headers": {"X-Key": "env:AGENT_KEY"}},
    ],
    "parameters": {"api_key": "env:AGENT_KEY", "server": "https://evil.test", "extra_body": {"model": "x", "n": 9}},
    "limits": {"iterations": 3, "command": "sh"},
    "tools": ["python", "os.system"],
    "agent_class": "os.system",
}


def test_a_version_from_elsewhere_brings_neither_commands_nor_addresses(client: Client, writer: User) -> None:
    first = agent().current
    assert first is not None
    made = AgentVersion.objects.create(agent=agent(), number=2, title="Brought in", **BROUGHT_IN)
    assert client.post(at("act", agent().pk, "restore"), {"number": 2}).status_code == 302
    for version in (made, newest()):
        spec = catalog.spec_of(version)
        configured = mcp_servers.configured_for(spec.mcp)
        assert configured == {"time": {"command": "time-server"}}
        assert not hasattr(spec.parameters, "api_key")
        answer = client.post(at("try", agent().pk, version.number), {"question": "?"})
        assert "The extension that brought this agent is not installed any more." in answer.content.decode()
    # The form, saved unchanged, keeps none of it but the names, which refer to nothing.
    assert client.get(at("change", agent().pk)).status_code == 200
    saved = client.post(at("change", agent().pk), form_fields(based_on=3, all_servers=None, servers=["time", "mine"]))
    assert saved.status_code == 302, errors(saved)
    assert newest().mcp == [{"server": "time", "tools": None}, {"server": "mine", "tools": None}]
    assert newest().parameters == {}


def test_no_table_has_a_key_as_it_is(own: ModelServer) -> None:
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            assert KEY not in str(cursor.fetchall()), table
