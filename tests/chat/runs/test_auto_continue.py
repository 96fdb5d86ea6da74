"""An interrupted run is continued automatically where that is configured, free of side effects, and not too often."""

from collections.abc import Callable

import pytest

from chat.models import Agent, AgentVersion, Origin, Run, RunStatus, Session
from chat.runs import dispatch, recorder, recovery
from chat.runs import state as run_state
from chat.runs.state import End
from chat.store.step_log import Entry
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)


def interrupted_by_its_own_process(run: Run) -> None:
    """The process that executes the run shuts down."""
    recorder.end_run(run, [], End(RunStatus.INTERRUPTED))


def interrupted_by_a_sweep(run: Run) -> None:
    """The process that executed the run is gone."""
    assert recovery.interrupt_orphan(run.pk)


Interrupt = Callable[[Run], None]
BOTH = pytest.mark.parametrize("interrupt", [interrupted_by_its_own_process, interrupted_by_a_sweep])


@pytest.fixture(autouse=True)
def wanted(settings: object) -> None:
    """Switch it on."""
    settings.AUTO_CONTINUE = True  # type: ignore[attr-defined]


@pytest.fixture
def session() -> Session:
    """A session without runs."""
    return making.session(making.user())


def called(name: str) -> Entry:
    """A tool call in the log."""
    return making.step("tool_use", tool_name=name)


@BOTH
def test_an_interrupted_run_is_queued_as_a_new_run(session: Session, interrupt: Interrupt) -> None:
    run = making.run(session)
    making.append(run, called("python"))
    interrupt(run)
    again = session.runs.get(status=RunStatus.QUEUED)
    assert (again.continues, again.origin, again.message, again.user) == (run, Origin.CONTINUE, run.message, run.user)
    session.refresh_from_db()
    assert session.status == RunStatus.QUEUED


@BOTH
def test_three_times_and_no_more(session: Session, interrupt: Interrupt) -> None:
    run = making.run(session)
    for _ in range(3):
        interrupt(run)
        claim = dispatch.claim_next(session.pk)
        assert claim is not None
        run = claim.run
    interrupt(run)
    assert session.runs.count() == 4
    assert not session.runs.exclude(status=RunStatus.INTERRUPTED).exists()


@BOTH
def test_never_an_agent_of_an_extension(interrupt: Interrupt) -> None:
    agent = Agent.objects.create(name="poet")
    agent.current = AgentVersion.objects.create(agent=agent, number=1, title="Poet", agent_class="poet")
    agent.save()
    session = making.session(making.user(), agent_name="poet")
    run = making.run(session)
    assert run.agent_version == agent.current
    interrupt(run)
    assert session.runs.count() == 1


@BOTH
def test_never_after_a_tool_that_may_have_changed_something(session: Session, interrupt: Interrupt) -> None:
    run = making.run(session)
    making.append(run, called("mail-send"))
    interrupt(run)
    assert session.runs.count() == 1


@BOTH
def test_not_before_what_was_asked_since(session: Session, interrupt: Interrupt) -> None:
    run = making.run(session)
    making.run(session, owned_by="")
    interrupt(run)
    assert session.runs.count() == 2


@BOTH
def test_not_where_somebody_had_stopped_it(session: Session, interrupt: Interrupt) -> None:
    run = making.run(session)
    run_state.request_cancel(run, run.user)
    interrupt(run)
    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert session.runs.count() == 1


@BOTH
def test_not_where_it_is_not_wanted(session: Session, interrupt: Interrupt, settings: object) -> None:
    settings.AUTO_CONTINUE = False  # type: ignore[attr-defined]
    interrupt(making.run(session))
    assert session.runs.count() == 1


@pytest.mark.parametrize(("calls", "is_continued"), [(["python"], True), (["python", "mail-send"], False)])
def test_tool_calls_of_child_runs_count_too(session: Session, calls: list[str], is_continued: bool) -> None:
    """The call of the other agent itself has no side effects."""
    run = making.run(session)
    making.append(run, called("ask_writer"))
    child = Run(agent_name="writer", message="Do it", parent_call_id="1")
    run_state.begin_within(child, run)
    making.append(child, *map(called, calls))
    interrupted_by_a_sweep(run)
    assert session.runs.filter(status=RunStatus.QUEUED).exists() == is_continued
