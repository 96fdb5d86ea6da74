"""What operators see of MCP servers, and their actions: in each process by itself, and in a real one."""

import asyncio
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

import agents
from agents.models.address_list import AddressList
from chat.catalog import mcp_servers, tool_servers
from chat.models import McpServer, Process, ToolServer
from tests.agents.tools.test_mcp import Server, eventually
from tests.agents.tools.test_mcp import serving as serving_tools
from tests.chat import making
from tests.serving import Browser, serving

PROGRAM = str(Path(__file__).parents[2] / "agents" / "tools" / "mcp_server.py")
PAGE = "admin:chat_toolserver_changelist"


def state(name: str, **fields: Any) -> agents.ServerState:
    return agents.ServerState(
        **{
            "name": name,
            "transport": "program x",
            "state": "connected",
            "tools": 3,
            "attempts": 0,
            "last_error": "",
            "since": 1.5,
        }
        | fields
    )


@pytest.mark.django_db
def test_each_process_has_rows_of_its_own_and_they_end_with_it() -> None:
    for process in ("one", "two"):
        Process.objects.create(name=process, seen_at=timezone.now())
        tool_servers._store(process, [state("a"), state("b", state="waiting", last_error="it ended at once")])
    assert ToolServer.objects.count() == 4
    tool_servers._store("one", [state("b", attempts=2, state="waiting")])
    assert list(ToolServer.objects.filter(process="one").values_list("name", "attempts")) == [("b", 2)]
    Process.objects.filter(name="two").delete()
    tool_servers._store("one", [state("b")])
    assert set(ToolServer.objects.values_list("process", flat=True)) == {"one"}


@pytest.mark.django_db(transaction=True)
async def test_an_unchanged_state_of_a_server_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [state("a")]
    monkeypatch.setattr(agents, "server_states", lambda: list(states))
    publisher = tool_servers.Publisher("one")
    await publisher.publish()
    await ToolServer.objects.all().adelete()
    await publisher.publish()
    assert not await ToolServer.objects.aexists()
    states[0] = state("a", state="waiting")
    await publisher.publish()
    assert await ToolServer.objects.aexists()
    await tool_servers.forget("one")
    assert not await ToolServer.objects.aexists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("permissions", "sees", "restarts"),
    [([], False, False), (["view_toolserver"], True, False), (["view_toolserver", "restart_toolserver"], True, True)],
)
def test_actions_on_tool_servers_require_their_permission(
    client: Client, monkeypatch: pytest.MonkeyPatch, permissions: list[str], sees: bool, restarts: bool
) -> None:
    names: list[str] = []

    async def restart(name: str) -> None:
        names.append(name)

    monkeypatch.setattr(tool_servers, "restart", restart)
    staff = making.user("staff", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(staff)
    Process.objects.create(name="one", seen_at=timezone.now())
    tool_servers._store("one", [state("github", state="waiting", last_error="it answered 401 Unauthorized")])
    tool_servers._store("gone", [state("of-a-dead-process")])
    answer = client.get(reverse(PAGE))
    assert (answer.status_code == 200) is sees
    if sees:
        page = answer.content.decode()
        assert "it answered 401 Unauthorized" in page
        assert "Each process that executes runs has connections of its own." in page
        assert "of-a-dead-process" not in page
    chosen = ToolServer.objects.get(name="github")
    client.post(reverse(PAGE), {"action": "connect_anew", "_selected_action": [chosen.pk]})
    assert names == (["github"] if restarts else [])


@pytest.mark.django_db(transaction=True)
async def test_a_process_that_executes_runs_connects_to_what_is_entered(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_tools(Server(tmp_path), "streamable-http") as address:
        settings.MCP_SERVER_ADDRESSES = AddressList(["http://127.0.0.1:*"])
        far = await McpServer.objects.acreate(name="far", address=address)
        await tool_servers.connect_anew("far")
        assert agents.server_states() == [], "one that executes none connects to nothing"
        monkeypatch.setattr(tool_servers._Here, "connects", True)
        await tool_servers.connect_anew("far")
        assert await asyncio.to_thread(eventually, lambda: "add" in agents.server_tools().get("far", {}))
        await Process.objects.acreate(name="one", seen_at=timezone.now())
        await tool_servers.Publisher("one").publish()
        assert (await asyncio.to_thread(mcp_servers.known_tools))["far"]["add"] == "Adds two numbers."
        far.archived_at = timezone.now()
        await far.asave()
        await tool_servers.connect_anew("far")
        assert [state.state for state in agents.server_states()] == ["unusable"]
        await far.adelete()
        await tool_servers.connect_anew("far")
        assert agents.server_states() == []


async def test_a_serving_process_shows_its_servers_and_connects_anew(tmp_path: Path) -> None:
    """A real process with one server that works and one that does not: the page shows that, and the button reconnects."""
    journal = tmp_path / "journal"
    servers = {
        "good": {"command": sys.executable, "args": [PROGRAM, str(journal)]},
        "bad": {"url": "http://127.0.0.1:9/SECRET/mcp?token=SECRET"},
    }
    with serving(tmp_path / "data", "ada", MCP_SERVERS=json.dumps(servers)) as server:
        async with Browser.logged_in(server.url, "ada") as browser:

            async def page_with(*words: str) -> str:
                ends_at = time.monotonic() + 40
                while True:
                    async with browser.http.get("/admin/chat/toolserver/") as answer:
                        text: str = await answer.text()
                    if all(word in text for word in words):
                        return text
                    assert time.monotonic() < ends_at, text[-4_000:]
                    await asyncio.sleep(0.1)

            page = await page_with("connected", "nothing answers at its address")
            assert "SECRET" not in page
            assert "SECRET" not in "".join(server.output)
            assert journal.read_text().count("pid ") == 1
            form = {
                "action": "connect_anew",
                "_selected_action": re.findall(r'name="_selected_action" value="(\d+)"', page),
                "csrfmiddlewaretoken": browser.cookie("csrftoken"),
            }
            headers = {"Referer": f"{server.url}/admin/chat/toolserver/"}
            async with browser.http.post("/admin/chat/toolserver/", data=form, headers=headers) as answer:
                assert "All processes were told to connect anew: bad, good." in await answer.text()
            ends_at = time.monotonic() + 40
            while journal.read_text().count("pid ") < 2:
                assert time.monotonic() < ends_at, "the server was never started again"
                await asyncio.sleep(0.05)
