"""A version's parameters for the model: the fields of each request."""

from dataclasses import replace
from typing import Any

import pytest

from agents import AgentError, Parameters, PartialStep, Step
from agents.models.openai_compatible import parameters_of_body
from agents.models.probing import list_models, sees_images
from agents.models.server_url import DASHSCOPE
from tests.agents.conftest import MakeAgent
from tests.model_server import ModelServer, Script

BODIES: list[tuple[Parameters, str, dict[str, Any]]] = [
    (Parameters(), "", {}),
    (Parameters(temperature=0.0, top_p=0.5), "", {"temperature": 0.0, "top_p": 0.5}),
    (Parameters(max_tokens=200, seed=0), "", {"max_tokens": 200, "seed": 0}),
    (Parameters(thinking=False), "", {"chat_template_kwargs": {"enable_thinking": False}}),
    (Parameters(thinking=True), DASHSCOPE + "/chat/completions", {"enable_thinking": True}),
    (Parameters(extra_body={"top_k": 5, "seed": 2}, seed=1), "", {"seed": 2, "top_k": 5}),
    (Parameters(extra_body={"messages": [], "model": "x", "tools": [], "stream": False, "n": 9}), "", {}),
]


@pytest.mark.parametrize(("parameters", "url", "body"), BODIES)
def test_parameters_are_fields_of_the_request(parameters: Parameters, url: str, body: dict[str, Any]) -> None:
    assert parameters_of_body(parameters, url) == body


async def test_parameters_reach_the_server(server: ModelServer, make_agent: MakeAgent) -> None:
    server.is_judging = False  # a strict server refuses fields that the API does not have
    server.enqueue(Script("Yes."))
    agent = make_agent()
    wishes = Parameters(temperature=0.2, seed=7, thinking=False, extra_body={"top_k": 5, "model": "another"})
    agent = replace(agent, spec=replace(agent.spec, parameters=wishes))
    await agent.run_async("?")
    asked = server.requests[0].body
    sampling = {name: asked[name] for name in ("temperature", "seed", "top_k", "chat_template_kwargs")}
    assert sampling == {"temperature": 0.2, "seed": 7, "top_k": 5, "chat_template_kwargs": {"enable_thinking": False}}
    assert asked["model"] == agent.model.model


async def test_a_run_that_fails_from_outside_closes_what_is_open(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script("Once upon a time " * 100, every_s=0.01))
    run = make_agent().start("?")
    types = []
    async for event in run:
        if not isinstance(event, Step | PartialStep):
            continue
        types.append(event.type)
        if event.type == "final_answer":
            run.fail(AgentError("budget_exceeded", "Its time is over."))
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.code, run.outcome.error) == (
        "failed",
        "budget_exceeded",
        "Its time is over.",
    )
    assert types[-2:] == ["final_answer", "error"]
    await server.until(lambda: server.requests[0].closed_at is not None)


async def test_the_description_of_a_server_is_read(server: ModelServer, make_agent: MakeAgent) -> None:
    model = make_agent().model
    assert await list_models(model) == ["scripted"]
    server.is_judging = False
    server.enqueue(Script("Red."), Script("I see nothing."), Script(status=400))
    assert [await sees_images(model) for _ in range(3)] == [True, False, False]


async def test_a_host_in_a_private_network_is_not_reached_where_it_may_not_be(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    agent = make_agent()
    guarded = replace(agent, model=replace(agent.model, public_only=True))
    with pytest.raises(AgentError) as failed:
        await guarded.run_async("?")
    assert failed.value.code == "model_unreachable"
    assert not server.requests
