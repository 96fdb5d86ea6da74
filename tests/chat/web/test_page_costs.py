"""The number of queries of a page does not grow with what surrounds a conversation."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from chat.access import Role
from chat.catalog import agents
from chat.models import Comment, Session, Share, SteeringWord, Verdict
from chat.store import branches
from tests.chat import making
from tests.chat.exports import stock

pytestmark = pytest.mark.django_db


def branch(source: Session, after: int, parted_from: Session | None = None) -> Session:
    """A branch of another session, without the copied part."""
    if source.family is None:
        source.family = uuid4()
        source.save()
    origin = parted_from or source
    fields: dict[str, Any] = {"family": source.family, "copied_from": origin.pk, "parted_from": origin.pk}
    return making.session(source.owner, parted_after=after, title="Tea", **fields)


def beside_each_other(source: Session, count: int) -> None:
    """Branches that all begin at the same place."""
    for _ in range(count):
        branch(source, 4)


def at_many_places(source: Session, count: int) -> None:
    """Each begins after another event."""
    for number in range(count):
        branch(source, number + 1)


def from_each_other(source: Session, count: int) -> None:
    """Each is a branch of the one before."""
    last = source
    for _ in range(count):
        last = branch(source, source.last_seq, last)


def commented(source: Session, count: int) -> None:
    ada = source.owner
    for number in range(count):
        Comment.objects.create(session=source, seq=1 + number % 3, user=ada, text="Hm.", version=number + 1)
    Session.objects.filter(pk=source.pk).update(notes_version=count)


def judged(source: Session, count: int) -> None:
    run = source.runs.get(number=1, parent=None)
    for number in range(count):
        Verdict.objects.create(session=source, run=run, user=making.user(uuid4().hex), word="good", version=number + 1)
    Session.objects.filter(pk=source.pk).update(notes_version=count)


def shared(source: Session, count: int) -> None:
    for _ in range(count):
        Share.objects.create(session=source, user=making.user(uuid4().hex), role=Role.WATCHER)


def queued(source: Session, count: int) -> None:
    """Queued messages that were sent to a run which has ended."""
    run = source.runs.get(number=1, parent=None)
    for _ in range(count):
        own_id = uuid4().hex
        making.run(source, client_message_id=own_id, owned_by="")
        fields: dict[str, Any] = {"client_message_id": own_id, "message": "?", "interrupt": False, "state": "queued"}
        SteeringWord.objects.create(session=source, run=run, user=source.owner, **fields)


GROWING: dict[str, Callable[[Session, int], None]] = {
    made.__name__: made
    for made in (beside_each_other, at_many_places, from_each_other, commented, judged, shared, queued)
}
PAGES = {"the conversation": "/sessions/{0}/", "the list": "/sessions/", "its shares": "/sessions/{0}/share/"}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("what", GROWING)
def test_a_page_asks_as_much_however_much_there_is(client: Client, what: str, page: str) -> None:
    source = stock.fill(making.user("ada"))
    client.force_login(source.owner)
    asked = []
    for more in (3, 30):
        GROWING[what](source, more)
        path = PAGES[page].format(source.pk)
        assert client.get(path).status_code == 200
        agents.forget()  # as if the second for which they are cached were over
        with CaptureQueriesContext(connection) as statements:
            client.get(path)
        asked.append(len(statements))
    assert asked[0] == asked[1], "what is asked grows with what there is"


def test_places_of_a_large_family_are_found_in_one_look() -> None:
    """A thousand branches that begin at as many places: each is shown, and read once."""
    source = stock.fill(making.user("ada"))
    family = uuid4()
    Session.objects.filter(pk=source.pk).update(family=family)
    made = Session.objects.bulk_create(
        Session(
            owner=source.owner,
            agent_name="researcher",
            family=family,
            copied_from=source.pk,
            parted_from=source.pk,
            parted_after=number,
        )
        for number in range(1, 900)
    )
    source.refresh_from_db()
    with CaptureQueriesContext(connection) as statements:
        places = branches.places_in(source.owner, source)
        families = branches.branches_of(source.owner, [session.pk for session in made])
    assert len(statements) <= 4
    assert [(place.after_seq, place.number, len(place.members)) for place in places] == [
        (number, 1, 2) for number in range(1, 900)
    ]
    assert {(data["number"], data["count"]) for data in families.values()} == {(2, 2)}
