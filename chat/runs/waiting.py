"""Runs that wait for people: how one begins to wait, where it stood when it goes on, and how it ends while it does.

A run that waits has no process. What it waits for are rows of `WaitingCall`, which this module alone writes; its log says the same.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

import agents
from agents import DecidedCall, HeldCall, Policy, Resumed
from agents.holding import DENIED
from agents.steps import PeopleStep
from agents.tools.runner import ToolOutcome
from chat.accounts.models import User
from chat.catalog.setups import AgentSetup
from chat.models import Origin, Run, RunStatus, Session, StandingApproval, WaitingCall, WaitingKind
from chat.protocol import group_messages
from chat.protocol.frames import WaitingData
from chat.protocol.group_messages import UserNotified
from chat.runs import events as run_events
from chat.runs import state as run_state
from chat.runs.children import end_of
from chat.runs.recorder import Recorded, end_run, with_retries
from chat.runs.state import End
from chat.runtime import clock, database, groups
from chat.store import step_log, waiting_calls
from chat.store.step_log import Entry, Stored

#: What the model is told of calls that nobody has decided on.
NOT_DECIDED = "Nobody decided on this call in time, so it was not run."
NOT_ANSWERED = "Nobody answered in time. Go on with what you know, and say what you have assumed."


@dataclass(frozen=True, slots=True)
class Begun:
    """A run waits, or has ended because it was to be stopped meanwhile: what was stored, whom to tell, and where others may start."""

    events: list[Stored]
    notices: list[WaitingData] = field(default_factory=list)
    people: list[int] = field(default_factory=list)
    unblocked: list[UUID] = field(default_factory=list)


class _StopAsked(Exception):
    """Somebody has asked for the run to be stopped."""


async def begin(run: Run, recorded: Recorded, held: Sequence[HeldCall], end: End) -> Begun:
    """Let a run wait for people. ``end`` is what it has used so far; raises `step_log.Fenced` where it isn't this process's any more."""
    entries = [*recorded.entries, *(_request(run, call, end.iterations) for call in held)]
    once = partial(_begin, run, recorded, entries, held, end)
    again = partial(_begin_again, run, recorded, entries, held, end)
    try:
        return await with_retries(run, "stored", partial(database.write, once), partial(database.write, again))
    except _StopAsked:
        stop = partial(_stop, run, recorded, end)
        return await with_retries(run, "stored", partial(database.write, stop))


@transaction.atomic
def _begin(run: Run, recorded: Recorded, entries: Sequence[Entry], held: Sequence[HeldCall], end: End) -> Begun:
    events = step_log.append(run, entries)
    recorded.writer.write(recorded.calls)
    if not run_state.suspend(run, end):
        raise _StopAsked
    requests = [entry.data for entry in entries[len(recorded.entries) :]]
    made = [
        WaitingCall(
            run=run,
            session_id=run.session_id,
            tool_call_id=call.id,
            kind=WaitingKind(call.kind),
            tool_name=call.tool_name,
            arguments=orjson.dumps(call.arguments).decode(),
            parameters=orjson.dumps(call.parameters).decode(),
            fields=orjson.dumps(list(call.fields)).decode() if call.fields else "",
            rule=call.rule,
            unanswered=settings.APPROVAL_UNANSWERED,
            deadline=datetime.fromtimestamp(request["deadline"], UTC),  # type: ignore[typeddict-item] # a request has one
        )
        for call, request in zip(held, requests, strict=True)
    ]
    WaitingCall.objects.bulk_create(made)
    return _told(run, events, made)


@transaction.atomic
def _begin_again(run: Run, recorded: Recorded, entries: Sequence[Entry], held: Sequence[HeldCall], end: End) -> Begun:
    """After a try that failed: that one may have been committed, and only the word of it was lost."""
    Session.objects.select_for_update().filter(pk=run.session_id).first()
    made = list(WaitingCall.objects.filter(run=run.pk, tool_call_id__in=[call.id for call in held]).order_by("pk"))
    if not made:
        return _begin(run, recorded, entries, held, end)
    return _told(run, step_log.append_again(run, entries), made)


def _told(run: Run, events: list[Stored], made: Sequence[WaitingCall]) -> Begun:
    title = Session.objects.filter(pk=run.session_id).values_list("title", flat=True).first() or ""
    notices: list[WaitingData] = [
        {
            "kind": "question" if call.kind == WaitingKind.QUESTION else "approval",
            "session_id": str(run.session_id),
            "title": title,
            "run_id": str(run.pk),
            "tool_call_id": call.tool_call_id,
            "tool_name": call.tool_name,
            "deadline": call.deadline.timestamp(),
            "timestamp": time.time(),
        }
        for call in made
    ]
    return Begun(events, notices, waiting_calls.deciders(run.session_id), run_state.sessions_unblocked_by(run))


@transaction.atomic
def _stop(run: Run, recorded: Recorded, end: End) -> Begun:
    """End a run that was to wait, and was to be stopped meanwhile."""
    earlier = step_log.append(run, recorded.entries) if recorded.entries else []
    run = Run.objects.select_related("cancelled_by").get(pk=run.pk, fence=run.fence)
    by = run.cancelled_by.get_username() if run.cancelled_by else None
    closing = run_events.left_open(run, list(run.steps.order_by("position")), words=run_state.stopped_by(by))
    cancelled = replace(end, status=RunStatus.CANCELLED)
    events, unblocked = end_run(run, closing, cancelled, lambda: recorded.writer.write(recorded.calls))
    return Begun([*earlier, *events], unblocked=unblocked)


async def notify_people(begun: Begun) -> None:
    """Tell those who may decide, on whatever page they are."""
    for user_id in begun.people:
        for notice in begun.notices:
            message: UserNotified = {
                "version": group_messages.VERSION,
                "type": "notification",
                "user_id": user_id,
                "data": notice,
            }
            await groups.publish(groups.EVERYONE, message)


def _request(run: Run, call: HeldCall, iteration: int) -> Entry:
    now = time.time()
    deadline = clock.now().timestamp() + settings.APPROVAL_DEADLINE_S
    data: PeopleStep
    if call.kind == "question":
        data = {
            "type": "question",
            "content": call.question,
            "iteration": iteration,
            "timestamp": now,
            "tool_call_id": call.id,
            "fields": list(call.fields),
            "deadline": deadline,
        }
    else:
        data = {
            "type": "approval_request",
            "content": "",
            "iteration": iteration,
            "timestamp": now,
            "tool_call_id": call.id,
            "tool_name": call.tool_name,
            "arguments": call.arguments,
            "deadline": deadline,
            "unanswered": settings.APPROVAL_UNANSWERED,
        }
    return Entry("reasoning_step", data)


# What people say


def record_decision(call: WaitingCall, *, decision: str, by: User | None, **said: str) -> None:
    """Keep what was decided; the caller holds the session and has seen that the call is open."""
    call.decision, call.decided_by, call.decided_at = decision, by, timezone.now()
    for name, value in said.items():
        setattr(call, name, value)
    call.save(update_fields=["decision", "decided_by", "decided_at", *said])


def allow_from_now_on(call: WaitingCall, run: Run, by: User) -> None:
    """Let later calls of this tool under these rules pass, in runs of who asked."""
    if run.user_id is not None:
        StandingApproval.objects.get_or_create(
            session_id=run.session_id,
            user_id=run.user_id,
            tool_name=call.tool_name,
            rule=call.rule,
            defaults={"made_by": by},
        )


def revoke(session_id: UUID, approval_id: int) -> bool:
    """Take back what was allowed for a session; whether there was such a thing."""
    return bool(StandingApproval.objects.filter(session=session_id, pk=approval_id).delete()[0])


def gate_for(run: Run, setup: AgentSetup, around: tuple[Policy, ...]) -> agents.Gate:
    """What stands before a run's tool calls. Runs within runs, and agents of extensions, cannot wait."""
    user_id, session_id = run.user_id, run.session_id

    def is_allowed(tool_name: str, rule: str) -> bool:
        if user_id is None or run.origin == Origin.SCHEDULE:
            return False
        return database.ask_patiently(waiting_calls.is_allowed, session_id, user_id, tool_name, rule)

    can_wait = run.parent_id is None and not setup.spec.agent_class
    return agents.Gate((settings.APPROVAL_POLICY, *around, setup.spec.policy), can_wait, is_allowed)


# Going on


def spend(run: Run, setup: AgentSetup | None) -> Resumed:
    """Where a run stood that goes on now, in the transaction that gives it to a process: its calls count as begun from then on."""
    decided = WaitingCall.objects.filter(run=run, decided_at__isnull=False, spent_at=None)
    calls = list(decided.select_related("decided_by").order_by("pk"))
    decided.update(spent_at=timezone.now())
    return _resumed(run, calls, setup)


def spent_last(run: Run, setup: AgentSetup | None) -> Resumed | None:
    """The same of a run that this process was given just now, though nobody here has heard of it; None where it has gone on since."""
    newest = run.steps.order_by("-position").values_list("type", flat=True).first()
    if newest not in ("approval", "answer"):
        return None
    spent_at = WaitingCall.objects.filter(run=run).aggregate(last=Max("spent_at"))["last"]
    calls = WaitingCall.objects.filter(run=run, spent_at=spent_at).select_related("decided_by").order_by("pk")
    return _resumed(run, list(calls), setup) if spent_at is not None else None


def _resumed(run: Run, calls: Sequence[WaitingCall], setup: AgentSetup | None) -> Resumed:
    stood = run.steps.aggregate(iteration=Max("iteration"), step=Max("number"))
    policies = (settings.APPROVAL_POLICY, *([setup.spec.policy] if setup is not None else []))
    return Resumed(stood["iteration"] or 1, stood["step"] or 0, tuple(_decided(call, policies) for call in calls))


def _decided(call: WaitingCall, policies: Sequence[Policy]) -> DecidedCall:
    arguments = call.new_arguments or call.arguments
    who = call.decided_by.get_username() if call.decided_by else "Somebody"
    said = partial(DecidedCall, call.tool_call_id, call.tool_name, arguments)
    if call.decision == "answer":
        return said(ToolOutcome(ok=True, content=call.answers, duration_ms=0))
    if call.decision == "deny":
        if call.decided_by is None:
            words = NOT_ANSWERED if call.kind == WaitingKind.QUESTION else NOT_DECIDED
        else:
            words = f"{who} denied this call, so it was not run." + (f" {call.reason}" if call.reason else "")
        return said(ToolOutcome(ok=False, content=words, duration_ms=0))
    if agents.judge(policies, call.tool_name, orjson.loads(arguments)).decision == "deny":
        # The rules have changed since.
        return said(ToolOutcome(ok=False, content=DENIED, duration_ms=0))
    note = f"[{who} changed the arguments of this call to {arguments}]\n" if call.new_arguments else ""
    return said(note=note)


def end(run: Run, status: RunStatus, words: str, *, by: User | None = None, code: str = "") -> list[Stored]:
    """End a run that waits, in the caller's transaction, who holds the session; its open calls are closed with these words.

    Returns its last events; none where it has ended or gone on meanwhile.
    """
    steps = list(run.steps.order_by("position"))
    run_state.end_waiting(run)
    run.cancelled_by = by
    ended = replace(end_of(run), status=status, code=code)
    entries = [*run_events.left_open(run, steps, words=words), run_events.completed(run, ended)]
    if not run_state.finish(run.pk, run.session_id, ended, fence=run.fence, by=by):
        return []
    forget_open(run.pk)
    return step_log.append_unowned(run, entries, position=steps[-1].position if steps else 0)


def forget_open(run_id: UUID) -> None:
    """A run waits no more: what was not decided of it never will be."""
    WaitingCall.objects.filter(run=run_id, decided_at=None).delete()
