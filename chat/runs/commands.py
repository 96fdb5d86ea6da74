"""The use cases of runs: ask, stop, continue; with creating a session. Pages, sockets, API and admin call these.

Call the coroutines on the serving event loop. The other functions are each one transaction, on one of the database's threads.
Each checks its caller's right in that transaction.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec, cast
from uuid import UUID, uuid4

import orjson
from django.conf import settings
from django.db import transaction

from agents.sentence import Sentence
from chat.access import may_stop
from chat.accounts.models import User
from chat.catalog import agents as catalog
from chat.catalog import budgets
from chat.models import (
    AGENT_NAME,
    HAS_NOT_ENDED,
    IS_LIVE,
    IS_UNFINISHED,
    Act,
    Door,
    Origin,
    Run,
    RunStatus,
    SentAlong,
    Session,
)
from chat.runs import dispatch, metering, publisher, waiting
from chat.runs import events as run_events
from chat.runs import registry as run_registry
from chat.runs import state as run_state
from chat.runs.admission import (
    Admission,
    Refused,
    check_access,
    check_agent,
    check_files,
    check_message,
    lock_session,
    no_such_agent,
)
from chat.runs.children import ClaimedRun
from chat.runs.sessions import asked_key, create_once, title_from, unsaved_session
from chat.runs.state import End
from chat.runtime import background, database
from chat.security import audit
from chat.store import files as session_files
from chat.store import selectors, sent_along, steering, step_log
from chat.store.step_log import Stored

P = ParamSpec("P")
_AGENT_NAME = re.compile(AGENT_NAME)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that exists now. ``queued`` is its place in the queue; 0 means that it runs.

    ``claim``: set if this process executes it from now on.
    """

    session_id: UUID
    run_id: UUID
    client_message_id: str
    queued: int
    is_new: bool
    claim: ClaimedRun | None = None
    is_word: bool = False
    """Whether it is a steering word for that run, which is running."""


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
    files: Sequence[str] = (),
) -> Accepted:
    """Put a message into the session's queue, and start it or publish the queue; see `accept_run`. Raises `Refused`.

    ``fallback_agent`` is used if the message names none; else the session's own. ``files`` are ids of files of the user or of the session.
    """
    check_message(message)
    file_ids = check_files(files)
    return await accept_run(
        ask_atomically,
        user,
        session_id,
        message=message,
        agent_name=agent_name,
        fallback_agent=fallback_agent,
        enable_reasoning=enable_reasoning,
        client_message_id=client_message_id or uuid4().hex,
        origin=origin,
        file_ids=file_ids,
    )


async def begin(user: User, *, message: str, agent_name: str, enable_reasoning: bool, key: str) -> Accepted:
    """Create a session with its first message; see `ask`. If the message is refused, no session is created. Raises `Refused`.

    The same request with the same ``key`` again returns the same session and the same run.
    """
    check_message(message)
    new = unsaved_session(user, agent_name, "", enable_reasoning)
    asked = asked_key(key, new)

    @transaction.atomic
    def begin_atomically() -> Accepted:
        check_agent(agent_name, user.pk)
        return ask_atomically(
            user,
            create_once(new, asked).pk,
            message=message,
            agent_name=agent_name,
            fallback_agent=None,
            enable_reasoning=enable_reasoning,
            client_message_id=key,
            origin=Origin.CHAT,
        )

    return await accept_run(begin_atomically)


@transaction.atomic
def ask_by_clock(
    owner: User, session_id: UUID | None, *, message: str, agent_name: str, title: str, client_message_id: str
) -> Accepted:
    """`ask` for a schedule, within the transaction that claims its due time. Raises `Refused`.

    Without a session it creates one of that title. The message is always queued, so that any process can start it after the
    commit; the caller then calls `dispatch_accepted`.
    """
    if session_id is None:
        session_id = Session.objects.create(owner=owner, agent_name=agent_name, title=title).pk
    return ask_atomically(
        owner,
        session_id,
        message=message,
        agent_name=agent_name,
        fallback_agent=None,
        enable_reasoning=True,
        client_message_id=client_message_id,
        origin=Origin.SCHEDULE,
    )


@transaction.atomic
def ask_case(
    user: User,
    owner: User,
    set_id: UUID,
    *,
    message: str,
    file_ids: Sequence[UUID],
    agent_name: str,
    version_id: int,
    client_message_id: str,
) -> Accepted:
    """`ask` a case of a set, with one version of an agent, in a session of its own that no list shows. Raises `Refused`.

    The session belongs to the set's owner; ``user`` runs the set. ``file_ids``: the case's files. It is queued as by `ask_by_clock`.
    """
    session = Session.objects.create(owner=owner, agent_name=agent_name, title=title_from(message), for_set=set_id)
    if file_ids:
        session_files.attach_known(session.pk, file_ids)
    return ask_atomically(
        user,
        session.pk,
        message=message,
        agent_name=agent_name,
        fallback_agent=None,
        enable_reasoning=True,
        client_message_id=client_message_id,
        origin=Origin.SET,
        file_ids=file_ids,
        version_id=version_id,
    )


@transaction.atomic
def ask_atomically(
    user: User,
    session_id: UUID,
    *,
    message: str,
    agent_name: str | None,
    fallback_agent: str | None,
    enable_reasoning: bool,
    client_message_id: str,
    origin: Origin,
    file_ids: Sequence[UUID] = (),
    along: SentAlong | None = None,
    version_id: int | None = None,
) -> Accepted:
    """`ask` as one transaction in the calling thread; the caller then calls `dispatch_accepted`. Raises `Refused`.

    ``along``: what a client that keeps the conversation itself has sent along. ``version_id``: the version of the agent that answers;
    None for the current one.
    """
    if agent_name is not None and not _AGENT_NAME.fullmatch(agent_name):
        # Not every text can be a parameter of a statement.
        raise no_such_agent(agent_name, user.pk)
    admission = check_access(session_id, user, client_message_id, agent_name or fallback_agent)
    if admission.is_known:
        known = Run.objects.get(session=session_id, user=user, client_message_id=client_message_id)
        same = (known.message, known.enable_reasoning, known.continues_id) == (message, enable_reasoning, None)
        same = same and _file_ids(known) == [str(file_id) for file_id in file_ids]
        return _again(known, is_same=same and agent_name in (None, known.agent_name))
    _check_unused(admission)
    run = Run(
        session_id=session_id,
        user=user,
        client_message_id=client_message_id,
        message=message,
        agent_name=admission.agent_name,
        agent_version_id=admission.agent_version,
        enable_reasoning=enable_reasoning,
        origin=origin,
    )
    run.session_has_files, run.pinned_version = admission.has_files, version_id
    if file_ids:
        _add_files(run, user, file_ids)
    if along is not None:
        sent_along.add(along, run)
    return _admit(run, admission)


def _add_files(run: Run, user: User, file_ids: Sequence[UUID]) -> None:
    try:
        run.files = session_files.attach(run.session_id, user.pk, file_ids)
    except session_files.Missing:
        raise Refused("not_found", Sentence("One of the files is not there, or not yours.")) from None
    run.session_has_files = True


def _file_ids(run: Run) -> list[str]:
    return [file["id"] for file in orjson.loads(run.files)] if run.files else []


async def continue_run(
    user: User, session_id: UUID, run_id: UUID | None, client_message_id: str | None = None
) -> Accepted:
    """Continue after an ended run, as a new run; start it or publish the queue, see `accept_run`. Raises `Refused`."""
    return await accept_run(continue_atomically, user, session_id, run_id, client_message_id or uuid4().hex)


@transaction.atomic
def continue_atomically(user: User, session_id: UUID, run_id: UUID | None, client_message_id: str) -> Accepted:
    """`continue_run` as one transaction in the calling thread; the caller then calls `dispatch_accepted`. Raises `Refused`."""
    admission = check_access(session_id, user, client_message_id)
    runs = Run.objects.filter(session=session_id)
    old = runs.filter(pk=run_id).first() if run_id is not None else None
    if old is None:
        raise Refused("not_found", Sentence("There is no such run in this session."))
    if admission.is_known:
        known = runs.get(user=user, client_message_id=client_message_id)
        return _again(known, is_same=known.continues_id == old.pk)
    _check_unused(admission)
    # A run that was removed from the queue before it began has changed nothing.
    later = runs.filter(number__gt=old.number).exclude(status=RunStatus.CANCELLED, started_at=None)
    if later.exists() or old.parent_id is not None or old.status not in run_state.CONTINUABLE:
        raise Refused(
            "not_continuable",
            Sentence(
                "Only the session's latest run can be continued, and only when it was stopped, failed, was interrupted or hit its limit."
            ),
        )
    if (spent := metering.used_up(budgets.budget_states_for(user.pk, old.agent_name))) is not None:
        raise Refused("budget_exceeded", spent)
    run = Run(
        session_id=session_id,
        user=user,
        client_message_id=client_message_id,
        message=old.message,
        files=old.files,
        agent_name=old.agent_name,
        agent_version_id=catalog.current_of(old.agent_name, user.pk),
        enable_reasoning=old.enable_reasoning,
        origin=Origin.CONTINUE,
        continues=old,
    )
    run.session_has_files = admission.has_files
    return _admit(run, admission)


def _check_unused(admission: Admission) -> None:
    if admission.is_word:
        raise used_before()


def used_before() -> Refused:
    """The refusal for a ``client_message_id`` that was used for something else."""
    return Refused("conflict", Sentence("This message's identifier was used for another message before."))


def _again(known: Run, *, is_same: bool) -> Accepted:
    """The answer that a message got the first time."""
    if not is_same:
        raise used_before()
    place = selectors.queue_position(known)
    return Accepted(known.session_id, known.pk, known.client_message_id, place, is_new=False)


def _admit(run: Run, admission: Admission) -> Accepted:
    """Queue a new run, or start it at once if it may start."""
    if run.agent_version_id is None:
        raise no_such_agent(run.agent_name, cast(int, run.user_id))
    most, limit = settings.MAX_MESSAGES_PER_MINUTE, settings.MAX_QUEUED_RUNS
    by_clock = run.origin in (Origin.SCHEDULE, Origin.SET)
    if most and admission.recent >= most and not by_clock:
        raise Refused(
            "rate_limited", Sentence("The limit on messages is %(n)d a minute. Please wait a moment.", n=most)
        )
    if limit and admission.waiting >= limit:
        raise Refused(
            "queue_full",
            Sentence("The limit on messages waiting in a session is %(n)d. Please wait for one to start.", n=limit),
        )
    run.number = admission.last_number + 1
    under_run_limit = not settings.MAX_ACTIVE_RUNS_PER_USER or admission.at_work < settings.MAX_ACTIVE_RUNS_PER_USER
    is_free = not admission.is_live and not admission.waiting and under_run_limit
    at_once = is_free and run_registry.executes_runs() and not by_clock
    title = admission.title or title_from(run.message)
    if not at_once:
        run_state.enqueue(run, title=title, is_first=not admission.is_live)
        return Accepted(run.session_id, run.pk, run.client_message_id, admission.waiting + 1, is_new=True)
    run_state.begin(run, run_registry.PROCESS, title=title)
    claim = dispatch.claim_events(run)
    return Accepted(run.session_id, run.pk, run.client_message_id, 0, is_new=True, claim=claim)


async def accept_run(function: Callable[P, Accepted], *args: P.args, **kwargs: P.kwargs) -> Accepted:
    """Accept a run by a transaction; then start it, or publish that it is queued, even if the caller is cancelled.

    The caller continues before any event of the run is published, and so can answer before any of them is sent.
    """
    return await run_registry.write_and_start(start_accepted, function, *args, **kwargs)


async def dispatch_accepted(accepted: Accepted) -> None:
    """Start what the caller's transaction has accepted, or publish that it is queued."""
    if (moving := start_accepted(accepted)) is not None:
        await asyncio.shield(moving)


def start_accepted(accepted: Accepted) -> asyncio.Task[None] | None:
    """After the commit, on the event loop: start the run if it was claimed, else its queue. Returns the task of the latter, else None."""
    if accepted.claim is not None:
        dispatch.start_run(accepted.claim)
    elif accepted.is_new:
        return background.spawn(dispatch.dispatch_next(accepted.session_id), f"dispatch {accepted.session_id}")
    return None


@dataclass(frozen=True, slots=True)
class Stops:
    """What a stop has reached: running runs; and queued ones, which have already ended."""

    running: list[UUID]
    ended: list[UUID]
    woken: list[UUID] = field(default_factory=list)
    """Runs within others that have ended; the calls that started them may be running."""


async def cancel(
    user: User, session_id: UUID, run_id: UUID | None = None, *, everything: bool = False, door: Door = Door.API
) -> Stops:
    """Stop a run of the session: the given one, else the running one; ``everything``: also the queue. Raises `Refused`.

    If a run within another one is given, only that one is stopped.
    ``door``: where the command came from, for the audit log: it records stops of other users' runs.
    """
    stops, events = await database.write(cancel_atomically, user, session_id, run_id, everything=everything, door=door)
    reason = run_state.stopped_by(user.get_username())
    for running in stops.running:
        await run_registry.stop_run(running, reason)
    await publisher.publish_events(session_id, events)
    await run_registry.wake_runs(stops.woken)
    if stops.ended or everything:
        await publisher.publish_queue(session_id)
    if stops.ended:
        background.spawn(dispatch.dispatch_next(session_id), f"dispatch {session_id}")
    return stops


@transaction.atomic
def cancel_atomically(
    user: User, session_id: UUID, run_id: UUID | None, *, everything: bool, door: Door = Door.API
) -> tuple[Stops, list[Stored]]:
    """`cancel` as one transaction in the calling thread; the caller publishes the events, and stops running runs. Raises `Refused`."""
    session = lock_session(session_id, user, may_stop)
    if everything:
        # Else they would be asked after the run.
        steering.take_back_all(session_id)
    unfinished = Run.objects.filter(IS_UNFINISHED, session_id=session_id)
    if run_id is not None and not everything:
        if not Run.objects.filter(session_id=session_id, pk=run_id).exists():
            raise Refused("not_found", Sentence("There is no such run in this session."))
        # Runs within runs can be stopped one by one.
        unfinished = Run.objects.filter(HAS_NOT_ENDED, session_id=session_id, pk=run_id)
    elif not everything:
        unfinished = unfinished.filter(IS_LIVE)
    running: list[UUID] = []
    ended: list[UUID] = []
    woken: list[UUID] = []
    events: list[Stored] = []
    for run in unfinished.select_related("user").order_by("number"):
        if run.status == RunStatus.WAITING:
            # No process executes it: it ends now.
            events += waiting.end(run, RunStatus.CANCELLED, run_state.stopped_by(user.get_username()), by=user)
            ended.append(run.pk)
            woken += waiting.path_to_root(run)[:-1]
            continue
        if run.status != RunStatus.QUEUED:
            run_state.request_cancel(run, user)
            running.append(run.pk)
            continue
        events += _cancel_queued(run, user)
        ended.append(run.pk)
    if not running and not ended:
        raise Refused("nothing_to_cancel", Sentence("Nothing is running here that could be stopped."))
    if session.owner_id != user.pk:
        audit.record_action(user.pk, Act.STOP, door, session_id=session_id, run_id=run_id, subject_id=session.owner_id)
    return Stops(running, ended, woken), events


def _cancel_queued(run: Run, user: User) -> list[Stored]:
    end = End(RunStatus.CANCELLED)
    run.cancelled_by = user
    entries = [
        run_events.started(run),
        run_events.completed(run, end, removed=True),
    ]
    if not run_state.finish(run.pk, run.session_id, end, by=user):
        return []
    return step_log.append_unowned(run, entries)
