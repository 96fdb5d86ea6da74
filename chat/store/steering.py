"""Words into runs at work, from when they are said until a model call reads them; the only writer of their table.

Whoever changes something here holds the session's row, so that a word is read, taken back or put in the queue, and only one of these.
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

#: Written out with the word that their partial index is for.
_OF_SESSION = """SELECT word.client_message_id, person.username, word.message FROM chat_steeringword word
    JOIN {users} person ON person.id = word.user_id WHERE word.session_id = %s AND word.state = 'pending' ORDER BY word.id"""
#: Whether a session has any, as a condition on its row called ``session``.
HAS_PENDING_SQL = (
    "EXISTS (SELECT 1 FROM chat_steeringword word WHERE word.session_id = session.id AND word.state = 'pending')"
)


class Known(NamedTuple):
    """A word that was said before, with this identifier."""

    run_id: UUID
    message: str
    interrupt: bool


def add(run: Run, user_id: int, client_message_id: str, message: str, *, interrupt: bool) -> int:
    """Keep a word for a run; returns its number, which is above those of all words before it in the session."""
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
    """The word that this user has said with this identifier, whatever has become of it."""
    said = SteeringWord.objects.filter(session=session_id, user=user_id, client_message_id=client_message_id)
    row = said.values_list("run_id", "message", "interrupt").first()
    return None if row is None else Known(*row)


def lengths_pending(run_id: UUID) -> list[int]:
    """How long the words are that wait for a run's next model call, each in characters."""
    waiting = SteeringWord.objects.filter(run=run_id, state=WordState.PENDING)
    return list(waiting.values_list(Length("message"), flat=True))


def newest_for(run_id: UUID) -> int:
    """The number of the newest word that a run has not read; 0 where there is none."""
    waiting = SteeringWord.objects.filter(run=run_id, state=WordState.PENDING)
    return waiting.order_by("-pk").values_list("pk", flat=True).first() or 0


def pending_in(session_id: UUID) -> list[PendingWord]:
    """The words that a session's run at work has not read, as the wire tells them."""
    users = User._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(_OF_SESSION.format(users=users), [uuid_param(session_id)])
        return [
            {"client_message_id": own_id, "user": username, "message": message}
            for own_id, username, message in cursor.fetchall()
        ]


def queued_among(session_id: UUID, queue: Sequence[QueuedRun]) -> list[str]:
    """Which messages of a session's queue, by their ids, were said to a run that has ended without reading them."""
    if not queue:
        return []
    own_ids = [message["client_message_id"] for message in queue]
    late = SteeringWord.objects.filter(session=session_id, client_message_id__in=own_ids, state=WordState.QUEUED)
    return list(late.order_by("pk").values_list("client_message_id", flat=True))


def take_back(session_id: UUID, user_id: int, client_message_id: str) -> SteeringWord | None:
    """Take a word back that nobody has read, one's own before another's; None where there is no such word."""
    waiting = SteeringWord.objects.filter(
        session=session_id, client_message_id=client_message_id, state=WordState.PENDING
    )
    words = sorted(waiting, key=lambda word: (word.user_id != user_id, word.pk))
    if not words:
        return None
    SteeringWord.objects.filter(pk=words[0].pk).update(state=WordState.TAKEN_BACK)
    return words[0]


def take_back_all(session_id: UUID) -> bool:
    """Take all words back that nobody has read; whether there were any."""
    waiting = SteeringWord.objects.filter(session=session_id, state=WordState.PENDING)
    return bool(waiting.update(state=WordState.TAKEN_BACK))


def read_by(run: Run, reading: UUID) -> list[SteeringWord]:
    """Have the run read what waits for it, in the transaction that stores so; oldest first.

    ``reading`` names the attempt: made again, after one whose outcome nobody heard, it finds what that one read, too.
    """
    waiting = SteeringWord.objects.filter(run=run, state=WordState.PENDING)
    waiting.update(state=WordState.READ, reading=reading)
    return list(SteeringWord.objects.select_related("user").filter(run=run, reading=reading).order_by("pk"))


def leave(run_id: UUID) -> Sequence[SteeringWord]:
    """The words that a run which ends now has not read, oldest first: they go into the queue, and are no words into a run any more."""
    words = list(SteeringWord.objects.filter(run=run_id, state=WordState.PENDING).order_by("pk"))
    SteeringWord.objects.filter(pk__in=[word.pk for word in words]).update(state=WordState.QUEUED)
    return words
