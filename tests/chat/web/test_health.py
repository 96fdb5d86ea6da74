"""Whether requests may be sent to this process."""

from typing import Any
from uuid import uuid4

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import AsyncClient, override_settings

from chat.runs import queue_watch
from chat.runtime import broker, database, groups
from chat.serving import supervisor

pytestmark = pytest.mark.django_db(transaction=True)


async def ready() -> tuple[int, dict[str, Any]]:
    answer = await AsyncClient().get("/readyz")
    database.close()
    return answer.status_code, answer.json()


async def test_everyone_may_ask_and_nothing_redirects() -> None:
    with override_settings(SECURE_SSL_REDIRECT=True):
        answer = await AsyncClient().get("/healthz")
        assert (answer.status_code, answer.content) == (200, b"ok\n")
        assert "no-store" in answer["Cache-Control"]
        assert (await AsyncClient().head("/healthz")).status_code == 200
        assert (await AsyncClient().post("/healthz")).status_code == 405
        assert (await ready())[0] == 200
    assert "sessionid" not in answer.cookies


async def test_healthz_names_unavailable_parts_and_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker.notifier, "away_since", 1.0)
    monkeypatch.setattr(supervisor.heart, "missed", True)
    answer = await AsyncClient().get("/healthz")
    assert answer.status_code == 200
    ok, *away, end = answer.content.decode().split("\n")
    assert (ok, end) == ("ok", "")
    assert [words.partition(" does not answer: ")[0] for words in away] == ["The database", "The broker (BROKER_URL)"]


async def test_a_queue_that_nothing_executes_is_noticed_and_so_is_that_it_moves_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch, clock = queue_watch.QueueWatch(), [100.0]
    monkeypatch.setattr(queue_watch, "the_watch", watch)
    monkeypatch.setattr(queue_watch.time, "monotonic", lambda: clock[0])
    stuck, moving = uuid4(), uuid4()
    watch.look([stuck, moving])
    clock[0] += 6
    watch.look([stuck, uuid4()])
    assert (await AsyncClient().get("/healthz")).content == b"ok\n"
    clock[0] += 5
    watch.look([stuck, moving])
    assert b"nothing executes them" in (await AsyncClient().get("/healthz")).content
    watch.look([moving])
    assert (await AsyncClient().get("/healthz")).content == b"ok\n"


async def test_a_process_is_ready_with_all_its_parts() -> None:
    everything = {"ready": True, "database": "ok", "migrations": "ok", "channel_layer": "ok", "serving": "ok"}
    assert await ready() == (200, everything)
    layer = groups.get_channel_layer()
    assert layer is not None
    assert not [group for group in layer.groups if group.startswith("ready.")], "nothing is left behind"


async def test_a_database_that_is_away_is_named_without_details(monkeypatch: pytest.MonkeyPatch) -> None:
    database.close()
    monkeypatch.setitem(connection.settings_dict, "NAME", "/nowhere/secret/name.sqlite3")
    status, checks = await ready()
    assert status == 503
    assert checks == {
        "ready": False,
        "database": "failed",
        "migrations": "failed",
        "channel_layer": "ok",
        "serving": "ok",
    }


async def test_tables_that_are_not_up_to_date_are_named() -> None:
    applied = MigrationRecorder.Migration.objects.filter(app="chat")
    last = await applied.order_by("name").alast()
    assert last is not None
    # A migration that replaces it counts as it, too.
    records = [each async for each in applied.filter(name__endswith=last.name)]
    await applied.filter(pk__in=[each.pk for each in records]).adelete()
    try:
        status, checks = await ready()
    finally:
        for each in records:
            await each.asave(force_insert=True)
    assert (status, checks["migrations"], checks["database"]) == (503, "failed", "ok")


class Deaf(InMemoryChannelLayer):  # type: ignore[misc] # Channels has no types
    """A channel layer that accepts every message and delivers none."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Discard it."""


async def test_a_channel_layer_that_loses_everything_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.web.health._PATIENCE_S", 0.2)
    before = channel_layers.set("default", Deaf())
    try:
        status, checks = await ready()
    finally:
        channel_layers.set("default", before)
    assert (status, checks["channel_layer"], checks["database"]) == (503, "failed", "ok")


async def test_a_process_that_is_about_to_stop_takes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor.this_process, "draining", True)
    status, checks = await ready()
    assert (status, checks["serving"], checks["database"]) == (503, "failed", "ok")
