"""Steering words for running runs, from when they are sent until a model call reads them. The only writer of their table.

The caller of a function that changes something must have locked the session's row: so each word is read, withdrawn or queued exactly once.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models.functions import Length

from chat.accounts.models import User
from chat.models import Run, SteeringWord, WordState
from chat.protocol.frame_data import PendingWord, QueuedRun
from chat.runtime.db_values import uuid_param

#: Raw SQL, with literal values so that its partial index is used.
_OF_SESSION = """SELECT word.client_message_id, person.username, word.message FROM chat_steeringword word
    JOIN {users} person ON person.id = word.user_id WHERE word.session_id = %s AND word.state = 'pending' ORDER BY word.id"""
#: Whether a session has any, as a condition on its row named ``session``.
HAS_PENDING_SQL = (
    "EXISTS (SELECT 1 FROM chat_steeringword word WHERE word.session_id = session.id AND word.state = 'pending')"
)


class Known(NamedTuple):
    """A steering word that was sent before with this identifier."""

    run_id: UUID
    message: str
    interrupt: bool


def add(run: Run, user_id: int, client_message_id: str, message: str, *, interrupt: bool) -> int:
    """Store a word for a run. Returns its number, which is above those of all earlier words in the session."""
    word = SteeringWord.objects.create(
        session_id=run.session_id,
        run=run,
        user_id=user_id,
        client_message_id=client_message_id,
        message=message,
        interrupt=interrupt,
    )
    return int(word.pk)


def find(session_id: UUID, user_id: int, client_message_id: str) -> Known | None:
    """The word that this user has sent with this identifier, whether it was read or not."""
    found = SteeringWord.objects.filter(session=session_id, user=user_id, client_message_id=client_message_id)
    row = found.values_list("run_id", "message", "interrupt").first()
    return None if row is None else Known(*row)


def lengths_pending(run_id: UUID) -> list[int]:
    """The lengths, in characters, of the words that a run's next model call will read."""
    waiting = SteeringWord.objects.filter(run=run_id, state=WordState.PENDING)
    return list(waiting.values_list(Length("message"), flat=True))


def newest_for(run_id: UUID) -> int:
    """The number of the newest word that a run has not read; 0 if there is none."""
    waiting = SteeringWord.objects.filter(run=run_id, state=WordState.PENDING)
    return waiting.order_by("-pk").values_list("pk", flat=True).first() or 0


def pending_in(session_id: UUID) -> list[PendingWord]:
    """The words that a session's running root has not read, as frames have them."""
    users = User._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(_OF_SESSION.format(users=users), [uuid_param(session_id)])
        return [
            {"client_message_id": own_id, "user": username, "message": message}
            for own_id, username, message in cursor.fetchall()
        ]


def queued_among(session_id: UUID, queue: Sequence[QueuedRun]) -> list[str]:
    """The ids of those messages in a session's queue that were words for a run which ended without reading them."""
    if not queue:
        return []
    own_ids = [message["client_message_id"] for message in queue]
    late = SteeringWord.objects.filter(session=session_id, client_message_id__in=own_ids, state=WordState.QUEUED)
    return list(late.order_by("pk").values_list("client_message_id", flat=True))


def take_back(session_id: UUID, user_id: int, client_message_id: str) -> SteeringWord | None:
    """Withdraw an unread word, preferably the user's own; None if there is no such word."""
    waiting = SteeringWord.objects.filter(
        session=session_id, client_message_id=client_message_id, state=WordState.PENDING
    )
    words = sorted(waiting, key=lambda word: (word.user_id != user_id, word.pk))
    if not words:
        return None
    SteeringWord.objects.filter(pk=words[0].pk).update(state=WordState.TAKEN_BACK)
    return words[0]


def take_back_all(session_id: UUID) -> bool:
    """Withdraw all unread words. Returns whether there were any."""
    waiting = SteeringWord.objects.filter(session=session_id, state=WordState.PENDING)
    return bool(waiting.update(state=WordState.TAKEN_BACK))


def read_by(run: Run, reading: UUID) -> list[SteeringWord]:
    """Mark a run's pending words as read, in the transaction that stores their step. Returns them, oldest first.

    ``reading`` identifies the attempt: if it is repeated after a commit whose outcome was lost, it returns the same words.
    """
    waiting = SteeringWord.objects.filter(run=run, state=WordState.PENDING)
    waiting.update(state=WordState.READ, reading=reading)
    return list(SteeringWord.objects.select_related("user").filter(run=run, reading=reading).order_by("pk"))


def queue_unread(run_id: UUID) -> Sequence[SteeringWord]:
    """Mark the unread words of an ending run as queued, and return them, oldest first. The caller creates their runs."""
    words = list(SteeringWord.objects.filter(run=run_id, state=WordState.PENDING).order_by("pk"))
    SteeringWord.objects.filter(pk__in=[word.pk for word in words]).update(state=WordState.QUEUED)
    return words
