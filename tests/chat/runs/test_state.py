"""Runs change their status as the table of transitions says, and in no other way; one run per session is live."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import override_settings
from django.utils import timezone

from agents.events import Usage
from chat.models import LIVE, UNFINISHED, Run, RunStatus
from chat.runs import live_runs
from chat.runs import queue as run_queue
from chat.runs import state as run_state
from chat.runs.state import End
from tests.chat import making

pytestmark = pytest.mark.django_db


def test_a_session_has_one_live_run_whatever_the_code_does() -> None:
    session = making.session(making.user())
    making.run(session)
    second = making.run(session, owned_by="")
    with pytest.raises(IntegrityError), transaction.atomic():
        run_state.claim(second, "process-1")
    second.refresh_from_db()
    assert second.status == RunStatus.QUEUED


def test_a_client_message_makes_one_run_whatever_the_code_does() -> None:
    session = making.session(making.user())
    making.run(session, client_message_id="same")
    with pytest.raises(IntegrityError), transaction.atomic():
        making.run(session, client_message_id="same", owned_by="")


def test_a_run_is_given_to_one_of_two_who_claim_it() -> None:
    run = making.run(making.session(making.user()), owned_by="")
    mine, yours = Run.objects.get(pk=run.pk), Run.objects.get(pk=run.pk)
    assert run_state.claim(mine, "mine")
    assert not run_state.claim(yours, "yours")
    run.refresh_from_db()
    assert (run.owner, run.fence, run.status) == ("mine", 1, RunStatus.RUNNING)


@pytest.mark.parametrize("end", run_state.ENDED)
def test_an_end_never_changes(end: RunStatus) -> None:
    run = making.run(making.session(making.user()))
    making.end(run, end)
    for status in RunStatus:
        if status in run_state.ENDED:
            assert not run_state.finish(run.pk, run.session_id, End(status))
    assert not run_state.request_cancel(run, None)
    assert not run_state.claim(run, "process-2")
    run.refresh_from_db()
    assert run.status == end


@pytest.mark.parametrize("to", RunStatus)
@pytest.mark.parametrize("source", RunStatus)
def test_every_move_is_in_the_table(source: RunStatus, to: RunStatus) -> None:
    run = making.run(making.session(making.user()), owned_by="")
    Run.objects.filter(pk=run.pk).update(status=source)
    run.refresh_from_db()
    match to:
        case RunStatus.QUEUED:
            moved = False
        case RunStatus.RUNNING:
            moved = run_state.claim(run, "process-1")
        case RunStatus.CANCELLING:
            moved = run_state.request_cancel(run, None)
        case _:
            moved = run_state.finish(run.pk, run.session_id, End(to))
    assert moved == (source in run_state.MOVES.get(to, ()))
    run.refresh_from_db()
    assert run.status == (to if moved else source)


def test_the_end_is_recorded_with_what_it_cost() -> None:
    run = making.run(making.session(making.user()))
    end = End(RunStatus.FAILED, 3, Usage(100, 20, estimated=True), "model_timeout")
    assert run_state.finish(run.pk, run.session_id, end, fence=run.fence)
    run.refresh_from_db()
    recorded = (run.iterations, run.input_tokens, run.output_tokens, run.usage_estimated, run.code)
    assert recorded == (3, 100, 20, True, "model_timeout")
    assert run.ended_at is not None


def test_a_former_owner_cannot_end_a_run() -> None:
    run = making.run(making.session(making.user()))
    old_fence = run.fence
    assert run_state.take_over(run, "process-2")
    assert run.fence == old_fence + 1
    assert not run_state.finish(run.pk, run.session_id, End(RunStatus.COMPLETED), fence=old_fence)
    assert run_state.finish(run.pk, run.session_id, End(RunStatus.INTERRUPTED), fence=run.fence)


def test_a_session_shows_its_live_run_else_its_newest() -> None:
    session = making.session(making.user())
    shown = []

    def show() -> None:
        session.refresh_from_db()
        shown.append(session.status)

    show()
    first = making.run(session, owned_by="")
    show()
    run_state.claim(first, "process-1")
    show()
    second = making.run(session, owned_by="")
    show()
    run_state.request_cancel(first, None)
    show()
    making.end(first, RunStatus.CANCELLED)
    show()
    making.end(second, RunStatus.CANCELLED)
    show()
    assert shown == ["", "queued", "running", "running", "cancelling", "queued", "cancelled"]


def test_a_cancelled_run_in_line_does_not_hide_the_one_at_work() -> None:
    session = making.session(making.user())
    making.run(session)
    making.end(making.run(session, owned_by=""), RunStatus.CANCELLED)
    session.refresh_from_db()
    assert session.status == RunStatus.RUNNING


def test_the_line_is_kept_in_order(settings: object) -> None:
    session = making.session(making.user())
    first = making.run(session)
    second, third = making.run(session, owned_by=""), making.run(session, owned_by="")
    assert run_queue.next_in(session.pk) is None
    making.end(first)
    assert run_queue.next_in(session.pk) == second
    making.end(second, RunStatus.CANCELLED)
    assert run_queue.next_in(session.pk) == third


def test_a_user_has_so_many_at_work_and_the_rest_wait(settings: object) -> None:
    settings.MAX_ACTIVE_RUNS_PER_USER = 2  # type: ignore[attr-defined]
    user = making.user()
    at_work = [making.run(making.session(user)) for _ in range(2)]
    waiting = making.session(user)
    run = making.run(waiting, owned_by="")
    assert run_queue.next_in(waiting.pk) is None
    assert run_queue.waiting_sessions(user.pk) == []
    other = making.session(making.user("bo"))
    others_run = making.run(other, owned_by="")
    assert run_queue.next_in(other.pk) == others_run
    making.end(at_work[0])
    assert run_queue.waiting_sessions(user.pk) == [waiting.pk]
    assert run_queue.next_in(waiting.pk) == run
    assert run_queue.waiting_sessions(user.pk) == [waiting.pk]
    settings.MAX_ACTIVE_RUNS_PER_USER = 0  # type: ignore[attr-defined]
    assert run_queue.under_run_limit(user.pk)


def test_sessions_that_wait_are_told_longest_first() -> None:
    user = making.user()
    busy, early, late = (making.session(user) for _ in range(3))
    making.run(busy)
    making.run(busy, owned_by="")
    making.run(early, owned_by="")
    making.run(late, owned_by="")
    making.run(early, owned_by="")
    assert run_queue.waiting_sessions() == [early.pk, late.pk]


def test_queued_runs_of_users_at_their_limit_are_skipped(settings: Any) -> None:
    settings.MAX_ACTIVE_RUNS_PER_USER = 2
    busy, idle = making.user("busy"), making.user("idle")
    waiting = [making.run(making.session(user), owned_by="").session_id for user in (busy, busy, busy, idle)]
    # For each user no more than may start.
    assert run_queue.waiting_sessions() == [*waiting[:2], waiting[3]]
    assert run_queue.waiting_sessions(busy.pk) == waiting[:2]
    for _ in range(2):
        making.run(making.session(busy))
    assert run_queue.waiting_sessions() == waiting[3:]
    assert run_queue.waiting_sessions(busy.pk) == []


def test_an_end_makes_way_for_its_own_session_and_for_those_that_its_users_limit_has_kept_waiting(
    settings: Any,
) -> None:
    ada, bo = making.user(), making.user("bo")
    shared, other, his = making.session(ada), making.session(ada), making.session(bo)
    ended = making.run(shared)
    for session in (other, his):
        making.run(session, owned_by="")
    making.end(ended)
    settings.MAX_ACTIVE_RUNS_PER_USER = 0
    assert run_queue.sessions_unblocked_by(ended) == []
    settings.MAX_ACTIVE_RUNS_PER_USER = 1
    assert run_queue.sessions_unblocked_by(ended) == [other.pk]
    # Other users whose messages are next in the session itself.
    making.run(shared, user=bo, owned_by="")
    assert run_queue.sessions_unblocked_by(ended) == [shared.pk, other.pk]
    settings.MAX_ACTIVE_RUNS_PER_USER = 0
    assert run_queue.sessions_unblocked_by(ended) == [shared.pk]


def test_a_lease_is_kept_by_beating() -> None:
    run = making.run(making.session(making.user()), owned_by="process-1")
    long_ago = timezone.now() - timedelta(hours=1)
    Run.objects.filter(pk=run.pk).update(heartbeat_at=long_ago)
    since = timezone.now() - timedelta(seconds=5)
    assert live_runs.silent_since(since) == [run.pk]
    run_state.beat("process-2", [run.pk])
    assert live_runs.silent_since(since) == [run.pk]
    run_state.beat("process-1", [])
    assert live_runs.silent_since(timezone.now() - timedelta(seconds=5)) == [run.pk]
    run_state.beat("process-1", [run.pk])
    assert live_runs.silent_since(since) == []


def test_stops_asked_for_elsewhere_reach_the_owner_with_their_words() -> None:
    user = making.user("mei")
    run = making.run(making.session(user), owned_by="process-1")
    assert live_runs.owned_by("process-1") == {run.pk: (run.fence, None)}
    run_state.request_cancel(run, user)
    assert live_runs.owned_by("process-1") == {run.pk: (run.fence, "Stopped by mei.")}
    assert live_runs.owned_by("process-2") == {}


def test_live_and_unfinished_are_what_the_constraint_says() -> None:
    assert set(LIVE) < set(UNFINISHED)
    assert set(UNFINISHED) | set(run_state.ENDED) == set(RunStatus)


def test_only_as_many_sessions_of_a_user_are_named_as_may_start() -> None:
    ada, bo = making.user(), making.user("bo")
    making.run(making.session(ada))
    waiting = [making.session(ada) for _ in range(5)]
    for session in waiting:
        making.run(session, owned_by="")
        making.run(session, owned_by="")
    his = making.session(bo)
    making.run(his, owned_by="")
    with override_settings(MAX_ACTIVE_RUNS_PER_USER=3):
        assert run_queue.waiting_sessions() == [waiting[0].pk, waiting[1].pk, his.pk]
        assert run_queue.waiting_sessions(ada.pk) == [waiting[0].pk, waiting[1].pk]
    with override_settings(MAX_ACTIVE_RUNS_PER_USER=0):
        assert run_queue.waiting_sessions() == [*(session.pk for session in waiting), his.pk]
