"""The use case of decisions: decide calls that wait, answer questions; and what happens if nobody does.

Call the coroutines on the serving event loop. What they write is one transaction each, which checks the caller's right.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from uuid import UUID

import orjson
from django.db import transaction
from django.utils import timezone

from agents import judge_call
from agents.approval import PRIVATE
from agents.sentence import Sentence
from agents.steps import AnswerStep, ApprovalStep, PeopleStep
from agents.tools.ask_user import answer_problem
from chat.access import AnyUser, may_drive, role_in
from chat.accounts.models import User
from chat.models import IS_LIVE, Act, Door, Run, RunStatus, Session, WaitingCall, WaitingKind
from chat.protocol import Decide
from chat.runs import dispatch, publisher, resuming, waiting
from chat.runs import registry as run_registry
from chat.runs import state as run_state
from chat.runs.admission import Refused, lock_session
from chat.runs.children import ClaimedRun
from chat.runtime import background, clock, database
from chat.runtime.each_row import EachRow
from chat.security import audit
from chat.store import step_log, waiting_calls
from chat.store.step_log import Entry, Stored

logger = logging.getLogger(__name__)

NOT_DECIDED = "Nobody decided in time, so the run was stopped."
_LONGEST_ARGUMENTS = 200_000


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's decision on a call. ``arguments``: those to call it with instead of the model's, if any."""

    tool_call_id: str
    decision: Literal["allow", "deny"]
    arguments: Mapping[str, Any] | None = None
    scope: Literal["once", "session"] = "once"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """A person's answer to a question, by its fields."""

    tool_call_id: str
    answers: Mapping[str, Any]


#: Decisions on calls of these runs.
Decisions: TypeAlias = Sequence[tuple[UUID, Approval | Answered]]


def approval_of(command: Decide) -> Approval:
    """The decision in a frame's payload, or in the body of an API call."""
    return Approval(command.tool_call_id, command.decision, command.arguments, command.scope, command.reason or "")


@dataclass(frozen=True, slots=True)
class Decided:
    """The result of decisions. ``claim``: set if this process continues the run. ``is_ready``: the run may continue.

    ``woken``: runs within others that may continue, or have ended; the calls that started them may be running.
    """

    session_id: UUID
    events: list[Stored]
    is_ready: bool = False
    claim: ClaimedRun | None = None
    woken: Sequence[UUID] = ()


async def approve(user: User, session_id: UUID, run_id: UUID, approval: Approval, door: Door) -> None:
    """Allow or deny a call. When no request of its turn is open any more, the run continues. Raises `Refused`."""
    await decide(user, session_id, [(run_id, approval)], door)


async def answer(
    user: User, session_id: UUID, run_id: UUID, tool_call_id: str, answers: Mapping[str, Any], door: Door
) -> None:
    """Answer a question. When no request of its turn is open any more, the run continues. Raises `Refused`."""
    await decide(user, session_id, [(run_id, Answered(tool_call_id, answers))], door)


async def decide(user: User, session_id: UUID, decisions: Decisions, door: Door) -> None:
    """Decide several calls and questions of a session's run and of those within it: all, or none if one is refused.

    Raises `Refused`.
    """

    def start(decided: Decided) -> None:
        if decided.claim is not None:
            dispatch.start_run(decided.claim)

    await _publish(await run_registry.write_and_start(start, decide_atomically, user, session_id, decisions, door))


async def expire_due() -> None:
    """Handle requests past their deadline. Every process calls it every second; the first one handles each request."""
    due = await database.read(waiting_calls.due_calls, clock.now())
    await _expiring.do(due, _expire)


async def revoke(user: User, session_id: UUID, approval_id: int, door: Door) -> None:
    """Withdraw a standing approval of the session. Raises `Refused`."""
    await database.write(_revoke, user, session_id, approval_id, door)


def may_decide(user: AnyUser, session: Session) -> bool:
    """Whether the user may decide in the session: its drivers may."""
    role = role_in(user, session)
    return role is not None and may_drive(role)


async def _publish(decided: Decided) -> None:
    """Publish what was stored, unless the run does that itself; notify workers if another process continues it."""
    if decided.claim is not None:
        return
    await publisher.publish_events(decided.session_id, decided.events)
    await run_registry.wake_runs(decided.woken)
    if decided.is_ready:
        background.spawn(dispatch.dispatch_next(decided.session_id), f"dispatch {decided.session_id}")


@transaction.atomic
def decide_atomically(user: User, session_id: UUID, decisions: Decisions, door: Door) -> Decided:
    """Store the decisions of one command; if no request is open any more, continue the run, here if this process executes runs."""
    session = lock_session(session_id, user, may_decide)
    each = [
        _approve(session, user, run_id, what, door)
        if isinstance(what, Approval)
        else _answer(session, user, run_id, what, door)
        for run_id, what in decisions
    ]
    events = [event for decided in each for event in decided.events]
    woken = [run_id for decided in each for run_id in decided.woken]
    if not any(decided.is_ready for decided in each):
        return Decided(session_id, events, woken=woken)
    root = Run.objects.get(IS_LIVE, session_id=session_id)
    claim = resuming.claim_resumed(root, events) if run_registry.executes_runs() else None
    return Decided(session_id, events, is_ready=True, claim=claim, woken=woken)


def _approve(session: Session, user: User, run_id: UUID, approval: Approval, door: Door) -> Decided:
    run, call = _open_call(session, run_id, approval.tool_call_id, WaitingKind.APPROVAL)
    arguments = _checked_arguments(run, call, approval)
    # In a session that has read private data, each call is decided on its own.
    scope = "once" if call.rule == PRIVATE or approval.decision == "deny" else approval.scope
    data: ApprovalStep = {
        "type": "approval",
        "content": "",
        "iteration": run.iterations,
        "timestamp": timezone.now().timestamp(),
        "tool_call_id": call.tool_call_id,
        "decision": approval.decision,
        "user": user.get_username(),
        "scope": scope,
        "reason": approval.reason,
    }
    if arguments is not None:
        data["arguments"] = dict(arguments)
    changed = "" if arguments is None else orjson.dumps(arguments).decode()
    waiting.record_decision(call, decision=approval.decision, by=user, new_arguments=changed, reason=approval.reason)
    if scope == "session":
        waiting.allow_from_now_on(call, run, user)
    act = Act.APPROVE if approval.decision == "allow" else Act.DENY
    audit.record_action(
        user.pk,
        act,
        door,
        session_id=session.pk,
        run_id=run.pk,
        tool=call.tool_name,
        changed=bool(changed),
        scope=scope,
    )
    return _go_on(run, data)


def _answer(session: Session, user: User, run_id: UUID, answered: Answered, door: Door) -> Decided:
    run, call = _open_call(session, run_id, answered.tool_call_id, WaitingKind.QUESTION)
    if problem := answer_problem(orjson.loads(call.fields), answered.answers):
        raise Refused("bad_arguments", problem)
    data = _answer_step(run, call, user, answered.answers)
    waiting.record_decision(call, decision="answer", by=user, answers=orjson.dumps(answered.answers).decode())
    audit.record_action(user.pk, Act.ANSWER, door, session_id=session.pk, run_id=run.pk)
    return _go_on(run, data)


def _answer_step(run: Run, call: WaitingCall, by: User | None, answers: Mapping[str, Any]) -> AnswerStep:
    return {
        "type": "answer",
        "content": "",
        "iteration": run.iterations,
        "timestamp": timezone.now().timestamp(),
        "tool_call_id": call.tool_call_id,
        "user": by.get_username() if by is not None else None,
        "answers": dict(answers),
    }


def _open_call(session: Session, run_id: UUID, tool_call_id: str, kind: WaitingKind) -> tuple[Run, WaitingCall]:
    """The call and its run, which waits for it. Raises `Refused`."""
    run = Run.objects.filter(session=session, pk=run_id).first()
    if run is None:
        raise Refused("not_found", Sentence("There is no such run in this session."))
    calls = WaitingCall.objects.select_related("decided_by").filter(run=run, kind=kind)
    call = calls.filter(tool_call_id=tool_call_id).first()
    if call is not None and call.decided_by is not None:
        who = call.decided_by.get_username()
        raise Refused("conflict", Sentence("%(user)s has decided on this already.", user=who))
    # Other decided calls of its turn leave this one open.
    if call is None or call.decided_at is not None or run.status not in (RunStatus.WAITING, RunStatus.RUNNING):
        raise Refused("not_waiting", Sentence("Nothing waits here for that any more."))
    return run, call


def _checked_arguments(run: Run, call: WaitingCall, approval: Approval) -> Mapping[str, Any] | None:
    """The arguments to call with instead of the model's; None to keep those. Raises `Refused`."""
    changed = approval.arguments
    if changed is None or approval.decision == "deny" or changed == orjson.loads(call.arguments):
        return None
    # As in `agents.tools.runner`: this import takes long.
    from agents.tools.schemas import argument_problem  # noqa: PLC0415

    try:
        is_long = len(orjson.dumps(changed)) > _LONGEST_ARGUMENTS
    except orjson.JSONEncodeError:
        raise Refused("bad_arguments", Sentence("The arguments hold a number that is too large.")) from None
    if is_long:
        raise Refused("bad_arguments", Sentence("The arguments are too long."))
    if problem := argument_problem(dict(changed), orjson.loads(call.parameters or "{}")):
        raise Refused("bad_arguments", problem)
    if judge_call(waiting.policies_over(run), call.tool_name, changed).decision == "deny":
        raise Refused("bad_arguments", Sentence("The rules forbid this call with these arguments."))
    return changed


def _go_on(run: Run, data: PeopleStep) -> Decided:
    """Store a decision; if no request is open any more, mark the run as ready."""
    last = run.steps.order_by("-position").values_list("position", flat=True).first() or 0
    events = step_log.append_unowned(run, [Entry("reasoning_step", data)], position=last)
    if run.status != RunStatus.WAITING or not waiting.may_go_on(run.pk):
        return Decided(run.session_id, events)
    run_state.mark_decided(run)
    path = waiting.path_to_root(run)
    root_status = run.status if run.parent_id is None else Run.objects.values_list("status", flat=True).get(pk=path[-1])
    return Decided(run.session_id, events, root_status == RunStatus.WAITING, woken=path[:-1])


_expiring = EachRow("Ending the wait for call")


async def _expire(call_id: int) -> None:
    await _publish(await database.write(_expire_atomically, call_id))


@transaction.atomic
def _expire_atomically(call_id: int) -> Decided:
    """Handle one request past its deadline: deny the call, or end the run."""
    call = WaitingCall.objects.filter(pk=call_id, decided_at=None).first()
    nothing = Decided(UUID(int=0), [])
    if call is None or not Session.objects.select_for_update().filter(pk=call.session_id).exists():
        return nothing
    # Read again, because the session is locked only now.
    call = WaitingCall.objects.filter(pk=call_id, decided_at=None, deadline__lte=clock.now()).first()
    if call is None:
        return nothing
    run = Run.objects.select_related("session").get(pk=call.run_id)
    if run.status not in (RunStatus.WAITING, RunStatus.RUNNING):
        waiting.forget_open(run.pk)
        return nothing
    if call.unanswered == "stop":
        events = waiting.end(run, RunStatus.CANCELLED, NOT_DECIDED, code="not_decided")
        return Decided(run.session_id, events, is_ready=True, woken=waiting.path_to_root(run)[:-1])
    data: PeopleStep
    if call.kind == WaitingKind.QUESTION:
        data = _answer_step(run, call, None, {})
    else:
        data = {
            "type": "approval",
            "content": "",
            "iteration": run.iterations,
            "timestamp": timezone.now().timestamp(),
            "tool_call_id": call.tool_call_id,
            "decision": "deny",
            "user": None,
            "scope": "once",
            "reason": "",
        }
    waiting.record_decision(call, decision="deny", by=None)
    # The run is found by polling: nobody who has just pressed a button waits for it.
    return _go_on(run, data)


@transaction.atomic
def _revoke(user: User, session_id: UUID, approval_id: int, door: Door) -> None:
    lock_session(session_id, user, may_decide)
    if not waiting.revoke(session_id, approval_id):
        raise Refused("not_found", Sentence("Nothing of that kind is allowed here."))
    audit.record_action(user.pk, Act.REVOKE, door, session_id=session_id)
