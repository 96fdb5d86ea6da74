"""What clients that keep the conversation themselves send along with a message, and the digests by which their sessions are recognised."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from agents.history import ChatMessage
from chat.models import IS_ROOT, Origin, Run, RunStatus, SentAlong
from chat.runtime.db_values import uuid_param
from chat.runtime.prepared import PreparedQuery


def next_digest(
    before: str,
    role: str,
    text: str,
    pictures: Sequence[str] = (),
    calls: Sequence[Mapping[str, Any]] = (),
    call_id: str = "",
) -> str:
    """The digest of a conversation with one more message; ``before`` is the digest without it, empty if there is none.

    ``pictures`` are digests of pictures.
    """
    # Stripped: clients strip texts when they show them, and send them back like that.
    parts = [before, role, text.strip(), list(pictures), list(calls), call_id]
    return sha256(orjson.dumps(parts)).hexdigest()


class Place(NamedTuple):
    """A run to continue from."""

    session_id: UUID
    run: Run
    answered: str
    is_latest: bool


def _is_followed() -> Exists:
    later = Run.objects.filter(IS_ROOT, session=OuterRef("session"), number__gt=OuterRef("number"))
    # A run that was removed from the queue before it began has changed nothing.
    return Exists(later.exclude(status=RunStatus.CANCELLED, started_at=None))


def _holding(owner_id: int, agent_name: str, answered: str) -> QuerySet[Run, Any]:
    rows = Run.objects.filter(
        ~_is_followed(),
        session__owner=owner_id,
        session__deleted_at=None,
        sent_along__owner=owner_id,
        sent_along__agent_name=agent_name,
        sent_along__answered=answered,
    )
    return rows.order_by("-created_at").values_list("session_id")[:1]


def _latest_of(session_id: UUID) -> QuerySet[Run, Any]:
    runs = Run.objects.filter(IS_ROOT, session=session_id).order_by("-number")
    return runs.values_list("origin", "sent_along__answered")[:1]


_conversations = PreparedQuery(_holding, int, str, str, make=lambda session_id: session_id)
_latest = PreparedQuery(_latest_of, UUID, make=lambda origin, answered: answered if origin == Origin.OPENAI else None)


def find_conversation(owner_id: int, agent_name: str, answered: str) -> UUID | None:
    """The newest of an account's sessions with this agent whose conversation has the digest ``answered``."""
    found = _conversations.rows(owner_id, agent_name, answered)
    return found[0] if found else None


def find_run(owner_id: int, run_id: UUID) -> Place | None:
    """A run to continue from, if it is in one of the user's own sessions."""
    run = Run.objects.filter(IS_ROOT, pk=run_id, session__owner=owner_id, session__deleted_at=None).first()
    if run is None:
        return None
    along = of_run(run)
    is_latest = not Run.objects.filter(_is_followed(), pk=run.pk).exists()
    return Place(run.session_id, run, "" if along is None else along.answered, is_latest)


def latest_in(session_id: UUID) -> str | None:
    """The digest by which a session is recognised after its latest run, empty if it has none; None before its first run."""
    found = _latest.rows(session_id)
    return (found[0] or "") if found else None


_ADD = """INSERT INTO chat_sentalong (run_id, owner_id, agent_name, instructions, messages, asked, answered, request_digest)
    VALUES (%s, %s, %s, %s, %s, %s, '', '')"""


def add(along: SentAlong, run: Run) -> None:
    """Store what was sent along with a run; the caller is about to add the run itself."""
    along.run = run
    own = [along.agent_name, along.instructions, along.messages, along.asked]
    with connection.cursor() as cursor:
        cursor.execute(_ADD, [uuid_param(run.pk), along.owner_id, *own])


def copy_for(run_ids: Mapping[UUID, UUID], owner_id: int) -> list[str]:
    """Store for copies of runs what was sent along with the originals. No conversation is recognised by it. Returns their messages."""
    copies = [
        SentAlong(
            run_id=run_ids[along.run_id],
            owner_id=owner_id,
            agent_name=along.agent_name,
            instructions=along.instructions,
            messages=along.messages,
        )
        for along in SentAlong.objects.filter(run__in=list(run_ids))
    ]
    SentAlong.objects.bulk_create(copies)
    return [along.messages for along in copies if along.messages]


def record_answer(run_id: UUID, answer: str, asked: str | None = None) -> None:
    """Store the digest with a run's answer as its client received it; ``asked`` is the row's digest, if the caller knows it."""
    if asked is None:
        asked = SentAlong.objects.filter(run=run_id).values_list("asked", flat=True).first()
    if asked:
        SentAlong.objects.filter(run=run_id).update(answered=next_digest(asked, "assistant", answer))


def of_run(run: Run) -> SentAlong | None:
    """What was sent along with a run, read once; None for most runs."""
    if run.origin != Origin.OPENAI:
        return None
    try:
        return run.sent_along
    except SentAlong.DoesNotExist:
        return None


def messages_of(run: Run) -> list[ChatMessage]:
    """The messages that were sent along with a run, as a model gets them."""
    along = of_run(run)
    return orjson.loads(along.messages) if along is not None and along.messages else []


def instructions_of(run: Run) -> str:
    """The instructions that were added to the agent's for a run, or for one that it continues."""
    begun: Run | None = run
    while begun is not None and begun.continues_id is not None:
        begun = Run.objects.filter(pk=begun.continues_id).only("continues", "origin").first()
    along = None if begun is None else of_run(begun)
    return along.instructions if along is not None else ""
