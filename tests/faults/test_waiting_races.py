"""Changes to a run that waits, in one process while others serve or execute: one decision counts, by somebody who may, and none is left."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from tests.faults import invariants
from tests.faults.conftest import OpenWorld
from tests.faults.test_access import GONE, NOT_LOGGED_IN, WITHIN_S
from tests.faults.test_waiting import HOLDERS, POLICY, calls_made, respond_within, status_of, waits
from tests.faults.world import SCALE, World, until
from tests.model_server import Call, ModelServer, Script
from tests.serving import PASSWORD

pytestmark = [pytest.mark.asyncio, pytest.mark.long]

Body = dict[str, Any]


async def call_at(world: World, process: int, method: str, path: str, body: Any = None, user: str = "bo") -> int:
    """Call the API at one of the processes that serve; the status."""
    async with world.browser(user, process) as browser:
        return (await browser.call(method, path, body))[0]


async def approve(world: World, process: int, run_id: str, body: Body, user: str = "bo") -> int:
    return await call_at(world, process, "POST", f"runs/{run_id}/approve/", body, user)


async def share(world: World, session: str, role: str) -> str:
    """Share a session with cy; the share's identifier."""
    async with world.browser() as browser:
        status, made = await browser.call("POST", f"sessions/{session}/shares/", {"user": "cy", "role": role})
    assert status == 201, made
    return str(made["id"])


async def stop_first(world: World, session: str, run_id: str, body: Body) -> list[int]:
    """Stopped in one process, then decided in the other."""
    stopped = await call_at(world, 0, "POST", f"runs/{run_id}/cancel/")
    return [stopped, await approve(world, 1, run_id, body)]


async def stop_at_once(world: World, session: str, run_id: str, body: Body) -> list[int]:
    """Stopped and refused at the same time: the run ends in either order, and the decision is stored or rejected."""
    stopped, decided = await asyncio.gather(
        call_at(world, 0, "POST", f"runs/{run_id}/cancel/"), approve(world, 1, run_id, body)
    )
    assert decided in (202, 409)
    await until(lambda: status_of(world, session) in ("cancelled", "completed"), wanted="the run's end")
    # If the decision came first, the run may have completed before the stop.
    assert stopped == 202 or (decided == 202 and status_of(world, session) == "completed")
    return []


async def decide_twice(world: World, session: str, run_id: str, body: Body) -> list[int]:
    """Decided in both at the same time, and again when the run has ended."""
    both = await asyncio.gather(*(approve(world, process, run_id, body) for process in (0, 1)))
    await until(lambda: status_of(world, session) == "completed", wanted="the run's end")
    return [*sorted(both), await approve(world, 1, run_id, body)]


async def decide_late(world: World, session: str, run_id: str, body: Body) -> list[int]:
    """Decided after its deadline, whichever process has noticed that."""
    world.database.rows(
        "UPDATE chat_waitingcall SET deadline = ? WHERE session_id = ?", datetime.now(UTC), UUID(session)
    )
    asked = "SELECT count(*) FROM chat_waitingcall WHERE session_id = ?"
    await until(lambda: world.database.rows(asked, UUID(session)) == [(2,)], wanted="the model to ask again")
    return [await approve(world, 1, run_id, body)]


async def decide_by_role(world: World, session: str, run_id: str, body: Body) -> list[int]:
    """Decided by a stranger, by staff, by a viewer, and by that viewer as soon as another process has made them a driver."""
    statuses = [await approve(world, 1, run_id, body, user) for user in ("cy", "ada")]
    made = await share(world, session, "watcher")
    statuses.append(await approve(world, 1, run_id, body, "cy"))
    assert await call_at(world, 0, "PATCH", f"shares/{made}/", {"role": "driver"}) == 200
    statuses.append(await approve(world, 1, run_id, body, "cy"))
    await until(lambda: status_of(world, session) == "completed", wanted="the run's end")
    return statuses


async def decide_without_the_right(world: World, session: str, run_id: str, body: Body) -> list[int]:
    """Decided by somebody who was a driver until another process has changed that."""
    made = await share(world, session, "driver")
    withdrawn = await call_at(world, 0, "DELETE", f"shares/{made}/")
    return [withdrawn, await approve(world, 1, run_id, body, "cy")]


async def decide_wrongly(world: World, session: str, run_id: str, body: Body) -> list[int]:
    """Decided with wrong arguments, for a call that does not exist, as a question; and then correctly."""
    odd = [{"arguments": {"code": 7}}, {"arguments": {}}, {"arguments": "6*7"}, {"tool_call_id": "call_99"}]
    statuses = [await approve(world, n % 2, run_id, {**body, **each}) for n, each in enumerate(odd)]
    answer = {"tool_call_id": body["tool_call_id"], "answers": {}}
    statuses.append(await call_at(world, 1, "POST", f"runs/{run_id}/answer/", answer))
    statuses.append(await approve(world, 1, run_id, body))
    await until(lambda: status_of(world, session) == "completed", wanted="the run's end")
    return statuses


#: What happens before a decision, or with it; the possible results of the calls and statuses of the run. A further one is one entry.
RACES: dict[str, tuple[Callable[..., Awaitable[list[int]]], list[int], set[str]]] = {
    "stopped": (stop_first, [202, 409], {"cancelled"}),
    "stopped at the same time": (stop_at_once, [], {"cancelled", "completed"}),
    "twice at once, and after the end": (decide_twice, [202, 409, 409], {"completed"}),
    "after the deadline": (decide_late, [409], {"waiting"}),
    "by each role": (decide_by_role, [404, 403, 403, 202], {"completed"}),
    "by a driver no more": (decide_without_the_right, [204, 404], {"waiting"}),
    "wrongly": (decide_wrongly, [400, 400, 400, 409, 409, 202], {"completed"}),
}


@pytest.mark.parametrize("topology", ["postgres", SCALE])
async def test_a_decision_that_races_with_another_process_is_settled_once(
    open_world: OpenWorld, model: ModelServer, topology: str
) -> None:
    model.respond, _ = HOLDERS["its own"]
    world = open_world(topology, APPROVAL_POLICY=POLICY)
    for name, (race, expected, statuses) in RACES.items():
        session = await world.new_session()
        async with world.client(session) as client:
            run_id = await client.ask("Work it out")
            await waits(world, session)
            [call] = world.database.rows(
                "SELECT tool_call_id FROM chat_waitingcall WHERE session_id = ?", UUID(session)
            )
            answered = await race(world, session, run_id, {"tool_call_id": call[0], "decision": "allow"})
            status = status_of(world, session)
            assert (name, answered, status in statuses) == (name, expected, True)
            approvals = [event for event in world.database.events(session) if event.data.get("type") == "approval"]
            # Only a call whose deadline has passed is asked for again.
            assert len(approvals) == (name == "after the deadline" or status == "completed") or "same time" in name
            if status != "waiting":
                assert calls_made(world, session) == [status == "completed"], name
                await invariants.check(world, session, [client])


def respond_beside(body: Body) -> Script:
    """Two children at once: one developer's call waits, the other one writes for a while."""
    asked = body["messages"][1]["content"]
    if asked == "Write":
        return Script(content="A part of it. " * 60, every_s=0.02)
    if asked == "Calculate":
        return respond_within(body)
    results = [message for message in body["messages"] if message["role"] == "tool"]
    tasks = [Call("ask_developer", {"message": task}) for task in ("Calculate", "Write")]
    return Script("Both are done.") if results else Script(calls=tasks)


@pytest.mark.parametrize("topology", ["postgres", SCALE])
async def test_two_decide_at_once_while_another_process_executes_the_run(
    open_world: OpenWorld, model: ModelServer, topology: str
) -> None:
    """The root is executed because of its other child: one decision counts, and the call does not wait for the other child's end."""
    model.respond = respond_beside
    world = open_world(topology, APPROVAL_POLICY=POLICY)
    session = await world.new_session()
    held = "SELECT run_id, tool_call_id FROM chat_waitingcall WHERE session_id = ? AND decided_at IS NULL"
    async with world.client(session) as client:
        run_id = await client.ask("Hand on")
        await until(lambda: len(world.database.rows(held, UUID(session))) == 1, wanted="the call to be held")
        [(child, call)] = world.database.rows(held, UUID(session))
        assert status_of(world, session) == "running"
        body = {"tool_call_id": call, "decision": "allow"}
        both = await asyncio.gather(*(approve(world, process, str(child), body) for process in (0, 1)))
        assert status_of(world, session) == "running", "the decision came after what it was to come beside"
        assert sorted(both) == [202, 409]
        assert await client.ended(run_id) == "completed"
        assert calls_made(world, session) == [True] * 3
        events = await invariants.check(world, session, [client])
        ends = [event.run_id for event in events if event.event == "child_complete"]
        assert ends[0] == str(UUID(str(child))), "the held one was to go on at once"


async def delete_own(world: World) -> None:
    """Bo deletes their account on its page, at the second process."""
    async with world.browser("bo", 1) as bo:
        form = {"username": "bo", "password": PASSWORD, "csrfmiddlewaretoken": bo.cookie("csrftoken")}
        headers = {"Referer": f"{bo.url}/accounts/data/delete/"}
        async with bo.http.post("/accounts/data/delete/", data=form, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 302, await answer.text()


async def delete_in_admin(world: World) -> None:
    """An operator deletes bo's account in the admin, at the second process."""
    [(key,)] = world.database.rows("SELECT id FROM auth_user WHERE username = ?", "bo")
    async with world.browser("ada", 1) as ada:
        path = f"/admin/accounts/user/{key}/delete/"
        form = {"post": "yes", "csrfmiddlewaretoken": ada.cookie("csrftoken")}
        headers = {"Referer": f"{ada.url}{path}"}
        async with ada.http.post(path, data=form, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 302, await answer.text()


#: The tables that must have no row of it any more; the column names their session or run.
GOES = {"chat_session": "id", "chat_waitingcall": "session_id", "chat_run": "session_id", "chat_step": "session_id"}


@pytest.mark.parametrize("how", [delete_own, delete_in_admin])
@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("topology", ["postgres", SCALE])
async def test_the_owner_is_deleted_while_a_run_waits(
    open_world: OpenWorld,
    model: ModelServer,
    topology: str,
    holder: str,
    how: Callable[[World], Awaitable[None]],
) -> None:
    """In one process, with sockets open in the other: both are closed, nobody can decide any more, no row is left, no model is asked."""
    model.respond, _ = HOLDERS[holder]
    world = open_world(topology, APPROVAL_POLICY=POLICY)
    session = await world.new_session()
    async with world.client(session) as client:
        await client.ask("Work it out")
        await waits(world, session)
    await share(world, session, "driver")
    [(run, call)] = world.database.rows(
        "SELECT run_id, tool_call_id FROM chat_waitingcall WHERE session_id = ?", UUID(session)
    )
    asked = len(model.requests)
    async with (
        world.browser("bo") as bo,
        world.browser("cy") as cy,
        bo.socket(session) as own,
        cy.socket(session) as other,
    ):
        for socket in (own, other):
            assert (await socket.receive())["data"]["run"]["status"] == "waiting"
        await how(world)
        codes = await asyncio.gather(own.closed(WITHIN_S), other.closed(WITHIN_S))
        assert codes[0] in (NOT_LOGGED_IN, GONE)
        assert codes[1] == GONE
        assert (await cy.call("GET", "waiting/"))[1]["items"] == []
        assert (await cy.call("GET", f"sessions/{session}/"))[0] == 404
        assert (await bo.call("GET", "waiting/"))[0] == 401
    for process in (0, 1):
        assert await approve(world, process, str(run), {"tool_call_id": call, "decision": "allow"}, "cy") == 404
    for table, column in GOES.items():
        rows = f"SELECT count(*) FROM {table} WHERE {column} = ?"
        await until(lambda rows=rows: world.database.rows(rows, UUID(session)) == [(0,)], wanted=f"{table} to be empty")  # type: ignore[misc]
    await until(lambda: world.database.rows("SELECT id FROM auth_user WHERE username = ?", "bo") == [], wanted="nobody")
    assert len(model.requests) == asked
    assert not [line for line in world.output if "Traceback" in line]
