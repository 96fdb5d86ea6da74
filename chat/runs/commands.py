"""The use case: ask, stop, go on; open, change and delete sessions. Pages, sockets, API and admin come through here.

The coroutines belong on the serving loop; the functions beside them, each one transaction, run on the database's threads.
Each checks its caller's right in that transaction.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, ParamSpec
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

import agents
from chat.access import (
    VIEW_SESSIONS,
    has_right_now,
    may_delete,
    may_drive,
    may_manage,
    may_stop,
    role_in,
    role_of,
)
from chat.models import IS_LIVE, IS_UNFINISHED, Act, Door, Origin, Run, RunStatus, Session
from chat.protocol import clean, is_blank, utf16_length
from chat.runs import admission as standings
from chat.runs import erasure, executor
from chat.runs import events as run_events
from chat.runs import state as run_state
from chat.runs.admission import Standing
from chat.runs.state import End
from chat.runtime import background, database, groups
from chat.security import audit
from chat.store import selectors, step_log
from chat.store.step_log import Stored

P = ParamSpec("P")

_TITLE_LENGTH = 80
#: So long somebody who deletes an account is kept waiting for it to be gone.
_ERASE_WITHIN_S = 0.5


class Refused(Exception):
    """A command that can't be carried out; ``code`` is the wire's, ``message`` is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that exists now. ``queued`` is its place in line; 0 means that it runs.

    ``claim`` is there where it is this process that carries it from now on.
    """

    session_id: UUID
    run_id: UUID
    client_message_id: str
    queued: int
    is_new: bool
    claim: executor.Claim | None = None


# Asking


async def ask(
    user: User,
    session_id: UUID,
    *,
    message: str,
    agent_name: str | None = None,
    fallback_agent: str | None = None,
    enable_reasoning: bool = True,
    client_message_id: str | None = None,
    origin: Origin = Origin.CHAT,
) -> Accepted:
    """Put a message in the session's line, and start it or tell the line, see `accept`. Raises `Refused`.

    ``fallback_agent`` is used where the message names none; then the session's own.
    """
    check_message(message)
    if agent_name is not None:
        check_agent(agent_name)
    return await accept(
        _ask,
        user,
        session_id,
        message=message,
        agent_name=agent_name,
        fallback_agent=fallback_agent,
        enable_reasoning=enable_reasoning,
        client_message_id=client_message_id or uuid4().hex,
        origin=origin,
    )


@transaction.atomic
def ask_by_clock(
    owner: User, session_id: UUID | None, *, message: str, agent_name: str, title: str, client_message_id: str
) -> Accepted:
    """`ask` on behalf of a schedule, within the transaction that claims its due time. Raises `Refused`.

    Without a session it opens one of that title. The message is always put in line, so that whoever lives when the transaction is
    committed starts it; the caller then calls `set_going`.
    """
    check_agent(agent_name)
    if session_id is None:
        session_id = Session.objects.create(owner=owner, agent_name=agent_name, title=title).pk
    return _ask(
        owner,
        session_id,
        message=message,
        agent_name=agent_name,
        fallback_agent=None,
        enable_reasoning=True,
        client_message_id=client_message_id,
        origin=Origin.SCHEDULE,
    )


def check_message(message: str) -> None:
    """Refuse a message that is too long, or empty."""
    if utf16_length(message) > settings.MAX_MESSAGE_CHARS > 0:
        raise Refused(
            "too_large",
            f"The message has {utf16_length(message):,} characters; at most {settings.MAX_MESSAGE_CHARS:,} are allowed.",
        )
    if is_blank(message):
        raise Refused("empty_message", "The message is empty.")


def check_agent(name: str) -> None:
    """Refuse a name that no agent has."""
    if name not in agents.AGENTS:
        raise Refused(
            "unknown_agent", f"There is no agent “{clean(name[:64])}”. There are: {', '.join(agents.AGENTS)}."
        )


@transaction.atomic
def _ask(
    user: User,
    session_id: UUID,
    *,
    message: str,
    agent_name: str | None,
    fallback_agent: str | None,
    enable_reasoning: bool,
    client_message_id: str,
    origin: Origin,
) -> Accepted:
    standing = _admit(session_id, user, client_message_id)
    if standing.is_known:
        known = Run.objects.get(session=session_id, user=user, client_message_id=client_message_id)
        same = (known.message, known.enable_reasoning, known.continues_id) == (message, enable_reasoning, None)
        return _again(known, is_same=same and agent_name in (None, known.agent_name))
    run = Run(
        session_id=session_id,
        user=user,
        client_message_id=client_message_id,
        message=message,
        agent_name=agent_name or fallback_agent or standing.agent_name,
        enable_reasoning=enable_reasoning,
        origin=origin,
    )
    return _let_in(run, standing)


async def continue_run(
    user: User, session_id: UUID, run_id: UUID | None, client_message_id: str | None = None
) -> Accepted:
    """Go on from an ended run, as a new run, and start it, see `accept`. Raises `Refused`."""
    return await accept(_continue, user, session_id, run_id, client_message_id or uuid4().hex)


@transaction.atomic
def _continue(user: User, session_id: UUID, run_id: UUID | None, client_message_id: str) -> Accepted:
    standing = _admit(session_id, user, client_message_id)
    runs = Run.objects.filter(session=session_id)
    old = runs.filter(pk=run_id).first() if run_id is not None else None
    if old is None:
        raise Refused("not_found", "There is no such run in this session.")
    if standing.is_known:
        known = runs.get(user=user, client_message_id=client_message_id)
        return _again(known, is_same=known.continues_id == old.pk)
    # What was taken out of the line before it began has changed nothing.
    later = runs.filter(number__gt=old.number).exclude(status=RunStatus.CANCELLED, started_at=None)
    if later.exists() or old.status not in run_state.CONTINUABLE:
        raise Refused(
            "not_continuable",
            "Only the session's latest run can be continued, and only when it was stopped, failed, was interrupted or hit its limit.",
        )
    run = Run(
        session_id=session_id,
        user=user,
        client_message_id=client_message_id,
        message=old.message,
        agent_name=old.agent_name,
        enable_reasoning=old.enable_reasoning,
        origin=Origin.CONTINUE,
        continues=old,
    )
    return _let_in(run, standing)


def _admit(session_id: UUID, user: User, client_message_id: str) -> Standing:
    """Hold the session for the rest of the transaction, and look whether this message may be let in."""
    standing = standings.of(session_id, user.pk, client_message_id)
    if standing is None:
        raise Refused("not_found", "There is no such session.")
    role = role_of(
        user.pk,
        standing.owner_id,
        is_active=standing.user_is_active,
        sees_others=lambda: standing.user_is_staff and has_right_now(user.pk, VIEW_SESSIONS),
    )
    if role is None:
        raise Refused("not_found", "There is no such session.")
    if not may_drive(role):
        raise Refused("not_allowed", "You may watch this session, but not steer it.")
    return standing


def _again(known: Run, *, is_same: bool) -> Accepted:
    """The answer that a message got the first time."""
    if not is_same:
        raise Refused("conflict", "This message's identifier was used for another message before.")
    place = selectors.place_in_line(known)
    return Accepted(known.session_id, known.pk, known.client_message_id, place, is_new=False)


def _let_in(run: Run, standing: Standing) -> Accepted:
    """Put a new run in line, or at work at once where nothing stands in its way."""
    most, line = settings.MAX_MESSAGES_PER_MINUTE, settings.MAX_QUEUED_RUNS
    by_clock = run.origin == Origin.SCHEDULE
    if most and standing.recent >= most and not by_clock:
        raise Refused("rate_limited", f"At most {most} messages a minute. Please wait a moment.")
    if line and standing.waiting >= line:
        raise Refused(
            "queue_full", f"{line} messages are waiting in this session already. Please wait for one to start."
        )
    run.number = standing.last_number + 1
    has_room = not settings.MAX_ACTIVE_RUNS_PER_USER or standing.at_work < settings.MAX_ACTIVE_RUNS_PER_USER
    is_free = not standing.is_live and not standing.waiting and has_room
    at_once = is_free and executor.takes_runs() and not by_clock
    title = standing.title or title_from(run.message)
    if not at_once:
        run_state.enqueue(run, title=title, is_first=not standing.is_live)
        return Accepted(run.session_id, run.pk, run.client_message_id, standing.waiting + 1, is_new=True)
    run_state.begin(run, executor.PROCESS, title=title)
    claim = executor.claimed(run)
    return Accepted(run.session_id, run.pk, run.client_message_id, 0, is_new=True, claim=claim)


async def accept(function: Callable[P, Accepted], *args: P.args, **kwargs: P.kwargs) -> Accepted:
    """Accept by a transaction, and start what was accepted, or tell the line that it waits: one act, also where the caller goes away.

    Who awaits this is told before anything of the run happens, and can answer before anything of it is sent.
    """
    return await executor.write_and_start(_start, function, *args, **kwargs)


async def set_going(accepted: Accepted) -> None:
    """Start what a transaction of the caller's has accepted, or tell the line that it waits."""
    if (moving := _start(accepted)) is not None:
        await asyncio.shield(moving)


def _start(accepted: Accepted) -> asyncio.Task[None] | None:
    if accepted.claim is not None:
        executor.take_up(accepted.claim)
    elif accepted.is_new:
        return background.spawn(executor.dispatch(accepted.session_id), f"dispatch {accepted.session_id}")
    return None


def _locked(session_id: UUID, user: User, may: Callable[[User, Session], bool]) -> Session:
    """The session, with its row held for the rest of the transaction: one command at a time, by who may give it now."""
    session = Session.objects.select_for_update().filter(pk=session_id).first()
    asking = User.objects.filter(pk=user.pk).first()
    if session is not None and asking is not None:
        if may(asking, session):
            return session
        if role_in(asking, session) is not None:
            raise Refused("not_allowed", "You may watch this session, but not steer it.")
    raise Refused("not_found", "There is no such session.")


def _manages(user: User, session: Session) -> bool:
    role = role_in(user, session)
    return role is not None and may_manage(role)


def title_from(message: str) -> str:
    """A session's title from its first message: its first line, cut at a word."""
    line = " ".join(message.split())
    if len(line) <= _TITLE_LENGTH:
        return line
    cut = line[: _TITLE_LENGTH - 1]
    head, _, _ = cut.rpartition(" ")
    return (head if len(head) > _TITLE_LENGTH // 2 else cut) + "…"


# Stopping


@dataclass(frozen=True, slots=True)
class Stops:
    """What a stop has reached: runs still at work, and those in line that ended at once."""

    running: list[UUID]
    ended: list[UUID]


async def cancel(
    user: User, session_id: UUID, run_id: UUID | None = None, *, everything: bool = False, door: Door = Door.API
) -> Stops:
    """Stop a run of the session: the given one, else the running one; ``everything`` adds the line. Raises `Refused`.

    ``door`` is what it was asked through: whoever stops what is another's is noted with it.
    """
    stops, events = await database.write(_cancel, user, session_id, run_id, everything=everything, door=door)
    because = run_state.stopped_by(user.get_username())
    for running in stops.running:
        await executor.stop(running, because)
    await executor.tell_stored(session_id, events)
    if stops.ended:
        await groups.tell(groups.of_session(session_id), {"type": "queue"})
        background.spawn(executor.dispatch(session_id), f"dispatch {session_id}")
    return stops


@transaction.atomic
def _cancel(
    user: User, session_id: UUID, run_id: UUID | None, *, everything: bool, door: Door = Door.API
) -> tuple[Stops, list[Stored]]:
    session = _locked(session_id, user, may_stop)
    unfinished = Run.objects.filter(IS_UNFINISHED, session_id=session_id)
    if run_id is not None and not everything:
        if not Run.objects.filter(session_id=session_id, pk=run_id).exists():
            raise Refused("not_found", "There is no such run in this session.")
        unfinished = unfinished.filter(pk=run_id)
    elif not everything:
        unfinished = unfinished.filter(IS_LIVE)
    running: list[UUID] = []
    ended: list[UUID] = []
    events: list[Stored] = []
    for run in unfinished.select_related("user").order_by("number"):
        if run.status != RunStatus.QUEUED:
            run_state.request_cancel(run, user)
            running.append(run.pk)
            continue
        events += _cancel_queued(run, user)
        ended.append(run.pk)
    if not running and not ended:
        raise Refused("nothing_to_cancel", "Nothing is running here that could be stopped.")
    if session.owner_id != user.pk:
        audit.note_act(user.pk, session_id, door, Act.STOP)
    return Stops(running, ended), events


def _cancel_queued(run: Run, user: User) -> list[Stored]:
    end = End(RunStatus.CANCELLED)
    run.cancelled_by = user
    entries = [
        run_events.started(run),
        run_events.completed(run, end),
    ]
    if not run_state.finish(run.pk, run.session_id, end, by=user):
        return []
    return step_log.append_unowned(run, entries)


# Sessions


#: For so long a key stands for the session that was made with it.
_KEY_HOLDS = timedelta(hours=24)


async def create_session(
    user: User, *, agent_name: str | None = None, title: str = "", enable_reasoning: bool = True, key: str | None = None
) -> Session:
    """Open a session without a message yet. Raises `Refused`.

    Whoever asks again with the same ``key`` within a day gets the same session; with other wishes it is a conflict.
    """
    name = agent_name or agents.DEFAULT_AGENT
    check_agent(name)
    title = "" if is_blank(title) else title.strip()
    new = Session(owner=user, agent_name=name, title=title, enable_reasoning=enable_reasoning)
    if key is None:
        await database.write(new.save, force_insert=True)
        return new
    new.creation_key = key
    new.creation_digest = sha256(repr((name, title, enable_reasoning)).encode()).hexdigest()
    return await database.write(_create_once, new)


@transaction.atomic
def _create_once(new: Session) -> Session:
    """The session of this key: the one that is there, or this one."""
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
        raise Refused("conflict", "This Idempotency-Key was used for another session before.")
    return known


async def change_session(user: User, session: Session, **changes: Any) -> Session:
    """Rename or archive a session, or change what it asks with. Raises `Refused`."""
    if "title" in changes:
        if is_blank(changes["title"]):
            raise Refused("bad_frame", "A title needs at least one letter, digit or sign that can be seen.")
        changes["title"] = changes["title"].strip()
    if "agent_name" in changes:
        check_agent(changes["agent_name"])

    @transaction.atomic
    def change() -> None:
        _locked(session.pk, user, _manages)
        Session.objects.filter(pk=session.pk).update(**changes)
        session.refresh_from_db()

    await database.write(change)
    return session


async def delete_session(user: User, session: Session, *, as_operator: bool = False) -> None:
    """Stop its run, close its sockets, and remove everything of it in one transaction: of a long one, all sight of it. Raises `Refused`.

    ``as_operator`` is for the admin: staff who may delete sessions.
    """

    @transaction.atomic
    def remove() -> list[UUID]:
        _locked(session.pk, user, may_delete if as_operator else _manages)
        return erasure.hide_session(session.pk)

    for run_id in await database.write(remove):
        await executor.stop(run_id, "The session was deleted.")
    await groups.tell(groups.of_session(session.pk), {"type": "gone"})


async def account_closed(at_work: Sequence[UUID]) -> None:
    """After `erasure.close_account`: stop the runs that it has found at work, close the account's sockets, and begin to remove it."""
    for run_id in at_work:
        await executor.stop(run_id, "The account was deleted.")
    await groups.tell(groups.EVERYONE, {"type": "logins"})
    # What is little is gone when this returns; the rest `supervisor` removes.
    pace, left_s = erasure.Pace(), _ERASE_WITHIN_S
    while left_s > 0 and (took_s := await database.write(erasure.erase_batch, pace)) is not None:
        left_s -= took_s
