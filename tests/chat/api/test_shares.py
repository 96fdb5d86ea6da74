"""Sharing a session: who sees it, what they may do, and that both end at once."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from chat import protocol
from chat.access import Role, is_shared, role_in, shared_roles_of
from chat.accounts.models import User
from chat.models import Act, AuditEntry, Door, Session, Share
from chat.runs import sharing
from chat.runs.admission import Refused
from chat.store import waiting_calls
from tests.chat import making
from tests.chat.api.test_calls import QUICK, ask, ended
from tests.serving import Browser, Server


@pytest.fixture
async def cy(product: Server) -> AsyncIterator[Browser]:
    """Another user."""
    async with Browser.logged_in(product.url, "cy") as browser:
        yield browser


async def share(owner: Browser, session_id: str, **given: Any) -> dict[str, Any]:
    status, made = await owner.call("POST", f"sessions/{session_id}/shares/", given)
    assert status == 201, made
    return dict(made)


async def test_a_watcher_sees_and_a_driver_asks(bo: Browser, cy: Browser) -> None:
    session_id = await bo.new_session(title="ours")
    assert (await cy.call("GET", f"sessions/{session_id}/"))[0] == 404
    made = await share(bo, session_id, user="cy")
    assert (made["user"], made["role"], made["expires_at"], made["link"]) == ("cy", "watcher", None, False)
    assert "url" not in made
    assert (await cy.call("GET", f"sessions/{session_id}/"))[1]["title"] == "ours"
    status, refused = await cy.call("POST", f"sessions/{session_id}/messages/", {"message": "hello"})
    assert (status, refused["error"]["code"]) == (403, "not_allowed")
    status, listed = await cy.call("GET", "sessions/?shared=true")
    assert [(item["id"], item["owner"], item["role"]) for item in listed["items"]] == [(session_id, "bo", "watcher")]
    assert session_id not in [item["id"] for item in (await cy.call("GET", "sessions/"))[1]["items"]]
    status, changed = await bo.call("PATCH", f"shares/{made['id']}/", {"role": "driver"})
    assert (status, changed["role"]) == (200, "driver")
    status, accepted = await cy.call("POST", f"sessions/{session_id}/messages/", {"message": "hello"})
    assert status == 202
    assert (await ended(bo, accepted["run_id"]))["status"] == "completed"
    # Only the owner may rename or delete the session.
    assert (await cy.call("PATCH", f"sessions/{session_id}/", {"title": "mine"}))[0] == 403
    assert (await cy.call("DELETE", f"sessions/{session_id}/"))[0] == 403
    assert (await cy.call("GET", f"sessions/{session_id}/shares/"))[0] == 403


async def test_open_sockets_hear_of_another_role_and_of_none_at_once(bo: Browser, cy: Browser) -> None:
    session_id = await bo.new_session()
    made = await share(bo, session_id, user="cy")
    async with cy.socket(session_id) as socket, bo.socket(session_id) as own:
        assert (await socket.receive())["data"]["role"] == "watcher"
        await own.until(lambda frame: frame["type"] == "presence" and len(frame["data"]) == 2)
        await bo.call("PATCH", f"shares/{made['id']}/", {"role": "driver"})
        again = await socket.until_type("session")
        assert again["data"]["role"] == "driver"
        assert "reset" not in again["data"]
        people = await own.until(
            lambda frame: (
                frame["type"] == "presence" and {each["role"] for each in frame["data"]} == {"owner", "driver"}
            )
        )
        assert {each["user"] for each in people["data"]} == {"bo", "cy"}
        await socket.send("chat", message="hello")
        assert (await socket.until_type("accepted"))["data"]["queued"] == 0
        assert await bo.call("DELETE", f"shares/{made['id']}/") == (204, None)
        assert await socket.closed() == protocol.Close.WITHDRAWN
    async with cy.socket(session_id) as closed:
        assert await closed.closed() == protocol.Close.NO_SUCH_SESSION


async def test_a_share_that_expires_closes_what_is_open(bo: Browser, cy: Browser) -> None:
    session_id = await bo.new_session()
    await share(bo, session_id, user="cy", expires_at=time.time() + 1.5)
    async with cy.socket(session_id) as socket:
        assert (await socket.receive())["data"]["role"] == "watcher"
        assert await socket.closed() == protocol.Close.WITHDRAWN
    _, listed = await cy.call("GET", "sessions/?shared=true")
    assert session_id not in [item["id"] for item in listed["items"]]
    assert (await bo.call("GET", f"sessions/{session_id}/shares/"))[1] == {"items": []}


async def test_a_link_makes_watchers_until_it_is_withdrawn(bo: Browser, cy: Browser) -> None:
    session_id = await bo.new_session(title="by a link")
    made = await share(bo, session_id, link=True)
    assert made["link"]
    path = made["url"].removeprefix(str(bo.url))
    assert path.startswith("/s/")
    _, listed = await bo.call("GET", f"sessions/{session_id}/shares/")
    assert "url" not in listed["items"][0], "shown once"
    async with cy.http.get(path) as page:
        assert page.status == 200
        assert "by a link" in await page.text()
        assert page.headers["Referrer-Policy"] == "same-origin"
    assert (await cy.call("GET", f"sessions/{session_id}/"))[0] == 404, "looking at it is not joining"
    form = {"csrfmiddlewaretoken": cy.cookie("csrftoken")}
    headers = {"Referer": f"{cy.url}{path}"}
    async with cy.http.post(path, data=form, headers=headers, allow_redirects=False) as joined:
        assert (joined.status, joined.headers["Location"]) == (302, f"/sessions/{session_id}/")
    assert (await cy.call("GET", f"sessions/{session_id}/"))[0] == 200
    await bo.call("DELETE", f"shares/{made['id']}/")
    assert (await cy.call("GET", f"sessions/{session_id}/"))[0] == 404
    for gone in (path, "/s/unknown/", f"/s/{'x' * 500}/"):
        async with cy.http.get(gone) as page:
            assert page.status == 404
    nobody = Browser(bo.url)
    for asked, led in ((path, path), (f"{path}?a=1&next=/x/", f"{path}%3Fa%3D1%26next%3D/x/")):
        async with nobody.http.get(asked, allow_redirects=False) as page:
            assert page.headers["Location"] == f"/accounts/login/?next={led}"
    await nobody.http.close()


#: Refused bodies, with code and status.
BAD: dict[str, tuple[Any, int, str]] = {
    "nobody": ({}, 400, "bad_frame"),
    "two at once": ({"user": "cy", "link": True}, 400, "bad_frame"),
    "an unknown name": ({"user": "nobody-of-that-name"}, 400, "not_found"),
    "no name": ({"user": ""}, 400, "bad_frame"),
    "another's group": ({"group": "others"}, 400, "not_found"),
    "oneself": ({"user": "bo"}, 400, "bad_frame"),
    "a link that drives": ({"link": True, "role": "driver"}, 400, "bad_frame"),
    "no such role": ({"user": "cy", "role": "owner"}, 400, "bad_frame"),
    "staff as a role": ({"user": "cy", "role": "staff"}, 400, "bad_frame"),
    "expired already": ({"user": "cy", "expires_at": 1}, 400, "bad_frame"),
    "a moment that is none": ({"user": "cy", "expires_at": 1e300}, 400, "bad_frame"),
    "a moment without a zone": ({"user": "cy", "expires_at": "2199-01-01T00:00"}, 400, "bad_frame"),
    "a moment after the last": ({"user": "cy", "expires_at": "9999-12-31T23:59:59-10:00"}, 400, "bad_frame"),
    "a moment in words": ({"user": "cy", "expires_at": "tomorrow"}, 400, "bad_frame"),
    "a name of another kind": ({"user": ["cy"]}, 400, "bad_frame"),
    "a long name": ({"user": "x" * 151}, 400, "bad_frame"),
    "a list": ([], 400, "bad_frame"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_wish_that_cannot_be(bo: Browser, name: str) -> None:
    body, expected, code = BAD[name]
    session_id = await bo.new_session()
    status, refused = await bo.call("POST", f"sessions/{session_id}/shares/", body)
    assert (status, refused["error"]["code"]) == (expected, code)
    assert (await bo.call("GET", f"sessions/{session_id}/shares/"))[1] == {"items": []}


async def test_the_same_person_twice_is_a_conflict(bo: Browser) -> None:
    session_id = await bo.new_session()
    await share(bo, session_id, user="cy")
    status, refused = await bo.call("POST", f"sessions/{session_id}/shares/", {"user": "cy", "role": "driver"})
    assert (status, refused["error"]["code"]) == (409, "conflict")


@pytest.mark.django_db
def test_names_that_there_are_none_of_are_limited() -> None:
    owner = making.user()
    session = making.session(owner)
    for number in range(sharing.MOST_UNKNOWN):
        with pytest.raises(sharing.UnknownName):
            sharing.make_share(owner, session.pk, sharing.ShareTarget(user=f"no{number}"), Role.WATCHER, None, Door.API)
    with pytest.raises(Refused) as refused:
        sharing.make_share(owner, session.pk, sharing.ShareTarget(user="no"), Role.WATCHER, None, Door.API)
    assert refused.value.code == "rate_limited"
    bo = making.user("bo")
    made, _ = sharing.make_share(owner, session.pk, sharing.ShareTarget(user="bo"), Role.WATCHER, None, Door.API)
    assert made.user == bo


#: How a session is shared: with a user, a group, by link, and which shares have expired; and the resulting role.
WAYS: dict[str, tuple[list[tuple[str, Role, bool]], Role | None]] = {
    "not at all": ([], None),
    "as a watcher": ([("user", Role.WATCHER, True)], Role.WATCHER),
    "as a driver": ([("user", Role.DRIVER, True)], Role.DRIVER),
    "expired": ([("user", Role.DRIVER, False)], None),
    "by a group": ([("group", Role.DRIVER, True)], Role.DRIVER),
    "by a link": ([("link", Role.WATCHER, True)], Role.WATCHER),
    "by a link that has expired": ([("link", Role.WATCHER, False)], None),
    "the highest counts": ([("user", Role.WATCHER, True), ("group", Role.DRIVER, True)], Role.DRIVER),
    "the highest that holds": ([("user", Role.WATCHER, True), ("group", Role.DRIVER, False)], Role.WATCHER),
    "whichever is first": ([("group", Role.DRIVER, True), ("link", Role.WATCHER, True)], Role.DRIVER),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", WAYS)
def test_the_role_that_results_from_shares(name: str) -> None:
    ways, expected = WAYS[name]
    owner, other = making.user(), making.user("bo")
    session = making.session(owner)
    group = Group.objects.create(name="team")
    for member in (owner, other):
        member.groups.add(group)
    for kind, role, holds in ways:
        given = {
            "user": sharing.ShareTarget(user="bo"),
            "group": sharing.ShareTarget(group="team"),
            "link": sharing.ShareTarget(link=True),
        }
        made, secret = sharing.make_share(owner, session.pk, given[kind], role, None, Door.API)
        if secret:
            assert sharing.join_session(other, secret, Door.PAGE) == session.pk
        if not holds:
            Share.objects.filter(pk=made.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert role_in(other, session) is expected
    # The same, in one query for many sessions.
    assert shared_roles_of({(session.pk, other.pk)}).get((session.pk, other.pk)) is expected
    assert role_in(owner, session) is Role.OWNER
    assert role_in(making.user("cy"), session) is None
    assert is_shared(session.pk) == any(holds for *_, holds in ways)
    # Who is notified of calls that wait, and may decide them.
    assert set(waiting_calls.deciders(session.pk)) == {owner.pk, *([other.pk] if expected is Role.DRIVER else [])}


@pytest.mark.django_db
def test_acts_are_in_the_audit_by_identifiers_alone() -> None:
    owner, other = making.user(), making.user("bo")
    session = making.session(owner, title="a secret title")
    made, _ = sharing.make_share(owner, session.pk, sharing.ShareTarget(user="bo"), Role.WATCHER, None, Door.API)
    sharing.change_share(owner, made.pk, {"role": "driver"}, Door.API)
    sharing.withdraw_share(owner, made.pk, Door.PAGE)
    link, secret = sharing.make_share(owner, session.pk, sharing.ShareTarget(link=True), Role.WATCHER, None, Door.API)
    sharing.join_session(other, secret, Door.PAGE)
    entries = AuditEntry.objects.filter(session_id=session.pk).order_by("id")
    assert [(entry.action, entry.actor_id, entry.subject_id) for entry in entries] == [
        (Act.SHARE, owner.pk, other.pk),
        (Act.SHARE, owner.pk, other.pk),
        (Act.UNSHARE, owner.pk, other.pk),
        (Act.SHARE, owner.pk, owner.pk),
        (Act.JOIN, other.pk, owner.pk),
    ]
    text = " ".join(f"{entry.about} {entry.details}" for entry in entries)
    assert "secret" not in text
    assert secret not in text
    assert str(link.pk) in text


@pytest.mark.django_db
def test_a_link_is_stored_hashed_and_leads_its_owner_nowhere_new() -> None:
    owner = making.user()
    session = making.session(owner)
    share_made, secret = sharing.make_share(
        owner, session.pk, sharing.ShareTarget(link=True), Role.WATCHER, None, Door.API
    )
    assert secret not in str(Share.objects.filter(pk=share_made.pk).values().get())
    assert sharing.join_session(owner, secret, Door.PAGE) == session.pk
    assert not share_made.joins.exists()
    Session.objects.filter(pk=session.pk).update(deleted_at=datetime.now(UTC))
    assert sharing.find_link(secret) is None


async def test_earlier_conversations_are_not_searched_where_others_see_it(bo: Browser) -> None:
    asked = 'Look back [call=search_history:{"query": "anything"}]'
    session_id = await bo.new_session()
    made = await share(bo, session_id, user="cy")
    for others_see in (True, False):
        run_id = await ask(bo, session_id, asked)
        await ended(bo, run_id)
        _, answer = await bo.call("GET", f"sessions/{session_id}/events/")
        (result,) = [
            event["data"]
            for event in answer["events"]
            if event["run_id"] == run_id and event["data"].get("type") == "tool_result"
        ]
        assert (result["ok"], "Others can see this session" in result["content"]) == (not others_see, others_see)
        if others_see:
            await bo.call("DELETE", f"shares/{made['id']}/")


@pytest.mark.django_db
def test_nothing_is_shared_with_a_deactivated_or_deleted_user() -> None:
    owner, gone = making.user(), making.user("gone")
    session = making.session(owner)
    User.objects.filter(pk=gone.pk).update(is_active=False)
    with pytest.raises(sharing.UnknownName):
        sharing.make_share(owner, session.pk, sharing.ShareTarget(user="gone"), Role.WATCHER, None, Door.API)


async def test_open_sockets_hear_of_another_owner(bo: Browser, cy: Browser) -> None:
    session_id = await bo.new_session(title="to hand over")
    await share(bo, session_id, user="cy")
    status, offer = await bo.call("POST", f"sessions/{session_id}/owner/", {"user": "cy"})
    assert (status, offer["user"], offer["title"]) == (201, "cy", "to hand over")
    assert (await cy.call("GET", "offers/"))[1]["items"] == [offer]
    async with cy.socket(session_id) as theirs, bo.socket(session_id) as own:
        assert (await theirs.receive())["data"]["role"] == "watcher"
        assert (await own.receive())["data"]["role"] == "owner"
        status, accepted = await cy.call("POST", f"sessions/{session_id}/owner/accept/")
        assert (status, accepted["id"]) == (200, session_id)
        assert (await theirs.until_type("session"))["data"]["role"] == "owner"
        assert (await own.until_type("session"))["data"]["role"] == "driver"
        await own.send("chat", message="hello")
        assert (await own.until_type("accepted"))["data"]["queued"] == 0
    assert (await bo.call("PATCH", f"sessions/{session_id}/", {"title": "mine"}))[0] == 403
    assert await bo.call("POST", f"sessions/{session_id}/leave/") == (204, None)
    assert (await bo.call("GET", f"sessions/{session_id}/"))[0] == 404


async def test_a_copy_is_ones_own_and_a_branch_goes_on_otherwise(bo: Browser, cy: Browser) -> None:
    session_id = await bo.new_session(title="tea")
    first = await ended(bo, await ask(bo, session_id))
    await share(bo, session_id, user="cy")
    _, log = await bo.call("GET", f"sessions/{session_id}/events/")
    headers = {"Idempotency-Key": "once"}
    status, copy = await cy.call("POST", f"sessions/{session_id}/copy/", headers=headers)
    assert (status, copy["title"], copy["last_seq"]) == (201, "tea", log["last_seq"])
    assert (await cy.call("POST", f"sessions/{session_id}/copy/", headers=headers))[1]["id"] == copy["id"]
    branch = {"of": session_id, "after_seq": log["last_seq"], "number": 2, "count": 2}
    assert branch.items() <= copy["branch"].items()
    _, own = await cy.call("GET", f"sessions/{copy['id']}/events/")
    assert [event["copied_from"] for event in own["events"]] == [event["id"] for event in log["events"]]
    async with cy.socket(copy["id"]) as socket:
        assert (await socket.receive())["data"]["branch"] == copy["branch"]
    # Continued from before the first message, with another agent.
    given = {"after_seq": 0, "message": QUICK, "agent_name": "writer"}
    status, made = await bo.call("POST", f"sessions/{session_id}/branch/", given)
    assert (status, made["agent_name"], made["branch"]["after_seq"]) == (201, "writer", 0)
    assert (await ended(bo, made["run_id"]))["status"] == first["status"]
    listed = {
        item["id"]: item["branch"] for item in (await bo.call("GET", "sessions/"))[1]["items"] if "branch" in item
    }
    assert listed[session_id]["count"] == 2, "of what cy has copied bo learns nothing"
    assert set(listed) >= {session_id, made["id"]}
    for odd in ({"after_seq": 2}, {"after_seq": -1}, {"after_seq": "1"}, {}, {"after_seq": 0, "message": " "}):
        status, refused = await bo.call("POST", f"sessions/{session_id}/branch/", odd)
        assert status == 400, refused


#: Invalid branches, with code and status; and invalid steering messages.
ODD_BRANCHES: dict[str, tuple[Any, int, str]] = {
    "from nowhere": ({}, 400, "bad_frame"),
    "from a text": ({"after_seq": "1"}, 400, "bad_frame"),
    "from a fraction": ({"after_seq": 1.5}, 400, "bad_frame"),
    "from yes": ({"after_seq": True}, 400, "bad_frame"),
    "from null": ({"after_seq": None}, 400, "bad_frame"),
    "from before all": ({"after_seq": -1}, 400, "bad_frame"),
    "from more than a number": ({"after_seq": 2**63}, 400, "bad_frame"),
    "from the middle of a run": ({"after_seq": 2}, 400, "bad_seq"),
    "from behind the log": ({"after_seq": 10**12}, 400, "bad_seq"),
    "without words": ({"after_seq": 0, "message": " "}, 400, "empty_message"),
    "with words that are none": ({"after_seq": 0, "message": "a\x00"}, 400, "bad_text"),
    "with a list of words": ({"after_seq": 0, "message": ["a"]}, 400, "bad_frame"),
    "with too many words": ({"after_seq": 0, "message": "x" * 40_000}, 413, "too_large"),
    "of an agent that is none": ({"after_seq": 0, "agent_name": "nobody"}, 400, "unknown_agent"),
    "a list": ([], 400, "bad_frame"),
}
ODD_WORDS: dict[str, tuple[Any, int, str]] = {
    "nothing": ({}, 400, "bad_frame"),
    "no words": ({"message": " \n"}, 400, "empty_message"),
    "words that are none": ({"message": "a\x00"}, 400, "bad_text"),
    "a list of words": ({"message": ["a"]}, 400, "bad_frame"),
    "too many": ({"message": "x" * 40_000}, 413, "too_large"),
    "perhaps at once": ({"message": "a", "interrupt": "perhaps"}, 400, "bad_frame"),
    "under no name": ({"message": "a", "client_message_id": ""}, 400, "bad_frame"),
    "under a long name": ({"message": "a", "client_message_id": "x" * 65}, 400, "bad_frame"),
    "a list": ([], 400, "bad_frame"),
}


@pytest.mark.parametrize("odd", ODD_BRANCHES)
async def test_an_invalid_branch_makes_no_session(bo: Browser, branched: str, odd: str) -> None:
    body, status, code = ODD_BRANCHES[odd]
    before = len((await bo.call("GET", "sessions/"))[1]["items"])
    answered, refused = await bo.call("POST", f"sessions/{branched}/branch/", body)
    assert (answered, refused["error"]["code"]) == (status, code)
    assert len((await bo.call("GET", "sessions/"))[1]["items"]) == before


@pytest.mark.parametrize("odd", ODD_WORDS)
async def test_an_invalid_steering_message_starts_nothing(bo: Browser, branched: str, odd: str) -> None:
    body, status, code = ODD_WORDS[odd]
    answered, refused = await bo.call("POST", f"sessions/{branched}/steer/", body)
    assert (answered, refused["error"]["code"]) == (status, code)
    _, answer = await bo.call("GET", f"sessions/{branched}/events/?limit=1")
    assert (answer["run"], answer["queue"], answer["steering"]) == (None, [], [])


@pytest.fixture(scope="module")
def odd_session() -> dict[str, str]:
    """The session of all tests here that change nothing in it."""
    return {}


@pytest.fixture
async def branched(bo: Browser, odd_session: dict[str, str]) -> str:
    """A session with one run that has ended."""
    if not odd_session:
        session_id = await bo.new_session(title="odd")
        await ended(bo, await ask(bo, session_id))
        odd_session["id"] = session_id
    return odd_session["id"]
