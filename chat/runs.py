"""The use case: ask, carry a run to its end, stop it, go on from it.

A run is carried by this process, never by a socket. What the agent yields is saved first and told then; growth of a step in
progress goes to `drafts` and is told at once. The coroutines belong on the serving loop; the functions beside
them, each one transaction, run on the database's threads.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.db import Error as DatabaseError
from django.db import transaction
from django.utils import timezone

import agents
from agents.events import Growth, Outcome, Usage
from agents.events import Step as AgentStep
from chat import background, database, drafts, groups, run_state, search, selectors, step_log
from chat.access import Role, may_drive, may_manage, may_stop, role_in
from chat.drafts import Draft
from chat.models import LIVE, Origin, Run, RunStatus, Session, Step
from chat.protocol import clean, utf16_length
from chat.run_state import End
from chat.step_log import Entry, Fenced, Stored

logger = logging.getLogger(__name__)

#: This process, as the owner of runs and connections.
PROCESS = f"{socket.gethostname()[:80]}:{os.getpid()}:{secrets.token_hex(3)}"
#: Whole texts of growth are sent again this often, for whoever missed a piece.
WHOLE_EVERY_S = 1.5
#: Pauses before a write that failed is tried again; after the last the run has failed.
_RETRY_AFTER_S = (0.1, 0.5, 2.0)
_TITLE_LENGTH = 80
_RATE_WINDOW_S = 60
#: Tools that change nothing outside, after which a run may be continued without asking anyone.
_HARMLESS_TOOLS = frozenset({"python", "current_time", "search_history", "fetch_page"})
_AUTOMATIC = "auto:"
_AUTOMATIC_LIMIT = 3


class Refused(Exception):
    """A command that can't be carried out; ``code`` is the wire's, ``message`` is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that exists now. ``queued`` is its place in line; 0 means that it runs."""

    run_id: UUID
    client_message_id: str
    queued: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Claim:
    """A run that this process carries, with what the agent needs to begin."""

    run_id: UUID
    session_id: UUID
    fence: int
    user: User | None
    prompt: str | None
    agent_name: str
    enable_reasoning: bool
    number: int
    continues: UUID | None
    events: list[Stored]


class _Carried:
    """A run at work in this process."""

    def __init__(self) -> None:
        self.stream: agents.AgentRun | None = None
        self.stopped_because = ""
        self.interrupted = False
        self.ended = asyncio.Event()

    def stop(self, because: str) -> None:
        if self.stopped_because:
            return
        self.stopped_because = because
        if self.stream is not None:
            self.stream.cancel(because)


_carried: dict[UUID, _Carried] = {}
#: Stops that arrived before their run was taken up here.
_early_stops: OrderedDict[UUID, str] = OrderedDict()


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
    """Put a message in the session's line; the caller answers, then calls `dispatch`. Raises `Refused`.

    ``fallback_agent`` is used where the message names none; then the session's own.
    """
    if utf16_length(message) > settings.MAX_MESSAGE_CHARS > 0:
        raise Refused(
            "too_large",
            f"The message has {utf16_length(message):,} characters; at most {settings.MAX_MESSAGE_CHARS:,} are allowed.",
        )
    if not message.strip():
        raise Refused("empty_message", "The message is empty.")
    if agent_name is not None:
        check_agent(agent_name)
    return await database.write(
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
    session = _locked(session_id, user, may_drive)
    known = Run.objects.filter(session=session, user=user, client_message_id=client_message_id).first()
    if known is not None:
        same = (known.message, known.enable_reasoning, known.continues_id) == (message, enable_reasoning, None)
        if not same or agent_name not in (None, known.agent_name):
            raise Refused("conflict", "This message's identifier was used for another message before.")
        return Accepted(known.pk, client_message_id, selectors.place_in_line(known), is_new=False)
    _check_limits(user, session)
    run = run_state.enqueue(
        session,
        user,
        message=message,
        agent_name=agent_name or fallback_agent or session.agent_name,
        enable_reasoning=enable_reasoning,
        client_message_id=client_message_id,
        origin=origin,
    )
    if not session.title:
        Session.objects.filter(pk=session.pk).update(title=title_from(message))
    return _accepted(run)


async def continue_run(
    user: User, session_id: UUID, run_id: UUID | None, client_message_id: str | None = None
) -> Accepted:
    """Go on from an ended run, as a new run; the caller answers, then calls `dispatch`. Raises `Refused`."""
    return await database.write(_continue, user, session_id, run_id, client_message_id or uuid4().hex)


@transaction.atomic
def _continue(user: User, session_id: UUID, run_id: UUID | None, client_message_id: str) -> Accepted:
    session = _locked(session_id, user, may_drive)
    old = session.runs.filter(pk=run_id).first()
    if old is None:
        raise Refused("not_found", "There is no such run in this session.")
    known = Run.objects.filter(session=session, user=user, client_message_id=client_message_id).first()
    if known is not None:
        if known.continues_id != old.pk:
            raise Refused("conflict", "This message's identifier was used for another message before.")
        return Accepted(known.pk, client_message_id, selectors.place_in_line(known), is_new=False)
    latest = session.runs.order_by("-number").first()
    if latest is None or latest.pk != old.pk or latest.status not in run_state.CONTINUABLE:
        raise Refused(
            "not_continuable",
            "Only the session's latest run can be continued, and only when it was stopped, failed, was interrupted or hit its limit.",
        )
    _check_limits(user, session)
    return _accepted(
        run_state.enqueue(
            session,
            user,
            message=old.message,
            agent_name=old.agent_name,
            enable_reasoning=old.enable_reasoning,
            client_message_id=client_message_id,
            origin=Origin.CONTINUE,
            continues=latest,
        )
    )


def _locked(session_id: UUID, user: User, may: Callable[[Role], bool]) -> Session:
    """The session, with its row held for the rest of the transaction: one command at a time, by who may give it now."""
    session = Session.objects.select_for_update().filter(pk=session_id).first()
    asking = User.objects.filter(pk=user.pk).first()
    role = role_in(asking, session) if session is not None and asking is not None else None
    if session is None or role is None:
        raise Refused("not_found", "There is no such session.")
    if not may(role):
        raise Refused("not_allowed", "You may watch this session, but not steer it.")
    return session


def _check_limits(user: User, session: Session) -> None:
    most = settings.MAX_MESSAGES_PER_MINUTE
    since = timezone.now() - timedelta(seconds=_RATE_WINDOW_S)
    if most and Run.objects.filter(user=user, created_at__gt=since).exclude(origin=Origin.SCHEDULE).count() >= most:
        raise Refused("rate_limited", f"At most {most} messages a minute. Please wait a moment.")
    line = settings.MAX_QUEUED_RUNS
    if line and session.runs.filter(status=RunStatus.QUEUED).count() >= line:
        raise Refused(
            "queue_full", f"{line} messages are waiting in this session already. Please wait for one to start."
        )


def _accepted(run: Run) -> Accepted:
    ahead = selectors.place_in_line(run)
    starts_now = ahead == 1 and run_state.live_in(run.session_id) is None and run_state.has_room(run.user_id)
    return Accepted(run.pk, run.client_message_id, 0 if starts_now else ahead, is_new=True)


def title_from(message: str) -> str:
    """A session's title from its first message: its first line, cut at a word."""
    line = " ".join(message.split())
    if len(line) <= _TITLE_LENGTH:
        return line
    cut = line[: _TITLE_LENGTH - 1]
    head, _, _ = cut.rpartition(" ")
    return (head if len(head) > _TITLE_LENGTH // 2 else cut) + "…"


# Carrying


async def dispatch(session_id: UUID, *, line_changed: bool = True) -> None:
    """Start the session's next run, if one waits and may start; tell the line where it changed."""
    claim = await database.write(_claim_next, session_id)
    if claim is not None:
        _take_up(claim)
    if line_changed:
        await groups.tell(groups.of_session(session_id), {"type": "queue"})


async def dispatch_waiting(user_id: int | None = None) -> None:
    """Start whatever waits anywhere and may start."""
    for session_id in await database.read(run_state.waiting_sessions, user_id):
        await dispatch(session_id)


def _take_up(claim: _Claim) -> None:
    carried = _carried[claim.run_id] = _Carried()
    because = _early_stops.pop(claim.run_id, None)
    if because is not None:
        carried.stop(because)
    background.spawn(_carry(claim, carried), f"run {claim.run_id}")


@transaction.atomic
def _claim_next(session_id: UUID) -> _Claim | None:
    if not Session.objects.select_for_update().filter(pk=session_id).exists():
        return None
    run = run_state.next_in(session_id)
    if run is None or not run_state.claim(run, PROCESS):
        return None
    entries = [Entry("reasoning_start", _start_data(run))]
    events = step_log.append(run.pk, session_id, run.fence, entries)
    return _Claim(
        run.pk,
        session_id,
        run.fence,
        run.user,
        None if run.continues_id else run.message,
        run.agent_name,
        run.enable_reasoning,
        run.number,
        run.continues_id,
        events,
    )


def _start_data(run: Run) -> dict[str, Any]:
    data: dict[str, Any] = {
        "agent": run.agent_name,
        "message": run.message,
        "user": run.user.get_username() if run.user else "",
        "enable_reasoning": run.enable_reasoning,
        "timestamp": timezone.now().timestamp(),
    }
    if run.continues_id:
        data["continues"] = str(run.continues_id)
    return data


async def _carry(claim: _Claim, carried: _Carried) -> None:
    """Carry a claimed run to its end, whatever happens."""
    try:
        await _tell_stored(claim.session_id, claim.events)
        try:
            end, held = await _stream(claim, carried)
            await _save(claim, lambda: _end(claim, held, end))
        except Fenced:
            logger.warning("Run %s was taken from this process", claim.run_id)
    finally:
        drafts.drop(claim.session_id)
        _carried.pop(claim.run_id, None)
        carried.ended.set()
    await dispatch_waiting(claim.user.pk if claim.user is not None else None)


async def _stream(claim: _Claim, carried: _Carried) -> tuple[End, list[Entry]]:
    """Save and tell what the agent yields; returns the end to record and the entries that belong to it."""
    telling = _Growing(claim)
    held: list[Entry] = []
    try:
        agent = agents.get_agent(claim.agent_name, model=settings.AGENT_MODEL, toolbox=_toolbox(claim.user))
        stream = carried.stream = agent.start(
            claim.prompt,
            history=await _memory(claim),
            session_id=str(claim.session_id),
            max_iterations=settings.MAX_ITERATIONS,
        )
        if carried.stopped_because:
            stream.cancel(carried.stopped_because)
        try:
            async for item in stream:
                if isinstance(item, Growth):
                    await telling.grow(item)
                    continue
                entry = _entry(item, claim)
                telling.finished(item)
                if item.type in ("complete", "error"):
                    held.append(entry)
                else:
                    await _save(
                        claim, lambda entry=entry: step_log.append(claim.run_id, claim.session_id, claim.fence, [entry])
                    )
        finally:
            await stream.aclose()
        outcome = stream.outcome or Outcome("failed", 0, Usage(), "internal", "The agent ended without a result.")
    except Fenced:
        raise
    except DatabaseError:
        logger.exception("Run %s could not be stored", claim.run_id)
        outcome = Outcome(
            "failed", 0, Usage(), "storage", "What the agent did could not be stored, so the run was stopped."
        )
    except Exception:
        logger.exception("Run %s failed", claim.run_id)
        outcome = Outcome(
            "failed", 0, Usage(), "internal", "Something in this program went wrong, and the run was stopped."
        )
    if outcome.status == "failed" and not held:
        held.append(_failure(outcome, claim))
    status = RunStatus(outcome.status)
    if status is RunStatus.CANCELLED and carried.interrupted:
        status = RunStatus.INTERRUPTED
    return End(status, outcome.iterations, outcome.usage, outcome.code), [*held, *telling.closing(outcome)]


async def _memory(claim: _Claim) -> list[dict[str, Any]]:
    if claim.number == 1:
        return []
    return await database.read(selectors.memory, claim.session_id, claim.number, unfinished_run=claim.continues)


def _entry(item: AgentStep, claim: _Claim) -> Entry:
    return Entry("reasoning_step", item.data, item.full_content, numbered=claim.enable_reasoning)


def _failure(outcome: Outcome, claim: _Claim) -> Entry:
    """The step that says what went wrong, where it was not the agent that failed."""
    data = {
        "type": "error",
        "content": outcome.error,
        "error": outcome.error,
        "code": outcome.code,
        "iteration": outcome.iterations,
        "timestamp": timezone.now().timestamp(),
    }
    return Entry("reasoning_step", data, numbered=claim.enable_reasoning)


class _Growing:
    """Tells the growth of one run: every piece once, the whole text now and then."""

    def __init__(self, claim: _Claim) -> None:
        self._claim = claim
        self._group = groups.of_session(claim.session_id)
        self._told: Draft | None = None
        self._whole_at = 0.0
        self._attempt = 0
        self._step = 0
        self._answer = ""
        self._partial = False

    async def grow(self, growth: Growth) -> None:
        """Keep a step's latest text, and tell what is new of it."""
        draft = self._draft(growth)
        if draft is None:
            return
        drafts.put(self._claim.session_id, draft)
        now = asyncio.get_running_loop().time()
        told = self._told
        offset = told.length if told is not None and draft.same_text(told) else 0
        if offset and now - self._whole_at > WHOLE_EVERY_S:
            offset = 0
        if not offset:
            self._whole_at = now
        self._told = draft
        piece = draft.data(offset)
        await groups.tell(
            self._group,
            {
                "type": "growth",
                "run_id": str(draft.run_id),
                "growth": [draft.step, draft.type, draft.attempt, offset, piece["text"], draft.tool_name],
            },
        )

    def _draft(self, growth: Growth) -> Draft | None:
        text = clean(growth.text)
        if self._claim.enable_reasoning:
            return Draft(self._claim.run_id, growth.step, growth.type, growth.attempt, text, growth.tool_name)
        if growth.type != "final_answer":
            return None
        # One text for the whole answer: what turns out to be a thought is started anew by the next attempt.
        if growth.step != self._step:
            self._step = growth.step
            self._attempt += 1
        return Draft(self._claim.run_id, 0, "response", self._attempt, text)

    def finished(self, item: AgentStep) -> None:
        """A step is whole: nothing is being written any more."""
        drafts.drop(self._claim.session_id)
        self._told = None
        if item.type == "final_answer":
            self._answer = str(item.data["content"])
            self._partial = bool(item.data.get("partial"))

    def closing(self, outcome: Outcome) -> list[Entry]:
        """What belongs between the agent's last step and the run's end."""
        entries = []
        if not self._claim.enable_reasoning and (self._answer or outcome.status == "completed"):
            data: dict[str, Any] = {"content": self._answer}
            if self._partial:
                data["partial"] = True
            entries.append(Entry("response", data))
        if outcome.status == "failed":
            entries.append(Entry("error", {"message": outcome.error, "code": outcome.code, "id": secrets.token_hex(4)}))
        return entries


async def _save(claim: _Claim, store: Callable[[], list[Stored]]) -> None:
    """Store, then tell. A database that is away for a moment is waited for."""
    for pause in (*_RETRY_AFTER_S, None):
        try:
            events = await database.write(store)
        except Fenced:
            raise
        except DatabaseError:
            if pause is None:
                raise
            logger.warning("Run %s could not be stored; trying again in %s s", claim.run_id, pause, exc_info=True)
            await asyncio.sleep(pause)
        else:
            await _tell_stored(claim.session_id, events)
            return


async def _tell_stored(session_id: UUID, events: Sequence[Stored]) -> None:
    if events:
        told = [[e.seq, str(e.run_id), e.frame, e.event, e.number] for e in events]
        await groups.tell(groups.of_session(session_id), {"type": "stored", "events": told})


@transaction.atomic
def _end(claim: _Claim, entries: Sequence[Entry], end: End) -> list[Stored]:
    run = Run.objects.select_related("cancelled_by").filter(pk=claim.run_id).first()
    if run is None:
        raise Fenced(f"Run {claim.run_id} is gone.")
    complete = Entry("reasoning_complete", _complete_data(run, end))
    events = step_log.append(claim.run_id, claim.session_id, claim.fence, [*entries, complete])
    step_log.forget_draft(claim.run_id)
    if not run_state.finish(claim.run_id, claim.session_id, end, fence=claim.fence):
        raise Fenced(f"Run {claim.run_id} ended elsewhere.")
    return events


def _complete_data(run: Run, end: End) -> dict[str, Any]:
    began = run.started_at or timezone.now()
    data: dict[str, Any] = {
        "status": str(end.status),
        "total_iterations": end.iterations,
        "duration_ms": max(0, round((timezone.now() - began).total_seconds() * 1000)),
        "usage": {
            "input_tokens": end.usage.input_tokens,
            "output_tokens": end.usage.output_tokens,
            "estimated": end.usage.estimated,
        },
    }
    if end.code:
        data["code"] = end.code
    if end.status is RunStatus.CANCELLED and run.cancelled_by is not None:
        data["cancelled_by"] = run.cancelled_by.get_username()
    return data


def _toolbox(user: User | None) -> agents.Toolbox:
    return agents.Toolbox(
        search_history=None if user is None else search.bound_to(user), mcp_servers=settings.MCP_SERVERS
    )


# Stopping


@dataclass(frozen=True, slots=True)
class Stops:
    """What a stop has reached: runs still at work, and those in line that ended at once."""

    running: list[UUID]
    ended: list[UUID]


async def cancel(user: User, session_id: UUID, run_id: UUID | None = None, *, everything: bool = False) -> Stops:
    """Stop a run of the session: the given one, else the running one; ``everything`` adds the line. Raises `Refused`."""
    stops, events = await database.write(_cancel, user, session_id, run_id, everything=everything)
    because = run_state.stopped_by(user.get_username())
    for running in stops.running:
        await _stop(running, because)
    await _tell_stored(session_id, events)
    if stops.ended:
        await groups.tell(groups.of_session(session_id), {"type": "queue"})
        background.spawn(dispatch(session_id), f"dispatch {session_id}")
    return stops


@transaction.atomic
def _cancel(
    user: User, session_id: UUID, run_id: UUID | None, *, everything: bool
) -> tuple[Stops, list[Stored]]:
    _locked(session_id, user, may_stop)
    unfinished = Run.objects.filter(session_id=session_id, ended_at=None)
    if run_id is not None and not everything:
        if not Run.objects.filter(session_id=session_id, pk=run_id).exists():
            raise Refused("not_found", "There is no such run in this session.")
        unfinished = unfinished.filter(pk=run_id)
    elif not everything:
        unfinished = unfinished.filter(status__in=LIVE)
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
    return Stops(running, ended), events


def _cancel_queued(run: Run, user: User) -> list[Stored]:
    end = End(RunStatus.CANCELLED)
    run.cancelled_by = user
    entries = [
        Entry("reasoning_start", _start_data(run)),
        Entry("reasoning_complete", _complete_data(run, end)),
    ]
    if not run_state.finish(run.pk, run.session_id, end, by=user):
        return []
    return step_log.append_unowned(run, entries)


async def _stop(run_id: UUID, because: str) -> None:
    """Stop a run here, or tell the process that carries it."""
    carried = _carried.get(run_id)
    if carried is not None:
        carried.stop(because)
        return
    _early_stops[run_id] = because
    while len(_early_stops) > 1_000:
        _early_stops.popitem(last=False)
    await groups.tell(groups.EVERYONE, {"type": "stop", "run_id": str(run_id), "because": because})


def stop_here(run_id: UUID, because: str) -> None:
    """Stop a run if this process carries it."""
    carried = _carried.get(run_id)
    if carried is not None:
        carried.stop(because)


async def stop_all(because: str) -> None:
    """Interrupt every run of this process and wait until each has said so in the log."""
    waiting = list(_carried.values())
    for carried in waiting:
        carried.interrupted = True
        carried.stop(because)
    for carried in waiting:
        await carried.ended.wait()


# Interrupting


async def interrupt(run_id: UUID) -> bool:
    """End a live run whose process has gone; False where it has ended or moved on meanwhile."""
    result = await database.write(_interrupt, run_id)
    if result is None:
        return False
    session_id, events = result
    await _tell_stored(session_id, events)
    await dispatch(session_id)
    return True


def interrupt_orphan(run_id: UUID) -> bool:
    """`interrupt` for a process that has no loop yet and nobody to tell."""
    return _interrupt(run_id) is not None


@transaction.atomic
def _interrupt(run_id: UUID) -> tuple[UUID, list[Stored]] | None:
    """Take the run from its silent owner, close what it left open, and end it."""
    run = Run.objects.select_related("cancelled_by", "draft").filter(pk=run_id, status__in=LIVE).first()
    if run is None or not Session.objects.select_for_update().filter(pk=run.session_id).exists():
        return None
    if not run_state.take_from(run, PROCESS):
        return None
    # Someone had asked for it to be stopped: then that is what has happened.
    status = RunStatus.CANCELLED if run.status == RunStatus.CANCELLING else RunStatus.INTERRUPTED
    steps = list(run.steps.order_by("position"))
    end = End(status, max((step.iteration for step in steps), default=0), Usage(estimated=True))
    entries = [*_unfinished(run, steps), Entry("reasoning_complete", _complete_data(run, end))]
    events = step_log.append(run.pk, run.session_id, run.fence, entries)
    step_log.forget_draft(run.pk)
    run_state.finish(run.pk, run.session_id, end, fence=run.fence)
    if settings.AUTO_CONTINUE and status is RunStatus.INTERRUPTED:
        _continue_automatically(run)
    return run.session_id, events


def _unfinished(run: Run, steps: Sequence[Step]) -> list[Entry]:
    """What a run left behind: text in progress becomes its step, open tool calls are closed."""
    now = timezone.now().timestamp()
    iteration = max((step.iteration for step in steps), default=0)
    number = max((step.number or 0 for step in steps), default=0)
    entries: list[Entry] = []
    draft = getattr(run, "draft", None)
    if draft is not None and draft.text:
        if draft.type == "response":
            entries.append(Entry("response", {"content": draft.text, "partial": True}))
        elif draft.type in ("thought", "final_answer") and draft.number > number:
            number = draft.number
            data = {
                "type": draft.type,
                "step": number,
                "content": draft.text,
                "iteration": iteration,
                "timestamp": now,
                "duration_ms": 0,
                "partial": True,
            }
            entries.append(Entry("reasoning_step", data, numbered=run.enable_reasoning))
    closed = {selectors.step_data(step)["tool_call_id"] for step in steps if step.type == "tool_result"}
    for call in (selectors.step_data(step) for step in steps if step.type == "tool_use"):
        if call["tool_call_id"] in closed:
            continue
        number += 1
        content = "The server stopped before this tool had finished; nothing of its result was kept."
        data = {
            "type": "tool_result",
            "step": number,
            "tool_name": call["tool_name"],
            "tool_call_id": call["tool_call_id"],
            "ok": False,
            "content": content,
            "truncated": False,
            "content_length": utf16_length(content),
            "duration_ms": max(0, round((now - call["timestamp"]) * 1000)),
            "iteration": call["iteration"],
            "timestamp": now,
        }
        entries.append(Entry("reasoning_step", data, numbered=run.enable_reasoning))
    return entries


def _continue_automatically(run: Run) -> None:
    """Put an interrupted run's continuation in line, where nothing outside can be done twice by it."""
    session = run.session
    if run.user is None or session.runs.filter(number__gt=run.number).exists():
        return
    if run.steps.filter(type="tool_use").exclude(tool_name__in=_HARMLESS_TOOLS).exists():
        return
    times, earlier = 0, run
    while earlier.client_message_id.startswith(_AUTOMATIC) and earlier.continues is not None:
        times, earlier = times + 1, earlier.continues
    if times < _AUTOMATIC_LIMIT:
        run_state.enqueue(
            session,
            run.user,
            message=run.message,
            agent_name=run.agent_name,
            enable_reasoning=run.enable_reasoning,
            client_message_id=f"{_AUTOMATIC}{run.pk.hex}",
            origin=Origin.CONTINUE,
            continues=run,
        )


# Sessions


async def create_session(user: User, *, agent_name: str | None = None, title: str = "") -> Session:
    """Open a session without a message yet. Raises `Refused`."""
    name = agent_name or agents.DEFAULT_AGENT
    check_agent(name)
    return await database.write(Session.objects.create, owner=user, agent_name=name, title=title)


async def change_session(user: User, session: Session, **changes: Any) -> Session:
    """Rename, archive, or change the agent of a session. Raises `Refused`."""
    if "agent_name" in changes:
        check_agent(changes["agent_name"])

    @transaction.atomic
    def change() -> None:
        _locked(session.pk, user, may_manage)
        Session.objects.filter(pk=session.pk).update(**changes)
        session.refresh_from_db()

    await database.write(change)
    return session


async def delete_session(user: User, session: Session) -> None:
    """Stop its run, close its sockets, and remove everything of it in one transaction. Raises `Refused`."""

    @transaction.atomic
    def remove() -> list[UUID]:
        _locked(session.pk, user, may_manage)
        live = list(Run.objects.filter(session=session, status__in=LIVE).values_list("id", flat=True))
        search.forget(session.pk)
        Session.objects.filter(pk=session.pk).delete()
        return live

    for run_id in await database.write(remove):
        await _stop(run_id, "The session was deleted.")
    await groups.tell(groups.of_session(session.pk), {"type": "gone"})
