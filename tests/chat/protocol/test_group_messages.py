"""In a rolling restart two versions exchange messages: each reads what it knows, ignores the rest, and finds it in the database."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, get_args
from uuid import UUID

import pytest

from chat.live.handshake import Login
from chat.models import Run
from chat.protocol import group_messages
from chat.protocol.frames import type_of
from chat.protocol.group_messages import ProcessMessage, SessionMessage
from chat.runs import publisher
from chat.runtime import database, groups
from chat.store.drafts import Draft
from chat.store.step_log import Stored
from tests.chat import making
from tests.chat.following import Client, layer, started, watching

__all__ = ["layer", "started", "watching"]

RUN = "11111111-1111-4111-8111-111111111111"
FRAME = '{"type":"reasoning_step","seq":4,"id":"22222222-2222-4222-8222-222222222222","run_id":"' + RUN + '","data":{}}'

#: Messages as the previous version sent them, recorded there, and what they mean now. A further one is one entry.
RECORDED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"type": "stored", "events": [[4, RUN, FRAME, "reasoning_step", 2]], "group": "session.1"},
        {
            "version": 0,
            "type": "events",
            "events": [{"seq": 4, "run_id": RUN, "frame": FRAME, "event": "reasoning_step", "number": 2}],
        },
    ),
    (
        {"type": "growth", "run_id": RUN, "growth": [1, "thought", 1, 6, " see", ""], "group": "session.1"},
        {
            "version": 0,
            "type": "written",
            "run_id": RUN,
            "step": 1,
            "kind": "thought",
            "attempt": 1,
            "offset": 6,
            "text": " see",
            "tool_name": "",
        },
    ),
    ({"type": "queue"}, {"type": "queue"}),
    ({"type": "presence"}, {"type": "presence"}),
    ({"type": "gone"}, {"type": "gone"}),
]
#: The same for those to every process, which had names before.
RECORDED_FOR_ALL: list[dict[str, Any]] = [
    {"type": "stop", "run_id": RUN, "because": "Stopped by mei."},
    {"type": "logins"},
    {"type": "notification", "user_id": 3, "data": {"title": "Report"}},
    {"type": "restart_tool_server", "name": "crm"},
]


@pytest.mark.parametrize(("old", "now"), RECORDED, ids=lambda each: each["type"])
def test_messages_of_the_version_before_are_understood(old: dict[str, Any], now: dict[str, Any]) -> None:
    read = group_messages.read_session_message(old)
    assert read is not None
    assert {key: value for key, value in read.items() if key != "group"} == now


@pytest.mark.parametrize("old", RECORDED_FOR_ALL, ids=lambda each: each["type"])
def test_messages_to_all_processes_of_the_version_before_are_understood(old: dict[str, Any]) -> None:
    assert group_messages.read_process_message(old) == old


def read_before(message: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """How a feed of the previous version reads a message, according to its contract: it ignores unknown types."""
    match message["type"]:
        case "stored":
            return [("event", seq, UUID(run), *rest) for seq, run, *rest in message["events"]]
        case "growth":
            step, kind, attempt, offset, text, tool_name = message["growth"]
            return [("growth", UUID(message["run_id"]), step, kind, attempt, offset, text, tool_name)]
        case "queue" | "presence" | "gone" as asked_for:
            return [(asked_for,)]
        case "error":
            return [("error", message["frame"])]
        case "stop":
            return [("stop", UUID(message["run_id"]), message["because"])]
        case "logins":
            return [("logins",)]
        case "restart_tool_server":
            return [("restart", message["name"])]
        case "notification":
            return [("notification", message["user_id"], message["data"])]
    return []


#: The current messages, and what the previous version reads of them. What it does not read it finds by the poll of every second.
SENT: dict[str, tuple[Mapping[str, Any], list[tuple[Any, ...]]]] = {
    "events": (
        {
            "version": 1,
            "type": "events",
            "events": [{"seq": 4, "run_id": RUN, "frame": FRAME, "event": "reasoning_step", "number": 2}],
            "at": 1.5,
        },
        [],
    ),
    "written": (
        {
            "version": 1,
            "type": "written",
            "run_id": RUN,
            "step": 1,
            "kind": "thought",
            "attempt": 1,
            "offset": 0,
            "text": "Let",
            "tool_name": "",
        },
        [],
    ),
    "queue": (group_messages.QUEUE_CHANGED, [("queue",)]),
    "presence": (group_messages.PEOPLE_CHANGED, [("presence",)]),
    "gone": (group_messages.SESSION_DELETED, [("gone",)]),
    "noted": (
        {"version": 1, "type": "noted", "notes_version": 3, "frame": "{}"},
        [],
    ),
    "activity": ({"version": 1, "type": "activity", "data": {"user": "mei", "typing": True}}, []),
    "stop": (
        {"version": 1, "type": "stop", "run_id": RUN, "because": "Stopped by mei."},
        [("stop", UUID(RUN), "Stopped by mei.")],
    ),
    "steer": ({"version": 1, "type": "steer", "run_id": RUN, "number": 7, "reason": "Interrupted by mei."}, []),
    "wake": ({"version": 1, "type": "wake", "run_id": RUN}, []),
    "logins": (group_messages.LOGINS_CHANGED, [("logins",)]),
    "notification": (
        {"version": 1, "type": "notification", "user_id": 3, "data": {"title": "Report"}},
        [("notification", 3, {"title": "Report"})],
    ),
    "restart_tool_server": (
        {"version": 1, "type": "restart_tool_server", "name": "crm"},
        [("restart", "crm")],
    ),
}


@pytest.mark.parametrize("word", SENT)
def test_the_version_before_hears_what_is_said_now_or_leaves_it(word: str) -> None:
    sent, expected = SENT[word]
    assert read_before(sent) == expected


def test_every_message_is_tried() -> None:
    kinds = {type_of(kind): kind for kind in (*get_args(SessionMessage), *get_args(ProcessMessage))}
    assert set(kinds) == set(SENT)
    for word, (sent, _) in SENT.items():
        kind = kinds[word]
        assert set(sent) == kind.__required_keys__ | kind.__optional_keys__
        assert sent["version"] == group_messages.VERSION


@pytest.mark.django_db(transaction=True)
class TestAFeed:
    """A feed that is sent messages of another version, with real sockets connected to it."""

    async def test_shows_what_a_process_of_the_version_before_tells(self, started: tuple[Run, Login]) -> None:
        run, login = started
        client = await Client().join(run, login)
        message = {"type": "growth", "run_id": str(run.pk), "growth": [1, "thought", 1, 0, "Let me", ""]}
        await groups.publish(groups.of_session(run.session_id), message)
        await client.until(lambda: client.text.get(1) == "Let me")
        (stored,) = await database.write(making.append, run, making.thought("Let me see"))
        event = [stored.seq, str(stored.run_id), stored.frame, stored.event, stored.number]
        await groups.publish(groups.of_session(run.session_id), {"type": "stored", "events": [event]})
        await client.until(lambda: client.seqs == [1])

    async def test_leaves_what_a_later_version_tells_and_finds_it_in_the_log(
        self, started: tuple[Run, Login], caplog: pytest.LogCaptureFixture
    ) -> None:
        run, login = started
        client = await Client().join(run, login)
        later = group_messages.VERSION + 1
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                await groups.publish(groups.of_session(run.session_id), {"version": later, "type": "events", "all": 7})
            await database.write(making.append, run, making.thought("Let me see"))
            await client.until(lambda: client.seqs == [1], 2)
        assert [f"version {later}" in record.message for record in caplog.records] == [True]


@pytest.mark.django_db(transaction=True)
async def test_the_tables_have_the_messages_that_the_product_sends(
    started: tuple[Run, Login], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The messages of the tables above are those that the product sends."""
    run, _ = started
    sent = asyncio.Queue[Mapping[str, Any]]()

    async def publish(_: str, message: Mapping[str, Any]) -> None:
        await sent.put(message)

    monkeypatch.setattr(groups, "publish", publish)
    monkeypatch.setattr(publisher.time, "time", lambda: 1.5)
    await publisher.publish_events(run.session_id, [Stored(4, UUID(RUN), FRAME, "reasoning_step", 2)])
    assert await sent.get() == SENT["events"][0]
    publisher.DraftPublisher(run.session_id).publish(Draft(UUID(RUN), 1, "thought", 1, "Let"))
    assert await sent.get() == SENT["written"][0]
    await publisher.publish_queue(run.session_id)
    assert await sent.get() == SENT["queue"][0]
