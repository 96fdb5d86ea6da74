"""Every client gets each event once, in order, whatever the channel layer does with the messages that tell of them."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable
from uuid import UUID, uuid4

import pytest
from channels.layers import InMemoryChannelLayer
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError

from chat.access import Role
from chat.consumers import SessionConsumer
from chat.live import feed, subscriber
from chat.live import registry as feed_registry
from chat.live.connections import OpenSocket
from chat.live.handshake import Login
from chat.live.subscriptions import SessionSubscription
from chat.models import Run, Session, Step
from chat.protocol import WINDOW, Close, encode_frame
from chat.protocol.frame_data import AcceptedData
from chat.runs import commands as run_commands
from chat.runs import publisher
from chat.runtime import database, groups
from chat.store import drafts, selectors, step_log
from chat.store.drafts import Draft
from chat.store.step_log import Stored
from tests.chat import making
from tests.chat.following import Broken, Client, Losing, Silent, layer, started, store, watching, write_text

__all__ = ["layer", "started", "watching"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]


@pytest.mark.parametrize("layer", [*(Losing(seed) for seed in range(4)), Silent(), Broken(), None], indirect=True)
async def test_every_client_gets_each_event_once_in_order(started: tuple[Run, Login]) -> None:
    run, login = started
    early = await Client().join(run, login)
    await store(run, 40)
    late = await Client().join(run, login, after=25)
    await store(run, 40, after=40)
    await early.until(lambda: early.seqs[-1:] == [80])
    await late.until(lambda: late.seqs[-1:] == [80])
    assert early.seqs == list(range(1, 81))
    assert late.seqs == list(range(26, 81))
    assert [frame["type"] for frame in early.frames[:2]] == ["session", "reasoning_step"]


@pytest.mark.parametrize("layer", [Silent()], indirect=True)
async def test_a_layer_that_never_delivers_costs_at_most_two_seconds(started: tuple[Run, Login]) -> None:
    run, login = started
    client = await Client().join(run, login)
    loop = asyncio.get_running_loop()
    await store(run, 1)
    began = loop.time()
    await client.until(lambda: client.seqs == [1])
    assert loop.time() - began < 2


async def test_growth_arrives_in_pieces_and_a_late_client_begins_with_the_whole(started: tuple[Run, Login]) -> None:
    run, login = started
    first = await Client().join(run, login)
    await write_text(run, "Let me", 0)
    await first.until(lambda: first.text.get(1) == "Let me")
    await write_text(run, "Let me see", 6)
    await first.until(lambda: first.text.get(1) == "Let me see")
    assert first.frames[-1]["data"] == {"step": 1, "type": "thought", "attempt": 1, "offset": 6, "text": " see"}
    second = await Client().join(run, login)
    await second.until(lambda: second.text.get(1) == "Let me see")
    assert second.frames[-1]["data"]["offset"] == 0


async def test_what_the_network_takes_is_sent_at_once_and_events_of_one_moment_together(
    started: tuple[Run, Login],
) -> None:
    run, login = started
    client = await Client().join(run, login)
    await client.until(lambda: bool(client.frames))
    texts = ["a", "ab", "abc"]
    for text in texts:
        drafts.put(run.session_id, Draft(run.pk, 1, "thought", 1, text))
        assert client.text[1] == text, "without a task in between"
    assert client.together == [1, 1, 1]
    stored = [event for number in (1, 2, 3) for event in await _append(run, number)]
    await publisher.publish_events(run.session_id, stored)
    await client.until(lambda: client.seqs == [1, 2, 3])
    assert client.together == [1, 1, 1, 3]


async def test_what_the_network_does_not_take_at_once_is_sent_in_order_in_a_task(started: tuple[Run, Login]) -> None:
    run, login = started
    client = await Client().join(run, login)
    await client.until(lambda: bool(client.frames))
    client.holds_up = True
    drafts.put(run.session_id, Draft(run.pk, 1, "thought", 1, "Let"))
    await client.until(lambda: client.text.get(1) == "Let")
    stored = [event for number in (1, 2) for event in await _append(run, number)]
    await publisher.publish_events(run.session_id, stored)
    await client.until(lambda: client.seqs == [1, 2])
    client.holds_up = False
    drafts.put(run.session_id, Draft(run.pk, 3, "thought", 1, "me"))
    assert client.text == {1: "Let", 3: "me"}
    assert client.together == [1]


async def test_a_socket_that_fails_in_mid_text_is_closed_and_its_run_goes_on(
    started: tuple[Run, Login], caplog: pytest.LogCaptureFixture
) -> None:
    run, login = started
    client, other = await Client().join(run, login), await Client().join(run, login)
    await client.until(lambda: bool(client.frames))
    await other.until(lambda: bool(other.frames))

    def fail(*_: str) -> bool:
        raise RuntimeError("broken")

    assert client.subscriber is not None
    client.subscriber._send_now = fail
    drafts.put(run.session_id, Draft(run.pk, 1, "thought", 1, "Let me"))
    await client.until(lambda: client.closed == Close.INTERNAL)
    assert other.text[1] == "Let me"
    assert "could not be sent what it lacks" in caplog.text


async def _append(run: Run, number: int) -> list[Stored]:
    return await database.write(making.append, run, making.thought(f"thought {number}", number))


async def test_text_in_progress_of_child_runs_comes_beside_that_of_their_root(started: tuple[Run, Login]) -> None:
    run, login = started
    early = await Client().join(run, login)
    texts = {run.pk: ["a", "ab"], uuid4(): ["c", "cd"], uuid4(): ["e", "ef"]}
    for place in range(2):
        for run_id, pieces in texts.items():
            drafts.put(run.session_id, Draft(run_id, 1, "thought", 1, pieces[place], is_child=run_id != run.pk))
    late = await Client().join(run, login)

    def shown(client: Client) -> dict[str, str]:
        found: dict[str, str] = {}
        for frame in client.frames:
            if frame["type"].endswith("_delta"):
                data = frame["data"]
                found[frame["run_id"]] = found.get(frame["run_id"], "")[: data["offset"]] + data["text"]
        return found

    whole = {str(run_id): pieces[-1] for run_id, pieces in texts.items()}
    for client in (early, late):
        await client.until(lambda client=client: shown(client) == whole)  # type: ignore[misc]
        kinds = {frame["run_id"]: frame["type"] for frame in client.frames if frame["type"].endswith("_delta")}
        assert kinds == {key: "reasoning_delta" if key == str(run.pk) else "child_delta" for key in whole}
    deltas = [frame for frame in late.frames if frame["type"].endswith("_delta")]
    assert [frame["data"]["offset"] for frame in deltas] == [0, 0, 0], "one for each, from its beginning"
    ended = next(run_id for run_id in texts if run_id != run.pk)
    drafts.drop(run.session_id, ended)
    assert {draft.run_id for draft in drafts.of_session(run.session_id)} == texts.keys() - {ended}


async def test_text_in_progress_is_put_together_in_other_processes(started: tuple[Run, Login]) -> None:
    run, login = started
    client = await Client().join(run, login)
    drafts_abroad = publisher.DraftPublisher(run.session_id)
    for text in ("Let", "Let me", "Let me see 天氣", "Let me see 天氣 now"):
        drafts_abroad.publish(Draft(run.pk, 1, "thought", 1, text))
        await client.until(lambda text=text: client.text.get(1) == text)  # type: ignore[misc]
    pieces = [(f["data"]["offset"], f["data"]["text"]) for f in client.frames if f["type"] == "reasoning_delta"]
    assert pieces == [(0, "Let"), (3, " me"), (6, " see 天氣"), (13, " now")]


async def test_a_missing_piece_is_waited_for_until_the_whole_comes(started: tuple[Run, Login]) -> None:
    run, login = started
    client = await Client().join(run, login)
    await write_text(run, "one", 0)
    await client.until(lambda: client.text.get(1) == "one")
    await write_text(run, "one two three", 7)
    await write_text(run, "one two three four", 0)
    await client.until(lambda: client.text.get(1) == "one two three four")
    assert [frame["data"]["offset"] for frame in client.frames if frame["type"] == "reasoning_delta"] == [0, 3]


async def test_growth_that_comes_after_its_step_is_stored_is_not_shown(started: tuple[Run, Login]) -> None:
    run, login = started
    client = await Client().join(run, login)
    await write_text(run, "thou", 0)
    await store(run, 1)
    await write_text(run, "thought", 4)
    await write_text(run, "thought 1", 0)
    await store(run, 1, after=1)
    await client.until(lambda: client.seqs == [1, 2])
    after_stored = client.frames[[frame.get("seq") for frame in client.frames].index(1) :]
    deltas = [frame for frame in after_stored if frame["type"] == "reasoning_delta"]
    assert deltas == [], "what is stored is shown growing"


async def test_text_stored_while_a_feed_opens_is_not_shown_again(
    started: tuple[Run, Login], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that joins just then is only sent the log, which has the step."""
    run, login = started
    read, reading, stored = selectors.view_and_drafts, threading.Event(), threading.Event()

    def slow(session_id: UUID) -> object:
        reading.set()
        assert stored.wait(10)
        return read(session_id)

    monkeypatch.setattr(selectors, "view_and_drafts", slow)
    client = Client()
    joining = asyncio.create_task(client.join(run, login))
    assert await asyncio.to_thread(reading.wait, 10)
    drafts.put(run.session_id, Draft(run.pk, 1, "thought", 1, "thought 1"))
    drafts.drop(run.session_id, run.pk)
    await store(run, 1)
    stored.set()
    await joining
    await client.until(lambda: client.seqs == [1])
    assert client.subscriber is not None
    if (sending := client.subscriber.flushing) is not None:
        await sending
    deltas = [frame for frame in client.frames if frame["type"] == "reasoning_delta"]
    assert deltas == [], "what was read in the log is shown growing"


async def test_text_in_progress_is_shown_after_stored_events(started: tuple[Run, Login]) -> None:
    """Notifications of stored events come through the channel layer, and may be slower than the model's next thought."""
    run, login = started
    client = await Client().join(run, login)
    drafts.put(run.session_id, Draft(run.pk, 3, "thought", 1, "soon", after=2))
    assert client.subscriber is not None
    await feed_registry.poll_once()
    if (sending := client.subscriber.flushing) is not None:
        await sending
    assert client.text == {}, "it grew before the client knew of its run"
    await store(run, 2)
    await client.until(lambda: client.text.get(3) == "soon")
    assert client.seqs == [1, 2]


async def test_a_new_attempt_starts_the_text_anew(started: tuple[Run, Login]) -> None:
    run, login = started
    client = await Client().join(run, login)
    await write_text(run, "a wrong begin", 0)
    await client.until(lambda: client.text.get(1) == "a wrong begin")
    await write_text(run, "right", 0, attempt=2)
    await client.until(lambda: client.text.get(1) == "right")
    await write_text(run, "a wrong beginning", 0, attempt=1)
    await write_text(run, "right on", 5, attempt=2)
    await client.until(lambda: client.text.get(1) == "right on")


async def test_the_text_kept_for_a_crash_is_shown_to_who_joins(started: tuple[Run, Login]) -> None:
    run, login = started
    drafts.put(run.session_id, Draft(run.pk, 1, "thought", 1, "kept"))
    await drafts.save()
    drafts.drop(run.session_id, run.pk)
    client = await Client().join(run, login)
    await client.until(lambda: client.text.get(1) == "kept")


async def test_a_client_that_acknowledges_nothing_gets_one_window_and_then_goes_on(started: tuple[Run, Login]) -> None:
    run, login = started
    await store(run, WINDOW + 30)
    client = await Client().join(run, login)
    await client.until(lambda: len(client.seqs) == WINDOW)
    await write_text(run, "not for you now", 0, step=WINDOW + 31)
    await feed_registry.poll_once()
    assert len(client.seqs) == WINDOW
    assert client.subscriber is not None
    client.subscriber.acknowledge(100)
    await client.until(lambda: client.seqs == list(range(1, WINDOW + 31)))
    await client.until(lambda: client.text.get(WINDOW + 31) == "not for you now")


async def test_a_window_left_unread_closes_the_socket(
    started: tuple[Run, Login], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, login = started
    await store(run, WINDOW + 1)
    client = await Client().join(run, login)
    await client.until(lambda: len(client.seqs) == WINDOW)
    monkeypatch.setattr(subscriber, "STALL_S", 0.0)
    await client.until(lambda: client.closed == Close.TOO_SLOW)


async def test_a_silent_client_is_closed(started: tuple[Run, Login], monkeypatch: pytest.MonkeyPatch) -> None:
    run, login = started
    client = await Client().join(run, login)
    monkeypatch.setattr(subscriber, "SILENCE_S", 0.0)
    await client.until(lambda: client.closed == Close.SILENT)


async def test_events_held_back_come_after_the_answer(started: tuple[Run, Login]) -> None:
    run, login = started
    client = await Client().join(run, login)
    assert client.subscriber is not None
    client.subscriber.cork()
    await store(run, 3)
    accepted: AcceptedData = {"client_message_id": "m", "run_id": str(run.pk), "queued": 0}
    client.subscriber.send_control(encode_frame({"type": "accepted", "data": accepted}))
    client.subscriber.uncork()
    await client.until(lambda: client.seqs == [1, 2, 3])
    assert [frame["type"] for frame in client.frames[:3]] == ["session", "accepted", "reasoning_step"]


async def subscribed(client: Client, run: Run, login: Login) -> SessionConsumer:
    """A socket that is subscribed to the feed by this client."""
    await client.join(run, login)
    consumer = SessionConsumer()
    consumer.login = login
    assert client.subscriber is not None
    open_socket = OpenSocket(run.session_id, login.user.pk, Role.OWNER, uuid4())
    consumer._subscription = SessionSubscription("process-1", open_socket, client.subscriber)
    return consumer


async def test_a_message_is_accepted_before_anybody_sees_its_run(started: tuple[Run, Login]) -> None:
    run, login = started
    client = Client()
    consumer = await subscribed(client, run, login)

    async def ask() -> run_commands.Accepted:
        """Let the feed poll the log, and read the run's first events, before the socket's command is answered."""
        await store(run, 2)
        await client.subscriber.feed.catch_up(2)  # type: ignore[union-attr]
        return run_commands.Accepted(run.session_id, run.pk, "mine", 0, is_new=False)

    await consumer._enqueue_command(ask(), "mine")
    await client.until(lambda: client.seqs == [1, 2])
    assert [frame["type"] for frame in client.frames[:3]] == ["session", "accepted", "reasoning_step"]


@pytest.mark.parametrize("error", [OperationalError("disk full"), ValueError("a mistake of ours")])
async def test_a_message_that_could_not_be_taken_is_named(
    started: tuple[Run, Login], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run, login = started
    client = Client()
    consumer = await subscribed(client, run, login)

    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(run_commands, "ask", fail)
    monkeypatch.setattr(run_commands, "continue_run", fail)
    for command, payload in (("chat", {"message": "?"}), ("continue", {"run_id": str(run.pk)})):
        await consumer.receive(json.dumps({"type": command, "payload": {**payload, "client_message_id": command}}))
    await client.until(lambda: len(client.frames) == 3)
    code = "storage" if isinstance(error, OperationalError) else "internal"
    errors = [(frame["data"]["code"], frame["data"]["client_message_id"]) for frame in client.frames[1:]]
    assert errors == [(code, "chat"), (code, "continue")]


async def test_a_feed_that_cannot_be_opened_keeps_nobody_waiting(
    started: tuple[Run, Login], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, login = started

    def fail(_session_id: UUID) -> None:
        raise OperationalError("the disk is away")

    with monkeypatch.context() as away:
        away.setattr(selectors, "view_and_drafts", fail)
        both = await asyncio.gather(*(Client().join(run, login) for _ in range(2)), return_exceptions=True)
    assert [type(one) for one in both] == [OperationalError, OperationalError]
    client = await Client().join(run, login)
    await store(run, 1)
    await client.until(lambda: client.seqs == [1])


async def test_a_deleted_session_closes_its_sockets(started: tuple[Run, Login]) -> None:
    run, login = started
    client = await Client().join(run, login)
    await database.write(lambda: Session.objects.get(pk=run.session_id).delete())
    await client.until(lambda: client.closed == Close.NO_SUCH_SESSION)


@pytest.mark.parametrize("change", ["log out", "deactivate", "delete", "password"])
async def test_a_login_that_ends_closes_its_sockets(started: tuple[Run, Login], change: str) -> None:
    run, login = started
    client = await Client().join(run, login)

    def end_login() -> None:
        user = login.user
        match change:
            case "log out":
                SessionStore(login.session_key).delete()
            case "deactivate":
                type(user).objects.filter(pk=user.pk).update(is_active=False)
            case "delete":
                user.delete()
            case "password":
                user = type(user).objects.get(pk=user.pk)
                user.set_password("another one 18")
                user.save()

    await database.write(end_login)
    await client.until(lambda: client.closed == Close.NOT_LOGGED_IN)


async def _leave(client: Client) -> None:
    assert client.subscriber is not None
    await feed_registry.leave_feed(client.subscriber)


async def test_the_last_to_leave_closes_the_feed(started: tuple[Run, Login], layer: InMemoryChannelLayer) -> None:
    run, login = started
    first = await Client().join(run, login)
    second = await Client().join(run, login)
    leaving: list[Awaitable[None]] = [_leave(first), _leave(second)]
    await asyncio.gather(*leaving)
    assert feed_registry.feed_stats() == {"feeds": 0, "sockets": 0}
    assert groups.of_session(run.session_id) not in layer.groups


@pytest.mark.parametrize("layer", [Silent()], indirect=True)
async def test_a_line_that_was_told_and_is_gone_before_anyone_looked(started: tuple[Run, Login]) -> None:
    run, login = started
    client = await Client().join(run, login)
    assert client.subscriber is not None
    # The session frame had a queued message; the group message that the queue is empty again was lost.
    client.subscriber.feed.mark_queue_sent([{"run_id": "one that has begun meanwhile"}], [])
    await client.until(lambda: any(frame["type"] == "queue" and frame["data"] == [] for frame in client.frames))


async def _remove(session_id: UUID, seq: int) -> None:
    await database.write(lambda: Step.objects.filter(session=session_id, seq=seq).delete())


@pytest.mark.parametrize(
    ("missing", "kept"),
    [([1], []), ([4], []), ([10], []), ([4, 5, 6], []), ([4, 8], []), ([4], ["in memory"]), ([10], ["in memory"])],
)
async def test_a_hole_in_the_log_is_passed_over_told_once_and_keeps_nobody_busy(
    started: tuple[Run, Login],
    missing: list[int],
    kept: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Numbers that are missing in a damaged database: what comes after them is still sent, and so are later events."""
    run, login = started
    early = await Client().join(run, login) if kept else None
    await store(run, 10)
    for seq in missing:
        await _remove(run.session_id, seq)
    reads: list[int] = []
    reading = selectors.stored_after

    def count(session_id: UUID, after: int, limit: int) -> list[step_log.Stored]:
        reads.append(after)
        return reading(session_id, after, limit)

    monkeypatch.setattr(selectors, "stored_after", count)
    client = await Client().join(run, login)
    left = [seq for seq in range(1, 11) if seq not in missing]
    if not kept:  # otherwise those in memory are sent
        await client.until(lambda: client.seqs == left)
    for _ in range(3):
        await feed_registry.poll_once()
    await store(run, 2, after=10)
    for each in (client, early) if early else (client,):
        await each.until(lambda each=each: each.seqs[-2:] == [11, 12])  # type: ignore[misc]
    assert len(reads) < 12
    messages = [record.getMessage() for record in caplog.records if record.name == feed.logger.name]
    assert len(messages) == len(set(messages))
    assert kept or len(messages) in range(1, 4)


async def test_a_read_that_fails_once_during_the_replay_is_tried_again(
    started: tuple[Run, Login], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, login = started
    await store(run, 30)
    reading = selectors.stored_after
    failed: list[int] = []

    def fail_once(session_id: UUID, after: int, limit: int) -> list[step_log.Stored]:
        if not failed:
            failed.append(after)
            raise OperationalError("the connection is gone")
        return reading(session_id, after, limit)

    monkeypatch.setattr(selectors, "stored_after", fail_once)
    client = await Client().join(run, login)
    with contextlib.suppress(TimeoutError):
        await client.until(lambda: client.seqs == list(range(1, 31)), 2)
    assert client.seqs == list(range(1, 31)), "a read that failed was not tried again"
    assert failed
