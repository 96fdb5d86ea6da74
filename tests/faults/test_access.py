"""Who may receive what: logins that end and rights that are withdrawn while a run streams, others' identifiers, and internal addresses."""

import asyncio
import contextlib
import json
import re
import socket as sockets
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

import pytest

from tests.faults.world import USUAL, Database
from tests.model_server import Call, ModelServer, Script
from tests.serving import PASSWORD, Browser, Server, Socket, serving

#: They share a product: in two processes of the tests it would be started twice.
pytestmark = pytest.mark.xdist_group("access")

SLOW = "Tell [tokens=4000 every=25]"
NOT_LOGGED_IN, WITHDRAWN, GONE = 4401, 4403, 4404
#: How long after the login or the right has ended a last frame may still arrive.
WITHIN_S = 5.0

USERS = ("ada", "bo", "cy", *(f"di{number}" for number in range(12)))
#: Users that no test has used yet.
NEWCOMERS = iter(USERS[3:])


@pytest.fixture(scope="module")
def own_model() -> Iterator[ModelServer]:
    """The module's model server."""
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="module")
def llm(own_model: ModelServer) -> dict[str, str]:
    """The environment that leads there."""
    return {**USUAL, "LLM_MODEL_SERVER": own_model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key"}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, llm: dict[str, str]) -> Iterator[Server]:
    """The product as a process, with the users ada (staff), bo and cy."""
    with serving(tmp_path_factory.mktemp("access"), *USERS, **llm) as server:
        yield server
        assert "Traceback" not in "".join(server.output), "".join(server.output)


@pytest.fixture
def database(product: Server) -> Database:
    """Its database, for changes that the product does not know of."""
    return Database(str(product.data_dir / "thinkaloud.sqlite3"))


@pytest.fixture
async def di(product: Server) -> AsyncIterator[Browser]:
    """A new user for each test, logged in."""
    async with Browser.logged_in(product.url, next(NEWCOMERS)) as browser:
        yield browser


async def submit(browser: Browser, path: str, **fields: str) -> None:
    """Submit a form, as a page does."""
    form = {"csrfmiddlewaretoken": browser.cookie("csrftoken"), **fields}
    headers = {"Referer": f"{browser.url}{path}"}
    async with browser.http.post(path, data=form, headers=headers, allow_redirects=False) as answer:
        assert answer.status in (200, 302), await answer.text()


ENDINGS = {
    "the session expires": "UPDATE django_session SET expire_date = '2020-01-01' WHERE session_key = '{key}'",
    "the session's row is removed": "DELETE FROM django_session WHERE session_key = '{key}'",
    "an operator deactivates the user": "UPDATE auth_user SET is_active = false WHERE username = '{name}'",
    "an operator sets another password": "UPDATE auth_user SET password = 'unusable' WHERE username = '{name}'",
}


async def closes(socket: Socket, code: int) -> None:
    """Wait until the socket is closed, and check the code."""
    assert await socket.closed(WITHIN_S) == code


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_login_ends_while_a_run_streams(product: Server, database: Database, di: Browser, ending: str) -> None:
    """Expiry, deactivation, another password while streaming: the socket is closed with 4401 and receives no more."""
    session = await di.new_session()
    async with di.socket(session) as socket:
        await socket.send("chat", message=SLOW)
        await socket.until_type("reasoning_delta")
        database.rows(ENDINGS[ending].format(key=di.cookie("sessionid"), name=di.username))
        await closes(socket, NOT_LOGGED_IN)
    async with di.socket(session) as again:
        await closes(again, NOT_LOGGED_IN)
    assert (await di.call("GET", f"sessions/{session}/"))[0] == 401
    # The run belongs to the server, not to the socket that watches it.
    async with Browser.logged_in(product.url, "ada") as ada, ada.socket(session) as staff:
        assert (await staff.receive())["data"]["run"]["status"] == "running"
        await staff.send("cancel")
        await staff.until_type("reasoning_complete")


async def test_a_user_is_deleted_while_their_run_streams(
    product: Server, own_model: ModelServer, database: Database, di: Browser
) -> None:
    """Deletion of the account while streaming: the session and its run are deleted, the socket is closed, the model's connection too."""
    session = await di.new_session()
    asked = len(own_model.requests)
    async with di.socket(session) as socket:
        await socket.send("chat", message=SLOW)
        await socket.until_type("reasoning_delta")
        command = f"from chat.accounts.models import User\nUser.objects.get(username={di.username!r}).delete()"
        await asyncio.to_thread(product.manage, "shell", "--no-imports", "--command", command)
        assert await socket.closed(WITHIN_S) in (NOT_LOGGED_IN, GONE)
    await own_model.until(lambda: own_model.requests[asked].closed_at is not None)
    assert database.rows("SELECT 1 FROM chat_session WHERE id = ?", UUID(session)) == []


@pytest.mark.parametrize("how", ["logs out", "changes the password"])
async def test_one_of_two_logins_ends(product: Server, di: Browser, how: str) -> None:
    """Logout or a new password in one browser while another of the same user streams."""
    session = await di.new_session()
    async with Browser.logged_in(product.url, di.username) as other:
        async with di.socket(session, close_timeout=0.1) as here, other.socket(session) as there:
            await here.send("chat", message=SLOW)
            await there.until_type("reasoning_delta")
            if how == "logs out":
                await submit(other, "/accounts/logout/")
            else:
                new = "a longer phrase 4711"
                fields = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
                await submit(di, "/accounts/password_change/", **fields)
            await closes(there, NOT_LOGGED_IN)
        async with di.socket(session) as again:
            assert (await again.receive())["data"]["run"]["status"] == "running"
            await again.send("cancel")
            await again.until_type("reasoning_complete")


#: Ways in which staff are given the right to see others' sessions, and lose it.
PERMITTED = """INSERT INTO auth_user_user_permissions (user_id, permission_id)
    SELECT auth_user.id, auth_permission.id FROM auth_user, auth_permission, django_content_type
    WHERE username = '{name}' AND codename = 'view_session'
    AND content_type_id = django_content_type.id AND app_label = 'chat'"""
REVOKED = "DELETE FROM auth_user_user_permissions WHERE user_id = (SELECT id FROM auth_user WHERE username = '{name}')"
STAFF, NO_STAFF = (f"UPDATE auth_user SET is_staff = {yes} WHERE username = '{{name}}'" for yes in ("true", "false"))
ALL, NOT_ALL = (f"UPDATE auth_user SET is_superuser = {yes} WHERE username = '{{name}}'" for yes in ("true", "false"))
LOSSES = {
    "staff no more": ((STAFF, PERMITTED), NO_STAFF),
    "permitted no more": ((STAFF, PERMITTED), REVOKED),
    "superuser no more": ((STAFF, ALL), NOT_ALL),
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_staff_lose_the_right_to_watch_while_a_run_streams(
    product: Server, database: Database, di: Browser, loss: str
) -> None:
    """Permission revoked while streaming: the socket is closed with 4403, but not on sessions of their own."""
    session = await di.new_session()
    gain, lose = LOSSES[loss]
    async with Browser.logged_in(product.url, "bo") as bo:
        foreign = await bo.new_session()
        for given in gain:
            database.rows(given.format(name=di.username))
        async with bo.socket(foreign) as owner, di.socket(foreign) as watching, di.socket(session) as own:
            await owner.send("chat", message=SLOW)
            await watching.until_type("reasoning_delta")
            database.rows(lose.format(name=di.username))
            await closes(watching, WITHDRAWN)
            await own.send("ping")
            await own.until_type("pong")
            await owner.send("cancel")
            await owner.until_type("reasoning_complete")
        async with di.socket(foreign) as again:
            await closes(again, GONE)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start a server on existing data, for the length of a block."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.long
async def test_the_secret_key_is_rotated(tmp_path: Path, llm: dict[str, str]) -> None:
    """SECRET_KEY rotation with fallbacks: the login stays valid over HTTP and sockets, and the run continues; without fallbacks it ends."""
    old, new = "an old key " * 6, "a new key " * 6
    before = Server(tmp_path, SECRET_KEY=old, **llm)
    before.prepare(*USERS[:2])
    with running(before):
        async with Browser.logged_in(before.url, "bo") as bo:
            session = await bo.new_session()
            async with bo.socket(session) as socket:
                await socket.send("chat", message=SLOW)
                await socket.until_type("reasoning_delta")
                stopping = asyncio.create_task(asyncio.to_thread(before.stop))
                await socket.closed()
                await stopping
            last = socket.stored()[-1]
            for fallbacks, works in (("", False), (f"another key, {old.strip()}", True)):
                with running(Server(tmp_path, SECRET_KEY=new, SECRET_KEY_FALLBACKS=fallbacks, **llm)) as after:
                    bo.url = after.url
                    async with bo.socket(session, f"?last_seq={last['seq']}&last_id={last['id']}") as again:
                        if works:
                            hello = await again.receive()
                            assert hello["data"]["last_seq"] >= last["seq"]
                            assert "reset" not in hello["data"]
                        else:
                            await closes(again, NOT_LOGGED_IN)
                    cookies = {"Cookie": f"sessionid={bo.cookie('sessionid')}"}
                    async with bo.http.get(f"{after.url}/api/sessions/", headers=cookies) as answer:
                        assert answer.status == (200 if works else 401)


# Identifiers

#: Every call that names a session or a run.
CALLS = [
    ("GET", "sessions/{session}/", None),
    ("PATCH", "sessions/{session}/", {"title": "x"}),
    ("DELETE", "sessions/{session}/", None),
    ("GET", "sessions/{session}/events/", None),
    ("GET", "sessions/{session}/events/1/content/", None),
    ("GET", "sessions/{session}/export/?format=json", None),
    ("POST", "sessions/{session}/messages/", {"message": "x"}),
    ("GET", "runs/{run}/", None),
    ("POST", "runs/{run}/cancel/", {}),
    ("POST", "runs/{run}/continue/", {}),
]


def without_id(answer: Any) -> Any:
    """An error's body without the fields that differ in each answer."""
    answer["error"].pop("id")
    return answer


async def test_ids_of_others_cannot_be_told_from_ids_that_do_not_exist(product: Server) -> None:
    """Id enumeration: every call and command with another user's identifiers is answered exactly as with identifiers that do not exist."""
    async with Browser.logged_in(product.url, "bo") as bo, Browser.logged_in(product.url, "cy") as cy:
        foreign = await bo.new_session()
        async with bo.socket(foreign) as socket:
            await socket.send("chat", message="Say [tokens=1 call=current_time:{}]")
            run = (await socket.until_type("reasoning_complete"))["run_id"]
            head = socket.stored()[-1]["seq"]
        for method, path, body in CALLS:
            theirs = await cy.call(method, path.format(session=foreign, run=run), body)
            nobodys = await cy.call(method, path.format(session=uuid4(), run=uuid4()), body)
            assert theirs[0] == 404, path
            assert (theirs[0], without_id(theirs[1])) == (nobodys[0], without_id(nobodys[1])), path
        for page in ("sessions", "runs"):
            for identifier in (foreign, run, uuid4()):
                async with cy.http.get(f"/{page}/{identifier}/") as answer:
                    assert answer.status == 404, page
        async with cy.socket(foreign) as theirs_socket, cy.socket(str(uuid4())) as nobodys_socket:
            await closes(theirs_socket, GONE)
            await closes(nobodys_socket, GONE)
            assert theirs_socket.frames == nobodys_socket.frames == []
        async with cy.socket(await cy.new_session()) as own:
            decided = {"tool_call_id": "call_1", "decision": "allow"}
            replied = {"tool_call_id": "call_1", "answers": {}}
            for kind, more in {"cancel": {}, "continue": {}, "approve": decided, "answer": replied}.items():
                refusals = []
                for identifier in (run, str(uuid4())):
                    await own.send(kind, run_id=identifier, **more)
                    error = (await own.until_type("error"))["data"]
                    refusals.append((error["code"], error["message"]))
                assert refusals[0] == refusals[1] == ("not_found", refusals[0][1])
        status, events = await bo.call("GET", f"sessions/{foreign}/events/")
        assert (status, events["last_seq"], events["run"]) == (200, head, None)


# Addresses


class Trap:
    """Listens on loopback, and counts its connections."""

    def __init__(self) -> None:
        self._listener = sockets.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.visitors = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                visitor, _ = self._listener.accept()
            except OSError:
                return
            self.visitors += 1
            visitor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(sockets.SHUT_RDWR)
        self._listener.close()


async def test_a_model_cannot_send_the_agent_to_addresses_of_ours(product: Server, own_model: ModelServer) -> None:
    """SSRF through a whole run: loopback in every spelling, metadata service, files; neither the product nor a listener is connected to."""
    with Trap() as trap:
        addresses = [
            f"http://{host}:{trap.port}/"
            for host in (
                "127.0.0.1",
                "localhost",
                "2130706433",
                "0x7f.1",
                "0177.0.0.1",
                "[::1]",
                "[::ffff:127.0.0.1]",
                "0",
            )
        ]
        addresses += [
            product.url,
            "http://169.254.169.254/latest/meta-data/",
            "file:///etc/passwd",
            "/etc/passwd",
            f"gopher://127.0.0.1:{trap.port}/",
        ]
        calls = [Call("fetch_page", {"url": address}) for address in addresses]
        own_model.enqueue(Script(calls=calls), Script("Done."))
        async with Browser.logged_in(product.url, "bo") as bo, bo.socket(await bo.new_session()) as socket:
            await socket.send("chat", message="Read these")
            assert (await socket.until_type("reasoning_complete"))["data"]["status"] == "completed"
            results = socket.steps("tool_result")
        assert len(results) == len(addresses)
        for result in results:
            assert result["ok"] is False, result
            assert not re.search(r"root:|Traceback|csrf", result["content"]), result
        assert trap.visitors == 0
    assert "Thinkaloud" not in json.dumps(own_model.requests[-1].body["messages"][2:])
