"""Runs that wait for people: how one begins to wait, its state when it continues, and how it ends while it waits.

No process executes a waiting run. Its open requests are rows of `WaitingCall`, which only this module writes; they are also in its log.
"""

import time
from collections.abc import Collection, Sequence
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
from agents.approval import CANNOT_WAIT
from agents.holding import DENIED
from agents.steps import PeopleStep
from agents.tools.runner import ToolOutcome
from chat.accounts.models import User
from chat.catalog import agents as catalog
from chat.models import Run, RunStatus, Session, StandingApproval, WaitingCall, WaitingKind
from chat.protocol import group_messages
from chat.protocol.frame_data import WaitingData
from chat.protocol.group_messages import UserNotified
from chat.runs import events as run_events
from chat.runs import queue as run_queue
from chat.runs import state as run_state
from chat.runs.children import ClaimedRun, Finished, Within, end_of, with_child
from chat.runs.recorder import Recorded, end_run, with_retries
from chat.runs.state import End
from chat.runtime import clock, database, groups
from chat.store import step_log, waiting_calls
from chat.store.step_log import Entry, Stored

#: What the model gets for a call that nobody has decided.
NOT_DECIDED = "Nobody decided on this call in time, so it was not run."
NOT_ANSWERED = "Nobody answered in time. Go on with what you know, and say what you have assumed."
#: What it gets for a call that cannot wait at the moment.
UPGRADING = (
    "This call needs a person's decision, for which nothing can wait in this minute, because the server is being brought to a new version."
    " Nothing was run; go on without it, and say that it can be asked for again soon."
)


@dataclass(frozen=True, slots=True)
class Begun:
    """A run waits, or has ended because of a stop meanwhile: what was stored, whom to notify, and where other runs may start."""

    events: list[Stored]
    notices: list[WaitingData] = field(default_factory=list)
    people: list[int] = field(default_factory=list)
    unblocked: list[UUID] = field(default_factory=list)
    ended: Finished | None = None


class _StopAsked(Exception):
    """A stop of the run was requested."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What a run begins to wait for: calls of its own, and waiting runs within it. ``end``: what it has used so far."""

    held: Sequence[HeldCall]
    within: Sequence[UUID]
    end: End
    is_news: bool
    """Whether people are asked something new."""


async def begin(run: Run, recorded: Recorded, wait: Wait) -> Begun:
    """Let a run wait for people. Raises `step_log.Fenced` if it does not belong to this process any more."""
    entries = [*recorded.entries, *(_request(run, call, wait.end.iterations) for call in wait.held)]
    once = partial(begin_atomically, run, recorded, entries, wait)
    again = partial(_begin_again, run, recorded, entries, wait)
    try:
        return await with_retries(run, "stored", partial(database.write, once), partial(database.write, again))
    except _StopAsked:
        stop = partial(_stop, run, recorded, wait.end)
        return await with_retries(run, "stored", partial(database.write, stop))


@transaction.atomic
def begin_atomically(run: Run, recorded: Recorded, entries: Sequence[Entry], wait: Wait) -> Begun:
    """The transaction of `begin`, with what has been recorded and the requests in ``entries``."""
    events = step_log.append(run, entries)
    recorded.writer.write(recorded.calls)
    if not run_state.suspend(run, wait.end, is_news=wait.is_news):
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
        for call, request in zip(wait.held, requests, strict=True)
    ]
    WaitingCall.objects.bulk_create(made)
    begun = _begun_with(run, events, made)
    if may_go_on(run.pk) or run_state.is_any_ready(wait.within):
        # Decided while other calls of its turn were still running.
        run_state.mark_decided(run)
        begun.unblocked.append(run.session_id)
    return begun


def may_go_on(run_id: UUID) -> bool:
    """Whether all of a run's own waiting calls are decided, and not all of them were begun."""
    decided = set(WaitingCall.objects.filter(run=run_id, spent_at=None).values_list("decided_at", flat=True))
    return bool(decided) and None not in decided


@transaction.atomic
def _begin_again(run: Run, recorded: Recorded, entries: Sequence[Entry], wait: Wait) -> Begun:
    """`begin_atomically` after a failed attempt, which may have been committed although its confirmation was lost."""
    Session.objects.select_for_update().filter(pk=run.session_id).first()
    if not run_state.has_suspended(run):
        return begin_atomically(run, recorded, entries, wait)
    made = list(WaitingCall.objects.filter(run=run.pk, tool_call_id__in=[call.id for call in wait.held]).order_by("pk"))
    return _begun_with(run, step_log.append_again(run, entries), made)


def _begun_with(run: Run, events: list[Stored], made: Sequence[WaitingCall]) -> Begun:
    title = Session.objects.filter(pk=run.session_id).values_list("title", flat=True).first() or ""
    notices = [waiting_calls.notification_of(call, title) for call in made]
    people = waiting_calls.deciders(run.session_id) if notices else []
    unblocked = run_queue.sessions_unblocked_by(run) if run.parent_id is None else []
    return Begun(events, notices, people, unblocked)


@transaction.atomic
def _stop(run: Run, recorded: Recorded, used: End) -> Begun:
    """End a run that was to wait, but whose stop was requested meanwhile."""
    earlier = step_log.append(run, recorded.entries) if recorded.entries else []
    run = Run.objects.select_related("cancelled_by").get(pk=run.pk, fence=run.fence)
    reason = run_state.stopped_by(run.cancelled_by.get_username() if run.cancelled_by else None)
    within, used = _end_within(run, replace(used, status=RunStatus.CANCELLED), reason, run.cancelled_by)
    closing = run_events.left_open(run, list(run.steps.order_by("position")), words=reason)
    events, unblocked = end_run(run, closing, used, lambda: recorded.writer.write(recorded.calls))
    return Begun([*earlier, *within, *events], unblocked=unblocked, ended=Finished(used, error=reason))


async def notify_people(begun: Begun) -> None:
    """Notify the users who may decide, on all their open pages."""
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


# Decisions


def record_decision(call: WaitingCall, *, decision: str, by: User | None, **text: str) -> None:
    """Store a decision. The caller has locked the session, and checked that the call is open."""
    call.decision, call.decided_by, call.decided_at = decision, by, timezone.now()
    for name, value in text.items():
        setattr(call, name, value)
    call.save(update_fields=["decision", "decided_by", "decided_at", *text])


def allow_from_now_on(call: WaitingCall, run: Run, by: User) -> None:
    """Allow later calls of this tool under these rules, in the requesting user's runs."""
    if run.user_id is not None:
        StandingApproval.objects.get_or_create(
            session_id=run.session_id,
            user_id=run.user_id,
            tool_name=call.tool_name,
            rule=call.rule,
            defaults={"made_by": by},
        )


def revoke(session_id: UUID, approval_id: int) -> bool:
    """Withdraw a standing approval; returns whether there was one."""
    return bool(StandingApproval.objects.filter(session=session_id, pk=approval_id).delete()[0])


def gate_for(claim: ClaimedRun, within: Within) -> agents.Gate:
    """The gate for a run's tool calls; ``within`` is what applies to its own calls and to the runs within it."""
    user_id, session_id = claim.run.user_id, claim.run.session_id

    def is_allowed(tool_name: str, rule: str) -> bool:
        if user_id is None or within.by_clock:
            return False
        return database.ask_patiently(waiting_calls.is_allowed, session_id, user_id, tool_name, rule)

    def why_no_wait() -> str:
        if not within.may_wait:
            return CANNOT_WAIT
        return "" if database.ask_patiently(waiting_calls.is_known_everywhere) else UPGRADING

    return agents.Gate((settings.APPROVAL_POLICY, *within.policies), why_no_wait, is_allowed)


def path_to_root(run: Run) -> list[UUID]:
    """A run and the runs around it, up to its root."""
    path = [run]
    while (parent := path[-1].parent) is not None:
        path.append(parent)
    return [each.pk for each in path]


def policies_over(run: Run) -> tuple[Policy, ...]:
    """The policies for a run's tool calls: the installation's, and those of its agent and of the agents that have started it."""
    found: list[Policy] = []
    each: Run | None = run
    while each is not None:
        if each.agent_version_id is not None:
            found.append(catalog.load_version(each.agent_version_id).spec.policy)
        each = each.parent
    return settings.APPROVAL_POLICY, *reversed(found)


# Continuing


def spend(run: Run) -> Resumed:
    """The state of a run that continues, in the transaction that gives it to a process. From then on its calls count as begun."""
    unspent = WaitingCall.objects.filter(run=run, spent_at=None)
    calls = list(unspent.select_related("decided_by").order_by("pk"))
    if any(call.decided_at is None for call in calls):
        # A run within it continues meanwhile.
        return _resumed(run, [], {call.tool_call_id: call.tool_name for call in calls})
    unspent.update(spent_at=timezone.now())
    return _resumed(run, calls, {})


def spent_last(run: Run) -> Resumed | None:
    """`spend` for a run that a commit, whose result was lost, has given to this process; None if it has continued since."""
    newest = run.steps.order_by("-position").values_list("type", flat=True).first()
    if newest not in ("approval", "answer"):
        return None
    spent_at = WaitingCall.objects.filter(run=run).aggregate(last=Max("spent_at"))["last"]
    calls = WaitingCall.objects.filter(run=run, spent_at=spent_at).select_related("decided_by").order_by("pk")
    return _resumed(run, list(calls), {}) if spent_at is not None else None


def _resumed(run: Run, calls: Sequence[WaitingCall], still_open: dict[str, str]) -> Resumed:
    stood = run.steps.aggregate(iteration=Max("iteration"), step=Max("number"))
    policies = policies_over(run)
    decided = [_decided(call, policies) for call in calls]
    asked = _asked(run, {call.id for call in decided} | still_open.keys())
    return Resumed(stood["iteration"] or 1, stood["step"] or 0, (*decided, *asked), still_open)


def _asked(run: Run, but: Collection[str]) -> list[DecidedCall]:
    """The calls without a result that have started runs within this one: they are made again."""
    children = set(Run.objects.filter(parent=run).values_list("parent_call_id", flat=True)) - set(but)
    if not children:
        return []
    steps = run.steps.filter(type__in=("tool_use", "tool_result")).order_by("position")
    calls = [call for call in run_events.open_calls(list(steps)) if call["tool_call_id"] in children]
    ids = [call["tool_call_id"] for call in calls]
    begun = {call.tool_call_id: call for call in WaitingCall.objects.filter(run=run, tool_call_id__in=ids)}
    return [
        _begun(begun[call["tool_call_id"]])
        if call["tool_call_id"] in begun
        else DecidedCall(call["tool_call_id"], call["tool_name"], orjson.dumps(call["arguments"]).decode())
        for call in calls
    ]


def _decided(call: WaitingCall, policies: Sequence[Policy]) -> DecidedCall:
    arguments = call.new_arguments or call.arguments
    decided = partial(DecidedCall, call.tool_call_id, call.tool_name, arguments)
    if call.decision == "answer":
        return decided(ToolOutcome(ok=True, content=call.answers, duration_ms=0))
    if call.decision == "deny":
        if call.decided_by is None:
            content = NOT_ANSWERED if call.kind == WaitingKind.QUESTION else NOT_DECIDED
        else:
            who = call.decided_by.get_username()
            content = f"{who} denied this call, so it was not run." + (f" {call.reason}" if call.reason else "")
        return decided(ToolOutcome(ok=False, content=content, duration_ms=0))
    if agents.judge_call(policies, call.tool_name, orjson.loads(arguments)).decision == "deny":
        # The policies have changed since.
        return decided(ToolOutcome(ok=False, content=DENIED, duration_ms=0))
    return _begun(call)


def _begun(call: WaitingCall) -> DecidedCall:
    """A call that people have allowed."""
    arguments = call.new_arguments or call.arguments
    who = call.decided_by.get_username() if call.decided_by else "Somebody"
    note = f"[{who} changed the arguments of this call to {arguments}]\n" if call.new_arguments else ""
    return DecidedCall(call.tool_call_id, call.tool_name, arguments, note=note)


def hold(run_id: UUID) -> Run | None:
    """A waiting run, with its session locked for the rest of the transaction; None if it does not wait any more."""
    session_id = Run.objects.filter(pk=run_id).values_list("session_id", flat=True).first()
    if session_id is None or not Session.objects.select_for_update().filter(pk=session_id).exists():
        return None
    return Run.objects.filter(pk=run_id, status=RunStatus.WAITING).first()


def end(run: Run, status: RunStatus, reason: str, *, by: User | None = None, code: str = "") -> list[Stored]:
    """End a waiting run, in the caller's transaction, which has locked the session; its open calls get ``reason`` as their result.

    Waiting runs within it end before it; a run around it may continue. Returns the last events; empty if it has ended or continued
    meanwhile.
    """
    earlier, ended = _end_within(run, replace(end_of(run), status=status, code=code), reason, by)
    steps = list(run.steps.order_by("position"))
    run_state.end_waiting(run)
    run.cancelled_by = by
    entries = [*run_events.left_open(run, steps, words=reason), run_events.completed(run, ended)]
    if not run_state.finish(run.pk, run.session_id, ended, fence=run.fence, by=by):
        return []
    forget_open(run.pk)
    if run.parent is not None:
        run_state.mark_decided(run.parent)
    return [*earlier, *step_log.append_unowned(run, entries, position=steps[-1].position if steps else 0)]


def _end_within(run: Run, used: End, reason: str, by: User | None) -> tuple[list[Stored], End]:
    """End the waiting runs within a run that is about to end. Returns what was stored, and the run's end including what they have used."""
    events: list[Stored] = []
    for child in Run.objects.filter(parent=run, status=RunStatus.WAITING):
        events += end(child, used.status, reason, by=by, code=used.code)
        used = with_child(used, end_of(Run.objects.get(pk=child.pk)))
    return events, used


def forget_open(run_id: UUID) -> None:
    """Forget the open requests of a run that does not wait any more: they will never be decided."""
    WaitingCall.objects.filter(run=run_id, decided_at=None).delete()
