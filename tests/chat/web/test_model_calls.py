"""What the model was sent, on pages: beside each iteration of a run, and one call in full."""

import json
import shlex
import subprocess
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from agents import CallBegun, CallEnded, ModelRequest, Usage
from agents.events import LeftOut
from chat.accounts.models import User
from chat.models import Agent, AgentVersion, AuditEntry, Cost, Run, Share
from chat.protocol.model_calls import CallData
from chat.rendering import calls as call_rows
from chat.store.calls import CallWriter, PricedCall
from tests.chat import making
from tests.chat.web.test_pages import stored_run, text_of

pytestmark = pytest.mark.django_db

QUESTION = "What's 17 % of <b>2,340</b>? $HOME `date`"
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "You are you."},
    {"role": "user", "content": QUESTION},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "python", "arguments": '{"code": "17 * 23.4"}'}}
        ],
        "reasoning_content": "I compute it.",
    },
    {"role": "tool", "tool_call_id": "c1", "name": "python", "content": "397.8"},
]
TOOLS = [{"type": "function", "function": {"name": "python", "parameters": {}}}]


CALL: CallData = {
    "iteration": 1,
    "attempt": 1,
    "model": "small-model",
    "provider": "default",
    "agent_version": None,
    "parameters": {},
    "tools": [],
    "messages": [{"role": "user", "sha256": "", "tokens_estimated": 1}],
    "left_out": None,
    "started_at": 1.5,
    "first_token_ms": None,
    "duration_ms": None,
    "finish_reason": None,
    "usage": {"input_tokens": 0, "output_tokens": 0, "estimated": False},
}


@pytest.fixture
def ada() -> User:
    return making.user("ada")


@pytest.fixture
def page(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


def asked(run: Run, calls: int = 1) -> Run:
    """The run, with this many model calls."""
    writer = CallWriter(run, provider="default")
    for iteration in range(1, calls + 1):
        tail = [{"role": "user", "content": f"More {number}"} for number in range(iteration - 1)]
        request = ModelRequest(
            "small-model",
            [*MESSAGES, *tail],
            TOOLS,
            ["python"],
            {"stream": True},
            LeftOut(12, 3_400) if iteration == 1 else LeftOut(),
            8_000,
        )
        usage = Usage(1_100, 70, False, 800, 50)
        ended = CallEnded(iteration, 1, 1_500, 300, "tool_calls", usage)
        cost = Cost(Decimal("0.0123"), "USD") if iteration == 1 else None
        writer.write([CallBegun(iteration, 1, 1_000.0, request), PricedCall(ended, cost)])
    return run


def steps(count: int) -> list[Any]:
    return [making.step("thought", f"Thought {n}.", step=n, iteration=n) for n in range(1, count + 1)]


def test_a_runs_page_tells_of_each_iteration_what_it_used_and_leads_to_what_the_model_saw(
    page: Client, ada: User
) -> None:
    run = asked(stored_run(ada, *steps(2)), 3)
    text = text_of(page.get(reverse("run", args=[run.pk]))).replace("\N{NO-BREAK SPACE}", " ")
    assert "small-model · 1.1k in / 70 out · 0.0123 USD · 1.5 s" in text
    assert "12 messages left out, about 3.4k tokens" in text
    assert text.count("cost unknown") == 2
    html = page.get(reverse("run", args=[run.pk])).content.decode()
    # The third call led to no step, and is shown all the same.
    assert all(reverse("call", args=[run.pk, number]) in html for number in (1, 2, 3))


@pytest.mark.parametrize(("role", "leads_there"), [("watcher", False), ("driver", True)])
def test_only_who_may_see_what_the_model_saw_is_led_there(
    role: str, leads_there: bool, client: Client, ada: User
) -> None:
    run, bo = asked(stored_run(ada, *steps(1))), making.user("bo")
    Share.objects.create(session=run.session, user=bo, role=role)
    client.force_login(bo)
    address = reverse("call", args=[run.pk, 1])
    assert (f'href="{address}"' in client.get(reverse("run", args=[run.pk])).content.decode()) is leads_there
    assert client.get(address).status_code == (200 if leads_there else 404)


def test_a_call_is_shown_readable_raw_and_as_a_command(page: Client, ada: User) -> None:
    run = asked(stored_run(ada, *steps(1)))
    answer = page.get(reverse("call", args=[run.pk, 1]))
    text = text_of(answer).replace("\N{NO-BREAK SPACE}", " ")
    for words in (
        "You are you.",
        QUESTION,
        "397.8",
        '{"code": "17 * 23.4"}',
        "I compute it.",
        "Tokens of thoughts 50",
        "From the cache 800",
        "12 messages left out",
        "1 of 1",
    ):
        assert words in text, words
    assert "<b>2,340</b>" not in answer.content.decode()
    command = shlex.split(answer.context["call"]["curl"])
    assert command[:2] == ["curl", "$MODEL_SERVER/chat/completions"]
    assert json.loads(command[-1]) == {
        "model": "small-model",
        "messages": MESSAGES,
        "stream": True,
        "tools": TOOLS,
    }
    assert json.loads(answer.context["call"]["raw"]) == json.loads(command[-1])


def test_the_command_is_one_for_any_text() -> None:
    """A shell passes the body on unchanged, and executes nothing in it."""
    body = {"messages": [{"role": "user", "content": QUESTION + "'; exit 7 #\n\\"}]}
    line = call_rows.curl(body).replace("curl ", "printf %s ", 1).rpartition("--data-binary ")[2]
    printed = subprocess.run(["sh", "-c", f"printf %s {line}"], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == body


@pytest.mark.parametrize("number", [0, 2, 10**12])
def test_there_is_no_other_call(number: int, page: Client, ada: User) -> None:
    run = asked(stored_run(ada, *steps(1)))
    assert page.get(reverse("call", args=[run.pk, number])).status_code == 404


def test_instructions_can_be_taken_out_wherever_they_stand() -> None:
    hidden = call_rows.without_instructions(MESSAGES)
    assert "You are you." not in str(hidden)
    assert hidden[1:] == MESSAGES[1:]
    # Servers that accept no system message get it before the first user message.
    folded = [{"role": "user", "content": f"You are you.\n\n{QUESTION}"}, *MESSAGES[2:]]
    assert "You are you." not in str(call_rows.without_instructions(folded))


@pytest.mark.django_db(transaction=True)
def test_instructions_that_are_not_shown_are_shown_to_staff_alone(client: Client, ada: User) -> None:
    agent = Agent.objects.create(name="painter")
    version = AgentVersion.objects.create(agent=agent, number=1, title="Painter", instructions_shown=False)
    run = asked(stored_run(ada, *steps(1)))
    Run.objects.update(agent_version=version)
    addresses = (reverse("call", args=[run.pk, 1]), f"/api/runs/{run.pk}/calls/1/messages/")
    for who, sees in ((ada, False), (making.staff("chat.view_session"), True)):
        client.force_login(who)
        for address in addresses:
            answer = client.get(address)
            assert answer.status_code == 200
            content = answer.content.decode()
            assert ("You are you." in content, "397.8" in content) == (sees, True), (who, address)


def test_pictures_are_cut_short_on_the_page_and_whole_over_the_api() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 90_000}"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]
    stored_run = call_rows.call_page(CALL, messages, [], number=1, of=1, is_hidden=False)
    assert "What is it?" in str(stored_run["messages"])
    assert "90,022 characters" in stored_run["raw"]
    assert len(str(stored_run)) < 5_000


def test_a_look_of_staff_is_noted(client: Client, ada: User) -> None:
    run = asked(stored_run(ada, *steps(1)))
    client.force_login(making.staff("chat.view_session"))
    assert client.get(reverse("call", args=[run.pk, 1])).status_code == 200
    assert AuditEntry.objects.get().session_id == run.session_id


def test_a_page_of_many_calls_asks_no_more_than_one_of_few(page: Client, ada: User) -> None:
    asked_of = []
    for calls in (2, 60):
        run = asked(stored_run(ada, *steps(calls)), calls)
        for address in (reverse("run", args=[run.pk]), reverse("call", args=[run.pk, calls])):
            counts = []
            # The first time loads what is loaded once; of the others one may also do what is due now and then.
            for _ in range(3):
                with CaptureQueriesContext(connection) as queries:
                    assert page.get(address).status_code == 200
                counts.append(len(queries))
            asked_of.append(min(counts))
    assert asked_of[:2] == asked_of[2:]
