"""Rows that are written to the database before a measurement. Run inside the product by ``manage.py shell``; each prints JSON."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from django.contrib.sessions.backends.db import SessionStore
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from agents import CallBegun, CallEnded, ModelRequest, Usage
from chat.access import Role
from chat.accounts.models import User
from chat.models import Agent, Comment, DailyUsage, Door, Occurrence, Run, Schedule, Scope, Session, Share, WaitingCall
from chat.runs.branching import Branch, make_branch
from chat.runtime import database
from chat.security.tokens import make_token
from chat.store.calls import CallWriter, PricedCall
from chat.store.step_log import Entry
from tests.benchmarks import searchable
from tests.chat import large, making
from tests.chat.statements import BY_THE_CLOCK
from tests.e2e import long_session as long_session_of

USER = "ada"
_EVENTS_PER_RUN = 50
_QUESTION = "How high is the tide?"
_APPENDED = 125
_LOOKS = 21
_PAGE_LOOKS = 7
_PEOPLE = 50
#: Lets runs begin at any time within three weeks, have their first token within five seconds and take up to two minutes.
_SPREAD = {
    "sqlite": """UPDATE chat_run SET created_at = strftime('%Y-%m-%d %H:%M:%f', created_at, '+' || abs(random() % 1814400) || ' seconds'),
        ended_at = strftime('%Y-%m-%d %H:%M:%f', started_at, '+' || abs(random() % 120000) / 1000.0 || ' seconds'),
        first_token_ms = abs(random() % 5000) WHERE ended_at IS NOT NULL""",
    "postgresql": """UPDATE chat_run SET created_at = created_at + random() * interval '21 days',
        ended_at = started_at + random() * interval '2 minutes', first_token_ms = random() * 5000 WHERE ended_at IS NOT NULL""",
}
#: The pages of staff, and their addresses.
_STAFF_PAGES = {
    "the list of runs": "/admin/chat/run/",
    "… its hundredth page": "/admin/chat/run/?p=100",
    "… of one status": "/admin/chat/run/?status=completed",
    "… of one user": "/admin/chat/run/?of=user+7",
    "… searched": "/admin/chat/run/?q=nothing+like+it",
    "… searched by name": "/admin/chat/run/?q=user+7",
    "… slow ones": "/admin/chat/run/?slow=300",
    "its figures": "/admin/chat/run/figures/",
    "… of what is searched": "/admin/chat/run/figures/?q=user+7",
    "what is at work": "/admin/chat/run/now/",
    "the list of sessions": "/admin/chat/session/",
    "usage of a month": "/admin/chat/dailyusage/",
    "usage of a year by person": "/admin/chat/dailyusage/?days=365&by=user",
}


def login() -> None:
    """A login's session cookie, made without the login page: password hashing is not to be measured."""
    user = User.objects.get(username=USER)
    store = SessionStore()
    store["_auth_user_id"] = str(user.pk)
    store["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
    store["_auth_user_hash"] = user.get_session_auth_hash()
    store.create()
    print(json.dumps(store.session_key))


def token() -> None:
    """A token of that account."""
    print(json.dumps(make_token(User.objects.get(username=USER), "benchmark", Scope.ASK, None)[1]))


def sessions(count: int) -> None:
    """New sessions without messages."""
    user = User.objects.get(username=USER)
    made = Session.objects.bulk_create(Session(owner=user, agent_name="researcher") for _ in range(count))
    print(json.dumps([str(session.pk) for session in made]))


def long_session(events: int) -> None:
    """A session with this many stored events, in runs of nine model calls with a tool each."""
    print(json.dumps(str(_long_session(events).pk)))


@transaction.atomic
def runs_of_calls(*counts: int) -> None:
    """Runs of this many model calls each, every call stored with its messages, and with a tool's call and result."""
    made = []
    for count in counts:
        run = making.run(making.session(User.objects.get(username=USER)), message=_QUESTION)
        making.append(run, *_run(_QUESTION, count))
        writer, messages = (
            CallWriter(run, provider="stub"),
            [{"role": "system", "content": "You look at the sea. " * 40}],
        )
        for n in range(1, count + 1):
            messages += [{"role": "user", "content": f"The tide was {n * 0.35} m high. " * 20}]
            begun = CallBegun(n, 1, 1.0 + n, ModelRequest("stub", list(messages), tool_names=["python"]))
            writer.write([begun, PricedCall(CallEnded(n, 1, 9, usage=Usage(900, 300)), None)])
        making.end(run)
        made.append(str(run.pk))
    print(json.dumps(made))


@transaction.atomic
def _long_session(events: int) -> Session:
    session = making.session(User.objects.get(username=USER), title="A long conversation")
    for number in range(events // _EVENTS_PER_RUN):
        message = f"Question {number}: how high is the tide?"
        run = making.run(session, message=message)
        making.append(run, *_run(message))
        making.end(run)
    return session


def schedules(count: int, in_s: int) -> None:
    """Schedules that are due at the same time, this many seconds from now, each with a session of its own."""
    now = timezone.now()
    at = now + timedelta(seconds=in_s)
    owner = User.objects.get(username=USER)
    Schedule.objects.bulk_create(
        Schedule(
            owner=owner,
            name=f"Tide {number}",
            agent_name="researcher",
            message=f"How high is the tide? [tag=due-{number} tokens=5]",
            at=at,
            next_at=at,
            since=now,
        )
        for number in range(count)
    )
    print(json.dumps(count))


def begun() -> None:
    """How many schedules' runs have begun, and how long after they were due."""
    runs = Occurrence.objects.filter(run__started_at__isnull=False).values_list("run__started_at", "due_at")
    late = sorted((started - due).total_seconds() for started, due in runs)
    summary = {"begun": len(late), "latest_s": late[-1], "median_s": late[len(late) // 2]} if late else {"begun": 0}
    print(json.dumps({"latest_s": 0.0, "median_s": 0.0, **summary}))


@transaction.atomic
def waiting(count: int) -> None:
    """Sessions each with a run that waits for a decision, until tomorrow."""
    user, now = User.objects.get(username=USER), timezone.now()
    made = Session.objects.bulk_create(Session(owner=user, status="waiting") for _ in range(count))
    runs = Run.objects.bulk_create(
        [
            Run(session=session, number=1, user=user, message="When?", agent_name="researcher", started_at=now)
            for session in made
        ]
    )
    Run.objects.filter(status="queued").update(status="waiting", waiting_since=now)
    names = {"tool_call_id": "call_1", "tool_name": "python", "arguments": "{}", "deadline": now + timedelta(days=1)}
    WaitingCall.objects.bulk_create(WaitingCall(run=run, session_id=run.session_id, **names) for run in runs)
    print(json.dumps(count))


def large_result(length: int) -> None:
    """A session with a tool's result of this many characters."""
    print(json.dumps(long_session_of.write(USER, message="A large result", thoughts=5, result_length=length)))


def past_sessions(count: int) -> None:
    """Past sessions for the list of them: with titles, all statuses of runs, each at another time. Prints the newest."""
    agents, ends = ("researcher", "developer", "writer"), ("completed",) * 7 + ("failed", "cancelled", "interrupted")
    made = Session.objects.bulk_create(
        Session(
            owner=User.objects.get(username=USER),
            title=f"How high is the tide in harbour {number}?",
            agent_name=agents[number % len(agents)],
            status=ends[number % len(ends)],
        )
        for number in range(count)
    )
    # A new row's time of last activity is always set to now.
    now = timezone.now()
    for number, session in enumerate(made):
        session.active_at = now - timedelta(minutes=7 * number)
    Session.objects.bulk_update(made, ["active_at"], batch_size=400)
    print(json.dumps(str(made[0].pk)))


@transaction.atomic
def agents(count: int) -> None:
    """This many further agents, each like the researcher."""
    usual = Agent.objects.select_related("current").get(name="researcher").current
    assert usual is not None
    for number in range(Agent.objects.count(), Agent.objects.count() + count):
        usual.pk, usual.agent = None, Agent.objects.create(name=f"agent-{number}")
        usual.title = f"Agent {number}"
        usual._state.adding = True
        usual.save()
        usual.agent.current = usual
        usual.agent.save()
    print(json.dumps(count))


def searched(count: int) -> None:
    """Thoughts of one account, in sessions of 1,000 and runs of 100, inserted by SQL, which is fast enough for so many."""
    print(json.dumps(str(searchable.load(User.objects.get(username=USER).pk, count))))


@transaction.atomic
def talked(count: int, *turns: int) -> None:
    """Sessions with this many messages and answers each, for each number of turns this many."""
    made = [[making.session(User.objects.get(username=USER), title="Turns") for _ in range(count)] for _ in turns]
    for sessions, number in zip(made, turns, strict=True):
        for session in sessions:
            for turn in range(number):
                run = making.run(session, message=f"Question {turn}: how high is the tide? " * 4)
                making.append(run, _step("final_answer", 1, "The **tide** is about `3.15` m high. " * 16, step=1))
                making.end(run)
    print(json.dumps([[str(session.pk) for session in sessions] for sessions in made]))


def growing(*events: int) -> None:
    """Sessions with this many stored events, and the seconds in which each of some more is stored."""
    print(json.dumps([_growing(count) for count in events]))


def _growing(events: int) -> tuple[str, list[float]]:
    session = _long_session(events)
    run = making.run(session, message="And now?")
    seconds = []
    for number in range(_APPENDED):
        thought = making.thought("The tide follows the moon; the range here is known.", number + 1)
        began = time.perf_counter()
        making.append(run, thought)
        seconds.append(time.perf_counter() - began)
    making.end(run)
    return str(session.pk), seconds[_APPENDED // 5 :]


def surrounded(*counts: int) -> None:
    """Sessions with this many branches, comments and shares each."""
    print(json.dumps([str(_surrounded(count).pk) for count in counts]))


@transaction.atomic
def _surrounded(count: int) -> Session:
    session = _long_session(_EVENTS_PER_RUN)
    session.family = uuid4()
    session.save()
    people = User.objects.bulk_create(User(username=uuid4().hex) for _ in range(count))
    Share.objects.bulk_create(Share(session=session, user=person, role=Role.WATCHER) for person in people)
    Comment.objects.bulk_create(
        Comment(session=session, seq=1 + number, user=person, text="Is that so?", version=number + 1)
        for number, person in enumerate(people)
    )
    Session.objects.filter(pk=session.pk).update(notes_version=count)
    Session.objects.bulk_create(
        Session(
            owner=session.owner,
            agent_name="researcher",
            family=session.family,
            copied_from=session.pk,
            parted_from=session.pk,
            parted_after=session.last_seq,
        )
        for _ in people
    )
    return session


def branched(events: int) -> None:
    """Branch from the end of a session with this many events: the seconds until the branch exists, and of each write meanwhile."""
    source = _long_session(events)
    beside = making.run(making.session(source.owner), message="And now?")
    asyncio.run(_branch_beside(source, beside))


async def _branch_beside(source: Session, beside: Run) -> None:
    began = time.perf_counter()
    copying = asyncio.create_task(make_branch(source.owner, Branch(source.pk), Door.API))
    writes: list[float] = []
    while not copying.done():
        thought = making.thought("The tide follows the moon.", len(writes) + 1)
        asked = time.perf_counter()
        await database.write(making.append, beside, thought)
        writes.append(time.perf_counter() - asked)
        await asyncio.wait([copying], timeout=0.01)
    await copying
    print(json.dumps({"whole": time.perf_counter() - began, "writes": writes}))


def _run(message: str, calls: int = 9) -> list[Entry]:
    entries = [
        Entry(
            "reasoning_start",
            {"agent": "researcher", "message": message, "user": USER, "enable_reasoning": True, "timestamp": 1.0},
        ),
        _step("start", 0, message=message),
    ]
    for i in range(1, calls + 1):
        call = {"tool_name": "python", "tool_call_id": f"call_{i}"}
        arguments = {"code": f"level = {i} * 0.35\nprint(level)"}
        entries += [
            _step("iteration_start", i),
            _step(
                "thought", i, "The tide follows the moon; the range here is known. " * 4, step=3 * i - 2, duration_ms=9
            ),
            _step("tool_use", i, step=3 * i - 1, arguments=arguments, **call),
            _step(
                "tool_result",
                i,
                "0.35\n" * 60,
                step=3 * i,
                ok=True,
                duration_ms=4,
                truncated=False,
                content_length=300,
                **call,
            ),
            _step("iteration_end", i),
        ]
    entries += [
        _step(
            "final_answer",
            calls,
            "The **tide** is about `3.15` m high.\n\n- twice a day\n" * 6,
            step=3 * calls + 1,
            duration_ms=40,
        ),
        _step("complete", calls, total_iterations=calls),
        Entry(
            "reasoning_complete",
            {
                "status": "completed",
                "total_iterations": calls,
                "duration_ms": 900,
                "usage": {"input_tokens": 900, "output_tokens": 300, "estimated": False},
            },
        ),
    ]
    return entries


def _step(kind: str, iteration: int, content: str = "", **more: Any) -> Entry:
    return Entry(
        "reasoning_step",
        {"type": kind, "content": content, "iteration": iteration, "timestamp": 1.0 + iteration, **more},
    )


def by_the_clock(runs: int) -> None:
    """Many runs, of five steps each; prints the milliseconds of each periodic query, and of reading one row by its key."""
    at = large.fill(runs, 5)

    def took_ms(look: Callable[[], Any]) -> float:
        look()
        # The fastest time: other load on the machine must not count, and a scan of a whole table is never fast.
        return min(_timed(look) for _ in range(_LOOKS)) * 1000

    one = took_ms(lambda: Session.objects.filter(pk=at.session_id).values_list("last_seq").get())
    print(json.dumps({"one": one, "lists": {name: took_ms(partial(look, at)) for name, look in BY_THE_CLOCK.items()}}))


def staff_pages(runs: int) -> None:
    """Many runs, of five steps each, and a year's usage of fifty users; prints the milliseconds of each of the staff's pages."""
    large.fill(runs, 5)
    with connection.cursor() as cursor:
        # Each was requested at another time.
        cursor.execute(_SPREAD[connection.vendor])
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE chat_run")
    people = list(User.objects.values_list("pk", flat=True)[:_PEOPLE])
    today = timezone.now().date()
    used = {"calls": 9, "input_tokens": 900, "output_tokens": 300, "provider": "stub", "model": "stub"}
    DailyUsage.objects.bulk_create(
        (
            DailyUsage(day=today - timedelta(days=day), user_id=person, agent_name=agent, **used)
            for day in range(365)
            for person in people
            for agent in ("researcher", "developer", "writer")
        ),
        batch_size=2_000,
    )
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(User.objects.get(username=USER))

    def took_ms(address: str) -> float:
        def look() -> None:
            answer = client.get(address)
            assert answer.status_code == 200, (address, answer.status_code)

        look()
        return min(_timed(look) for _ in range(_PAGE_LOOKS)) * 1000

    print(json.dumps({name: took_ms(address) for name, address in _STAFF_PAGES.items()}))


def _timed(look: Callable[[], Any]) -> float:
    began = time.perf_counter()
    look()
    return time.perf_counter() - began
