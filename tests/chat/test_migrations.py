"""Databases of an earlier version are migrated."""

from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from chat.models import Act, AuditEntry, AuditPurge, Door, ModelCall, Run, Session, Step
from chat.models.audit import NeverChanges
from chat.security import audit
from tests import prepared
from tests.chat import databases

OTHERS = [
    ("accounts", "0001_initial"),
    ("auth", "0012_alter_user_first_name_max_length"),
    ("contenttypes", "0002_remove_content_type_name"),
]
BEFORE, AFTER = [("chat", "0004_schedules"), *OTHERS], [("chat", "0006_audit"), *OTHERS]


def at(state: list[tuple[str, str]]) -> Any:
    """Migrate the database to a state, step by step; returns the models of that state."""
    databases.single_steps().migrate(state)
    return databases.single_steps().loader.project_state(state).apps


def test_staff_who_could_stop_runs_keep_that_right(tmp_path: Path, django_db_blocker: Any) -> None:
    address = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    with django_db_blocker.unblock(), databases.postgresql(address, has_tables=True):
        old = at(BEFORE)
        permissions, types = old.get_model("auth", "Permission"), old.get_model("contenttypes", "ContentType")
        of_runs, _ = types.objects.get_or_create(app_label="chat", model="run")
        change, _ = permissions.objects.get_or_create(
            content_type=of_runs, codename="change_run", defaults={"name": "x"}
        )
        users = {
            name: old.get_model("accounts", "User").objects.create(username=name)
            for name in ("one", "by group", "none")
        }
        users["one"].user_permissions.add(change)
        group = old.get_model("auth", "Group").objects.create(name="operators")
        group.permissions.add(change)
        users["by group"].groups.add(group)
        stop = (
            at(AFTER).get_model("auth", "Permission").objects.get(content_type__app_label="chat", codename="stop_run")
        )
        assert [user.username for user in stop.user_set.all()] == ["one"]
        assert [each.name for each in stop.group_set.all()] == ["operators"]


#: What nobody may do to the audit, each as a statement.
FORBIDDEN = {
    "removing": "DELETE FROM chat_auditentry",
    "another act": "UPDATE chat_auditentry SET action = 'search'",
    "somebody else": "UPDATE chat_auditentry SET actor_id = 2",
    "a pseudonym of nobody's": "UPDATE chat_auditentry SET actor_id = -5",
    "another's thing": "UPDATE chat_auditentry SET subject_id = 3",
    "another time": "UPDATE chat_auditentry SET at = '2020-01-01 00:00:00'",
    "other details": "UPDATE chat_auditentry SET details = '{\"a\": 1}'",
    "emptying": "TRUNCATE chat_auditentry",
}


def check_guard() -> None:
    """Check that entries cannot be changed in a migrated database."""
    audit.record_action(1, Act.STOP, Door.API, subject_id=2)
    before = AuditEntry.objects.values().get()
    for forbidden, statement in FORBIDDEN.items():
        if connection.vendor == "sqlite" and statement.startswith("TRUNCATE"):
            continue
        with pytest.raises(IntegrityError, match="entries of the audit are not"), transaction.atomic():
            connection.cursor().execute(statement)
        assert AuditEntry.objects.values().get() == before, forbidden
    for act in (AuditEntry.objects.all().delete, AuditEntry.objects.get().delete, AuditEntry.objects.get().save):
        with pytest.raises(NeverChanges):
            act()
    AuditPurge.objects.create(before=timezone.now() + timedelta(days=1))
    connection.cursor().execute("DELETE FROM chat_auditentry")
    assert not AuditEntry.objects.exists()


def test_nobody_changes_the_audit(tmp_path: Path, django_db_blocker: Any) -> None:
    address = f"sqlite:///{prepared.copy_tables(tmp_path)}"
    with django_db_blocker.unblock(), databases.postgresql(address, has_tables=True):
        check_guard()


def test_nobody_changes_the_audit_on_postgresql(postgres_url: str, django_db_blocker: Any) -> None:
    prepared.restore_tables(postgres_url)
    with django_db_blocker.unblock(), databases.postgresql(postgres_url, has_tables=True):
        check_guard()


def test_keys_of_the_last_day_stand_for_what_they_stood_for(tmp_path: Path, django_db_blocker: Any) -> None:
    address = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    with django_db_blocker.unblock(), databases.postgresql(address, has_tables=True):
        old = at([("chat", "0028_import"), *OTHERS])
        owner = old.get_model("accounts", "User").objects.create(username="ada")
        sessions = old.get_model("chat", "Session").objects
        made = [sessions.create(owner=owner, creation_key=key, creation_digest="d") for key in ("new", "old")]
        sessions.filter(pk=made[1].pk).update(created_at=timezone.now() - timedelta(days=2))
        key = at([("chat", "0030_request_keys"), *OTHERS]).get_model("chat", "RequestKey").objects.get()
        assert (key.key, key.digest, key.session_id, key.run_id) == ("new", "d", made[0].pk, None)


FILLED: Any = import_module("chat.migrations.0043_first_tokens_of_before")


def check_first_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that all are filled in, also where the first attempt was interrupted; the others stay unchanged."""
    monkeypatch.setattr(FILLED, "_AT_ONCE", 3)
    others = [leaf for leaf in MigrationExecutor(connection).loader.graph.leaf_nodes() if leaf[0] != "chat"]
    old = at([("chat", "0042_run_first_token"), *others])
    owner = old.get_model("accounts", "User").objects.create(username="ada")
    session = old.get_model("chat", "Session").objects.create(owner=owner)
    began = timezone.now() - timedelta(minutes=1)
    expected = {}
    for number in range(1, 11):
        ended = None if number == 10 else began + timedelta(seconds=9)
        run = old.get_model("chat", "Run").objects.create(
            session=session,
            number=number,
            client_message_id=str(number),
            started_at=began,
            ended_at=ended,
            status="completed",
        )
        # The first had no tokens; one made no model call, one has not ended.
        for iteration, first in ((1, None), (2, 7), (3, 8)) if number != 9 else ():
            old.get_model("chat", "ModelCall").objects.create(
                session=session, run=run, iteration=iteration, attempt=1, model="m", provider="p", parameters="{}",
                tool_names="[]", depth=0, messages="[]", first_token_ms=first, started_at=began + timedelta(milliseconds=250 * iteration),
            )  # fmt: skip
        expected[number] = 507 if number < 9 else None
    asked: list[str] = []

    def end_in_the_middle(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE chat_run"):
            asked.append(sql)
            if len(asked) == 2:
                raise KeyboardInterrupt
        return execute(sql, params, many, context)

    with connection.execute_wrapper(end_in_the_middle), pytest.raises(KeyboardInterrupt):
        at([("chat", "0043_first_tokens_of_before"), *others])
    runs = old.get_model("chat", "Run").objects
    assert 2 <= runs.filter(first_token_ms=507).count() <= 3, "what was done stays done"
    at([("chat", "0043_first_tokens_of_before"), *others])
    assert dict(runs.values_list("number", "first_token_ms")) == expected


def test_first_tokens_of_before_are_kept(
    tmp_path: Path, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"sqlite:///{prepared.copy_tables(tmp_path)}"
    with django_db_blocker.unblock(), databases.postgresql(address, has_tables=True):
        check_first_tokens(monkeypatch)


def test_first_tokens_of_before_are_kept_on_postgresql(
    postgres_url: str, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared.restore_tables(postgres_url)
    with django_db_blocker.unblock(), databases.postgresql(postgres_url, has_tables=True):
        check_first_tokens(monkeypatch)


#: The tables whose rows come with each message.
BUSY = (Session, Run, Step, ModelCall)


def find_second_indexes() -> set[str]:
    """The indexes of all rows whose columns another one of their table begins with."""
    found = set()
    for model in BUSY:
        meta = model._meta
        of_some = {
            each.name for each in (*meta.indexes, *meta.constraints) if getattr(each, "condition", None) is not None
        }
        with connection.cursor() as cursor:
            constraints = connection.introspection.get_constraints(cursor, meta.db_table)
        indexes = {
            name: tuple(each["columns"])
            for name, each in constraints.items()
            if (each["index"] or each["unique"] or each["primary_key"]) and name not in of_some
        }
        for name, columns in indexes.items():
            longer = (other for other in indexes if other != name)
            if any(indexes[other][: len(columns)] == columns for other in longer) and not constraints[name]["unique"]:
                found.add(name)
    return found


def check_second_indexes() -> None:
    """Check that those of before are dropped, and that there are no others."""
    others = [leaf for leaf in MigrationExecutor(connection).loader.graph.leaf_nodes() if leaf[0] != "chat"]
    at([("chat", "0043_first_tokens_of_before"), *others])
    before = set()
    with connection.cursor() as cursor:
        for place in ("session owner_id", "run session_id", "run user_id", "step session_id", "step run_id"):
            table, column = place.split()
            name = f"chat_{table}_{column}_1a2b3c4d"
            cursor.execute(f"CREATE INDEX {name} ON chat_{table} ({column})")
            before.add(name)
    assert find_second_indexes() == before
    at([("chat", "0044_no_second_indexes"), *others])
    assert find_second_indexes() == set()


def test_no_index_of_busy_tables_begins_another(tmp_path: Path, django_db_blocker: Any) -> None:
    address = f"sqlite:///{prepared.copy_tables(tmp_path)}"
    with django_db_blocker.unblock(), databases.postgresql(address, has_tables=True):
        check_second_indexes()


def test_no_index_of_busy_tables_begins_another_on_postgresql(postgres_url: str, django_db_blocker: Any) -> None:
    prepared.restore_tables(postgres_url)
    with django_db_blocker.unblock(), databases.postgresql(postgres_url, has_tables=True):
        check_second_indexes()
