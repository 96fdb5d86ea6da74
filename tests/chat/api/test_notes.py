"""Verdicts on runs and comments on steps: who may write what, what is refused, and who is sent it."""

import json
from typing import Any

import pytest
from django.test import AsyncClient

from chat.access import VIEW_SESSIONS, Role
from chat.models import Act, AuditEntry, Comment, Door, Run, Session, Verdict
from chat.runs import notes, sharing
from chat.runtime import database
from chat.store import notes as stored_notes
from tests.chat import making
from tests.chat.api.test_calls import QUICK, ask, ended
from tests.model_server import ModelServer
from tests.serving import Browser, Server

PEOPLE = ("owner", "driver", "watcher", "staff", "another")


class World:
    """A session with a run of three steps, and users with different rights."""

    def __init__(self) -> None:
        self.users = {name: making.user(name) for name in PEOPLE if name != "staff"}
        self.users["staff"] = making.staff(VIEW_SESSIONS)
        self.session: Session = making.session(self.users["owner"])
        for role in (Role.DRIVER, Role.WATCHER):
            given = sharing.ShareTarget(user=str(role))
            sharing.make_share(self.users["owner"], self.session.pk, given, role, None, Door.API)
        self.run: Run = making.run(self.session)
        making.append(self.run, *(making.thought(f"thought {n}", n) for n in (1, 2, 3)))
        self.other: Run = making.run(making.session(self.users["another"]))
        self.clients: dict[str, AsyncClient] = {}

    async def client(self, who: str) -> AsyncClient:
        """Somebody's browser."""
        if who not in self.clients:
            self.clients[who] = AsyncClient()
            await self.clients[who].aforce_login(self.users[who])
        return self.clients[who]

    async def call(self, who: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Call the API as somebody."""
        text = body if isinstance(body, str) else "" if body is None else json.dumps(body)
        client = await self.client(who)
        answer = await client.generic(method, f"/api/{path}", text, content_type="application/json")
        return answer.status_code, json.loads(answer.content) if answer.content else None

    async def comment(self, who: str, text: str = "Why so?", seq: int = 2) -> Any:
        """Comment on a step; returns the comment."""
        status, made = await self.call(who, "POST", f"sessions/{self.session.pk}/comments/", {"seq": seq, "text": text})
        assert status == 201, made
        return made

    async def version(self) -> int:
        """The number of changes so far."""
        return int((await Session.objects.aget(pk=self.session.pk)).notes_version)


@pytest.fixture
async def world(transactional_db: None) -> Any:
    notes.recent_changes.clear()
    made = await database.write(World)
    yield made
    database.close()


async def test_each_user_has_one_verdict_and_all_are_counted(world: World) -> None:
    path = f"runs/{world.run.pk}/verdict/"
    for who, word, counts in (
        ("owner", "good", (1, 0)),
        ("driver", "bad", (1, 1)),
        ("watcher", "bad", (1, 2)),
        ("watcher", "good", (2, 1)),
        ("driver", None, (2, 0)),
    ):
        status, given = await world.call(who, "PUT", path, {"verdict": word, "reason": f"says {who}"})
        assert (status, given["verdict"], given["user"], (given["good"], given["bad"])) == (200, word, who, counts)
        assert given["reason"] == (f"says {who}" if word else "")
    assert await world.version() == 5
    # The same verdict again changes nothing.
    assert (await world.call("owner", "PUT", path, {"verdict": "good", "reason": "says owner"}))[0] == 200
    assert await world.version() == 5
    _, listed = await world.call("staff", "GET", path)
    assert [(item["user"], item["verdict"]) for item in listed["items"]] == [("watcher", "good"), ("owner", "good")]
    assert (listed["good"], listed["bad"]) == (2, 0)
    summary = await database.read(stored_notes.summary, world.session.pk, world.users["watcher"].pk, 5)
    assert summary == {
        "version": 5,
        "counts": {},
        "verdicts": {str(world.run.pk): {"good": 2, "bad": 0}},
        "mine": {str(world.run.pk): "good"},
    }


async def test_a_comment_is_written_changed_and_deleted(world: World) -> None:
    made = await world.comment("watcher", "Is that so?\n<b>No.</b>")
    assert set(made) == {"id", "seq", "user", "text", "created_at", "edited_at"}
    assert (made["seq"], made["user"], made["text"], made["edited_at"]) == (
        2,
        "watcher",
        "Is that so?\n<b>No.</b>",
        None,
    )
    path, listed = f"comments/{made['id']}/", f"sessions/{world.session.pk}/comments/"
    status, changed = await world.call("watcher", "PATCH", path, {"text": "It is."})
    assert (status, changed["text"], changed["created_at"]) == (200, "It is.", made["created_at"])
    assert changed["edited_at"] >= made["created_at"]
    assert await world.call("watcher", "PATCH", path, {"text": "It is."}) == (200, changed)
    assert await world.version() == 2
    second = await world.comment("owner", "Indeed", 3)
    assert (await world.call("staff", "GET", listed))[1] == {"items": [changed, second], "next": None}
    assert (await world.call("owner", "GET", f"{listed}?seq=3"))[1]["items"] == [second]
    first = (await world.call("owner", "GET", f"{listed}?limit=1"))[1]
    assert first["items"] == [changed]
    assert (await world.call("owner", "GET", f"{listed}?cursor={first['next']}"))[1] == {
        "items": [second],
        "next": None,
    }
    assert await world.call("watcher", "DELETE", path) == (204, None)
    assert (await world.call("owner", "GET", listed))[1]["items"] == [second]
    assert (await Comment.objects.aget(pk=made["id"])).text == "", "what is deleted is gone"
    for method in ("PATCH", "DELETE"):
        assert (await world.call("watcher", method, path, {"text": "again"}))[0] == 404
    assert not await AuditEntry.objects.filter(action=Act.DELETE).aexists(), "one's own is nobody else's affair"


#: Who, and the status of changing and of deleting the watcher's comment.
RIGHTS = {"owner": (403, 204), "driver": (403, 403), "watcher": (200, 204), "staff": (403, 403), "another": (404, 404)}


@pytest.mark.parametrize("who", RIGHTS)
async def test_a_comment_is_changed_by_its_author_and_deleted_by_the_owner_too(world: World, who: str) -> None:
    made = await world.comment("watcher")
    path = f"comments/{made['id']}/"
    changing, deleting = RIGHTS[who]
    assert (await world.call(who, "PATCH", path, {"text": "mine"}))[0] == changing
    assert (await world.call(who, "DELETE", path))[0] == deleting
    noted = [entry async for entry in AuditEntry.objects.filter(action=Act.DELETE).values_list("about", "subject_id")]
    subject = world.users["watcher"].pk
    assert noted == ([(f"comment {made['id']}", subject)] if who == "owner" else [])


COMMENT = {"seq": 2, "text": "x"}
#: What is refused: the call's path, body, status and code.
REFUSED: dict[str, tuple[str, Any, int, str]] = {
    "no body": ("comments", None, 400, "bad_frame"),
    "no JSON": ("comments", "{", 400, "bad_json"),
    "a list": ("comments", [COMMENT], 400, "bad_frame"),
    "no step": ("comments", {"text": "x"}, 400, "bad_frame"),
    "a step as text": ("comments", {**COMMENT, "seq": "2"}, 400, "bad_frame"),
    "half a step": ("comments", {**COMMENT, "seq": 1.5}, 400, "bad_frame"),
    "step 0": ("comments", {**COMMENT, "seq": 0}, 400, "bad_seq"),
    "a step before": ("comments", {**COMMENT, "seq": -1}, 400, "bad_seq"),
    "a step to come": ("comments", {**COMMENT, "seq": 4}, 400, "bad_seq"),
    "no step that there can be": ("comments", {**COMMENT, "seq": 10**18}, 400, "bad_seq"),
    "no text": ("comments", {"seq": 2}, 400, "bad_frame"),
    "an empty text": ("comments", {**COMMENT, "text": ""}, 400, "empty_message"),
    "nothing to be seen": ("comments", {**COMMENT, "text": " \u200b\n"}, 400, "empty_message"),
    "NUL": ("comments", {**COMMENT, "text": "a\0b"}, 400, "bad_text"),
    "half of a pair": ("comments", '{"seq": 2, "text": "\\ud800"}', 400, "bad_text"),
    "too long": ("comments", {**COMMENT, "text": "x" * 4_001}, 413, "too_large"),
    "too long in code units": ("comments", {**COMMENT, "text": "😀" * 2_001}, 413, "too_large"),
    "another verdict": ("verdict", {"verdict": "fine"}, 400, "bad_frame"),
    "no verdict": ("verdict", {}, 400, "bad_frame"),
    "a verdict as number": ("verdict", {"verdict": 1}, 400, "bad_frame"),
    "a reason that is none": ("verdict", {"verdict": "bad", "reason": 5}, 400, "bad_frame"),
    "NUL in a reason": ("verdict", {"verdict": "bad", "reason": "\0"}, 400, "bad_text"),
    "too long a reason": ("verdict", {"verdict": "bad", "reason": "x" * 4_001}, 413, "too_large"),
}


@pytest.mark.parametrize("sent", REFUSED)
async def test_a_refused_comment_or_verdict_stores_nothing(world: World, sent: str) -> None:
    to, body, status, code = REFUSED[sent]
    method, path = ("PUT", f"runs/{world.run.pk}/verdict/")
    if to == "comments":
        method, path = "POST", f"sessions/{world.session.pk}/comments/"
    answer = await world.call("watcher", method, path, body)
    assert (answer[0], answer[1]["error"]["code"]) == (status, code)
    assert await world.version() == 0
    assert not await Comment.objects.aexists()
    assert not await Verdict.objects.aexists()


async def test_the_longest_comment_is_taken_whole(world: World) -> None:
    assert (await world.comment("owner", "😀" * 2_000))["text"] == "😀" * 2_000


@pytest.mark.parametrize(("who", "status"), [("staff", 403), ("another", 404)])
async def test_strangers_and_staff_cannot_judge_or_comment(world: World, who: str, status: int) -> None:
    assert (await world.call(who, "PUT", f"runs/{world.run.pk}/verdict/", {"verdict": "bad"}))[0] == status
    assert (await world.call(who, "POST", f"sessions/{world.session.pk}/comments/", COMMENT))[0] == status
    assert (await world.call("owner", "PUT", f"runs/{world.other.pk}/verdict/", {"verdict": "bad"}))[0] == 404
    assert await world.version() == 0


async def test_comments_and_changes_are_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "COMMENTS_PER_MINUTE", 2)
    monkeypatch.setattr(notes, "CHANGES_PER_MINUTE", 3)
    made = [await world.comment("watcher", seq=seq) for seq in (1, 2)]
    path = f"sessions/{world.session.pk}/comments/"
    # Deleted comments count, too.
    assert (await world.call("watcher", "DELETE", f"comments/{made[0]['id']}/"))[0] == 204
    status, refused = await world.call("watcher", "POST", path, COMMENT)
    assert (status, refused["error"]["code"]) == (429, "rate_limited")
    await world.comment("driver")
    words = ["good", "bad", "good"]
    statuses = [(await world.call("watcher", "PUT", f"runs/{world.run.pk}/verdict/", {"verdict": w}))[0] for w in words]
    assert statuses == [200, 200, 429]


async def test_a_session_takes_so_many_comments(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "MOST_COMMENTS", 1)
    await world.comment("owner")
    status, refused = await world.call("driver", "POST", f"sessions/{world.session.pk}/comments/", COMMENT)
    assert (status, refused["error"]["code"]) == (409, "conflict")


async def test_pages_show_it_to_who_has_no_scripts_too(world: World) -> None:
    await world.comment("watcher", "So <b>bold</b>")
    await world.call("driver", "PUT", f"runs/{world.run.pk}/verdict/", {"verdict": "bad", "reason": "Not <i>so</i>"})
    texts = {
        f"/sessions/{world.session.pk}/": ["So &lt;b&gt;bold"],
        f"/runs/{world.run.pk}/": ["So &lt;b&gt;", "Not &lt;i&gt;"],
    }
    for who in ("owner", "staff"):
        for path, words in texts.items():
            answer = await (await world.client(who)).get(path)
            assert [each in answer.content.decode() for each in words] == [True] * len(words), path


async def test_users_of_a_withdrawn_share_cannot_judge_or_comment(world: World) -> None:
    made = await world.comment("watcher")
    await world.session.shares.all().adelete()
    for method in ("PATCH", "DELETE"):
        status, refused = await world.call("watcher", method, f"comments/{made['id']}/", {"text": "still here"})
        assert (status, refused["error"]["message"]) == (404, "There is no such comment.")


# Sent to everybody on the session, by the product as it is deployed


async def test_everybody_on_the_session_hears_of_it_and_no_model_does(
    product: Server, bo: Browser, model: ModelServer
) -> None:
    session_id = await bo.new_session()
    run_id = await ask(bo, session_id, QUICK)
    await ended(bo, run_id)
    async with Browser.logged_in(product.url, "cy") as cy:
        assert (await bo.call("POST", f"sessions/{session_id}/shares/", {"user": "cy"}))[0] == 201
        async with bo.socket(session_id) as own, cy.socket(session_id) as other:
            assert (await own.receive())["data"]["notes"] == {"version": 0, "counts": {}, "verdicts": {}, "mine": {}}
            await other.until_type("session")
            _, made = await cy.call("POST", f"sessions/{session_id}/comments/", {"seq": 4, "text": "Ocelots say so."})
            for socket in (own, other):
                comment = (await socket.until_type("comment"))["data"]
                assert comment == {**made, "count": 1, "version": 1}
            await cy.call("PUT", f"runs/{run_id}/verdict/", {"verdict": "bad", "reason": "No."})
            assert (await own.until_type("verdict"))["data"] == {
                "run_id": run_id,
                "user": "cy",
                "verdict": "bad",
                "reason": "No.",
                "good": 0,
                "bad": 1,
                "version": 2,
            }
            await cy.call("DELETE", f"comments/{made['id']}/")
            gone = (await own.until_type("comment"))["data"]
            assert (gone["id"], gone["text"], gone["deleted"], gone["count"]) == (made["id"], "", True, 0)
            await cy.call("POST", f"sessions/{session_id}/comments/", {"seq": 5, "text": "Ocelots again."})
            await own.until_type("comment")
        async with cy.socket(session_id) as back:
            assert (await back.receive())["data"]["notes"] == {
                "version": 4,
                "counts": {"5": 1},
                "verdicts": {run_id: {"good": 0, "bad": 1}},
                "mine": {run_id: "bad"},
            }
        before = len(model.requests)
        await ended(bo, await ask(bo, session_id, QUICK))
        assert len(model.requests) > before
        assert "celots" not in json.dumps([request.body for request in model.requests[before:]])


async def test_activity_is_passed_on_as_far_as_others_are_to_know(product: Server, bo: Browser) -> None:
    session_id = await bo.new_session()
    await ended(bo, await ask(bo, session_id, QUICK))
    async with Browser.logged_in(product.url, "cy") as cy, Browser.logged_in(product.url, "ada") as staff:
        assert (await bo.call("POST", f"sessions/{session_id}/shares/", {"user": "cy"}))[0] == 201
        async with bo.socket(session_id) as own, cy.socket(session_id) as other, staff.socket(session_id) as look:
            for socket in (own, other, look):
                await socket.until_type("session")
            # Nothing is sent of watchers and staff, nor a second time within one second.
            await other.send("activity", seq=3, typing=True)
            await look.send("activity", seq=3, typing=True)
            await own.send("activity", seq=2, typing=True)
            await own.send("activity", seq=3, typing=False)
            activity = await other.until_type("activity")
            assert activity["data"] == {"user": "bo", "seq": 2, "typing": True}
            await other.send("activity", seq=10**6)
            assert (await other.until_type("error"))["data"]["code"] == "bad_seq"
            await other.send("activity", seq=-1)
            assert (await other.until_type("error"))["data"]["code"] == "bad_frame"
            # With the setting switched on, their reading position is sent, and nothing else.
            async with cy.http.post(
                "/accounts/reading/", data={"on": "1", "csrfmiddlewaretoken": cy.cookie("csrftoken")}
            ) as answer:
                assert answer.status == 200
            async with cy.socket(session_id) as again:
                await again.until_type("session")
                await again.send("activity", seq=3, typing=True)
                frame = await own.until(lambda f: f["type"] == "activity" and f["data"]["user"] != "bo")
                assert frame["data"] == {"user": "cy", "seq": 3}
            assert [f["data"] for f in look.frames if f["type"] == "activity" and f["data"]["user"] == "ada"] == []
            assert not [f for f in own.frames if f["type"] == "activity" and f["data"].get("typing") is False]


async def test_a_token_that_reads_says_nothing(product: Server, bo: Browser) -> None:
    session_id = await bo.new_session()
    run_id = await ask(bo, session_id, QUICK)
    await ended(bo, run_id)
    _, made = await bo.call("POST", "tokens/", {"name": "reads", "scope": "read"})
    _, asks = await bo.call("POST", "tokens/", {"name": "asks", "scope": "ask"})
    for token, statuses in ((made, (200, 403, 403)), (asks, (200, 201, 200))):
        header = {"Authorization": f"Bearer {token['token']}"}
        assert (
            (await bo.call("GET", f"sessions/{session_id}/comments/", headers=header))[0],
            (await bo.call("POST", f"sessions/{session_id}/comments/", {"seq": 1, "text": "x"}, headers=header))[0],
            (await bo.call("PUT", f"runs/{run_id}/verdict/", {"verdict": "good"}, headers=header))[0],
        ) == statuses
