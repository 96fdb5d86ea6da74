"""Lists of sessions, the user's own and shared ones, with the filters of pages and API."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from agents.text import clean_text
from chat.access import shared_roles, shares_with
from chat.accounts.models import User
from chat.models import UNFINISHED, RunStatus, Session, Share
from chat.runtime.prepared import PreparedQuery
from chat.store import search, waiting_calls


def past_sessions(
    user: User, *, text: str = "", status: str = "", agent: str = "", archived: bool = False
) -> QuerySet[Session]:
    """The user's own sessions, latest activity first, filtered."""
    sessions = Session.objects.filter(owner=user, archived=archived, for_set=None)
    return _filtered(sessions, user, text, status, agent)


def one_of_each_family(sessions: QuerySet[Session]) -> QuerySet[Session]:
    """One session of each family, the one with the latest activity, of a user's own sessions."""
    newer = Session.objects.filter(
        owner=OuterRef("owner"),
        archived=OuterRef("archived"),
        family=OuterRef("family"),
        active_at__gt=OuterRef("active_at"),
    )
    return sessions.filter(Q(family=None) | ~Exists(newer))


def shared_sessions(user: User, *, text: str = "", status: str = "", agent: str = "") -> QuerySet[Session]:
    """The sessions that others share with the user, filtered like `past_sessions`. Only their titles are searched."""
    shared = Share.objects.filter(shares_with(user.pk)).values("session_id")
    sessions = Session.objects.filter(pk__in=shared).exclude(owner=user)
    for word in clean_text(text).split():
        sessions = sessions.filter(title__icontains=word)
    return _filtered(sessions, user, "", status, agent)


class Sharing(TypedDict):
    """Whose session it is, and what the user may do there."""

    owner: str
    role: str


def sharing_of(user: User, session_ids: Sequence[UUID]) -> dict[UUID, Sharing]:
    """``owner`` and the user's ``role`` for sessions that others share with the user."""
    roles = shared_roles(user.pk, session_ids)
    owners = Session.objects.filter(pk__in=session_ids).values_list("pk", "owner__username")
    return {pk: {"owner": owner, "role": str(roles[pk])} for pk, owner in owners if pk in roles}


def _filtered(sessions: QuerySet[Session], user: User, text: str, status: str, agent: str) -> QuerySet[Session]:
    if status:
        sessions = sessions.filter(status__in=UNFINISHED if status == "running" else [status])
    if agent:
        sessions = sessions.filter(agent_name=agent)
    if text.strip():
        sessions = search.Search(user, text).sessions(sessions)
    return sessions.order_by("-active_at", "-id")


class ListedSession(NamedTuple):
    """The columns of a session that a list shows."""

    pk: UUID
    title: str
    agent_name: str
    status: str
    archived: bool
    active_at: datetime
    last_seq: int
    imported_at: datetime | None
    #: What a waiting run waits for, as `waiting_calls.kinds_open` returns it.
    waits_for: str = ""


def listed_sessions(user: User, most: int) -> list[ListedSession]:
    """The user's own sessions with the latest activity, without archived ones."""
    found = _listed(most).rows(user.pk)
    kinds = waiting_calls.kinds_open([each.pk for each in found if each.status == RunStatus.WAITING])
    return [each._replace(waits_for=kinds[each.pk]) if each.pk in kinds else each for each in found]


@cache
def _listed(most: int) -> PreparedQuery[ListedSession]:
    def query(user_id: int) -> QuerySet[Session, Any]:
        return one_of_each_family(past_sessions(User(pk=user_id))).values_list(*ListedSession._fields[:-1])[:most]

    return PreparedQuery(query, int, make=ListedSession)
