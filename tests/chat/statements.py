"""The SQL statements of the periodic tasks, of runs' transactions, and of lists, each by its purpose."""

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from agents import CallBegun, CallEnded, ModelRequest, Usage
from agents.holding import HeldCall
from chat.access import Role
from chat.accounts.models import User
from chat.api import paths
from chat.cases import judging, set_runs
from chat.catalog import budgets, prices
from chat.catalog.budgets import Limit
from chat.live import connections, handshake
from chat.models import (
    AgentVersion,
    Case,
    CaseResult,
    CaseSet,
    CaseVerdict,
    Door,
    Draft,
    Occurrence,
    Origin,
    Outcome,
    Run,
    RunStatus,
    Schedule,
    SetRun,
    StepOrigin,
    Webhook,
)
from chat.runs import (
    admission,
    deciding,
    dispatch,
    erasure,
    live_runs,
    quarantine,
    recorder,
    recovery,
    request_keys,
    retention,
    waiting,
)
from chat.runs import commands as run_commands
from chat.runs import queue as run_queue
from chat.runs import state as run_state
from chat.runs import steering as run_steering
from chat.runs.deciding import Approval
from chat.runs.recorder import Recorded
from chat.runs.request_keys import AskedKey
from chat.runs.state import End
from chat.runs.waiting import Wait
from chat.schedules import commands as schedule_commands
from chat.schedules import notifications, occurrences
from chat.schedules import selectors as schedule_selectors
from chat.security import audit
from chat.store import (
    call_reader,
    chores,
    history,
    mails,
    reconcile,
    selectors,
    sent_along,
    session_lists,
    steering,
    step_log,
    waiting_calls,
    webhooks,
)
from chat.store.audit_log import AuditFilter, Cursor
from chat.store.calls import CallWriter, PricedCall, contents_in_rows, in_row
from tests.chat import making
from tests.chat.large import Large

SOON = timezone.now() - timedelta(seconds=30)

_FRESH = {"agent_name": None, "fallback_agent": None, "enable_reasoning": True, "origin": Origin.CHAT}


def _ask(at: Large) -> Any:
    return run_commands.ask_atomically(
        User(pk=at.user_id), at.session_id, message="?", client_message_id=uuid4().hex, **_FRESH
    )


def _new_run(at: Large) -> Run:
    return Run(
        session_id=at.session_id,
        number=10**6,
        user_id=at.user_id,
        message="?",
        agent_name="researcher",
        client_message_id="new",
    )


def _draft(at: Large) -> Draft:
    return Draft(run_id=at.live.pk, number=1, type="thought", text="so", updated_at=timezone.now())


def audit_place() -> Cursor:
    """A cursor in the middle of the audit's entries."""
    return Cursor(timezone.now() - timedelta(days=2000), 5_000)


def _refused(act: Callable[..., Any], *values: Any) -> None:
    with pytest.raises(admission.Refused), transaction.atomic():
        act(*values)


def _cancel_queued(at: Large) -> None:
    run_commands.cancel_atomically(User(pk=at.user_id), at.session_id, at.queued.pk, everything=False)


def _run_now(at: Large) -> Any:
    return occurrences.run_now(at.schedule.pk, timezone.now())


def _settle_schedule(at: Large) -> Any:
    now = timezone.now()
    Occurrence.objects.create(schedule=at.schedule, run=at.ended, due_at=now, outcome=Outcome.STARTED)
    (settled,) = occurrences.settle(at.schedule.pk, now).settled
    return occurrences.ended_schedules(), notifications.notification(settled)


def _claim_in_session(at: Large) -> Any:
    schedules = Schedule.objects.filter(pk=at.schedule.pk)
    schedules.update(keeps_session=True, session_id=at.session_id)
    return occurrences.claim(at.schedule.pk, timezone.now() + timedelta(hours=2))


def _make_schedule(at: Large) -> Any:
    fields = {"message": "Why?", "every_minutes": 60, "session_id": str(at.session_id)}
    # The owner of a large database's schedules has very many.
    with override_settings(MAX_SCHEDULES_PER_USER=10**9):
        return schedule_commands.make(User.objects.get(pk=at.user_id), fields, timezone.now())


def _judge_case(at: Large) -> None:
    case_set = CaseSet.objects.create(owner_id=at.user_id, name="Sums")
    version = AgentVersion.objects.order_by("pk")[0]
    set_run = SetRun.objects.create(case_set=case_set, number=1, agent_name="researcher", agent_version=version)
    case = Case.objects.create(case_set=case_set, number=1, question="Why?")
    CaseResult.objects.create(set_run=set_run, case=case, run=at.ended, verdict=CaseVerdict.ASKED)
    ended = set_runs.ended_case(set_runs.find_due_moves().ended[0])
    assert ended is not None
    assert ended.run is not None
    judging.answer_and_steps(str(ended.run.pk), selectors.run_frames(ended.run))
    set_runs.settle(ended, judging.Judged(CaseVerdict.PASSED))


def _call(at: Large) -> None:
    asked = ModelRequest("m", [{"role": "user", "content": "Why?"}])
    writer = CallWriter(at.live, provider="default")
    writer.write([CallBegun(3, 1, 1.5, asked), PricedCall(CallEnded(3, 1, 5, usage=Usage(10, 1)), None)])


def _call_that_lasts(at: Large) -> None:
    writer = CallWriter(at.live, provider="default")
    writer.write([CallBegun(3, 1, 1.5, ModelRequest("m", [{"role": "user", "content": "Why?"}]))])
    writer.write([PricedCall(CallEnded(3, 1, 5, usage=Usage(10, 1)), None)])


def _recall_thoughts(at: Large) -> None:
    """The conversation behind a call whose server wants its thoughts back."""
    making.append(at.live, making.step("tool_use", tool_name="python", tool_call_id="1", arguments={}))
    origin = {"server": "s", "fields": {}, "thoughts": {"field": "reasoning", "steps": [1]}}
    StepOrigin.objects.create(step=at.live.steps.get(type="tool_use"), data=json.dumps(origin))
    history.conversation_history(at.session_id, at.queued.number)


def _stop_live(at: Large) -> None:
    run_state.request_cancel(at.live, None)
    recorder.end_run(at.live, [], End(RunStatus.CANCELLED, 1, Usage()))


def _wait(at: Large) -> None:
    request = making.step("approval_request", tool_call_id="held", deadline=timezone.now().timestamp() + 60)
    recorded = Recorded([], [], CallWriter(at.live, provider="default"), None)
    wait = Wait([HeldCall("held", "python", {})], [], End(RunStatus.WAITING, 1, Usage()), is_news=True)
    with override_settings(WEBHOOKS=True):
        waiting.begin_atomically(at.live, recorded, [request], wait)


def _decide(at: Large) -> None:
    _wait(at)
    allowed = Approval("held", "allow")
    deciding.decide_atomically(User.objects.get(pk=at.user_id), at.session_id, [(at.live.pk, allowed)], Door.API)


def _deny_by_clock(at: Large) -> None:
    _wait(at)
    waiting.end(at.live, RunStatus.CANCELLED, "Nobody decided.")


def _steer(at: Large) -> None:
    user = User.objects.get(pk=at.user_id)
    for word in ("one", "two"):
        arguments = (word, word, False, None, Origin.CHAT, Door.API)
        run_steering.steer_atomically(user, at.session_id, *arguments)
    run_steering.withdraw_atomically(user, at.session_id, "two", Door.API)
    steering.pending_in(at.session_id)
    steering.newest_for(at.live.pk)
    steering.read_by(at.live, uuid4())


def _end_with_words(at: Large) -> None:
    user = User.objects.get(pk=at.user_id)
    run_steering.steer_atomically(user, at.session_id, "late", "late", False, None, Origin.CHAT, Door.API)
    with override_settings(WEBHOOKS=True):
        recorder.end_run(at.live, [], End(RunStatus.COMPLETED, 1, Usage()))


def _deliver(at: Large) -> None:
    (attempt,) = webhooks.claim_due(1, ())
    webhooks.settle(attempt, None, "It is not public.")


def _socket(at: Large) -> connections.OpenSocket:
    return connections.OpenSocket(at.session_id, at.user_id, Role.OWNER, uuid4())


def _ask_first(at: Large) -> Any:
    session = making.session(User.objects.get(pk=at.user_id))
    return run_commands.ask_atomically(
        User(pk=at.user_id), session.pk, message="?", client_message_id=uuid4().hex, **_FRESH
    )


_LIMITS = [
    Limit(scope, None, "", Decimal(10), unit) for scope in ("user_day", "agent_day") for unit in ("tokens", "USD")
]

#: Statements of the periodic tasks of each process, every second or every few. A further one is one line.
BY_THE_CLOCK: dict[str, Callable[[Large], Any]] = {
    "what is kept no longer": lambda at: list(retention.untouched_sessions([at.user_id], SOON)[:50]),
    "entries that are kept no longer": lambda _: audit.remove_older(SOON - timedelta(days=3_000), 100),
    "runs of a process": lambda at: live_runs.owned_by("process 1"),
    "a sign of life": lambda at: run_state.beat("process 1", [at.live.pk]),
    "silent runs": lambda at: live_runs.silent_since(SOON),
    "live runs": lambda at: live_runs.all_live(),
    "who may start": lambda at: run_queue.waiting_sessions(),
    "who may start or go on": lambda at: run_queue.sessions_to_start(),
    "what waits within runs": lambda at: run_state.ready_among([at.live.pk, at.queued.pk]),
    "deadlines that have passed": lambda at: waiting_calls.due_calls(timezone.now()),
    "what watched sessions look like": lambda at: reconcile.fingerprints_of([at.session_id]),
    "the head and the draft": lambda at: selectors.view_and_drafts(at.session_id),
    "growing texts of other processes": lambda at: reconcile.saved_drafts([at.session_id]),
    "drafts of runs that have ended": lambda at: step_log.forget_ended_drafts(),
    "new events": lambda at: selectors.stored_after(at.session_id, 10, 100),
    "prices and budgets": lambda at: (prices.load_prices(), budgets.load_budgets()),
    "announcements": lambda at: (selectors.last_announcement(), selectors.announcements_from(0)),
    "a process lives": lambda at: connections.store_heartbeat("process 1"),
    "sockets of silent processes": lambda at: connections.forget_silent("process 1", SOON),
    "rights changed": lambda at: handshake.current_roles(
        [(at.session_id, handshake.Login(User(pk=1, is_staff=True), "key"))]
    ),
    "what is shared with somebody": lambda at: list(session_lists.shared_sessions(User(pk=at.user_id))[:31]),
    "what is to be removed": lambda at: erasure.is_any(),
    "schedules due": lambda at: occurrences.due_schedules(timezone.now(), 200),
    "schedules whose run has ended": lambda at: occurrences.ended_schedules(),
    "schedules that wait": lambda at: occurrences.waiting_schedules(),
    "words into runs at work": lambda _: live_runs.words_for("process 1"),
    "sets that are asked": lambda _: set_runs.find_due_moves(),
    "mails due": lambda _: (mails.is_any_due(), mails.claim_due(1)),
    "mails that are kept no longer": lambda _: mails.sweep_mails(),
    "webhooks due": lambda _: (webhooks.is_any_due(), webhooks.claim_due(10, ())),
    "deliveries that are kept no longer": lambda _: webhooks.sweep_deliveries(),
    "keys that are kept no longer": lambda _: request_keys.sweep_keys(100),
    "whose turn a chore is": lambda _: chores.is_due(retention.KEYS, timezone.now()),
}
#: Statements of a run's transactions, from its message to its end.
BY_A_RUN: dict[str, Callable[[Large], Any]] = {
    "the standing of a message": lambda at: admission.load_for_update(at.session_id, at.user_id, "m1"),
    "asking": _ask,
    "asking in a new session": _ask_first,
    "the session that is asked": lambda at: audit.find_session(User(pk=at.user_id), at.session_id),
    "continuing": lambda at: _refused(
        run_commands.continue_atomically, User(pk=at.user_id), at.session_id, at.ended.pk, "m"
    ),
    "queueing": lambda at: run_state.enqueue(_new_run(at), title="?", is_first=False),
    "the place in the queue": lambda at: selectors.queue_position(at.queued),
    "the line": lambda at: selectors.queue(at.session_id),
    "the run at work": lambda at: selectors.live_run(at.session_id),
    "who opens a socket": lambda at: connections.find_grant(
        User(pk=at.user_id, is_active=True), at.session_id, "process 1"
    ),
    "a socket that is open": lambda at: connections.store_connections("process 1", [_socket(at)], [uuid4()]),
    "what a socket is told first": lambda at: selectors.session_view(at.session_id),
    "the next of a session": lambda at: run_queue.next_in(at.session_id),
    "claiming the next": lambda at: (making.end(at.live), dispatch.claim_next(at.session_id)),
    "claiming one": lambda at: (making.end(at.live), run_state.claim(at.queued, "process 1")),
    "claiming again": lambda at: dispatch.claim_again(at.live.pk, at.live.fence),
    "room for one more": lambda at: run_queue.under_run_limit(at.user_id),
    "what was said": lambda at: history.conversation_history(at.session_id, 15),
    "what was thought": _recall_thoughts,
    "a client's conversation": lambda at: sent_along.find_conversation(at.user_id, "researcher", "0" * 64),
    "a client's session": lambda at: sent_along.latest_in(at.session_id),
    "a run to go on from": lambda at: sent_along.find_run(at.user_id, at.ended.pk),
    "a client's key": lambda at: request_keys.find_made(at.user_id, AskedKey("key", "")),
    "a client's answer": lambda at: sent_along.record_answer(at.ended.pk, "so"),
    "a step": lambda at: step_log.append(at.live, [making.thought("so", 100)]),
    "a step again": lambda at: step_log.append_again(at.live, [making.thought("so", 100)]),
    "a draft": lambda at: step_log.save_drafts([_draft(at)]),
    "asking to stop": lambda at: run_state.request_cancel(at.live, None),
    "stopping": lambda at: run_commands.cancel_atomically(User(pk=at.user_id), at.session_id, None, everything=False),
    "stopping a queued one": _cancel_queued,
    "the end": lambda at: recorder.end_run(at.live, [], End(RunStatus.COMPLETED, 1, Usage())),
    "the end of a run that is stopped": _stop_live,
    "who may start after it": lambda at: run_queue.sessions_unblocked_by(at.live),
    "a model call": _call,
    "a model call and its end later": _call_that_lasts,
    "what earlier model calls hold": lambda _: contents_in_rows([in_row(-1, 1)]),
    "a run's model calls": lambda at: call_reader.calls_of(at.ended),
    "a model call in full": lambda at: call_reader.full_call(at.ended, 1),
    "what is used of a day": lambda at: [budgets.used_of(limit, at.user_id, "researcher") for limit in _LIMITS],
    "interrupting": lambda at: recovery.interrupt_atomically(at.live.pk),
    "beginning to wait": _wait,
    "a decision": _decide,
    "the end of a wait": _deny_by_clock,
    "words into a run": _steer,
    "the end of a run with unread words": _end_with_words,
    "a delivery": _deliver,
    "going on": lambda at: waiting.spend(at.live),
    "a run by its id": lambda at: paths.find_run(at.ended.pk),
    "what a run waits for": lambda at: waiting_calls.open_within(at.live.pk),
    "taking over": lambda at: run_state.take_over(at.live, "process 2"),
    "setting aside": lambda at: quarantine.fail_run(at.live.pk),
    "setting the next aside": lambda at: quarantine.fail_next(at.session_id),
    "a batch of what is removed": lambda at: (erasure.hide_session(at.session_id), erasure.erase_batch(erasure.Pace())),
    "an account is closed": lambda at: erasure.close_account(at.user_id),
    "a batch of an account": lambda at: (erasure.close_account(at.user_id), erasure.erase_batch(erasure.Pace())),
    "a schedule's claim": lambda at: occurrences.claim(at.schedule.pk, timezone.now() + timedelta(hours=2)),
    "a schedule's claim in a session": _claim_in_session,
    "a schedule's end": _settle_schedule,
    "a schedule's next": lambda at: occurrences.start_waiting(at.schedule.pk, timezone.now()),
    "a case's end": _judge_case,
    "a schedule run now": lambda at: (at.schedule.occurrences.all().delete(), _run_now(at)),
}
#: Statements of the lists on a user's pages, however many sessions there are.
BY_A_PAGE: dict[str, Callable[[Large], Any]] = {
    "the list of sessions": lambda at: list(session_lists.past_sessions(User(pk=at.user_id))[:30]),
    "those of an agent": lambda at: list(session_lists.past_sessions(User(pk=at.user_id), agent="researcher")[:30]),
    "those at work": lambda at: list(session_lists.past_sessions(User(pk=at.user_id), status="running")[:30]),
    "the list beside a page": lambda at: session_lists.listed_sessions(User(pk=at.user_id), 60),
    "a page's share of a session": lambda at: selectors.window(at.session_id),
    "an earlier share": lambda at: selectors.window(at.session_id, before=100),
    "what waits for somebody": lambda at: waiting_calls.list_open(at.user_id),
    "what waits for somebody, beside a page": lambda at: waiting_calls.open_keys(at.user_id),
    "the audit's next page": lambda _: AuditFilter().entries(100, audit_place()),
    "the audit of a person": lambda at: AuditFilter(person=at.user_id).entries(100, audit_place()),
    "the audit of an act": lambda _: AuditFilter(action="stop", door="api").entries(100),
    "the audit of a door": lambda _: AuditFilter(door="command").entries(100),
    "the audit of a session": lambda at: AuditFilter(session_id=at.session_id).entries(100),
    "the audit of a time": lambda _: AuditFilter(since=SOON, until=timezone.now()).entries(100),
    "a new schedule": _make_schedule,
    "a webhook's deliveries": lambda at: webhooks.latest_deliveries(Webhook.objects.get(owner=at.user_id).pk),
    "schedules with their last times": lambda at: schedule_selectors.schedule_rows([at.schedule]),
    "those with words": lambda at: list(session_lists.past_sessions(User(pk=at.user_id), text="session so")[:30]),
}
EVERYTHING = {**BY_THE_CLOCK, **BY_A_RUN, **BY_A_PAGE}
