"""Databases of versions whose accounts were Django's own users keep all accounts, and all rows that refer to them."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.migrations.exceptions import InconsistentMigrationHistory
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from chat.accounts.models import User
from chat.models import Run, Schedule, Session
from chat.runs import queue as run_queue
from chat.runtime import database
from chat.runtime.db_check import MigrationsPending, check_tables
from chat.serving import supervisor
from tests import prepared, services
from tests.chat.accounts import first_release
from tests.chat.databases import postgresql

PASSWORD = "a long enough password"


def former(address: str, act: str) -> str:
    """Let a process of the earlier version do something with a database; returns its output."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chat.accounts.former", act, PASSWORD],
        env={**os.environ, "DATABASE_URL": address},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def as_left(address: str, act: str) -> str:
    """The same with an empty database, which is made once for all tests; each has a copy."""
    return _filled(f"former {act}", address, lambda empty: former(empty, act))


def as_adopted(address: str, act: str) -> str:
    """The same, migrated by the current version."""

    def make(empty: str) -> str:
        dump = as_left(empty, act)
        prepared.migrate(DATABASE_URL=empty)
        return dump

    return _filled(f"adopted {act}", address, make)


def _filled(name: str, address: str, make: Callable[[str], str]) -> str:
    if address.startswith("sqlite"):

        def make_file(folder: Path) -> None:
            folder.mkdir()
            dump = make(f"sqlite:///{folder}/former.sqlite3")
            (folder / "said").write_text(dump)

        made = prepared.made_once(name, make_file)
        shutil.copytree(made, Path(address.removeprefix("sqlite:///")).parent, dirs_exist_ok=True)
        return (made / "said").read_text()
    path = Path(os.environ["TESTS_SHARED"]) / f"{name}.said"

    def make_database(empty: str) -> None:
        path.write_text(make(empty))

    prepared.fill_postgres(f"{name}.dump", address, make_database)
    return path.read_text()


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    """The address of an empty database, which the test's own connection uses too."""
    with contextlib.ExitStack() as until_done:
        empty = f"sqlite:///{tmp_path}/former.sqlite3"
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            empty = until_done.enter_context(services.database(server, f"former_{uuid4().hex}"))
        until_done.enter_context(django_db_blocker.unblock())
        until_done.enter_context(postgresql(empty, has_tables=True))
        # Threads that read get new connections as well.
        database.close()
        yield empty
        database.close()
        connection.close()


#: The database on which the tests of PostgreSQL show that each migration works.
briefly = pytest.mark.parametrize(
    "address", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True
)


def may_log_in(name: str) -> bool:
    return Client().post("/accounts/login/", {"username": name, "password": PASSWORD}).status_code == 302


def can(name: str, permission: str) -> bool:
    return User.objects.get(username=name).has_perm(permission)


def test_everything_of_a_former_database_is_kept(address: str) -> None:
    login = as_left(address, "make")
    with pytest.raises(MigrationsPending):
        check_tables()
    call_command("migrate", verbosity=0)

    check_tables()
    ada, bo, cy = User.objects.order_by("pk")
    assert [(user.username, user.email, user.is_staff, user.is_superuser, user.language) for user in (ada, bo, cy)] == [
        ("ada", "ada@example.org", True, True, ""),
        ("bo", "bo@example.org", True, False, ""),
        ("cy", "cy@example.org", True, False, ""),
    ]
    session = Session.objects.get()
    assert (session.owner, session.owner.username) == (bo, "bo")
    run = Run.objects.get()
    assert (run.user, run.cancelled_by) == (bo, ada)
    assert Schedule.objects.get().owner == cy
    connection.check_constraints()

    browser = Client()
    browser.cookies["sessionid"] = login
    assert "The flour order" in browser.get("/").content.decode()
    assert all(may_log_in(name) for name in ("ada", "bo", "cy"))

    assert can("bo", "accounts.change_user")
    assert not can("bo", "accounts.view_user")
    assert can("cy", "accounts.view_user")
    assert not can("cy", "accounts.change_user")
    assert Group.objects.get().user_set.get() == cy
    entry = LogEntry.objects.get()
    assert (entry.user, entry.get_edited_object()) == (ada, bo)
    assert not ContentType.objects.filter(app_label="auth", model="user").exists()


def test_a_database_of_the_first_release_goes_on(address: str) -> None:
    """Through every migration since: all events are there, the run that was at work has ended, and the queued one is started."""
    session_id = as_adopted(address, "make first")
    check_tables()
    connection.check_constraints()

    browser = Client()
    assert browser.post("/accounts/login/", {"username": "bo", "password": PASSWORD}).status_code == 302
    sent = browser.get(f"/api/sessions/{session_id}/events/").json()["events"]
    stored = [event for _, (_, events) in first_release.RUNS.items() for event in events]
    assert [event["seq"] for event in sent] == list(range(1, len(stored) + 3))
    steps = [(event["type"], event["data"]) for event in sent if event["type"] != "reasoning_start"]
    assert [(kind, {**data, **wanted}) for (kind, data), (_, wanted) in zip(steps, stored, strict=True)] == steps
    assert [kind for kind, _ in steps] == [kind for kind, _ in stored]
    assert browser.get(f"/api/sessions/{session_id}/events/4/content/").content.decode() == first_release.LONG
    assert [hit["seq"] for hit in browser.get("/api/search/?q=okapi quay").json()["items"]] == [2]

    # Its process is gone: the run at work is interrupted with the text that it had written, and the queued one is started.
    supervisor.recover_runs()
    page = browser.get(f"/sessions/{session_id}/").content.decode()
    assert all(words in page for words in ("Tides", "At <strong>noon</strong>", "Six hours later.", "Thank you"))
    states = list(Run.objects.order_by("number").values_list("status", flat=True))
    assert states == ["completed", "interrupted", "queued"]
    with transaction.atomic():
        assert run_queue.next_in(Session.objects.get().pk) is not None
    assert Client().get(f"/api/sessions/{session_id}/events/").status_code == 401
    staff = Client()
    staff.force_login(User.objects.get(username="ada"))
    assert staff.get(f"/admin/chat/session/{session_id}/change/").status_code == 200


#: By vendor, statements that return all that a database knows of the tables of `chat`.
SCHEMA_OF_CHAT = {
    "sqlite": ["SELECT type, name, sql FROM sqlite_master WHERE tbl_name LIKE 'chat_%'"],
    # Without the order of columns: those that were added to a table are its last ones.
    "postgresql": [
        """SELECT attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid)
            FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
            WHERE attrelid::regclass::text LIKE 'chat_%' AND NOT attisdropped""",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid::regclass::text LIKE 'chat_%'",
        "SELECT indexdef FROM pg_indexes WHERE tablename LIKE 'chat_%'",
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'chat_%' AND NOT tgisinternal",
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname LIKE 'chat_%'",
    ],
}


def test_migrated_tables_are_those_of_a_new_database(address: str, tmp_path: Path) -> None:
    """A database of the first release takes each migration, a new one takes them together: both end up with the same tables."""

    def columns() -> dict[str, list[tuple[Any, ...]]]:
        with connection.cursor() as cursor:
            return {
                table: [(column.name, column.type_code, column.null_ok) for column in described(cursor, table)]
                for table in connection.introspection.table_names(cursor)
            }

    def described(cursor: Any, table: str) -> list[Any]:
        found: list[Any] = connection.introspection.get_table_description(cursor, table)
        return sorted(found, key=lambda column: str(column.name))

    def constraints() -> dict[str, Any]:
        with connection.cursor() as cursor:
            tables = ("auth_user", "auth_user_groups", "auth_user_user_permissions", "chat_session")
            return {table: connection.introspection.get_constraints(cursor, table) for table in tables}

    def schema_of_chat() -> list[list[str]]:
        found = []
        with connection.cursor() as cursor:
            for statement in SCHEMA_OF_CHAT[connection.vendor]:
                cursor.execute(statement)
                found.append(sorted(map(str, cursor.fetchall())))
        return found

    as_adopted(address, "make first")
    adopted, chat = (columns(), constraints()), schema_of_chat()
    assert all(chat)
    with contextlib.ExitStack() as until_done:
        new = f"sqlite:///{prepared.copy_tables(tmp_path / 'new')}"
        if connection.vendor == "postgresql":
            server = address.rsplit("/", 1)[0] + "/postgres"
            new = until_done.enter_context(services.database(server, f"new_{uuid4().hex}"))
            prepared.restore_tables(new)
        until_done.enter_context(postgresql(new, has_tables=True))
        assert (columns(), constraints()) == adopted
        assert schema_of_chat() == chat
        connection.close()


@briefly
def test_a_process_of_the_former_version_goes_on_meanwhile(address: str) -> None:
    as_adopted(address, "make")

    former(address, "use")

    assert may_log_in("dee")
    assert Session.objects.get(title="Meanwhile").owner.username == "dee"
    # Its entries in the admin's history refer to the right accounts after the next migration.
    call_command("migrate", verbosity=0)
    assert {str(entry.get_edited_object()) for entry in LogEntry.objects.all()} == {"bo", "dee"}
    assert not ContentType.objects.filter(app_label="auth", model="user").exists()


@briefly
def test_going_back_to_the_former_version_and_on_again_keeps_what_was_granted(address: str) -> None:
    as_adopted(address, "make")
    former(address, "use")
    former(address, "migrate")
    assert not can("dee", "accounts.delete_user")

    call_command("migrate", verbosity=0)

    assert can("dee", "accounts.delete_user")
    assert can("bo", "accounts.change_user")
    assert Permission.objects.filter(codename="delete_user").count() == 1
    call_command("migrate", verbosity=0)
    applied = MigrationRecorder(connection).migration_qs.filter(app="accounts")
    own = {name for application, name in MigrationLoader(None).disk_migrations if application == "accounts"}
    assert sorted(applied.values_list("name", flat=True)) == sorted(own)


@briefly
def test_a_former_database_that_was_left_in_the_middle_is_said_to_be(address: str) -> None:
    as_left(address, "make")
    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("auth", "0012_alter_user_first_name_max_length")
    with pytest.raises(CommandError, match="Run that version's"):
        call_command("migrate", verbosity=0)
    assert ("accounts", "0001_initial") not in recorder.applied_migrations()


@briefly
def test_without_adopting_django_would_refuse(address: str) -> None:
    as_left(address, "make")
    with pytest.raises(InconsistentMigrationHistory):
        MigrationExecutor(connection).loader.check_consistent_history(connection)
