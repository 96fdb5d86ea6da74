"""A session with everything that its file may have to show."""

from typing import Any

from chat.accounts.models import User
from chat.models import Run, RunStatus, Session
from chat.runs import events as run_events
from chat.runs import state as run_state
from chat.runs.state import End
from chat.store.step_log import Entry
from tests.chat import making
from tests.chat.making import step

KEY = "sk-proj-x7Qp2Lm9Zt4Vb8Nc1Ks6"
#: A result that is longer than its step holds: the cut is within the key.
LONG = "x" * 1_990 + f" {KEY} and then " + "y" * 500
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202egpj.exe ](javascript:alert(3)) ```\n# no heading"


def begun(run: Run) -> None:
    making.append(run, run_events.started(run, model="stub-model"))


def ended(run: Run, status: RunStatus = RunStatus.COMPLETED, **end: Any) -> None:
    making.append(run, run_events.completed(run, End(status, **end)))
    making.end(run, status)


def child_of(parent: Run, call_id: str, message: str) -> Run:
    """A run that was started by a call of a run at work."""
    child = Run(agent_name="writer", message=message, parent_call_id=call_id)
    child.agent_version_id = parent.agent_version_id
    run_state.begin_within(child, parent)
    child.refresh_from_db()
    return child


def fill(owner: User, **fields: Any) -> Session:
    """The session; ``fields`` are its row's."""
    session = making.session(owner, title="茶 & <b>coffee</b>: 50 %?", **fields)
    _first(session)
    failed = making.run(session, message=HOSTILE)
    begun(failed)
    making.append(
        failed,
        step("iteration_start"),
        making.thought(HOSTILE),
        step("tool_use", step=2, tool_call_id="h", tool_name="fetch_page", arguments=f'{{"url": {HOSTILE}'),
        step("tool_result", HOSTILE, step=3, tool_call_id="h", tool_name="fetch_page", ok=False),
        step("final_answer", HOSTILE, step=4, iteration=2),
        step("error", error="It failed.", code="model_error"),
    )
    making.append(failed, Entry("error", {"message": "It failed.", "code": "model_error", "id": "abcd1234"}))
    ended(failed, RunStatus.FAILED, code="model_error")
    quiet = making.run(session, message="Briefly?", enable_reasoning=False)
    begun(quiet)
    making.append(
        quiet,
        step("thought", f"a quiet thought, password={KEY}", numbered=False),
        step("final_answer", "Brief.", step=2, numbered=False),
        run_events.answered("Brief.", partial=False),
    )
    ended(quiet)
    session.refresh_from_db()
    return session


def _first(session: Session) -> None:
    """A run with parallel calls, one of which asks another agent, and a long result."""
    run = making.run(session, message=f"Which tea? My key is {KEY}.")
    begun(run)
    making.append(
        run,
        step("iteration_start"),
        making.thought("I look at *both*."),
        step("tool_use", step=2, tool_call_id="a", arguments={"code": "1+1", "password": "hunter2", "n": 3}),
        step("tool_use", step=3, tool_call_id="b", tool_name="ask_writer", arguments={"question": "Which?"}),
    )
    child = child_of(run, "b", "Which tea is best?")
    begun(child)
    making.append(
        child, step("iteration_start"), making.thought("A child's thought."), step("final_answer", "Oolong.", step=2)
    )
    ended(child)
    making.append(
        run,
        step("tool_result", LONG[:2_000], full=LONG, step=4, tool_call_id="a"),
        step("tool_result", "Oolong.", step=5, tool_call_id="b", tool_name="ask_writer"),
        step("iteration_end"),
        step("iteration_start", iteration=2),
        making.step("final_answer", "Take **Oolong**.", step=6, iteration=2),
        step("complete", iteration=2, total_iterations=2),
    )
    ended(run, iterations=2)
