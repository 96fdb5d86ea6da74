"""Sessions: opened, changed, deleted, and named after their first message."""

from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

import agents
from agents.sentence import Sentence
from chat.access import may_delete, may_manage, role_in
from chat.accounts.models import User
from chat.models import Act, Door, Session
from chat.protocol import group_messages, is_blank
from chat.runs import erasure
from chat.runs import registry as run_registry
from chat.runs.admission import Refused, check_agent, lock_session
from chat.runtime import database, groups
from chat.security import audit

TITLE_LENGTH = 80
#: So long somebody who deletes an account is kept waiting for it to be gone.
_ERASE_WITHIN_S = 0.5


def _manages(user: User, session: Session) -> bool:
    role = role_in(user, session)
    return role is not None and may_manage(role)


def title_from(message: str) -> str:
    """A session's title from its first message: its first line, cut at a word."""
    line = " ".join(message.split())
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[: TITLE_LENGTH - 1]
    head, _, _ = cut.rpartition(" ")
    return (head if len(head) > TITLE_LENGTH // 2 else cut) + "…"


#: For so long a key stands for the session that was made with it.
_KEY_HOLDS = timedelta(hours=24)


async def create_session(
    user: User, *, agent_name: str | None = None, title: str = "", enable_reasoning: bool = True, key: str | None = None
) -> Session:
    """Open a session without a message yet. Raises `Refused`.

    Whoever asks again with the same ``key`` within a day gets the same session; with other wishes it is a conflict.
    """
    new = unsaved_session(user, agent_name or agents.DEFAULT_AGENT, title, enable_reasoning, key)

    def create() -> Session:
        check_agent(new.agent_name, user.pk)
        if key is not None:
            return create_once(new)
        new.save(force_insert=True)
        return new

    return await database.write(create)


def unsaved_session(user: User, agent_name: str, title: str, enable_reasoning: bool, key: str | None) -> Session:
    """A session that is in no table yet."""
    title = "" if is_blank(title) else title.strip()
    new = Session(owner=user, agent_name=agent_name, title=title, enable_reasoning=enable_reasoning)
    if key is not None:
        new.creation_key = key
        new.creation_digest = sha256(repr((agent_name, title, enable_reasoning)).encode()).hexdigest()
    return new


@transaction.atomic
def create_once(new: Session) -> Session:
    """Save a session that has a key, and return it; or the one of that key that is there already. Raises `Refused`."""
    made = Session.objects.filter(owner=new.owner, creation_key=new.creation_key)
    # A key of long ago stands for nothing any more.
    made.filter(created_at__lt=timezone.now() - _KEY_HOLDS).update(creation_key=None)
    known = made.first()
    if known is None:
        try:
            with transaction.atomic():
                new.save(force_insert=True)
        except IntegrityError:
            # Asked twice at once, and the other was first.
            known = made.first()
            if known is None:
                raise
    if known is None:
        return new
    if known.creation_digest != new.creation_digest:
        raise Refused("conflict", Sentence("This Idempotency-Key was used for another session before."))
    return known


async def change_session(user: User, session: Session, **changes: Any) -> Session:
    """Rename or archive a session, or change what it asks with. Raises `Refused`."""
    if "title" in changes:
        if is_blank(changes["title"]):
            raise Refused("bad_frame", Sentence("A title needs at least one letter, digit or sign that can be seen."))
        changes["title"] = changes["title"].strip()

    @transaction.atomic
    def change() -> None:
        if "agent_name" in changes:
            check_agent(changes["agent_name"], user.pk)
        lock_session(session.pk, user, _manages)
        Session.objects.filter(pk=session.pk).update(**changes)
        session.refresh_from_db()

    await database.write(change)
    return session


async def delete_session(user: User, session: Session, door: Door, *, as_operator: bool = False) -> None:
    """Stop its run, close its sockets, and remove everything of it in one transaction: of a long one, all sight of it. Raises `Refused`.

    ``as_operator`` is for the admin: staff who may delete sessions.
    """

    @transaction.atomic
    def remove() -> list[UUID]:
        lock_session(session.pk, user, may_delete if as_operator else _manages)
        audit.note_act(user.pk, Act.DELETE, door, session_id=session.pk, subject_id=session.owner_id)
        return erasure.hide_session(session.pk)

    for run_id in await database.write(remove):
        await run_registry.stop_run(run_id, "The session was deleted.")
    await groups.publish(groups.of_session(session.pk), group_messages.SESSION_DELETED)


async def account_closed(at_work: Sequence[UUID]) -> None:
    """After `erasure.close_account`: stop the runs that it has found at work, close the account's sockets, and begin to remove it."""
    for run_id in at_work:
        await run_registry.stop_run(run_id, "The account was deleted.")
    await groups.publish(groups.EVERYONE, group_messages.LOGINS_CHANGED)
    # What is little is gone when this returns; the rest `supervisor` removes.
    pace, left_s = erasure.Pace(), _ERASE_WITHIN_S
    while left_s > 0 and (took_s := await database.write(erasure.erase_batch, pace)) is not None:
        left_s -= took_s
