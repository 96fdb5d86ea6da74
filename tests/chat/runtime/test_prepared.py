"""Queries that are compiled once find what Django's own find, whatever values they are executed with."""

from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from chat.accounts.models import User
from chat.models import Session
from chat.runtime.prepared import PreparedQuery
from tests.chat import making

pytestmark = pytest.mark.django_db


def owned(user_id: int) -> QuerySet[Session, Any]:
    return Session.objects.filter(owner=user_id).order_by("title").values_list("pk", "title", "active_at", "family")


def test_each_value_gets_what_django_would_have_found_for_it() -> None:
    people = [making.user(name) for name in ("ada", "bo", "cy")]
    for number, person in enumerate(people):
        for _ in range(number):
            making.session(person, title=f"of {person.username}")
    query = PreparedQuery(owned, int, make=lambda *row: row)
    for person in (*people, *reversed(people)):
        with CaptureQueriesContext(connection) as asked:
            found = query.rows(person.pk)
        assert found == list(owned(person.pk))
        assert len(asked) == 1
    assert query.rows(10**6) == []


def test_values_keep_their_places_and_may_be_the_same() -> None:
    ada = making.user("ada")
    mine = making.session(ada)

    def query(session_id: Any, owner_id: int, other_id: int) -> QuerySet[Session, Any]:
        return Session.objects.filter(pk=session_id).filter(owner=owner_id).exclude(owner=other_id).values_list("title")

    prepared = PreparedQuery(query, type(mine.pk), int, int, make=str)
    assert prepared.rows(mine.pk, ada.pk, ada.pk + 1) == [mine.title]
    assert prepared.rows(mine.pk, ada.pk, ada.pk) == []
    assert prepared.rows(mine.pk, ada.pk + 1, ada.pk) == []


def test_a_value_that_it_does_not_ask_for_is_an_error() -> None:
    with pytest.raises(ValueError, match="value number 1"):
        PreparedQuery(lambda _: User.objects.values_list("pk"), int, make=int).rows(1)
