"""What is deleted is invisible at once, and removed from the tables in batches; if a process is killed meanwhile, another goes on."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, transaction
from django.test import Client
from django.utils import timezone

from chat import access
from chat.accounts.models import User
from chat.live import connections
from chat.models import (
    ClosedAccount,
    Comment,
    Connection,
    Door,
    Draft,
    File,
    FileChunk,
    FileText,
    IndexMove,
    Occurrence,
    OwnerOffer,
    Run,
    RunStatus,
    Schedule,
    Session,
    SessionFile,
    Share,
    ShareJoin,
    Step,
    StepContent,
    StepOrigin,
    Verdict,
)
from chat.runs import admission, dispatch, erasure, sharing
from chat.runs import queue as run_queue
from chat.runs import state as run_state
from chat.schedules import commands as schedule_commands
from chat.schedules import occurrences
from chat.store import file_texts, reconcile, search, selectors, session_lists, step_log
from tests.chat import making

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return making.user("ada")


@pytest.fixture
def long(ada: User, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session that is too long to be removed at once: a run that has ended, one at work and one queued."""
    monkeypatch.setattr(erasure, "_AT_ONCE", 1)
    return fill(ada)


def fill(owner: User) -> Session:
    session = making.session(owner, title="About apples")
    run = making.run(session)
    making.append(run, *(making.thought(f"apples {n}", n) for n in range(1, 21)))
    StepContent.objects.create(step=run.steps.get(number=3), content="apples whole")
    StepOrigin.objects.create(step=run.steps.get(number=4), data="{}")
    making.end(run)
    live = making.run(session)
    making.append(live, making.thought("apples again", 1))
    Draft.objects.create(run=live, number=2, type="thought", text="and", updated_at=timezone.now())
    making.run(session, owned_by="", continues=run)
    Connection.objects.create(process="p", session=session, user=owner, role="owner")
    schedule_commands.make(owner, {"message": "?", "every_minutes": 60, "session_id": str(session.pk)}, timezone.now())
    schedule = Schedule.objects.get(session=session)
    Occurrence.objects.create(schedule=schedule, due_at=timezone.now(), outcome="started", run=live)
    file_texts.prepare(making.file(owner, "apples", session))
    share, _ = sharing.make_share(
        owner, session.pk, sharing.ShareTarget(link=True), access.Role.WATCHER, None, Door.API
    )
    ShareJoin.objects.create(share=share, user=owner)
    OwnerOffer.objects.create(session=session, user=owner)
    IndexMove.objects.create(session=session)
    Comment.objects.create(session=session, seq=1, user=owner, text="apples", version=1)
    Verdict.objects.create(session=session, run=run, user=owner, word="bad", version=2)
    return session


def shown(session: Session, user: User) -> list[str]:
    """The places where the session, or a part of it, can still be found; each query is one line."""
    client = Client()
    client.force_login(user)
    looks: dict[str, Callable[[], Any]] = {
        "the list": lambda: session_lists.past_sessions(user).exists(),
        "a role": lambda: access.role_in(user, Session.everything.get(pk=session.pk)),
        "a search": lambda: search.find(user, "apples"),
        "a search for sessions": lambda: search.Search(user, "apples").sessions(Session.objects.all()).exists(),
        "a search's hits": lambda: search.Search(user, "apples").hits([session.pk], 3),
        "a socket": lambda: connections.find_grant(user, session.pk, "p"),
        "what a socket is told": lambda: selectors.session_view(session.pk),
        "what a feed looks at": lambda: any(reconcile.fingerprints_of([session.pk])),
        "a message": lambda: admission.load_for_update(session.pk, user.pk, "m"),
        "its page": lambda: client.get(f"/sessions/{session.pk}/").status_code == 200,
        "its runs' pages": lambda: [
            run.pk for run in session.runs.all() if client.get(f"/runs/{run.pk}/").status_code == 200
        ],
        "the account's own runs at work": lambda: run_queue.waiting_sessions(user.pk),
        "a claim": lambda: dispatch.claim_next(session.pk),
    }
    return [name for name, look in looks.items() if look()]


@pytest.mark.parametrize("staff", [False, True], ids=["its owner", "staff"])
def test_a_long_session_is_gone_at_once(long: Session, ada: User, staff: bool) -> None:
    """All its rows are still in the tables, and none of them is found by anybody."""
    reader = making.user("root", is_staff=True, is_superuser=True) if staff else ada
    live = long.runs.get(status=RunStatus.RUNNING)
    assert erasure.hide_session(long.pk) == [live.pk]
    assert Step.objects.filter(session=long).count() > 10
    found = [name for name in shown(long, reader) if Session.everything.filter(pk=long.pk).exists()]
    assert found == []
    with pytest.raises(step_log.Fenced), transaction.atomic():
        making.append(live, making.thought("too late", 2))
    assert not Run.objects.filter(status__in=("queued", "running", "cancelling")).exists()
    assert Schedule.objects.get().session is None
    assert occurrences.ended_schedules() == [Schedule.objects.get().pk]


def test_the_queries_above_find_a_session_that_is_not_deleted(ada: User) -> None:
    """For a session that is not deleted all of them find something, except the queue: it has a run at work."""
    assert len(shown(fill(ada), ada)) == 11


def test_a_short_session_is_removed_in_the_same_transaction(ada: User) -> None:
    session = fill(ada)
    erasure.hide_session(session.pk)
    assert empty(ada)
    assert not erasure.is_any()


def empty(owner: User) -> bool:
    rows = (
        Session.everything,
        Run.objects,
        Step.objects,
        StepContent.objects,
        StepOrigin.objects,
        SessionFile.objects,
        File.objects,
        FileChunk.objects,
        FileText.objects,
        Draft.objects,
        Connection.objects,
        Share.objects,
        ShareJoin.objects,
        OwnerOffer.objects,
        IndexMove.objects,
        Comment.objects,
        Verdict.objects,
    )
    return not any(table.exists() for table in rows) and not search.find(owner, "apples")


def erase(rows: int = 3, most: int = 200) -> int:
    """Remove everything that is deleted, a few rows at a time; returns the number of batches."""
    pace = erasure.Pace()
    for batches in range(most):
        pace.rows = rows
        if erasure.erase_batch(pace) is None:
            return batches
    raise AssertionError("there is no end to it")


def test_a_long_session_is_removed_in_batches(long: Session, ada: User) -> None:
    others = fill(making.user("bob"))
    erasure.hide_session(long.pk)
    assert erase() > 5
    assert not erasure.is_any()
    assert list(Session.everything.all()) == [others]
    assert set(Step.objects.values_list("session_id", flat=True)) == {others.pk}
    assert len(search.find(others.owner, "apples")) == len(search.find(others.owner, "apples", 100)) == 21


def test_removal_goes_on_where_a_batch_failed(long: Session, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash in the middle of a batch undoes that batch, and the next process goes on."""
    erasure.hide_session(long.pk)
    usual = erasure._delete
    calls = 0

    def delete(rows: Any) -> None:
        nonlocal calls
        calls += 1
        usual(rows)
        # Fewer times than any one batch deletes, because otherwise it would never end.
        if calls % 29 == 0:
            raise OperationalError("the process was killed")

    monkeypatch.setattr(erasure, "_delete", delete)
    for _ in range(200):
        pace = erasure.Pace()
        pace.rows = 5
        try:
            if erasure.erase_batch(pace) is None:
                break
        except OperationalError:
            assert erasure.is_any()
    assert empty(ada)


def test_an_account_is_closed_at_once_and_removed_in_batches(long: Session, ada: User) -> None:
    client = Client()
    client.force_login(ada)
    bob = making.user("bob")
    stopped = making.run(making.session(bob), owned_by="")
    Run.objects.filter(pk=stopped.pk).update(cancelled_by=ada, user=ada, status=RunStatus.CANCELLED)
    fill(ada)
    at_work = set(Run.objects.filter(status=RunStatus.RUNNING).values_list("pk", flat=True))
    assert set(erasure.close_account(ada.pk)) == at_work
    assert client.get("/").status_code == 302
    form = {"username": "ada", "password": "correct horse 17"}
    assert "_auth_user_id" not in Client().post("/accounts/login/", form).wsgi_request.session
    with pytest.raises(admission.Refused), transaction.atomic():
        admission.lock_session(long.pk, ada, access.may_stop)
    assert not occurrences.due_schedules(timezone.now() + timezone.timedelta(days=1), 10)
    assert erase() > 10
    assert not User.objects.filter(pk=ada.pk).exists()
    assert not ClosedAccount.objects.exists()
    stopped.refresh_from_db()
    assert (stopped.user, stopped.cancelled_by) == (None, None)
    assert list(Session.everything.all()) == [stopped.session]


def test_batches_take_as_long_as_they_may() -> None:
    pace = erasure.Pace()
    for took_s, rows in ((0.001, 400), (0.05, 400), (0.5, 200), (0.5, 100)):
        pace.adapt(took_s)
        assert pace.rows == rows


def test_a_closed_account_cannot_be_asked_for(ada: User) -> None:
    session_id: UUID = making.session(ada).pk
    erasure.close_account(ada.pk)
    found = admission.load_for_update(session_id, ada.pk, "m")
    assert found is not None
    assert not found.user_is_active


@pytest.mark.django_db(transaction=True)
def test_runs_within_runs_are_removed_before_those_that_asked_them(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch is committed by itself, and leaves no run that refers to a deleted one."""
    monkeypatch.setattr(erasure, "_AT_ONCE", 1)
    session = making.session(ada)
    asking = making.run(session)
    for place in range(3):
        child = Run(agent_name="writer", message="Do it", parent_call_id=str(place))
        run_state.begin_within(child, asking)
        making.append(child, making.thought("?"))
        asking = child
    with transaction.atomic():
        erasure.hide_session(session.pk)
    assert not Run.objects.filter(session=session, status__in=("running", "cancelling")).exists()
    pace = erasure.Pace()
    while True:
        pace.rows = 1
        if erasure.erase_batch(pace) is None:
            break
    assert not Run.objects.filter(session_id=session.pk).exists()
    assert not Session.everything.filter(pk=session.pk).exists()
