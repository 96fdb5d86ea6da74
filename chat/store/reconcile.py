"""The part of a session's state that is compared with the database once a second, to find changes whose group messages were lost."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from chat.models import AT_WORK_SQL, LIVE, QUEUED_SQL
from chat.runtime.db_values import uuid_from_db, uuid_param
from chat.store.drafts import Draft

#: The number of rows, and the first and the last: rows are only added at the end, so no two states have all three in common.
RowsFingerprint = tuple[Any, ...]
NOTHING: RowsFingerprint = (0, None, None)


class SessionFingerprint(NamedTuple):
    """The part of a session's state that shows whether anything has changed."""

    head: int
    queue: RowsFingerprint
    people: RowsFingerprint
    #: Unread steering words.
    words: RowsFingerprint = NOTHING
    #: Whether a run is running or waiting.
    is_live: bool = False
    owner_id: int = 0
    #: Numbers the changes of verdicts and comments.
    notes: int = 0


# Raw SQL, because every feed is compared every second.
_LINES = f"""SELECT 'queue', session_id, COUNT(*), MIN(number), MAX(number) FROM chat_run
    WHERE {QUEUED_SQL} AND session_id IN ({{places}}) GROUP BY session_id
    UNION ALL SELECT 'words', session_id, COUNT(*), MIN(id), MAX(id) FROM chat_steeringword
    WHERE state = 'pending' AND session_id IN ({{places}}) GROUP BY session_id"""  # noqa: S608 - our own condition
_SESSIONS = """SELECT session.id, last_seq, status, owner_id, notes_version, COUNT(opened_at), MIN(opened_at), MAX(opened_at)
    FROM chat_session session LEFT JOIN chat_connection ON session_id = session.id
    WHERE deleted_at IS NULL AND session.id IN ({places}) GROUP BY session.id"""


def fingerprints_of(session_ids: Sequence[UUID]) -> list[SessionFingerprint | None]:
    """The fingerprints of these sessions, in order; None for one that does not exist any more."""
    wanted = [uuid_param(session_id) for session_id in session_ids]
    if not wanted:
        return []
    places = ", ".join(["%s"] * len(wanted))
    with connection.cursor() as cursor:
        cursor.execute(_LINES.format(places=places), [*wanted, *wanted])
        lines = {row[:2]: row[2:] for row in cursor.fetchall()}
        cursor.execute(_SESSIONS.format(places=places), wanted)
        found = {
            at: SessionFingerprint(
                head,
                lines.get(("queue", at), NOTHING),
                (people, *opened) if people else NOTHING,
                lines.get(("words", at), NOTHING),
                status in LIVE,
                owner,
                notes,
            )
            for at, head, status, owner, notes, people, *opened in cursor.fetchall()
        }
    return [found.get(at) for at in wanted]


_DRAFT = "draft.run_id, draft.number, draft.type, draft.attempt, draft.text, run.parent_id IS NOT NULL"
_DRAFTS = f"""SELECT run.session_id, {_DRAFT} FROM chat_run run JOIN chat_draft draft ON draft.run_id = run.id
    WHERE {AT_WORK_SQL} AND run.session_id IN ({{places}})"""  # noqa: S608 - our own condition


def saved_drafts(session_ids: Sequence[UUID]) -> list[tuple[UUID, Draft]]:
    """The saved drafts of unfinished runs of these sessions, each with its session."""
    places = ", ".join(["%s"] * len(session_ids))
    with connection.cursor() as cursor:
        cursor.execute(_DRAFTS.format(places=places), [*map(uuid_param, session_ids)])
        return [(uuid_from_db(at), _draft(*draft)) for at, *draft in cursor.fetchall()]


def _draft(run_id: Any, step: int, kind: str, attempt: int, text: str, is_child: Any) -> Draft:
    return Draft(uuid_from_db(run_id), step, kind, attempt, text, is_child=bool(is_child))
