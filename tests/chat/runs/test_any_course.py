"""Whatever is done to a session, in any order, and whatever its models answer: no strict server refuses the next request.

Each example is a few actions on one session and its copies, with real runs; every request of any run is checked by `tests.strict_judge`. At
the end each session is sent one more message, and answers.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents import AgentSpec, ModelSettings, read_policy
from chat.catalog import built_in
from chat.models import LIVE, UNFINISHED, Door, File, Run, RunStatus, Session, Step, WaitingCall
from chat.runs import branching, commands, deciding, recovery, steering
from chat.runs import registry as run_registry
from chat.runs.admission import Refused
from chat.runs.branching import Branch
from chat.runs.deciding import Approval
from chat.runtime import database
from tests import model_server
from tests.chat import making
from tests.faults.here import ENDS_WITHIN_S, Here, here
from tests.model_server import Call, ModelServer, Script

__all__ = ["here"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]

BOSS = AgentSpec("boss", "Boss", "Does it.", "You are the boss.", ("python", "ask_user"), sub_agents=("clerk",))
CLERK = AgentSpec("clerk", "Clerk", "Works.", "You are the clerk.", ("python", "ask_user"))
#: Code with a 7 waits for a decision; code with a 13 is denied.
POLICY = read_policy(
    [
        {"tool": "python", "arguments": {"code": "*13*"}, "decision": "deny"},
        {"tool": "python", "arguments": {"code": "*7*"}, "decision": "ask"},
    ]
)
FREE, HELD, DENIED = (Call("python", {"code": code}) for code in ("1+1", "6*7", "13"))
QUESTION = Call("ask_user", {"question": "Where to?", "fields": [{"name": "city", "kind": "text", "required": False}]})
WITHIN = Call("ask_clerk", {"message": "Work."})
SIGNED = Call("python", {"code": "2+2"}, extra={"extra_content": {"google": {"thought_signature": "abc"}}})

#: The answers of the model to a request.
ANSWERS: dict[str, Script] = {
    "words": Script("So."),
    "a thought": Script("So.", reasoning="Hm."),
    "a call": Script(reasoning="Hm.", calls=[FREE]),
    "words and a call": Script("Let me see.", calls=[FREE]),
    "a held call": Script(calls=[HELD]),
    "a denied call": Script(calls=[DENIED]),
    "a question": Script(calls=[QUESTION]),
    "all of them": Script(reasoning="Hm.", calls=[FREE, HELD, QUESTION, DENIED]),
    "another agent": Script(calls=[WITHIN]),
    "agents and a held call": Script(calls=[WITHIN, HELD, WITHIN]),
    "a signed call": Script(reasoning="Hm.", calls=[SIGNED, HELD]),
    "a name that no server takes": Script(calls=[Call("browser.open"), Call("日本", id=None), Call("", id=None)]),
    "ids that repeat": Script(calls=[Call("python", {"code": "1"}, id="x"), Call("python", {"code": "7"}, id="x")]),
    "arguments that are none": Script(calls=[Call("python", '{"code": '), Call("python", "[7]"), Call("ask_user", "")]),
    "a template's call": Script("I call.", calls=[HELD, FREE], dialect="template"),
    "nothing": Script(),
    "white space": Script(" \n"),
    "a cut answer": Script("It is so because of", finish="length"),
    "a cut call": Script(calls=[HELD], fault="cut", fault_after=3),
    "a broken answer": Script("It is so because of", reasoning="Hm.", fault="error_event", fault_after=3),
    "an error": Script(status=503),
    "silence": Script("It is so because of", reasoning="Hm.", fault="stall", fault_after=3),
    "silence in a call": Script("Let me see.", calls=[FREE, HELD], fault="stall", fault_after=4),
}


@dataclass
class Course:
    """A session, its copies, and the model of them all, which answers as planned and afterwards with text."""

    here: Here
    server: ModelServer
    sessions: list[Session]
    file: File
    chosen: int = 0

    @property
    def session(self) -> Session:
        return self.sessions[self.chosen % len(self.sessions)]

    async def rest(self, condition: Callable[[], bool] | None = None) -> None:
        """Wait until each run has ended, waits for a decision, or gets nothing more from its model."""
        async with asyncio.timeout(ENDS_WITHIN_S):
            while not await database.read(condition or self._rests):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.005)

    def _rests(self) -> bool:
        at_work = self._unfinished().filter(status__in=LIVE).exclude(status=RunStatus.WAITING).exists()
        asked = [each for each in self.server.requests if each.finished_at is None and each.closed_at is None]
        if asked:
            return all(each.sent >= 3 for each in asked)
        return not at_work and not run_registry.running_ids()

    def _unfinished(self) -> Any:
        return Run.objects.filter(session__in=self.sessions, status__in=UNFINISHED)

    def ended(self) -> bool:
        return not self._unfinished().exists() and not run_registry.running_ids()

    async def newest(self, **of: Any) -> Run | None:
        runs = Run.objects.filter(session=self.session, parent=None, **of).order_by("-number")
        return await database.read(runs.first)

    async def waiting(self) -> list[WaitingCall]:
        calls = WaitingCall.objects.filter(session=self.session, decided_at=None, run__status=RunStatus.WAITING)
        return await database.read(lambda: list(calls.order_by("pk")))


Act = Callable[[Course], Awaitable[object]]


async def ask(course: Course, **more: Any) -> object:
    return await commands.ask(course.here.user, course.session.pk, message="Why?", agent_name="boss", **more)


async def ask_quietly(course: Course) -> object:
    return await ask(course, enable_reasoning=False)


async def ask_with_a_file(course: Course) -> object:
    return await ask(course, files=[str(course.file.pk)])


async def stop(course: Course, *, everything: bool = False) -> object:
    return await commands.cancel(course.here.user, course.session.pk, everything=everything)


async def stop_all(course: Course) -> object:
    return await stop(course, everything=True)


async def stop_within(course: Course) -> None:
    children = Run.objects.filter(session=course.session, status__in=LIVE).exclude(parent=None)
    if (child := await database.read(children.first)) is not None:
        await commands.cancel(course.here.user, course.session.pk, child.pk)


async def die(course: Course) -> None:
    """The process of the run at work has died, and the sweep notices."""
    run = await course.newest(status__in=LIVE)
    if run is not None and run.status != RunStatus.WAITING:
        await recovery.interrupt(run.pk)
        run_registry.stop_local_run(run.pk, "killed")


async def go_on(course: Course) -> None:
    if (run := await course.newest()) is not None:
        await commands.continue_run(course.here.user, course.session.pk, run.pk)


async def decide(course: Course, decision: Any = "allow", **more: Any) -> None:
    for call in (await course.waiting())[:1]:
        args = course.here.user, course.session.pk, call.run_id
        if call.kind == "question":
            await deciding.answer(*args, call.tool_call_id, {"city": "Oslo"}, Door.API)
        else:
            await deciding.approve(*args, Approval(call.tool_call_id, decision, **more), Door.API)


async def deny(course: Course) -> None:
    await decide(course, "deny", reason="No.")


async def edit_arguments(course: Course) -> None:
    await decide(course, arguments={"code": "'7'"})


async def decide_all(course: Course) -> None:
    for _ in await course.waiting():
        await decide(course)


async def allow_from_now_on(course: Course) -> None:
    await decide(course, scope="session")


async def steer(course: Course, *, interrupt: bool = False) -> object:
    return await steering.steer(
        course.here.user, course.session.pk, message="Be brief.", interrupt=interrupt, fallback_agent="boss"
    )


async def steer_at_once(course: Course) -> object:
    return await steer(course, interrupt=True)


async def take_back(course: Course) -> None:
    accepted = await steering.steer(
        course.here.user,
        course.session.pk,
        message="No.",
        client_message_id=(own := uuid4().hex),
        fallback_agent="boss",
    )
    if accepted.is_word:
        await steering.unsteer(course.here.user, course.session.pk, own)


async def branch(course: Course, message: str | None = "Why else?", back: int = 0) -> None:
    """Branch from the end of a run, or ask its message again; later actions are done to the new session."""
    after = await database.read(_ends, course.session.pk)
    place = after[max(0, len(after) - 1 - back)]
    made = await branching.make_branch(
        course.here.user, Branch(course.session.pk, after_seq=place, message=message, agent_name="boss"), Door.API
    )
    course.sessions.append(await database.read(Session.objects.get, pk=made.session_id))
    course.chosen = len(course.sessions) - 1


def _ends(session_id: UUID) -> list[int]:
    ends = Step.objects.filter(session=session_id, event="reasoning_complete", seq__isnull=False)
    return [0, *ends.order_by("seq").values_list("seq", flat=True)]


async def ask_again(course: Course) -> None:
    await branch(course, "Why?", back=1)


async def copy(course: Course) -> None:
    await branch(course, None)


async def turn_to_another(course: Course) -> None:
    course.chosen += 1


ACTS: tuple[Act, ...] = (
    *(ask, ask, ask_quietly, ask_with_a_file, stop, stop_all, stop_within, die, go_on, go_on),
    *(decide, deny, edit_arguments, decide_all, allow_from_now_on, steer, steer_at_once, take_back),
    *(branch, ask_again, copy, turn_to_another),
)


@pytest.fixture
def server(transactional_db: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[ModelServer]:
    monkeypatch.setattr(built_in, "AGENTS", {each.name: each for each in (BOSS, CLERK)})
    built_in.make_built_in()
    settings.APPROVAL_POLICY = POLICY
    settings.MAX_ITERATIONS = 6
    settings.MAX_MESSAGES_PER_MINUTE = settings.MAX_ACTIVE_RUNS_PER_USER = settings.MAX_QUEUED_RUNS = 0
    with ModelServer() as server:
        settings.AGENT_MODEL = ModelSettings(server.url, "stub", timeout_s=20.0)
        yield server


async def begin(here: Here, server: ModelServer, answers: list[str]) -> Course:
    server.reset()
    planned = iter(answers)
    server.respond = lambda body: ANSWERS[next(planned, "words")]

    def make() -> tuple[Session, File]:
        session = making.session(here.user)
        return session, making.file(here.user, "Tea: 3 euros", session)

    session, file = await sync_to_async(make)()
    return Course(here, server, [session], file)


async def finish(course: Course) -> None:
    """Stop what is left, and send each session one more message: it answers."""
    for place in range(len(course.sessions)):
        course.chosen = place
        await do(course, stop_all)
    await course.rest(course.ended)
    course.server.respond = lambda _body: Script("Because.")
    for session in course.sessions:
        accepted = await commands.ask(course.here.user, session.pk, message="And now?", agent_name="boss")
        await course.rest(course.ended)
        run = await database.read(Run.objects.get, pk=accepted.run_id)
        assert (run.status, run.code) == ("completed", "")


async def do(course: Course, act: Act) -> None:
    """Do the action, if it is possible now."""
    try:
        await act(course)
    except Refused:
        return
    await course.rest()


#: Fewer examples in the quick profile, because each takes a second of real runs.
EXAMPLES = 300 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 12


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    acts=st.lists(st.sampled_from(ACTS), min_size=3, max_size=9),
    answers=st.lists(st.sampled_from(sorted(ANSWERS)), min_size=4, max_size=14),
)
async def test_no_course_makes_a_request_that_a_strict_server_refuses(
    here: Here, server: ModelServer, acts: list[Act], answers: list[str]
) -> None:
    course = await begin(here, server, answers)
    await do(course, ask)
    for act in acts:
        await do(course, act)
    await finish(course)
    faults, model_server.FAULTS[:] = list(model_server.FAULTS), []
    assert not faults
