"""Decides whether a message is accepted, and its place in the queue, from what one query reads.

It is executed for every message before the model is asked; as a dozen queries it was most of the time to the first token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils import timezone

from agents.sentence import Sentence
from agents.text import clean_text, is_clean, utf16_length
from chat.access import VIEW_SESSIONS, has_right_now, may_drive, role_in, role_of
from chat.accounts.models import User
from chat.catalog import agents as catalog
from chat.catalog.agents import CURRENT_SQL
from chat.models import AT_WORK_SQL, LIVE_SQL, QUEUED_SQL, ROOT_SQL, Origin, Run, Session, SteeringWord
from chat.protocol import ErrorCode, as_uuid, is_blank
from chat.runtime.db_values import datetime_param, uuid_param

_MINUTE = timedelta(seconds=60)
#: The most files of one message.
MOST_FILES = 20
IS_IMPORTED = Sentence("This session was imported: it can be read, but nothing can be asked in it.")


@dataclass(frozen=True, slots=True)
class Admission:
    """A session and a requesting user, as they are when a message comes.

    ``last_number`` is the newest run's; ``waiting`` counts the session's queue, ``is_live``: whether one of its runs is running.
    ``at_work`` counts the user's running runs anywhere, ``recent`` the user's messages of the last minute, each only up to its limit;
    ``is_known``: whether this message was sent before; ``has_files``: whether the session uses files.
    ``agent_name``: the agent that answers, the session's own if none was named;
    ``agent_version``: its current version, None if the user may use no such agent.
    """

    owner_id: int
    title: str
    agent_name: str
    agent_version: int | None
    user_is_active: bool
    user_is_staff: bool
    last_number: int
    waiting: int
    is_live: bool
    at_work: int
    recent: int
    is_known: bool
    has_files: bool = False
    is_imported: bool = False
    is_word: bool = False
    """Whether it was sent before as a steering word."""

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> "Admission":
        """From the columns of `_read_sql`. A database without booleans answers with 0 and 1."""
        owner_id, title, name, version, active, staff, last_number, waiting, live, at_work, recent, *flags = row
        counts = (last_number, waiting, bool(live), at_work, recent)
        return cls(owner_id, title, name, version, bool(active), bool(staff), *counts, *(bool(flag) for flag in flags))


def load_for_update(
    session_id: UUID, user_id: int, client_message_id: str, agent_name: str | None = None
) -> Admission | None:
    """Lock the session's row for the rest of the transaction, and read; None if the session or the user was deleted."""
    this, since = uuid_param(session_id), datetime_param(timezone.now() - _MINUTE)
    with connection.cursor() as cursor:
        if connection.features.has_select_for_update:
            cursor.execute(_lock_sql(), [this, user_id])
        cursor.execute(
            _read_sql(),
            [
                agent_name,
                agent_name,
                settings.MAX_ACTIVE_RUNS_PER_USER,
                since,
                Origin.SCHEDULE,
                Origin.SET,
                settings.MAX_MESSAGES_PER_MINUTE,
                client_message_id,
                client_message_id,
                this,
                user_id,
            ],
        )
        row = cursor.fetchone()
    return None if row is None else Admission.from_row(row)


@cache
def _lock_sql() -> str:
    """A statement of its own: what another transaction has just committed is seen only by a statement that begins later.

    The user's row is locked, too: two messages of a user are counted one after the other.
    """
    session, user = (model._meta.db_table for model in (Session, User))
    return f"SELECT 1 FROM {session} s, {user} u WHERE s.id = %s AND u.id = %s FOR UPDATE OF s FOR NO KEY UPDATE OF u"  # noqa: S608


@cache
def _read_sql() -> str:
    session, run, user, word = (model._meta.db_table for model in (Session, Run, User, SteeringWord))
    agent = "COALESCE(%s, s.agent_name)"
    return f"""
        SELECT s.owner_id, s.title, {agent}, {CURRENT_SQL.format(name=agent, user="u.id")}, u.is_active, u.is_staff,
            (SELECT COALESCE(MAX(number), 0) FROM {run} WHERE session_id = s.id AND {ROOT_SQL}),
            (SELECT COUNT(*) FROM {run} WHERE session_id = s.id AND {QUEUED_SQL}),
            EXISTS (SELECT 1 FROM {run} WHERE session_id = s.id AND {LIVE_SQL}),
            (SELECT COUNT(*) FROM (
                SELECT 1 FROM {run} WHERE user_id = u.id AND {AT_WORK_SQL}
                AND {ROOT_SQL} LIMIT %s) AS at_work),
            (SELECT COUNT(*) FROM (
                SELECT 1 FROM {run} WHERE user_id = u.id AND created_at > %s AND origin NOT IN (%s, %s) AND {ROOT_SQL}
                AND copied_from IS NULL LIMIT %s) AS recent),
            EXISTS (SELECT 1 FROM {run} WHERE session_id = s.id AND user_id = u.id AND client_message_id = %s),
            s.has_files, s.imported_at IS NOT NULL,
            EXISTS (SELECT 1 FROM {word} WHERE session_id = s.id AND user_id = u.id AND client_message_id = %s)
        FROM {session} s, {user} u WHERE s.id = %s AND u.id = %s AND s.deleted_at IS NULL
        """  # noqa: S608 - our own names


class Refused(Exception):
    """A command that is refused; ``code`` is the protocol's, ``message`` is for people.

    ``wait_s``: the number of seconds after which a retry makes sense, if it differs from the code's usual one.
    """

    def __init__(self, code: ErrorCode, message: str, wait_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.wait_s = wait_s


def check_message(message: str) -> None:
    """Raise `Refused` for a message that is too long or empty, or that a database cannot store."""
    if utf16_length(message) > settings.MAX_MESSAGE_CHARS > 0:
        raise Refused(
            "too_large",
            Sentence(
                "The message has %(n)s characters; at most %(most)s are allowed.",
                n=f"{utf16_length(message):,}",
                most=f"{settings.MAX_MESSAGE_CHARS:,}",
            ),
        )
    if not is_clean(message):
        raise Refused("bad_text", Sentence("The text holds a character that cannot be stored (NUL or half of a pair)."))
    if is_blank(message):
        raise Refused("empty_message", Sentence("The message is empty."))


def check_files(ids: Sequence[str]) -> list[UUID]:
    """The ids of files that a message names, each once. Raises `Refused` for too many, and for one that cannot be an id."""
    check_count(len(ids))
    found = [as_uuid(each) for each in dict.fromkeys(ids)]
    if None in found:
        raise Refused("not_found", Sentence("One of the files is not there, or not yours."))
    return list(dict.fromkeys(each for each in found if each is not None))


def check_count(files: int) -> None:
    """Raise `Refused` for too many files of one message."""
    if files > MOST_FILES:
        raise Refused("too_many_files", Sentence("A message may have %(n)d files.", n=MOST_FILES))


def check_agent(name: str, user_id: int) -> None:
    """Raise `Refused` if the user may use no agent of this name."""
    if not catalog.may_use(name, user_id):
        raise no_such_agent(name, user_id)


def no_such_agent(name: str, user_id: int) -> Refused:
    """The refusal for an agent that the user cannot use; it names those that they can."""
    known = ", ".join(version.spec.name for version in catalog.usable_by(user_id))
    return Refused(
        "unknown_agent",
        Sentence("There is no agent “%(name)s”. There are: %(known)s.", name=clean_text(name[:64]), known=known or "–"),
    )


def check_access(session_id: UUID, user: User, client_message_id: str, agent_name: str | None = None) -> Admission:
    """Lock the session for the rest of the transaction, and check whether this message may be accepted. Raises `Refused`."""
    admission = load_for_update(session_id, user.pk, client_message_id, agent_name)
    if admission is None:
        raise Refused("not_found", Sentence("There is no such session."))
    role = role_of(
        user.pk,
        session_id,
        admission.owner_id,
        is_active=admission.user_is_active,
        sees_others=lambda: admission.user_is_staff and has_right_now(user.pk, VIEW_SESSIONS),
    )
    if role is None:
        raise Refused("not_found", Sentence("There is no such session."))
    if not may_drive(role):
        raise Refused("not_allowed", Sentence("You may watch this session, but not steer it."))
    if admission.is_imported:
        raise Refused("not_allowed", IS_IMPORTED)
    return admission


_MAY_WATCH = Sentence("You may watch this session, but not steer it.")


def lock_session(
    session_id: UUID, user: User, may: Callable[[User, Session], bool], refusal: str = _MAY_WATCH
) -> Session:
    """The session, with its row locked for the rest of the transaction, for a user who ``may`` do something in it. Raises `Refused`."""
    session = Session.objects.select_for_update().filter(pk=session_id).first()
    asking = User.objects.filter(pk=user.pk).first()
    if session is not None and asking is not None:
        if may(asking, session):
            return session
        if role_in(asking, session) is not None:
            raise Refused("not_allowed", refusal)
    raise Refused("not_found", Sentence("There is no such session."))
