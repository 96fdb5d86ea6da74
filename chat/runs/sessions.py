"""The use cases of sessions: create, change and delete; and the title from the first message."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import transaction

import agents
from agents.sentence import Sentence
from chat.access import may_delete, may_manage, role_in
from chat.accounts.models import User
from chat.models import Act, Door, Session
from chat.protocol import group_messages, is_blank
from chat.runs import erasure, request_keys
from chat.runs import registry as run_registry
from chat.runs.admission import Refused, check_agent, lock_session
from chat.runs.request_keys import AskedKey, claim_key, settle_key
from chat.runtime import database, groups
from chat.security import audit

TITLE_LENGTH = 80
#: How many seconds the deletion of an account is waited for, at most.
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


async def create_session(
    user: User,
    *,
    agent_name: str | None = None,
    title: str = "",
    enable_reasoning: bool = True,
    key: str | None = None,
) -> Session:
    """Create a session without a message; ``key`` is its ``Idempotency-Key``. Raises `Refused`.

    The same request with the same ``key`` within a day returns the same session; a different one is a conflict.
    """
    new = unsaved_session(user, agent_name or agents.DEFAULT_AGENT, title, enable_reasoning)
    asked = asked_key(key, new)

    @transaction.atomic
    def create() -> Session:
        check_agent(new.agent_name, user.pk)
        return create_once(new, asked)

    return await database.write(create)


def unsaved_session(user: User, agent_name: str, title: str, enable_reasoning: bool) -> Session:
    """A session that is not saved yet."""
    title = "" if is_blank(title) else title.strip()
    return Session(owner=user, agent_name=agent_name, title=title, enable_reasoning=enable_reasoning)


def asked_key(key: str | None, new: Session) -> AskedKey | None:
    """The key of a request for a session like this one. Raises `Refused`."""
    wishes = (new.agent_name, new.title, new.enable_reasoning)
    return request_keys.read_key(key, repr(wishes).encode())


def create_once(new: Session, key: AskedKey | None) -> Session:
    """Save and return a session; or return the one that was created with this key before. Needs a transaction. Raises `Refused`."""
    if (made := claim_key(new.owner_id, key)) is not None:
        return Session.objects.get(pk=made.session_id)
    new.save(force_insert=True)
    settle_key(new.owner_id, key, new.pk)
    return new


async def change_session(user: User, session: Session, **changes: Any) -> Session:
    """Rename or archive a session, or change the agent and reasoning that its page uses. Raises `Refused`."""
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
    """Stop its run, close its sockets, and delete it in one transaction; a long one is only hidden by that. Raises `Refused`.

    ``as_operator`` is for the admin: staff who may delete sessions.
    """

    @transaction.atomic
    def remove() -> list[UUID]:
        lock_session(session.pk, user, may_delete if as_operator else _manages)
        audit.record_action(user.pk, Act.DELETE, door, session_id=session.pk, subject_id=session.owner_id)
        return erasure.hide_session(session.pk)

    for run_id in await database.write(remove):
        await run_registry.stop_run(run_id, "The session was deleted.")
    await groups.publish(groups.of_session(session.pk), group_messages.SESSION_DELETED)


async def account_closed(at_work: Sequence[UUID]) -> None:
    """Call this after `erasure.close_account`: stops the runs that it returned, closes the account's sockets, and begins to delete it."""
    for run_id in at_work:
        await run_registry.stop_run(run_id, "The account was deleted.")
    await groups.publish(groups.EVERYONE, group_messages.LOGINS_CHANGED)
    # A small account is deleted when this returns; the rest of a larger one is deleted by `supervisor`.
    pace, left_s = erasure.Pace(), _ERASE_WITHIN_S
    while left_s > 0 and (took_s := await database.write(erasure.erase_batch, pace)) is not None:
        left_s -= took_s
