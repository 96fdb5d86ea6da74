"""Model servers and MCP servers in the admin, for staff who may only enter one of the two kinds."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

import agents
from agents import McpChoice
from agents.models.address_list import AddressList
from agents.tools import mcp
from chat.accounts.models import User
from chat.admin import patience
from chat.catalog import mcp_servers, model_servers
from chat.models import Act, Agent, AuditEntry, EnteredServer, McpServer, ModelServer
from tests.agents.tools.test_mcp import Server, eventually, serving
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)
ALLOWED = "https://servers.example/v1"
KINDS: tuple[type[EnteredServer], ...] = (ModelServer, McpServer)


@pytest.fixture(autouse=True)
def servers_allowed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.MODEL_SERVER_ADDRESSES = settings.MCP_SERVER_ADDRESSES = AddressList(["https://servers.example"])
    settings.FIELD_KEY = "a key of at least thirty-two characters"
    settings.MCP_SERVERS = {"time": {"command": "time-server"}}
    monkeypatch.setenv("AGENT_KEY", "from the environment")
    mcp_servers.forget()
    yield
    mcp_servers.forget()
    model_servers.forget()
    mcp.connected_servers.close()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[EnteredServer]:
    found: type[EnteredServer] = request.param
    return found


Login = Callable[[type[EnteredServer]], Client]


@pytest.fixture
def keeper() -> Login:
    """Logs in a member of staff who may enter servers of one kind, and nothing else."""

    def log_in(kind: type[EnteredServer]) -> Client:
        made = Client()
        may = [f"chat.{act}_{kind.__name__.lower()}" for act in ("view", "add", "change")]
        made.force_login(making.staff(*may, name=f"keeper of {kind.__name__}"))
        return made

    return log_in


def page(kind: type[EnteredServer], name: str, *args: Any) -> str:
    return reverse(f"admin:chat_{kind.__name__.lower()}_{name}", args=args)


def enter(client: Client, kind: type[EnteredServer], pk: int | None = None, **form: Any) -> Any:
    """The form's fields as a browser sends them."""
    given = {"name": "servers", "address": ALLOWED, "new_key": "sk-secret"}
    own = {"seeing": "*-vl"} if kind is ModelServer else {"transport": "http-or-sse", "key_header": "Authorization"}
    address = page(kind, "add") if pk is None else page(kind, "change", pk)
    return client.post(address, {**given, **own, **form}, follow=True)


def only(kind: type[EnteredServer]) -> Any:
    return kind._default_manager.get()


def errors(answer: Any) -> str:
    return " ".join(str(error) for found in answer.context["errors"] for error in found)


def test_a_server_is_entered_and_its_key_is_never_shown(keeper: Login, kind: type[EnteredServer]) -> None:
    client = keeper(kind)
    assert "errors" not in enter(client, kind).context
    made = only(kind)
    shown = (
        client.get(page(kind, "change", made.pk)).content.decode()
        + client.get(page(kind, "changelist")).content.decode()
    )
    assert "sk-secret" not in shown + made.key
    assert made.key not in shown
    # Saved again without a key, it keeps its key; with another address the key is removed.
    enter(client, kind, made.pk, new_key="", name="renamed")
    assert (only(kind).name, only(kind).key) == ("renamed", made.key)
    answer = enter(client, kind, made.pk, new_key="", address=f"{ALLOWED}/other")
    assert "the key was emptied" in answer.content.decode()
    assert only(kind).key == ""
    enter(client, kind, made.pk, new_key="env:AGENT_KEY")
    assert only(kind).key == "env:AGENT_KEY"
    enter(client, kind, made.pk, new_key="", no_key="on")
    assert only(kind).key == ""
    entries = AuditEntry.objects.filter(action=Act.SAVE, about__endswith="server servers")
    assert entries.count() == 4


#: What may be sent for either kind, by mistake or on purpose. A further one is one line: the fields, and a word of the error.
REFUSED = [
    ({"address": "https://evil.test/v1"}, "has not allowed this address"),
    ({"address": "http://169.254.169.254/latest"}, "has not allowed this address"),
    ({"address": "http://servers.example/v1"}, "has not allowed this address"),
    ({"address": "https://servers.example@evil.test/"}, "has not allowed this address"),
    ({"address": "https://servers.example/../x"}, "has not allowed this address"),
    ({"address": "file:///etc/passwd"}, "has not allowed this address"),
    ({"address": "sh -c id"}, "has not allowed this address"),
    ({"new_key": "env:SECRET_KEY"}, "begin with AGENT_"),
    ({"new_key": "env:LLM_API_KEY"}, "begin with AGENT_"),
    ({"new_key": "Bearer sk-1"}, "Enter the key alone"),
    ({"name": ""}, "required"),
]
#: The same for MCP servers.
TOOL_SERVERS_REFUSED = [
    ({"name": "time"}, "has a tool server of this name already"),
    ({"name": "Two Words"}, "valid value"),
    ({"name": "x" * 33}, "at most 32"),
    ({"transport": "stdio"}, "not one of the available choices"),
    ({"key_header": "Host"}, "name of a header"),
    ({"key_header": "X-Key: y\r\nHost"}, "name of a header"),
    ({"key_header": "Content-Length"}, "name of a header"),
    ({"command": "sh", "address": ""}, "required"),
]


@pytest.mark.parametrize(
    ("of", "form", "words"),
    [*((kind, *case) for kind in KINDS for case in REFUSED), *((McpServer, *case) for case in TOOL_SERVERS_REFUSED)],
)
def test_servers_that_may_not_be(keeper: Login, of: type[EnteredServer], form: dict[str, Any], words: str) -> None:
    answer = enter(keeper(of), of, **form)
    assert words in errors(answer)
    assert not of._default_manager.exists()


def test_no_server_can_be_entered_where_the_operator_allows_none(
    keeper: Login, kind: type[EnteredServer], settings: Any
) -> None:
    settings.MODEL_SERVER_ADDRESSES = settings.MCP_SERVER_ADDRESSES = AddressList(())
    variable = "MODEL_SERVER_ADDRESSES" if kind is ModelServer else "MCP_SERVER_ADDRESSES"
    assert variable in errors(enter(keeper(kind), kind))


def test_the_right_to_one_kind_of_servers_does_not_open_the_other(keeper: Login) -> None:
    for kind, other in (KINDS, reversed(KINDS)):
        client = keeper(kind)
        assert {client.get(page(other, name)).status_code for name in ("add", "changelist")} == {403}
        assert client.get(reverse("admin:chat_agent_changelist")).status_code == 403


# MCP servers: tried, chosen, changed


@pytest.fixture
def entered(keeper: Login, settings: Any, tmp_path: Path) -> Iterator[tuple[Client, McpServer, Server]]:
    """An MCP server on this machine, which the operator has allowed and staff have entered."""
    there = Server(tmp_path)
    with serving(there, "streamable-http") as address:
        settings.MCP_SERVER_ADDRESSES = AddressList(["http://127.0.0.1:*"])
        client = keeper(McpServer)
        enter(client, McpServer, name="far", address=address, key_header="X-Key")
        yield client, McpServer.objects.get(), there


def writer() -> Client:
    client = Client()
    client.force_login(making.staff("chat.view_agent", "chat.change_agent", name="writer"))
    return client


def agent() -> Agent:
    return Agent.objects.get(name="researcher")


def save_agent(client: Client, **fields: Any) -> Any:
    form = {"based_on": 1, "title": "Researcher", "instructions": "You are careful.", "thinking": ""}
    return client.post(reverse("admin:chat_agent_change", args=(agent().pk,)), {**form, **fields})


def test_a_trial_finds_the_tools_that_agents_are_then_given_one_by_one(
    entered: tuple[Client, McpServer, Server],
) -> None:
    client, server, _ = entered
    answer = client.post(page(McpServer, "try", server.pk), follow=True).content.decode()
    assert "It answers, and has 8 tools." in answer
    assert "<code>add</code> Adds two numbers" in answer
    editor = writer()
    form = editor.get(reverse("admin:chat_agent_change", args=(agent().pk,))).content.decode()
    assert 'value="far\tadd"' in form
    assert 'value="time"' in form
    assert save_agent(editor, servers=["far\tadd", "time"]).status_code == 302
    assert agent().versions.get(number=2).mcp == [
        {"server": "far", "tools": ["add"]},
        {"server": "time", "tools": None},
    ]
    both = save_agent(editor, based_on=2, all_servers="on", servers=["far"])
    assert "one of the two" in errors(both)


def test_a_trial_says_what_is_wrong(entered: tuple[Client, McpServer, Server], settings: Any) -> None:
    client, server, _ = entered
    settings.MCP_SERVER_ADDRESSES = AddressList(["https://elsewhere.example"])
    answer = client.post(page(McpServer, "try", server.pk), follow=True).content.decode()
    assert "names an address that is not allowed any more" in answer
    assert McpServer.objects.get().offered == {}
    with patience.one_of_few(), patience.one_of_few():
        assert connection.connection is None, "who waits keeps a connection from others"
        answer = client.post(page(McpServer, "try", server.pk), follow=True).content.decode()
        assert "Others are trying something just now." in answer
    assert client.get(page(McpServer, "try", server.pk)).status_code == 405


def offered_to(choices: tuple[McpChoice, ...]) -> tuple[list[str], list[str]]:
    """The names of the tools that a run would have now, and the notes about missing ones."""
    missing: list[str] = []
    box = agents.Toolbox(mcp_servers=mcp_servers.configured_for(choices))
    return sorted(agents.tools.build_tools([], box, None, missing.append, choices)), missing


def test_runs_have_a_server_as_it_is_entered_now(
    entered: tuple[Client, McpServer, Server], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changed, disabled, its address no longer allowed, its variable missing: the next run has that, without a restart of the process."""
    settings.MCP_SERVERS = {}
    client, server, _ = entered
    chosen = (McpChoice("far", ("add",)),)
    assert mcp_servers.configured_for(None) == {}, "only who chooses it has it"
    assert eventually(lambda: offered_to(chosen) == (["far-add"], []))

    enter(client, McpServer, server.pk, name="near", address=server.address, new_key="env:AGENT_KEY")
    assert offered_to(chosen) == ([], ["There is no MCP server “far” here."])
    renamed = (McpChoice("near", ("add",)),)
    assert eventually(lambda: offered_to(renamed) == (["near-add"], []))
    assert mcp_servers.entered_servers()["near"].headers == {"Authorization": "Bearer from the environment"}  # type: ignore[union-attr]

    def is_shown(words: str) -> bool:
        mcp_servers.forget()
        return offered_to(renamed) == ([], [f"The MCP server “near” could not be started: its configuration {words}."])

    client.post(page(McpServer, "changelist"), {"action": "close", "_selected_action": [server.pk]})
    assert is_shown("was closed by staff")
    client.post(page(McpServer, "changelist"), {"action": "open_again", "_selected_action": [server.pk]})
    monkeypatch.delenv("AGENT_KEY")
    assert is_shown("has a key that can't be read: The variable AGENT_KEY is not set")
    settings.MCP_SERVER_ADDRESSES = AddressList(())
    assert is_shown("names an address that is not allowed any more")


def test_a_variable_in_an_address_is_not_filled_in(settings: Any) -> None:
    settings.MCP_SERVER_ADDRESSES = AddressList(["https://servers.example"])
    entry = mcp_servers.entry_of(McpServer(name="a", address="https://servers.example/${SECRET_KEY}/$PATH"))
    assert entry.url == "https://servers.example/${SECRET_KEY}/$PATH"  # type: ignore[union-attr]


def test_the_environments_server_keeps_its_name(settings: Any) -> None:
    settings.MCP_SERVERS = {"far": {"command": "x"}}
    McpServer.objects.create(name="far", address=ALLOWED)
    assert mcp_servers.all_configured()["far"] == {"command": "x"}
    assert mcp_servers.configured_for((McpChoice("far"),)) == {"far": {"command": "x"}}


def test_each_change_is_in_the_audit(keeper: Login, kind: type[EnteredServer]) -> None:
    client = keeper(kind)
    enter(client, kind)
    for act in ("close", "open_again"):
        client.post(page(kind, "changelist"), {"action": act, "_selected_action": [only(kind).pk]})
    word = "model" if kind is ModelServer else "tool"
    entries = AuditEntry.objects.order_by("id").values_list("action", "about", "actor_id")
    by = User.objects.get(username=f"keeper of {kind.__name__}").pk
    about = f"{word} server servers"
    assert list(entries) == [(act, about, by) for act in (Act.SAVE, Act.ARCHIVE, Act.RESTORE)]
