"""Databases of an earlier version, brought up to date."""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

OTHERS = [
    ("accounts", "0001_initial"),
    ("auth", "0012_alter_user_first_name_max_length"),
    ("contenttypes", "0002_remove_content_type_name"),
]
BEFORE, AFTER = [("chat", "0004_schedules"), *OTHERS], [("chat", "0006_audit"), *OTHERS]


@pytest.mark.django_db(transaction=True)
def test_who_stopped_runs_of_others_may_go_on() -> None:
    def at(state: list[tuple[str, str]]) -> Any:
        executor = MigrationExecutor(connection)
        executor.migrate(state)
        return MigrationExecutor(connection).loader.project_state(state).apps

    newest = MigrationExecutor(connection).loader.graph.leaf_nodes()
    try:
        old = at(BEFORE)
        permissions, types = old.get_model("auth", "Permission"), old.get_model("contenttypes", "ContentType")
        of_runs, _ = types.objects.get_or_create(app_label="chat", model="run")
        permissions.objects.filter(content_type=of_runs, codename="stop_run").delete()
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
    finally:
        MigrationExecutor(connection).migrate(newest)
