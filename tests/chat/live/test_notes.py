"""Verdicts and comments reach every socket once and in order, whatever the channel layer does with the messages about them."""

from typing import Any

import pytest

from chat.live.handshake import Login
from chat.models import Comment, Door, Run
from chat.runs import notes
from chat.runtime import database
from tests.chat.following import Broken, Client, Losing, Silent, layer, started, store, watching

__all__ = ["layer", "started", "watching"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]


async def write_comment(run: Run, login: Login, text: str, seq: int = 1) -> str:
    """Comment on a step, and publish it; returns the comment's id."""
    made, notice = await database.write(notes.write_comment, login.user, run.session_id, seq, text)
    await notes.publish(notice)
    return made["id"]


def note_frames(client: Client) -> list[dict[str, Any]]:
    """The frames about verdicts and comments that a socket was sent."""
    return [frame["data"] for frame in client.frames if frame["type"] in ("comment", "verdict")]


@pytest.mark.parametrize("layer", [*(Losing(seed) for seed in range(3)), Silent(), Broken(), None], indirect=True)
async def test_each_change_is_told_once_and_in_order(started: tuple[Run, Login]) -> None:
    run, login = started
    await store(run, 2)
    client = await Client().join(run, login)
    for number in range(5):
        await write_comment(run, login, f"comment {number}", 1 + number % 2)
    judged, notice = await database.write(
        notes.give_verdict, login.user, run.session_id, run.pk, "bad", "It is not so."
    )
    await notes.publish(notice)
    await client.until(lambda: len(note_frames(client)) == 6, 2)
    assert [data["version"] for data in note_frames(client)] == [1, 2, 3, 4, 5, 6]
    assert note_frames(client)[-1] == judged
    assert [data["text"] for data in note_frames(client)[:-1]] == [f"comment {number}" for number in range(5)]


@pytest.mark.parametrize("layer", [Silent()], indirect=True)
async def test_a_note_changed_twice_is_told_as_it_is_now(started: tuple[Run, Login]) -> None:
    run, login = started
    await store(run, 1)
    client = await Client().join(run, login)

    def change() -> None:
        made = [notes.write_comment(login.user, run.session_id, 1, text)[0]["id"] for text in ("a", "b", "c")]
        notes.edit_comment(run.session.owner, made[0], "a again")
        notes.delete_comment(run.session.owner, made[1], Door.API)

    await database.write(change)
    await client.until(lambda: bool(note_frames(client)) and note_frames(client)[-1]["version"] == 5, 3)
    latest = {data["id"]: (data["text"], data.get("deleted", False), data["count"]) for data in note_frames(client)}
    assert sorted(latest.values()) == [("", True, 2), ("a again", False, 2), ("c", False, 2)]
    versions = [data["version"] for data in note_frames(client)]
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("layer", [Silent()], indirect=True)
async def test_notes_of_a_deleted_author_do_not_keep_the_rest_back(started: tuple[Run, Login]) -> None:
    run, login = started
    await store(run, 1)
    client = await Client().join(run, login)
    await write_comment(run, login, "goes")
    await database.write(lambda: Comment.objects.all().delete())
    await write_comment(run, login, "stays")
    await client.until(lambda: [data["text"] for data in note_frames(client)][-1:] == ["stays"], 3)
