"""Whatever a process executes by the clock, or for a run, is in the table whose statements are explained by the databases."""

import re
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from tests import prepared
from tests.chat.databases import postgresql
from tests.chat.large import Large, fill
from tests.chat.statements import EVERYTHING
from tests.chat.store.test_query_plans import BIG
from tests.faults.world import until
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser, Server

_READS = re.compile(r"(?:SELECT|UPDATE|DELETE|WITH)\b|INSERT\b.*\bSELECT\b")
_IN_BIG = re.compile(rf"\b(?:{'|'.join(BIG)})\b")


def shape_of(sql: str) -> str:
    """A statement without what differs from one execution to the next: the numbers in it, and how many values there are."""
    sql = re.sub(r"(?:%s, )+%s", "%s", " ".join(sql.split()))
    return re.sub(r"\b\d+\b", "0", re.sub(r"(?:\(%s\), )+\(%s\)", "(%s)", sql))


class _Shapes:
    """The shapes of all that is executed."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.seen.add(shape_of(sql))
        return execute(sql, params, many, context)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> dict[str, set[str]]:
    """The shapes of the table's statements, by what they are for."""
    address = f"sqlite:///{prepared.copy_tables(tmp_path_factory.mktemp('small'))}"
    with django_db_blocker.unblock(), postgresql(address, has_tables=True):
        small = fill(4_000, 1)
        return {name: _shapes_of(act, small) for name, act in EVERYTHING.items()}


def _shapes_of(act: Callable[[Large], Any], small: Large) -> set[str]:
    shapes = _Shapes()
    with transaction.atomic():
        small.live.refresh_from_db()
        small.queued.refresh_from_db()
        with connection.execute_wrapper(shapes):
            act(small)
        transaction.set_rollback(True)
    return shapes.seen


async def test_what_a_process_executes_is_in_the_table(known: dict[str, set[str]], tmp_path: Path) -> None:
    """A run with a tool, one that was queued behind it and one that is stopped, and then two sweeps."""
    file = tmp_path / "statements"

    def executed() -> Counter[str]:
        return Counter(map(shape_of, file.read_text("utf-8").splitlines()))

    with ModelServer() as model:
        server = Server(tmp_path / "data", LLM_MODEL_SERVER=model.url, LLM_MODEL="stub", RUN_LEASE_S="3")
        server.prepare("ada")
        server.environment |= {"DJANGO_SETTINGS_MODULE": "tests.chat.recording_settings", "STATEMENTS": str(file)}
        server.start()
        try:
            async with Browser.logged_in(server.url, "ada") as browser:
                session = await browser.new_session()
                model.enqueue(Script(reasoning="Look first.", calls=[Call("current_time", {})]))
                for text in ("Tell [tokens=30 every=20]", "Tell [tokens=9000 every=20]"):
                    message = {"message": text, "client_message_id": uuid.uuid4().hex}
                    status, accepted = await browser.call("POST", f"sessions/{session}/messages/", message)
                    assert status == 202
                async with browser.socket(session) as socket:
                    await socket.until(lambda frame: frame.get("run_id") == accepted["run_id"])
                    await socket.send("cancel", run_id=accepted["run_id"])
                    await until(lambda: not server.runs_at_work(), 60, "the ends of both")
                    before = executed()
                    sweeps = known["silent runs"] | known["who may start or go on"]
                    await until(lambda: all(executed()[each] > before[each] + 1 for each in sweeps), 60, "two sweeps")
        finally:
            server.stop()
    in_table = set().union(*known.values())
    asked = [each for each in executed() if _READS.match(each) and _IN_BIG.search(each)]
    assert len(asked) > 30
    assert [each for each in asked if each not in in_table] == [], "a statement is not in tests/chat/statements.py"
