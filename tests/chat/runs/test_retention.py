"""What has expired is deleted, and nothing else: sessions by their owners' setting, audit entries by the installation's."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import IntegrityError, transaction
from django.utils import timezone

from chat.accounts.models import User
from chat.models import (
    NOBODY,
    Act,
    AuditEntry,
    AuditPurge,
    Chore,
    ClosedAccount,
    Door,
    Run,
    RunStatus,
    Schedule,
    Session,
    Step,
)
from chat.runs import erasure, retention
from chat.runtime import database
from chat.schedules import commands as schedule_commands
from chat.security import audit
from chat.store import chores
from tests.chat import making
from tests.chat.databases import guarded_audit, postgresql

pytestmark = pytest.mark.django_db(transaction=True)
NOW = timezone.now()


@pytest.fixture(autouse=True)
def connections_are_given_back() -> Iterator[None]:
    yield
    database.close()


def aged(owner: User, days: float, **fields: Any) -> Session:
    """A session in which nothing has happened for this long."""
    made = making.session(owner, **fields)
    Session.objects.filter(pk=made.pk).update(active_at=NOW - timedelta(days=days))
    return Session.objects.get(pk=made.pk)


def plain(owner: User) -> Session:
    return aged(owner, 31)


def with_ended_run(owner: User) -> Session:
    session = making.session(owner)
    run = making.run(session)
    making.append(run, making.thought("so"))
    making.end(run)
    Session.objects.filter(pk=session.pk).update(active_at=NOW - timedelta(days=31))
    return session


def with_run(status: RunStatus) -> Callable[[User], Session]:
    def make(owner: User) -> Session:
        session = making.session(owner)
        run = making.run(session, owned_by="" if status == RunStatus.QUEUED else "p")
        Run.objects.filter(pk=run.pk).update(status=status)
        Session.objects.filter(pk=session.pk).update(active_at=NOW - timedelta(days=31))
        return session

    return make


def with_schedule(enabled: bool) -> Callable[[User], Session]:
    def make(owner: User) -> Session:
        session = aged(owner, 31)
        fields = {"message": "?", "every_minutes": 60, "session_id": str(session.pk), "enabled": enabled}
        schedule_commands.make(owner, fields, timezone.now())
        return session

    return make


def of_owner_with(days: int | None, age: float) -> Callable[[User], Session]:
    def make(owner: User) -> Session:
        User.objects.filter(pk=owner.pk).update(retention_days=days)
        return aged(owner, age)

    return make


#: Sessions where the installation keeps them for 30 days; and whether they are deleted.
SESSIONS: dict[str, tuple[Callable[[User], Session], bool]] = {
    "untouched for longer": (plain, True),
    "untouched for less": (lambda owner: aged(owner, 29.9), False),
    "with an ended run": (with_ended_run, True),
    "archived": (lambda owner: aged(owner, 31, archived=True), True),
    "with a run at work": (with_run(RunStatus.RUNNING), False),
    "with a run that is stopped": (with_run(RunStatus.CANCELLING), False),
    "with a run in line": (with_run(RunStatus.QUEUED), False),
    "with a run that waits for people": (with_run(RunStatus.WAITING), False),
    "with a schedule": (with_schedule(enabled=True), False),
    "with a schedule that is paused": (with_schedule(enabled=False), True),
    "of somebody who keeps them for ever": (of_owner_with(0, 4000), False),
    "of somebody who keeps them longer": (of_owner_with(90, 89), False),
    "of somebody who keeps them longer, but not so long": (of_owner_with(90, 91), True),
    "of somebody who keeps them a day": (of_owner_with(1, 1.1), True),
}


def expire() -> None:
    """Do what the periodic task does, until nothing is left to do."""
    while async_to_sync(retention.expire_some)():
        pass


@pytest.fixture
def thirty(settings: Any) -> None:
    settings.RETENTION_DAYS = 30


def check(case: str) -> None:
    make, goes = SESSIONS[case]
    ada, bo = making.user("ada"), making.user("bo")
    session, other = Session.objects.get(pk=make(ada).pk), aged(bo, 1)
    assert (retention.expires_at(session, User.objects.get(pk=ada.pk)) or NOW) <= NOW or not goes
    expire()
    assert Session.objects.filter(pk=session.pk).exists() is not goes
    assert Session.objects.filter(pk=other.pk).exists()
    noted = [(each.actor_id, each.door, each.subject_id, each.session_id) for each in AuditEntry.objects.all()]
    assert noted == ([(NOBODY, Door.SCHEDULE, ada.pk, session.pk)] if goes else [])
    assert not goes or not Step.objects.exists()


@pytest.mark.parametrize("case", SESSIONS)
def test_untouched_sessions_go(thirty: None, case: str) -> None:
    check(case)


@pytest.mark.parametrize("case", ["with an ended run", "with a run in line", "with a schedule"])
def test_untouched_sessions_go_on_postgresql(thirty: None, postgres_with_tables: str, case: str) -> None:
    with postgresql(postgres_with_tables, has_tables=True):
        try:
            check(case)
        finally:
            database.close()


def test_without_a_setting_only_those_go_for_whom_staff_said_so() -> None:
    ada, bo = making.user("ada"), making.user("bo", retention_days=5)
    aged(ada, 9999)
    aged(bo, 6)
    expire()
    assert [session.owner for session in Session.objects.all()] == [ada]


def test_all_of_many_expired_sessions_go_although_some_are_locked(
    thirty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_USERS", 2)
    monkeypatch.setattr(retention, "_AT_ONCE", 3)
    people = [making.user(f"user {n}") for n in range(7)]
    held = {aged(user, 40).pk for user in people[:3] for _ in range(3)}
    for user in people:
        for _ in range(4):
            aged(user, 40)
    gone = retention.expire_session
    monkeypatch.setattr(retention, "expire_session", lambda pk, now: pk not in held and gone(pk, now))
    expire()
    left = set(Session.objects.values_list("pk", flat=True))
    assert held <= left
    assert not {pk for pk in left - held if Session.objects.get(pk=pk).owner in people[3:]}
    monkeypatch.setattr(retention, "expire_session", gone)
    Chore.objects.update(next_at=NOW)
    expire()
    assert not Session.objects.exists()


def test_expired_sessions_are_deleted_by_one_process_at_a_time(thirty: None) -> None:
    aged(making.user("ada"), 40)
    now = timezone.now()
    assert chores.claim(retention.SESSIONS, now) == ""
    assert chores.claim(retention.SESSIONS, now) is None
    expire()
    assert Session.objects.exists(), "another process is at it"
    Chore.objects.update(next_at=NOW, place="")
    expire()
    assert not Session.objects.exists()
    assert not chores.is_due(retention.SESSIONS, timezone.now() + timedelta(minutes=50)), "in an hour again"


def test_a_session_stays_if_its_deletion_cannot_be_audited(thirty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise IntegrityError("disk full")

    session = aged(making.user("ada"), 40)
    monkeypatch.setattr(audit, "record_action", fail)
    with contextlib.suppress(IntegrityError):
        expire()
    assert Session.objects.get().pk == session.pk


def test_a_session_that_is_used_meanwhile_stays(thirty: None) -> None:
    session = aged(making.user("ada"), 40)
    Session.objects.filter(pk=session.pk).update(active_at=NOW)
    assert not retention.expire_session(session.pk, NOW)
    assert not retention.expire_session(making.run(session).pk, NOW)


def test_the_audit_is_kept_as_long_as_is_set(settings: Any) -> None:
    check_purge(settings)


def test_the_audit_likewise_on_postgresql(settings: Any, postgres_with_tables: str) -> None:
    with postgresql(postgres_with_tables, has_tables=True):
        try:
            check_purge(settings)
        finally:
            database.close()


def check_purge(settings: Any) -> None:
    for days in (1, 9, 11, 500):
        AuditEntry.objects.create(actor_id=1, action="stop", door="api", at=NOW - timedelta(days=days), window=days)

    def ages() -> list[int]:
        return sorted(AuditEntry.objects.values_list("window", flat=True))

    with guarded_audit():
        async_to_sync(retention.purge_audit)()
        assert ages() == [1, 9, 11, 500]
        settings.AUDIT_DAYS = 10
        while async_to_sync(retention.purge_audit)():
            pass
        assert ages() == [1, 9]
        assert not AuditPurge.objects.exists()


def test_a_deleted_account_becomes_one_pseudonym(monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bo = making.user("ada"), making.user("bo")
    for _ in range(5):
        audit.record_action(ada.pk, Act.EXPORT, Door.API, subject_id=bo.pk)
        audit.record_action(bo.pk, Act.STOP, Door.API, subject_id=ada.pk)
    with guarded_audit():
        erasure.close_account(ada.pk)
        pace = erasure.Pace()
        pace.rows = 2
        while erasure.erase_batch(pace) is not None:
            pace.rows = 2
        assert not User.objects.filter(pk=ada.pk).exists()
        assert not ClosedAccount.objects.exists()
    actors = set(AuditEntry.objects.values_list("actor_id", flat=True)) - {bo.pk}
    subjects = set(AuditEntry.objects.values_list("subject_id", flat=True)) - {bo.pk}
    assert actors == subjects
    (pseudonym,) = actors
    assert pseudonym < 0
    assert AuditEntry.objects.count() == 10


def test_a_session_s_page_says_when_it_goes(thirty: None, client: Any) -> None:
    ada = making.user("ada")
    session, expiring = aged(ada, 10), aged(ada, 25)
    client.force_login(ada)
    assert client.get(f"/sessions/{session.pk}/").content.decode().count("deleted on") == 1, "in its menu"
    assert client.get(f"/sessions/{expiring.pk}/").content.decode().count("deleted on") == 2, "and at its head"
    with transaction.atomic():
        User.objects.filter(pk=ada.pk).update(retention_days=0)
    assert "deleted on" not in client.get(f"/sessions/{session.pk}/").content.decode()
    assert not Schedule.objects.exists()
