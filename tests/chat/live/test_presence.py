"""Which sockets are open: counted at once, written to the database a moment later, all of them together."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from chat.access import Role
from chat.accounts.models import User
from chat.live import connections, presence
from chat.live.connections import Grant, OpenSocket, TooMany
from chat.live.presence import Presence
from chat.models import Connection, Session
from chat.runtime import database
from tests.chat import making

PROCESS = "process 1"


@pytest.fixture(autouse=True)
def nobody_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(connections, "open_here", {})
    monkeypatch.setattr(presence, "_PAUSE_S", 0.0)
    monkeypatch.setattr(presence, "_RETRY_S", 0.0)
    yield
    database.close()


@pytest.fixture
def session() -> Session:
    return making.session(making.user())


def come(session: Session, role: Role = Role.OWNER, elsewhere: int = 0) -> OpenSocket:
    assert isinstance(session.owner, User)
    return connections.admit_socket(session.owner, session.pk, Grant(role, elsewhere))


def written() -> set[UUID]:
    return set(Connection.objects.values_list("pk", flat=True))


async def settled(here: Presence) -> None:
    if here.writing is not None:
        await here.writing


@pytest.mark.django_db(transaction=True)
def test_many_that_come_and_go_together_are_written_together(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[tuple[int, int]] = []
    note = connections.store_connections

    def counted(process: str, opened: list[OpenSocket], closed: list[UUID]) -> None:
        batches.append((len(opened), len(closed)))
        note(process, opened, closed)

    monkeypatch.setattr(connections, "store_connections", counted)

    async def go() -> None:
        here = Presence()
        first = [come(session) for _ in range(20)]
        for each in first:
            here.add_connection(PROCESS, each)
        # Closed before the others were notified.
        here.remove_connection(PROCESS, first.pop())
        await settled(here)
        for each in first[:5]:
            here.remove_connection(PROCESS, each)
        later = come(session)
        here.add_connection(PROCESS, later)
        await settled(here)
        assert set(connections.open_here) == {each.connection_id for each in [*first[5:], later]}

    async_to_sync(go)()
    assert batches == [(19, 0), (1, 5)]
    assert written() == set(connections.open_here)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_lost", [False, True], ids=["it was not written", "nobody said that it was"])
def test_presence_that_could_not_be_written_is_written_later(
    session: Session, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    note, failures = connections.store_connections, iter((True, True, False, True, False))

    def failing(process: str, opened: list[OpenSocket], closed: list[UUID]) -> None:
        fails = next(failures)
        if is_lost or not fails:
            note(process, opened, closed)
        if fails:
            raise OperationalError("the disk is away")

    monkeypatch.setattr(connections, "store_connections", failing)

    async def go() -> None:
        here = Presence()
        stays, goes = come(session), come(session)
        here.add_connection(PROCESS, stays)
        here.add_connection(PROCESS, goes)
        await asyncio.sleep(0)
        here.remove_connection(PROCESS, goes)
        await settled(here)
        assert set(connections.open_here) == {stays.connection_id}
        here.remove_connection(PROCESS, stays)
        await settled(here)

    async_to_sync(go)()
    assert written() == set()


@pytest.mark.django_db
def test_rows_of_what_is_gone_are_left_out_and_cost_no_other(session: Session) -> None:
    stays = OpenSocket(session.pk, session.owner_id, Role.OWNER, uuid4())
    of_nobody = OpenSocket(session.pk, 10**6, Role.OWNER, uuid4())
    of_nothing = OpenSocket(uuid4(), session.owner_id, Role.OWNER, uuid4())
    for _ in range(2):
        connections.store_connections(PROCESS, [of_nobody, stays, of_nothing], [uuid4()])
    assert written() == {stays.connection_id}
    row = Connection.objects.get()
    assert (row.process, row.session, row.user, row.role) == (PROCESS, session, session.owner, "owner")


@pytest.mark.django_db
def test_a_new_socket_is_checked_in_one_statement(session: Session) -> None:
    assert isinstance(session.owner, User)
    other = OpenSocket(session.pk, session.owner_id, Role.OWNER, uuid4())
    connections.store_connections("process 2", [other], [])
    connections.store_connections(PROCESS, [OpenSocket(session.pk, session.owner_id, Role.OWNER, uuid4())], [])
    with CaptureQueriesContext(connection) as asked:
        grant = connections.find_grant(session.owner, session.pk, PROCESS)
    assert grant == Grant(Role.OWNER, 1)
    assert len(asked) == 1
    assert connections.find_grant(making.user("bo"), session.pk, PROCESS) is None
    assert connections.find_grant(session.owner, uuid4(), PROCESS) is None


@pytest.mark.django_db
def test_sockets_of_a_user_are_limited(session: Session, settings: Any) -> None:
    settings.MAX_SOCKETS_PER_USER = 3
    another = making.session(making.user("bo"))
    first = [come(session, elsewhere=1) for _ in range(2)]
    with pytest.raises(TooMany):
        come(session, elsewhere=1)
    come(another)
    connections.open_here.pop(first[0].connection_id)
    come(session, elsewhere=1)
    settings.MAX_SOCKETS_PER_USER = 0
    for _ in range(50):
        come(session)
