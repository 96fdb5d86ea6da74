"""Tools that are too many or too large for a server that does not say so, or for what the model reads at a time."""

import json
from typing import Any

import pytest

from agents.models import server_facts
from agents.models.openai_compatible import completions_url
from agents.models.server_facts import LASTS_S, ServerFacts
from tests.agents.conftest import Echo, MakeAgent, kinds
from tests.agents.models.test_adapting import HISTORY, Body, ended, known, numbered_tools, refuse, thoughts_in
from tests.model_server import ModelServer, Script, by_words

FEWER = "The model server takes fewer tools at a time: of this agent's %d, the model is offered the first %d in this conversation."
LARGE = (
    "This agent's tools take more than half of what the model reads at a time: of its %d, the model is offered the first %d in this "
    "conversation."
)
#: Answers that say nothing of what is wrong. A further one is one line.
WORDLESS: list[tuple[int, str]] = [
    (500, ""),
    (500, "Internal Server Error"),
    (500, '{"error": {"message": "Internal server error", "type": "server_error", "code": 500}}'),
    (500, '{"error": {"message": "", "type": null}}'),
    (400, ""),
    (400, "Bad Request"),
    (400, '{"detail": "Bad Request"}'),
    (400, '{"error": {"message": "Provider returned error", "code": 400}}'),
    (413, "<html><head><title>413 Request Entity Too Large</title></head></html>"),
    (413, ""),
    (422, '{"error": "Unprocessable Entity"}'),
    (500, '{"error": {"message": "An error occurred while processing your request. Please try again later."}}'),
    (500, '{"message": "Something went wrong"}'),
]


def many(count: int, size: int = 0) -> list[Echo]:
    """So many tools, each described with so many characters."""
    described = f"Says it again. {'x' * size}"
    return [type("Described", (Echo,), {"name": f"echo_{at}", "description": described})() for at in range(count)]


def offered(body: Body) -> int:
    return len(body.get("tools", ()))


@pytest.mark.parametrize(("status", "words"), WORDLESS, ids=lambda value: str(value)[:40])
async def test_without_words_very_many_tools_are_tried_as_fewer(
    server: ModelServer, make_agent: MakeAgent, status: int, words: str
) -> None:
    server.respond = lambda body: Script(status=status, body=words) if offered(body) > 128 else by_words(body)
    for _ in range(2):
        steps, outcome = await ended(make_agent(tools=numbered_tools(300)).start('[call=echo_3:{"text": "a"}]'))
        assert outcome.status == "completed", outcome.error
        assert thoughts_in(steps) == [FEWER % (300, 128)]
        assert kinds(steps)[-3:] == ["tool_use", "tool_result", "final_answer"]
    assert len(server.requests) == 5  # told once, and remembered


@pytest.mark.parametrize(("status", "words"), WORDLESS, ids=lambda value: str(value)[:40])
async def test_without_words_very_large_tools_are_tried_as_fewer(
    server: ModelServer, make_agent: MakeAgent, status: int, words: str
) -> None:
    size = 60_000
    server.respond = lambda body: Script(status=status, body=words) if len(json.dumps(body)) > size else by_words(body)
    steps, outcome = await ended(make_agent(tools=many(16, 6_000)).start("?", history=HISTORY))
    assert outcome.status == "completed", outcome.error
    assert thoughts_in(steps) == [FEWER % (16, 8)]
    assert len(server.requests[-1].body["messages"]) == 2 + len(HISTORY)


async def test_it_is_tried_again_with_all_after_a_while(
    server: ModelServer, make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    facts = ServerFacts(clock=lambda: now)
    monkeypatch.setitem(server_facts._facts, (completions_url(server.url), "scripted"), facts)
    server.enqueue(Script(status=500, body=""))
    agent = make_agent(tools=numbered_tools(300))
    for expected in (128, 128):
        await ended(agent.start("?"))
        assert offered(server.requests[-1].body) == expected
    now += LASTS_S
    await ended(agent.start("?"))
    assert offered(server.requests[-1].body) == 300


@pytest.mark.parametrize("count", [3, 20])
async def test_a_server_that_fails_with_few_small_tools_is_asked_once(
    server: ModelServer, make_agent: MakeAgent, count: int
) -> None:
    refuse(server, lambda _: True, 500, "Internal Server Error")
    _, outcome = await ended(make_agent(tools=many(count)).start("?"))
    assert outcome.error == "The model server failed (500): Internal Server Error"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "words"), [(500, "out of memory"), (503, ""), (502, "Bad Gateway"), (429, ""), (401, ""), (404, "")]
)
async def test_another_failure_with_very_many_tools_is_that_failure(
    server: ModelServer, make_agent: MakeAgent, status: int, words: str
) -> None:
    server.respond = lambda _: Script(status=status, body=words)
    _, outcome = await ended(make_agent(tools=numbered_tools(300)).start("?"))
    assert outcome.status == "failed"
    assert len(server.requests) == 1


async def test_a_server_that_always_fails_is_asked_few_times(server: ModelServer, make_agent: MakeAgent) -> None:
    server.respond = lambda _: Script(status=500, body="")
    _, outcome = await ended(make_agent(tools=numbered_tools(300)).start("?"))
    assert outcome.error == "The model server failed (500)."
    assert len(server.requests) <= 4
    assert known(server).most_tools == 0


# -- what the model reads at a time ----------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"tool_format": "template"}, {"tool_format": "native"}])
async def test_tools_leave_half_of_what_the_model_reads_to_the_conversation(
    server: ModelServer, make_agent: MakeAgent, settings: dict[str, Any]
) -> None:
    agent = make_agent(tools=many(40, 1_000), max_input_tokens=8_000, **settings)
    steps, outcome = await ended(agent.start('[call=echo_3:{"text": "a"} template]', history=HISTORY[:2] + HISTORY[2:]))
    assert outcome.status == "completed", outcome.error
    body = server.requests[0].body
    size = len(json.dumps(body)) // 4
    assert 2_500 < size < 5_000
    assert any("Why?" in message["content"] for message in body["messages"])
    assert kinds(steps)[-3:] == ["tool_use", "tool_result", "final_answer"]


async def test_it_is_told_once_in_a_conversation(server: ModelServer, make_agent: MakeAgent) -> None:
    agent = make_agent(tools=many(40, 1_000), max_input_tokens=8_000)
    steps, _ = await ended(agent.start("?"))
    count = offered(server.requests[-1].body)
    assert thoughts_in(steps) == [LARGE % (40, count)]
    steps, _ = await ended(agent.start("?", history=HISTORY))
    assert not thoughts_in(steps)


async def test_tools_that_are_added_within_a_conversation_are_told_too(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    refuse(server, lambda body: offered(body) > 20, 400, "Too many tools: at most 20 are allowed")
    await ended(make_agent(tools=many(30)).start("?", session_id="another"))
    run = make_agent(tools=many(10)).start("?", session_id="one")
    await ended(run)
    history = [{"role": "user", "content": "?"}, *run.messages]
    for count, thoughts in ((30, [FEWER % (30, 20)]), (30, []), (25, []), (40, [FEWER % (40, 20)]), (40, [])):
        steps, _ = await ended(make_agent(tools=many(count)).start("And now?", history=history, session_id="one"))
        assert thoughts_in(steps) == thoughts, count
    assert len(server.requests) == 8  # told once, and remembered


async def test_one_tool_that_is_too_large_alone_is_offered_all_the_same(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    _, outcome = await ended(make_agent(tools=many(2, 40_000), max_input_tokens=8_000).start("?"))
    assert outcome.status == "completed"
    assert offered(server.requests[-1].body) == 1


async def test_tools_are_shortened_with_the_conversation_where_the_server_reads_less(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    """In the first request too, which the server refuses; its words say of what it reads."""
    words = "This model's maximum context length is 8192 tokens. However, your messages resulted in 12000 tokens."
    refuse(server, lambda body: len(json.dumps(body)) > 8_192 * 4, 400, words)
    agent = make_agent(tools=many(40, 1_000))
    for _ in range(2):
        _, outcome = await ended(agent.start("?", history=HISTORY))
        assert outcome.status == "completed", outcome.error
    assert len(server.requests) == 3
    assert 5 < offered(server.requests[-1].body) < 20


async def test_tools_in_the_prompt_are_shortened_too(server: ModelServer, make_agent: MakeAgent) -> None:
    words = "This model's maximum context length is 8192 tokens. However, your messages resulted in 12000 tokens."
    refuse(server, lambda body: len(json.dumps(body)) > 8_192 * 4, 400, words)
    agent = make_agent(tools=many(40, 1_000), tool_format="template")
    for _ in range(2):
        _, outcome = await ended(agent.start("?", history=HISTORY))
        assert outcome.status == "completed", outcome.error
    assert len(server.requests) == 3
    prompt = server.requests[-1].body["messages"][0]["content"]
    assert "echo_5" in prompt
    assert "echo_20" not in prompt


async def test_what_is_cut_off_goes_in_the_prompt_likewise(server: ModelServer, make_agent: MakeAgent) -> None:
    """A server that takes no tools, and of that prompt less: each is told by words of its own."""
    words = "This model's maximum context length is 8192 tokens. However, your messages resulted in 12000 tokens."

    def respond(body: Body) -> Script:
        if "tools" in body:
            return Script(status=400, body="This model does not support tools")
        return Script(status=400, body=words) if len(json.dumps(body)) > 8_192 * 4 else by_words(body)

    server.respond = respond
    steps, outcome = await ended(make_agent(tools=many(40, 1_000)).start('[call=echo_3:{"text": "a"} template]'))
    assert outcome.status == "completed", outcome.error
    assert kinds(steps)[-3:] == ["tool_use", "tool_result", "final_answer"]


@pytest.mark.parametrize("words", ["This model's maximum context length is 4096 tokens.", "The prompt is too long."])
async def test_a_limit_that_explains_nothing_costs_nobody_a_tool(
    server: ModelServer, make_agent: MakeAgent, words: str
) -> None:
    """A short request is refused as too long, once: the conversation is shortened, here and for others, but the tools stay."""
    agent = make_agent(tools=many(20, 200))
    server.enqueue(Script(status=400, body=words))
    _, outcome = await ended(agent.start("?"))
    assert outcome.status == "failed"
    assert len(server.requests) == 1
    server.enqueue(Script(status=400, body=words))
    _, outcome = await ended(agent.start("?", history=HISTORY))
    assert outcome.status == "completed"
    steps, _ = await ended(agent.start("?"))
    assert [offered(request.body) for request in server.requests] == [20] * 4
    assert not thoughts_in(steps)
