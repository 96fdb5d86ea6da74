"""What staff see of others' sessions, on the running product: only with the permission, and recorded before it is shown."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.faults.world import USUAL, Database
from tests.model_server import ModelServer
from tests.serving import Browser, Server, serving

pytestmark = pytest.mark.xdist_group("audit")

GONE, INTERNAL = 4404, 4500
PERMIT = """INSERT INTO auth_user_user_permissions (user_id, permission_id)
    SELECT auth_user.id, auth_permission.id FROM auth_user, auth_permission, django_content_type
    WHERE username = 'looker' AND codename = 'view_session'
    AND content_type_id = django_content_type.id AND app_label = 'chat'"""
UNWRITABLE = "CREATE TRIGGER no_audit BEFORE INSERT ON chat_auditentry BEGIN SELECT RAISE(ABORT, 'disk full'); END"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The product: ada has all rights, bo owns the session, looker is to be given the permission, bare is staff without it."""
    folder = tmp_path_factory.mktemp("audit")
    with ModelServer() as model:
        llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key"}
        with serving(folder, "ada", "bo", "looker", "bare", **USUAL, **llm) as server:
            permit_looker(server)
            yield server


def permit_looker(server: Server) -> None:
    """Make both staff, and give looker the permission."""
    database = Database(str(server.data_dir / "thinkaloud.sqlite3"))
    database.rows("UPDATE auth_user SET is_staff = true WHERE username IN ('looker', 'bare')")
    database.rows(PERMIT)


@pytest.fixture
def database(product: Server) -> Database:
    """Its database."""
    return Database(str(product.data_dir / "thinkaloud.sqlite3"))


@pytest.fixture
async def session(product: Server) -> AsyncIterator[str]:
    """A session of bo's."""
    async with Browser.logged_in(product.url, "bo") as bo:
        yield await bo.new_session(title="the okapi is at the quay")


async def by_page(browser: Browser, session: str) -> int:
    async with browser.http.get(f"/sessions/{session}/") as answer:
        return answer.status


async def by_api(browser: Browser, session: str) -> int:
    return (await browser.call("GET", f"sessions/{session}/events/"))[0]


async def by_socket(browser: Browser, session: str) -> int:
    async with browser.socket(session) as socket:
        with contextlib.suppress(Exception):
            await socket.receive()
            return 200
        return await socket.closed()


#: Each way to see a session: how it is opened, and the answer where it may not be seen, and where the audit entry cannot be written.
DOORS: dict[str, tuple[Callable[[Browser, str], Any], int, int]] = {
    "page": (by_page, 404, 503),
    "api": (by_api, 404, 503),
    "socket": (by_socket, GONE, INTERNAL),
}


@pytest.mark.parametrize("door", DOORS)
async def test_staff_see_only_what_they_were_permitted_to(product: Server, session: str, door: str) -> None:
    """Being staff is not enough; the permission is needed."""
    look, hidden, _ = DOORS[door]
    async with Browser.logged_in(product.url, "bare") as bare:
        assert await look(bare, session) == hidden, "staff see what nobody permitted"
    async with Browser.logged_in(product.url, "looker") as looker:
        assert await look(looker, session) == 200


@pytest.mark.parametrize("door", DOORS)
async def test_a_view_by_staff_is_in_the_audit_before_it_is_answered(
    product: Server, database: Database, session: str, door: str
) -> None:
    """The audit entry is committed before the first byte of the answer."""
    look, _, _ = DOORS[door]
    async with Browser.logged_in(product.url, "looker") as looker:
        assert await look(looker, session) == 200
        noted = database.rows(
            "SELECT username, door FROM chat_auditentry JOIN auth_user ON auth_user.id = actor_id WHERE session_id = ?",
            session.replace("-", ""),
        )
    assert noted == [("looker", door)], "shown before it was noted"


@pytest.mark.parametrize("door", DOORS)
async def test_a_view_that_cannot_be_recorded_in_the_audit_is_refused(
    product: Server, database: Database, session: str, door: str
) -> None:
    """The audit table accepts no rows: staff are shown nothing, while the owner still sees the session."""
    look, _, refused = DOORS[door]
    async with Browser.logged_in(product.url, "looker") as looker, Browser.logged_in(product.url, "bo") as bo:
        database.rows(UNWRITABLE)
        try:
            assert await look(looker, session) == refused
            assert await look(bo, session) == 200
        finally:
            database.rows("DROP TRIGGER no_audit")


async def test_a_stop_by_socket_is_in_the_audit_in_its_transaction(
    product: Server, database: Database, session: str
) -> None:
    """If the audit entry cannot be written, the run is not stopped."""
    async with (
        Browser.logged_in(product.url, "bo") as bo,
        Browser.logged_in(product.url, "ada") as ada,
        bo.socket(session) as owner,
        ada.socket(session) as staff,
    ):
        await staff.until_type("session")  # opened, and the entry written, before the table refuses rows
        await owner.send("chat", message="Wait [fault=hang]")
        await owner.until_step("iteration_start")
        acts = "SELECT action, door FROM chat_auditentry WHERE session_id = ? AND action <> 'view'"
        database.rows(UNWRITABLE)
        try:
            await staff.send("cancel")
            assert (await staff.until_type("error"))["data"]["code"] == "storage"
        finally:
            database.rows("DROP TRIGGER no_audit")
        assert database.rows("SELECT status FROM chat_run WHERE session_id = ?", session.replace("-", "")) == [
            ("running",)
        ]
        await staff.send("cancel")
        ended = await staff.until_type("reasoning_complete")
        assert (ended["data"]["status"], database.rows(acts, session.replace("-", ""))) == (
            "cancelled",
            [("stop", "socket")],
        )
