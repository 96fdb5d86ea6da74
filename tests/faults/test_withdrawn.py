"""A share is withdrawn while it is watched at another process: of a session, or of a set and the sessions of its cases."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.event_streams import following
from tests.faults.conftest import Record
from tests.faults.test_access import GONE, WITHDRAWN, WITHIN_S
from tests.faults.world import World, until
from tests.serving import Browser

pytestmark = pytest.mark.asyncio

SLOW = "Tell [tokens=4000 every=25]"


@dataclass(frozen=True, slots=True)
class Shared:
    """What is shared with cy: by which share, and its session; ``bo`` is the owner, at the first process."""

    world: World
    bo: Browser
    cy: Browser
    path: str
    share_path: str
    session: str
    group: str

    async def act(self, browser: Browser, method: str, path: str, body: Any = None) -> None:
        status, answer = await browser.call(method, path, body)
        assert status in (200, 201, 204), answer


async def withdraw(shared: Shared) -> None:
    await shared.act(shared.bo, "DELETE", shared.share_path)


async def leave(shared: Shared) -> None:
    async with shared.world.browser("cy") as there:
        await shared.act(there, "POST", f"{shared.path}leave/")


async def expire(shared: Shared) -> None:
    await shared.act(shared.bo, "PATCH", shared.share_path, {"expires_at": time.time() + 0.5})


async def leave_group(shared: Shared) -> None:
    """Remove cy from the group directly in the database, so that no process is notified."""
    shared.world.database.rows(
        "DELETE FROM auth_user_groups WHERE group_id = (SELECT id FROM auth_group WHERE name = ?) "
        "AND user_id = (SELECT id FROM auth_user WHERE username = ?)",
        shared.group,
        "cy",
    )


async def leave_group_in_admin(shared: Shared) -> None:
    """An operator removes cy in the admin."""
    [(key,)] = shared.world.database.rows("SELECT id FROM auth_user WHERE username = ?", "cy")
    async with shared.world.browser("ada") as ada:
        path = f"/admin/accounts/user/{key}/change/"
        form = {
            "csrfmiddlewaretoken": ada.cookie("csrftoken"),
            "username": "cy",
            "is_active": "on",
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00",
            "_save": "Save",
        }
        headers = {"Referer": f"{ada.url}{path}"}
        async with ada.http.post(path, data=form, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 302, await answer.text()


async def delete(shared: Shared) -> None:
    await shared.act(shared.bo, "DELETE", shared.path)


#: How it ends, whether it was shared with a group, and the close code of open sockets. A further way is one entry.
ENDS: dict[str, tuple[Callable[[Shared], Awaitable[None]], bool, int]] = {
    "withdrawn": (withdraw, False, WITHDRAWN),
    "withdrawn from a group": (withdraw, True, WITHDRAWN),
    "given up": (leave, False, WITHDRAWN),
    "expired": (expire, False, WITHDRAWN),
    "expired for a group": (expire, True, WITHDRAWN),
    "taken out of the group": (leave_group, True, WITHDRAWN),
    "taken out of the group in the admin": (leave_group_in_admin, True, WITHDRAWN),
    "deleted": (delete, False, GONE),
}


async def share_session(world: World, bo: Browser) -> tuple[str, str, str]:
    """A session in which a run streams: its path, the path of its shares, and the session."""
    session = await bo.new_session()
    assert (await bo.call("POST", f"sessions/{session}/messages/", {"message": SLOW}))[0] == 202
    return f"sessions/{session}/", "shares/", session


async def share_set(world: World, bo: Browser) -> tuple[str, str, str]:
    """A set whose only case is being answered, and streams."""
    case_set = (await bo.call("POST", "sets/", {"name": "Tales"}))[1]["id"]
    path = f"sets/{case_set}/"
    assert (await bo.call("POST", f"{path}cases/", {"question": SLOW}))[0] == 201
    assert (await bo.call("POST", f"{path}runs/", {}))[0] == 202
    asked = "SELECT id FROM chat_session WHERE for_set = ?"
    await until(lambda: bool(world.database.rows(asked, UUID(case_set))), wanted="the case to be asked")
    [(session,)] = world.database.rows(asked, UUID(case_set))
    return path, f"{path}shares/", str(UUID(str(session)))


WHAT = {"a session": share_session, "a set": share_set}


def make_group(world: World) -> str:
    """A group of bo and cy."""
    name = f"readers {uuid4().hex[:8]}"
    world.database.rows("INSERT INTO auth_group (name) VALUES (?)", name)
    world.database.rows(
        "INSERT INTO auth_user_groups (user_id, group_id) SELECT u.id, g.id FROM auth_user u, auth_group g "
        "WHERE u.username IN ('bo', 'cy') AND g.name = ?",
        name,
    )
    return name


async def pages_of(shared: Shared) -> list[str]:
    """Every page and address through which cy can see it."""
    [(run,)] = shared.world.database.rows("SELECT id FROM chat_run WHERE session_id = ?", UUID(shared.session))
    api = [f"/api/sessions/{shared.session}/{part}" for part in ("", "events/", "comments/", "export/?format=json")]
    pages = [f"/sessions/{shared.session}/", f"/runs/{UUID(str(run))}/", f"/api/runs/{UUID(str(run))}/", *api]
    if shared.path.startswith("sets"):
        pages += [f"/{shared.path}", f"/api/{shared.path}", f"/api/{shared.path}cases/", f"/api/{shared.path}runs/1/"]
    return pages


async def statuses(browser: Browser, pages: list[str]) -> dict[str, int]:
    found = {}
    for page in pages:
        async with browser.http.get(page, allow_redirects=False) as answer:
            found[page] = answer.status
    return found


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("what", WHAT)
async def test_a_viewer_at_another_process_loses_access_at_once(
    on_each_topology: World, what: str, end: str, record_property: Record
) -> None:
    """The socket and the stream are closed, also during a run, and every page and call answers as if it did not exist."""
    world = on_each_topology
    ending, is_group, code = ENDS[end]
    group = make_group(world)
    async with world.browser("bo") as bo, world.browser("cy", len(world.servers) - 1) as cy:
        path, shares, session = await WHAT[what](world, bo)
        given = {"group": group} if is_group else {"user": "cy"}
        status, made = await bo.call("POST", f"{path}shares/", {**given, "role": "driver"})
        assert status == 201, made
        shared = Shared(world, bo, cy, path, f"{shares}{made['id']}/", session, group)
        async with cy.socket(session) as socket, following(cy, session) as stream, bo.socket(session) as own:
            assert (await socket.receive())["data"]["role"] == "driver"
            await asyncio.gather(socket.until_type("reasoning_delta"), stream.until_type("reasoning_delta"))
            pages = await pages_of(shared)
            before = await statuses(cy, pages)
            assert set(before.values()) == {200}, before
            began = time.monotonic()
            await ending(shared)
            assert await asyncio.gather(socket.closed(WITHIN_S), stream.closed()) == [code, code]
            took_s = time.monotonic() - began
            record_property(f"closed after, s ({what}, {end})", round(took_s, 2))
            assert took_s < WITHIN_S
            after = await statuses(cy, pages)
            assert set(after.values()) == {404}, after
            for listed in ("sessions/?shared=true", "sets/?shared=true"):
                assert session not in str((await cy.call("GET", listed))[1])
                assert path.split("/")[1] not in str((await cy.call("GET", listed))[1])
            if code == WITHDRAWN:
                # Nothing has changed for its owner.
                await own.until_type("reasoning_delta")
        async with cy.socket(session) as again:
            assert await again.closed(WITHIN_S) == GONE
        if code == WITHDRAWN:
            await delete(shared)


@pytest.mark.parametrize("what", WHAT)
async def test_a_driver_at_another_process_becomes_a_viewer_at_once(on_each_topology: World, what: str) -> None:
    """The socket stays open and receives events, its commands are refused, and it may send them again as soon as the right is back."""
    world = on_each_topology
    async with world.browser("bo") as bo, world.browser("cy", len(world.servers) - 1) as cy:
        path, shares, session = await WHAT[what](world, bo)
        _, made = await bo.call("POST", f"{path}shares/", {"user": "cy", "role": "driver"})
        async with cy.socket(session) as socket:
            assert (await socket.receive())["data"]["role"] == "driver"
            for role, refused in (("watcher", True), ("driver", False)):
                assert (await bo.call("PATCH", f"{shares}{made['id']}/", {"role": role}))[0] == 200
                notice = await socket.until_type("session")
                assert (notice["data"]["role"], "reset" in notice["data"]) == (role, False)
                await socket.send("steer", message="Faster", client_message_id=role)
                answer = await socket.until(lambda frame: frame["type"] in ("error", "accepted"))
                assert answer["data"].get("code") == ("not_allowed" if refused else None)
        assert (await bo.call("DELETE", path))[0] == 204
