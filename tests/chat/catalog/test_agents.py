"""Agents as data: which version a run uses, who may use an agent, and the error where there is none."""

import asyncio
import json
import re
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from agents import AGENTS, Limits, Parameters
from agents.specs import forget_agents, register_agent
from chat.accounts.models import User
from chat.catalog import agent_versions, agents, built_in
from chat.catalog.agent_versions import SavedMeanwhile, Unchangeable, content_of
from chat.models import Act, Agent, AgentVersion, AuditEntry, Origin, Run, RunStatus, Step
from chat.runs import commands, dispatch
from chat.runs import state as run_state
from chat.runs.admission import Refused
from chat.runs.state import End
from chat.runtime import database
from tests.chat import making

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return making.user()


def agent(name: str = "researcher") -> Agent:
    return Agent.objects.select_related("current").get(name=name)


def published(by: User, name: str = "researcher", **changes: Any) -> AgentVersion:
    """A further version of an agent, which runs use from now on."""
    now = agent(name)
    assert now.current is not None
    newest = now.versions.order_by("-number")[0]
    made = agent_versions.save_version(now.pk, by, content_of(now.current) | changes, based_on=newest.number)
    agent_versions.publish_version(made, by)
    agents.forget()
    return made


def ask(user: User, session_id: Any, **more: Any) -> Run:
    wishes = {"message": "Why?", "agent_name": None, "fallback_agent": None, "enable_reasoning": True} | more
    accepted = commands.ask_atomically(user, session_id, client_message_id=uuid4().hex, origin=Origin.CHAT, **wishes)
    return Run.objects.get(pk=accepted.run_id)


def test_the_built_in_agents_are_version_1_of_themselves() -> None:
    for name, spec in AGENTS.items():
        current = agent(name).current
        assert current is not None
        assert agents.spec_of(current) == spec


def test_an_agent_of_an_extension_is_one_in_each_of_its_versions(ada: User) -> None:
    wishes = {"limits": Limits(iterations=3), "parameters": Parameters(temperature=0.5), "starters": ("Why?",)}
    spec = replace(AGENTS["writer"], name="poet", mcp=(), agent_class="poet", **wishes)  # type: ignore[arg-type] # of each kind
    register_agent(spec)
    try:
        built_in.make_built_in()
        current = agent("poet").current
        assert current is not None
        assert agents.spec_of(current) == spec
        assert agents.load_version(published(ada, "poet", title="Bard").pk).spec == replace(
            spec, version=2, title="Bard"
        )
    finally:
        forget_agents()


def test_changes_of_staff_to_built_in_agents_stay(ada: User) -> None:
    published(ada, title="Finder")
    agent_versions.archive_agent(agent("writer").pk, ada, archived=True)
    built_in.make_built_in()
    assert [version.spec.title for version in agents.usable_by(ada.pk)] == ["Finder", "Developer"]


def test_a_run_takes_the_version_that_is_current_when_it_begins_and_keeps_it(ada: User) -> None:
    session = making.session(ada)
    first, waiting = ask(ada, session.pk), ask(ada, session.pk)
    assert first.agent_version == agent().current
    assert (waiting.status, waiting.agent_version) == (RunStatus.QUEUED, None)
    second = published(ada, instructions="Be brief.")
    first.refresh_from_db()
    assert first.agent_version is not None
    assert first.agent_version.number == 1
    run_state.finish(first.pk, session.pk, End(RunStatus.COMPLETED))
    claim = dispatch.claim_next(session.pk)
    assert claim is not None
    assert claim.run.pk == waiting.pk
    assert claim.run.agent_version == second
    assert claim.setup is not None
    assert (claim.setup.spec.version, claim.setup.spec.instructions) == (2, "Be brief.")


def test_a_runs_start_says_how_often_its_version_may_ask_the_model(ada: User, settings: Any) -> None:
    """Whatever later versions say, and whichever agent the session has by then."""
    settings.MAX_ITERATIONS = 20
    session = making.session(ada)
    ask(ada, session.pk)
    published(ada, limits={"iterations": 3})
    ask(ada, making.session(ada).pk)
    settings.MAX_ITERATIONS = 0
    ask(ada, making.session(ada, agent_name="writer").pk, agent_name="writer")
    starts = Step.objects.filter(event="reasoning_start").order_by("pk")
    assert [json.loads(step.body).get("max_iterations") for step in starts] == [20, 3, None]


def test_a_draft_is_taken_by_no_run(ada: User) -> None:
    now = agent()
    assert now.current is not None
    agent_versions.save_version(now.pk, ada, content_of(now.current) | {"title": "Draft"}, based_on=1)
    agents.forget()
    assert ask(ada, making.session(ada).pk).agent_version == now.current
    assert agents.title_of("researcher") == "Researcher"


def test_a_version_published_by_another_process_is_used_by_the_next_message(ada: User) -> None:
    """No cache of this process delays that."""
    session = making.session(ada)
    ask(ada, session.pk)
    now = agent()
    assert now.current is not None
    made = agent_versions.save_version(now.pk, ada, content_of(now.current), based_on=1)
    Agent.objects.filter(pk=now.pk).update(current=made)
    assert ask(ada, making.session(ada).pk).agent_version == made


def test_starting_a_run_asks_for_no_version_that_is_known(ada: User) -> None:
    """The content of a version is read once; which version is current is read by the statement that admits the message."""
    session = making.session(ada)
    ask(ada, session.pk)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        ask(ada, making.session(ada).pk)
    assert not [each["sql"] for each in asked if "chat_agentversion" in each["sql"]]


def closed_to(user: User) -> None:
    agent().groups.add(Group.objects.create(name="others"))


def archived(user: User) -> None:
    agent_versions.archive_agent(agent().pk, user, archived=True)


@pytest.mark.parametrize("shut", [closed_to, archived])
def test_an_agent_that_one_may_not_use_is_refused_as_unknown_everywhere(ada: User, shut: Any) -> None:
    session = making.session(ada)
    old = making.run(session)
    run_state.finish(old.pk, session.pk, End(RunStatus.FAILED))
    shut(ada)
    agents.forget()
    doors = {
        "by name": lambda: ask(ada, session.pk, agent_name="researcher"),
        "the session's own": lambda: ask(ada, session.pk),
        "the socket's": lambda: ask(ada, session.pk, fallback_agent="researcher"),
        "going on": lambda: commands.continue_atomically(ada, session.pk, old.pk, "again"),
        "by the clock": lambda: commands.ask_by_clock(
            ada, None, message="?", agent_name="researcher", title="", client_message_id="clock"
        ),
    }
    for door in doors.values():
        with pytest.raises(Refused) as refused:
            door()
        assert refused.value.code == "unknown_agent"
        assert refused.value.message == "There is no agent “researcher”. There are: developer, writer."
    assert ask(ada, session.pk, agent_name="writer").agent_name == "writer"
    old.refresh_from_db()
    assert old.agent_version is not None


@pytest.mark.parametrize(
    "name", ["", "poet", "Researcher", "researcher\n", "a\x00b", "\ud800", "x" * 100_000, "' OR 1=1 --"]
)
def test_names_that_no_agent_has_are_refused_whatever_they_are(ada: User, name: str) -> None:
    with pytest.raises(Refused, match="There is no agent") as refused:
        ask(ada, making.session(ada).pk, agent_name=name)
    assert refused.value.code == "unknown_agent"
    assert len(refused.value.message) < 200
    refused.value.message.encode()


def test_an_agent_is_for_members_of_its_groups(ada: User) -> None:
    inside = Group.objects.create(name="inside")
    agent_versions.set_groups(agent().pk, ada, [inside, Group.objects.create(name="more")])
    bo = making.user("bo")
    bo.groups.add(inside)
    agents.forget()
    assert [version.spec.name for version in agents.usable_by(ada.pk)] == ["developer", "writer"]
    assert [version.spec.name for version in agents.usable_by(bo.pk)] == ["researcher", "developer", "writer"]
    assert (agents.may_use("researcher", bo.pk), agents.may_use("researcher", ada.pk)) == (True, False)
    assert (agents.is_open("researcher"), agents.is_open("writer"), agents.is_open("poet")) == (None, True, False)
    assert ask(bo, making.session(bo).pk).agent_version == agent().current


def test_a_message_of_before_gets_its_answer_also_when_its_agent_is_gone(ada: User) -> None:
    session = making.session(ada)
    fields = {"message": "Why?", "agent_name": None, "fallback_agent": None, "enable_reasoning": True}
    again = {**fields, "client_message_id": "m1", "origin": Origin.CHAT}
    first = commands.ask_atomically(ada, session.pk, **again)  # type: ignore[arg-type]
    agent_versions.archive_agent(agent().pk, ada, archived=True)
    assert commands.ask_atomically(ada, session.pk, **again).run_id == first.run_id  # type: ignore[arg-type]


# Runs at work


async def executed(claim: Any) -> Run:
    dispatch.start_run(claim)
    await asyncio.wait_for(claim.ended.wait(), 20)
    return await database.read(Run.objects.select_related("agent_version").get, pk=claim.run.pk)


def in_the_queue(user: User, happens: Any) -> Any:
    """The claim of a run that was queued while something happened."""
    session = making.session(user)
    making.run(session, owned_by="", message="What time is it in Tokyo?")
    happens()
    agents.forget()
    return dispatch.claim_next(session.pk)


@pytest.mark.django_db(transaction=True)
async def test_a_run_whose_agent_was_withdrawn_while_it_waited_says_so() -> None:
    user = await database.write(making.user)
    claim = await database.write(
        in_the_queue, user, lambda: agent_versions.archive_agent(agent().pk, user, archived=True)
    )
    ended = await executed(claim)
    assert (ended.status, ended.code, ended.agent_version) == (RunStatus.FAILED, "unknown_agent", None)
    errors = await database.read(lambda: list(ended.steps.filter(event="error").values_list("body", flat=True)))
    assert "no longer available" in errors[0]


LIMITS = [
    ({"time_s": 0.3}, (RunStatus.FAILED, "budget_exceeded")),
    ({"iterations": 1}, (RunStatus.MAX_ITERATIONS, "")),
    ({}, (RunStatus.COMPLETED, "")),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("limits", "end"), LIMITS)
async def test_a_run_keeps_within_the_limits_of_its_agent(limits: dict[str, Any], end: Any) -> None:
    user = await database.write(making.user)
    claim = await database.write(in_the_queue, user, lambda: published(user, limits=limits))
    ended = await executed(claim)
    assert (ended.status, ended.code) == end
    assert ended.agent_version is not None
    assert (ended.agent_version.number, ended.model, ended.provider) == (2, "demo", "demo")


# Changing them


def test_the_later_of_two_editors_of_an_agent_is_told_and_nothing_is_lost(ada: User) -> None:
    bo = making.user("bo")
    now = agent()
    assert now.current is not None
    content = content_of(now.current)
    first = agent_versions.save_version(now.pk, ada, content | {"title": "Ada's"}, based_on=1)
    with pytest.raises(SavedMeanwhile, match=r"Version 2 was saved by ada while you were writing") as raised:
        agent_versions.save_version(now.pk, bo, content | {"title": "Bo's"}, based_on=1)
    assert raised.value.newest == first
    # After seeing the other version, Bo saves his as the next one.
    assert agent_versions.save_version(now.pk, bo, content | {"title": "Bo's"}, based_on=2).number == 3
    assert list(now.versions.order_by("number").values_list("title", flat=True)) == ["Researcher", "Ada's", "Bo's"]


def test_an_earlier_version_is_restored_as_a_further_one(ada: User) -> None:
    published(ada, title="Finder", tools=["python"])
    first = agent().versions.get(number=1)
    made = agent_versions.restore_version(first, ada)
    assert (made.number, made.state, content_of(made)) == (3, "draft", content_of(first))


CIRCLES = [
    ("itself", {"researcher": ["researcher"]}, "researcher → researcher"),
    ("two", {"writer": ["researcher"], "researcher": ["writer"]}, "researcher → writer → researcher"),
    (
        "three",
        {"writer": ["developer"], "developer": ["researcher"], "researcher": ["writer"]},
        "researcher → writer → developer → researcher",
    ),
    ("none", {"writer": ["developer"], "researcher": ["writer", "developer"]}, ""),
    ("one that is not there", {"researcher": ["poet"]}, ""),
]


@pytest.mark.parametrize(("_case", "asks", "circle"), CIRCLES)
def test_agents_that_would_ask_one_another_in_a_circle_are_not_published(
    ada: User, _case: str, asks: dict[str, list[str]], circle: str
) -> None:
    # One of the built-in agents already asks others.
    published(ada, sub_agents=[])
    *before, last = asks.items()
    for name, others in before:
        published(ada, name, sub_agents=others)
    if not circle:
        published(ada, last[0], sub_agents=last[1])
        return
    with pytest.raises(Unchangeable, match=f"in a circle: {circle}"):
        published(ada, last[0], sub_agents=last[1])


def test_every_change_is_in_the_audit(ada: User) -> None:
    made = published(ada, title="Finder")
    agent_versions.restore_version(made, ada)
    agent_versions.archive_agent(made.agent_id, ada, archived=True)
    agent_versions.archive_agent(made.agent_id, ada, archived=False)
    agent_versions.set_groups(made.agent_id, ada, [Group.objects.create(name="inside")])
    noted = AuditEntry.objects.filter(actor_id=ada.pk).order_by("id").values_list("action", "about")
    assert list(noted) == [
        (Act.SAVE, "agent researcher 2"),
        (Act.PUBLISH, "agent researcher 2"),
        (Act.RESTORE, "agent researcher 3"),
        (Act.ARCHIVE, "agent researcher"),
        (Act.RESTORE, "agent researcher"),
        (Act.SAVE, "agent researcher"),
    ]


def test_unknown_fields_of_a_version_are_ignored(ada: User) -> None:
    made = published(ada, parameters={"temperature": 0.5, "mood": "good"}, limits={"iterations": 3, "walks": 2})
    spec = agents.load_version(made.pk).spec
    assert (spec.parameters.temperature, spec.limits.iterations) == (0.5, 3)


def test_looking_which_agents_there_are_is_one_statement_a_second(ada: User) -> None:
    agents.usable_by(ada.pk)
    agents.forget()
    with CaptureQueriesContext(connection) as asked:
        agents.refresh()
        agents.refresh()
    assert len(asked) == 1


# What pages and programs are shown


def test_the_page_offers_those_that_one_may_use_with_what_they_can_do(client: Client, ada: User) -> None:
    published(ada, "writer", description="Writes <odes>.", starters=["An ode to &?"], tools=["current_time"])
    closed_to(ada)
    agents.forget()
    client.force_login(ada)
    page = client.get("/").content.decode()
    assert re.findall(r'<option value="(\w+)"( selected)?', page) == [("developer", " selected"), ("writer", "")]
    of_writer = page.split('<div data-agent="writer" hidden>')[1].split("</form>")[0]
    assert "Writes &lt;odes&gt;." in of_writer
    assert "An ode to &amp;?" in of_writer
    assert "17 %" not in of_writer


def test_a_session_says_that_its_agent_is_not_offered_any_more(client: Client, ada: User) -> None:
    session = making.session(ada)
    client.force_login(ada)
    words = "The agent “Researcher” is no longer offered"
    assert words not in client.get(f"/sessions/{session.pk}/").content.decode()
    archived(ada)
    agents.forget()
    page = client.get(f"/sessions/{session.pk}/").content.decode()
    assert words in page
    assert '<option value="developer" selected' in page
