"""The use case of branches: continue from an earlier event of a session in a new session of the user's own, or copy it.

The new session's log begins as a copy, made in short transactions, between which others write. Until it is complete the session is hidden
like a deleted one, until a time that each batch postpones: if the process dies, nothing is visible, and `erasure` deletes it. The first
message of the new session is asked in the transaction that shows it.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
from django.db import transaction
from django.utils import timezone

from agents.sentence import Sentence
from chat.access import may_copy, role_in
from chat.accounts.models import User
from chat.models import Act, Door, Origin, Run, Session
from chat.runs import commands
from chat.runs import state as run_state
from chat.runs.admission import Refused, check_agent, check_files, check_message, lock_session
from chat.runs.commands import Accepted
from chat.runs.request_keys import AskedKey, claim_key, find_made, read_key, settle_key
from chat.runtime import background, database
from chat.security import audit
from chat.store import branches, sent_along, step_log
from chat.store import files as session_files
from chat.store.branches import CopyPlan

#: How many events a batch copies, and how many characters of full texts.
_EVENTS = 200
_CHARACTERS = 1_000_000
_RUNS = 100
#: For how long after its last batch a session that is being copied is not deleted.
_HELD = timedelta(minutes=10)
#: How many copies one process makes at the same time.
_AT_ONCE = asyncio.Semaphore(2)


@dataclass(frozen=True, slots=True)
class Branch:
    """The part of a session to copy.

    ``after_seq``: the last event to copy, which is the end of a run, or 0; None for everything up to the end of the last ended run.
    """

    source: UUID
    after_seq: int | None = None
    message: str | None = None
    agent_name: str | None = None
    files: Sequence[str] = ()
    key: str | None = None
    """The request's ``Idempotency-Key``."""

    @property
    def asked_key(self) -> AskedKey | None:
        """The key, and the digest by which the same request is recognised."""
        request = (str(self.source), self.after_seq, self.message, self.agent_name, list(self.files))
        return read_key(self.key, repr(request).encode())


@dataclass(frozen=True, slots=True)
class Made:
    """The session that was created, and the run that answers its message."""

    session_id: UUID
    run_id: UUID | None = None


class TooLong(Refused):
    """There are more events than may be copied."""

    def __init__(self) -> None:
        super().__init__("too_large", Sentence("More than %(n)s steps are not copied.", n=f"{branches.MOST_STEPS:,}"))


async def make_branch(user: User, branch: Branch, door: Door) -> Made:
    """Create a session of the user's own that begins as a copy, and ask ``message`` in it, if there is one. Raises `Refused`.

    The same request with the same key within a day returns the same session and the same run.
    """
    if branch.message is not None:
        check_message(branch.message)
        check_files(branch.files)
    # The caller may be cancelled: with a key, the request can be repeated.
    made: Made | Refused = await asyncio.shield(
        background.spawn(_make_or_refuse(user, branch, door), f"copy {branch.source}")
    )
    if isinstance(made, Refused):
        raise made
    return made


async def _make_or_refuse(user: User, branch: Branch, door: Door) -> Made | Refused:
    """Return a refusal instead of raising it, because it is no failure of the task."""
    try:
        return await _make(user, branch, door)
    except Refused as refused:
        return refused


async def _make(user: User, branch: Branch, door: Door) -> Made:
    # Read without blocking writers: events in the log do not change any more.
    made = await database.read(_begin, user, branch)
    if isinstance(made, Made):
        return made
    await database.write(made.session.save, force_insert=True)
    try:
        async with _AT_ONCE:
            await _copy(made)
        if branch.message is None:
            shown = await database.write(_show, user, branch, made, door)
        else:
            accepted = await commands.accept_run(_show_and_ask, user, branch, made, door)
            shown = Made(accepted.session_id, accepted.run_id)
    except BaseException:
        await database.write(_discard, made.session.pk)
        raise
    if shown.session_id != made.session.pk:
        # The same request came at the same time, and the other one was finished first.
        await database.write(_discard, made.session.pk)
    return shown


@dataclass(slots=True)
class _Copy:
    """A copy that is being made."""

    session: Session
    plan: CopyPlan
    run_ids: dict[UUID, UUID] = field(default_factory=dict)


def _begin(user: User, branch: Branch) -> _Copy | Made:
    """A new hidden session, to be saved and filled; or what was created with the same key before."""
    if (known := find_made(user.pk, branch.asked_key)) is not None:
        return Made(*known)
    source = Session.objects.filter(pk=branch.source).first()
    role = role_in(user, source) if source is not None else None
    if source is None or role is None:
        raise Refused("not_found", Sentence("There is no such session."))
    if not may_copy(role):
        raise Refused("not_allowed", Sentence("You may look at this session, but not copy it."))
    if branch.agent_name is not None:
        check_agent(branch.agent_name, user.pk)
    plan = branches.plan_copy(source, branch.after_seq)
    if plan is None:
        raise Refused("bad_seq", Sentence("after_seq: 0, or the number of the last event of a run."))
    if plan.is_too_long:
        raise TooLong
    new = Session(
        owner=user,
        title=source.title,
        agent_name=branch.agent_name or source.agent_name,
        enable_reasoning=source.enable_reasoning,
        last_seq=plan.after_seq,
        status=plan.status,
        deleted_at=timezone.now() + _HELD,
    )
    return _Copy(new, plan)


async def _copy(copy: _Copy) -> None:
    """Fill the session in batches; after each one, other writers get as much time."""
    session_id, plan = copy.session.pk, copy.plan
    for runs in _parts(plan.runs, _RUNS):
        await _write(session_id, _copy_runs, copy, runs)
    for step_ids in _parts(plan.step_ids, _EVENTS):
        wholes = await _write(session_id, _copy_events, copy, step_ids)
        for some in _by_length(wholes):
            await _write(session_id, _copy_contents, some)


async def _write(session_id: UUID, work: Any, *args: Any) -> Any:
    """Write one batch, in a transaction that first renews the mark that the session is still being copied."""

    @transaction.atomic
    def batch() -> tuple[Any, float]:
        began = time.monotonic()
        now = timezone.now()
        hidden = Session.everything.filter(pk=session_id, deleted_at__gt=now)
        if not hidden.update(deleted_at=now + _HELD):
            raise Refused("not_found", Sentence("The copy was given up, because it took too long."))
        return work(*args), time.monotonic() - began

    result, took_s = await database.write(batch)
    await asyncio.sleep(took_s)
    return result


def _parts(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _by_length(wholes: Sequence[tuple[int, int, int]]) -> list[list[tuple[int, int]]]:
    """Full texts in groups that one transaction may copy."""
    parts: list[list[tuple[int, int]]] = []
    length = 0
    for key, copy, size in wholes:
        if not parts or length + size > _CHARACTERS:
            parts.append([])
            length = 0
        parts[-1].append((key, copy))
        length += size
    return parts


#: Fields of a run that are not copied.
_OWN = {"id", "session", "copied_from", "continues", "parent", "owner", "fence", "heartbeat_at"}
_SAME = [name for each in Run._meta.concrete_fields if each.name not in _OWN and (name := each.attname)]


def _copy_runs(copy: _Copy, run_keys: Sequence[UUID]) -> None:
    """Copy some runs; runs that they refer to were copied before."""
    found = Run.objects.in_bulk(run_keys)
    runs = [found[key] for key in run_keys if key in found]
    copy.run_ids |= {run.pk: uuid4() for run in runs}
    run_state.add_copies([_copied_run(copy, run) for run in runs])
    named = {file["id"] for run in runs if run.files for file in orjson.loads(run.files)}
    for messages in sent_along.copy_for({run.pk: copy.run_ids[run.pk] for run in runs}, copy.session.owner_id):
        named |= {file["id"] for message in orjson.loads(messages) for file in message.get("files", ())}
    session_files.attach_copied(copy.session.pk, copy.plan.source_id, map(UUID, named))


def _copied_run(copy: _Copy, run: Run) -> Run:
    return Run(
        id=copy.run_ids[run.pk],
        session_id=copy.session.pk,
        copied_from=run.copied_from or run.pk,
        continues_id=copy.run_ids.get(run.continues_id) if run.continues_id else None,
        parent_id=copy.run_ids[run.parent_id] if run.parent_id else None,
        **{name: getattr(run, name) for name in _SAME},
    )


def _copy_events(copy: _Copy, step_ids: Sequence[int]) -> list[tuple[int, int, int]]:
    copied = step_log.copy_events(copy.session.pk, step_ids, copy.run_ids)
    session_files.attach_copied(copy.session.pk, copy.plan.source_id, copied.files)
    return copied.wholes


def _copy_contents(pairs: Sequence[tuple[int, int]]) -> None:
    for key, copied in pairs:
        step_log.copy_content(key, copied)


@transaction.atomic
def _show(user: User, branch: Branch, copy: _Copy, door: Door) -> Made:
    """Show the complete session to its owner; or return what was created with the same key meanwhile."""
    if (known := claim_key(user.pk, branch.asked_key)) is not None:
        return Made(*known)
    _show_whole(user, branch, copy, door)
    settle_key(user.pk, branch.asked_key, copy.session.pk)
    return Made(copy.session.pk)


@transaction.atomic
def _show_and_ask(user: User, branch: Branch, copy: _Copy, door: Door) -> Accepted:
    """As `_show`, and ask the message in it; if that is refused, the session is not created."""
    if (known := claim_key(user.pk, branch.asked_key)) is not None and known.run_id is not None:
        return Accepted(known.session_id, known.run_id, "", 0, is_new=False)
    _show_whole(user, branch, copy, door)
    new = copy.session
    file_ids = check_files(branch.files)
    session_files.attach_copied(new.pk, branch.source, file_ids)
    accepted = commands.ask_atomically(
        user,
        new.pk,
        message=branch.message or "",
        agent_name=branch.agent_name,
        fallback_agent=None,
        enable_reasoning=new.enable_reasoning,
        client_message_id=uuid4().hex,
        origin=Origin.CHAT if door is Door.PAGE else Origin.API,
        file_ids=file_ids,
    )
    settle_key(user.pk, branch.asked_key, new.pk, accepted.run_id)
    return accepted


def _copies(user: User, session: Session) -> bool:
    role = role_in(user, session)
    return role is not None and may_copy(role)


def _show_whole(user: User, branch: Branch, copy: _Copy, door: Door) -> None:
    source = lock_session(branch.source, user, _copies)
    new, plan = copy.session, copy.plan
    family = source.family
    if family is None:
        family = uuid4()
        Session.objects.filter(pk=source.pk).update(family=family)
    now = timezone.now()
    shown = Session.everything.filter(pk=new.pk, deleted_at__gt=now).update(
        deleted_at=None,
        created_at=now,
        active_at=now,
        family=family,
        copied_from=source.pk,
        parted_from=branches.parts_from(source, plan.after_seq),
        parted_after=plan.after_seq,
        # Fields that restrict what may be done in it.
        has_read_private=source.has_read_private,
        imported_at=source.imported_at,
    )
    # A process of an earlier version, running at the same time, takes hidden sessions for deleted ones.
    if not shown or branches.steps_stored(new.pk) != len(plan.step_ids):
        raise Refused("storage", Sentence("The copy could not be finished. Please try again."))
    audit.record_action(
        user.pk, Act.COPY, door, session_id=source.pk, subject_id=source.owner_id, about=f"session {new.pk}"
    )


def _discard(session_id: UUID) -> None:
    """Give up a session that is not shown: it is deleted like any other."""
    Session.everything.filter(pk=session_id, deleted_at__isnull=False).update(deleted_at=timezone.now())
