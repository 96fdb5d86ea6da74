"""What staff change at one process applies at the others at once: versions of agents, and MCP servers."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.urls import reverse

from tests.agents.tools.test_mcp import Server, serving
from tests.faults.conftest import OpenWorld
from tests.faults.world import SCALE, until
from tests.serving import Browser

TOPOLOGIES = ["sqlite", pytest.param("postgres", marks=pytest.mark.long), SCALE]
FIELDS = {"title": "Researcher", "thinking": "", "all_servers": "on"}
SERVER = {"name": "far", "transport": "http-or-sse", "key_header": "Authorization", "new_key": ""}


async def submit(staff: Browser, page: str, **form: Any) -> None:
    """Submit a form of the admin, which then redirects."""
    fields = {**form, "csrfmiddlewaretoken": staff.cookie("csrftoken")}
    headers = {"Referer": f"{staff.url}{page}"}
    async with staff.http.post(page, data=fields, headers=headers, allow_redirects=False) as answer:
        assert answer.status == 302, await answer.text()


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_a_published_version_is_what_the_next_run_takes_wherever_it_is_asked_for(
    open_world: OpenWorld, topology: str
) -> None:
    world = open_world(topology)
    [[agent]] = world.database.rows("SELECT id FROM chat_agent WHERE name = 'researcher'")
    last = len(world.servers) - 1
    async with world.browser("ada") as staff, world.browser("bo", last) as there:
        session = await there.new_session()
        for number in range(2, 5):
            fields = {**FIELDS, "based_on": number - 1, "instructions": f"You are number {number}."}
            await submit(staff, reverse("admin:chat_agent_change", args=(agent,)), **fields)
            await submit(staff, reverse("admin:chat_agent_act", args=(agent, "publish")), number=number)
            status, accepted = await there.call("POST", f"sessions/{session}/messages/", {"message": f"Who? {number}"})
            assert status == 202, accepted
            await world.quiet(session)
            rows = world.database.rows(
                "SELECT number FROM chat_agentversion WHERE id = (SELECT agent_version_id FROM chat_run WHERE id = ?)",
                UUID(accepted["run_id"]),
            )
            assert rows == [(number,)]
            assert world.model.requests[-1].body["messages"][0]["content"].startswith(f"You are number {number}.")


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_a_server_of_tools_is_connected_to_wherever_runs_are_executed(
    open_world: OpenWorld, topology: str, tmp_path: Path
) -> None:
    world = open_world(topology, MCP_SERVER_ADDRESSES="http://127.0.0.1:*")

    def states() -> list[str]:
        return [state for (state,) in world.database.rows("SELECT state FROM chat_toolserver WHERE name = 'far'")]

    with serving(Server(tmp_path), "streamable-http") as address:
        async with world.browser("ada") as staff:
            await submit(staff, reverse("admin:chat_mcpserver_add"), **SERVER, address=address)
            everywhere = ["connected"] * len(world.executors)
            await until(lambda: states() == everywhere, 20, "each process to be connected")
            [[pk]] = world.database.rows("SELECT id FROM chat_mcpserver")
            closing = {"action": "close", "_selected_action": pk}
            await submit(staff, reverse("admin:chat_mcpserver_changelist"), **closing)
            await until(lambda: set(states()) == {"unusable"}, 20, "each process to have left it")
