"""What is left out where a server refuses parts by no field's name, or by another spelling. A further phrase is one line."""

import pytest

from agents import Parameters
from tests.agents.conftest import MakeAgent
from tests.agents.models.test_adapting import ended, known, refuse, wishing
from tests.model_server import ModelServer, Script

WISHES = Parameters(
    temperature=0.5,
    top_p=0.9,
    seed=7,
    thinking=True,
    extra_body={
        "top_k": 5,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.1,
        "logprobs": True,
        "top_logprobs": 2,
        "response_format": {"type": "json_object"},
        "stop": ["x"],
        "parallel_tool_calls": True,
        "user": "u1",
        "prompt_cache_key": "k",
        "reasoning_effort": "low",
        "service_tier": "flex",
    },
)
SAMPLING = {"temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty"}
PENALTIES = {"presence_penalty", "frequency_penalty"}
#: Status, words, and the parts that they are about.
GROUPS: list[tuple[int, str, set[str]]] = [
    (400, "Sampling parameters are not supported by this model", SAMPLING),
    (400, "sampling params not supported for reasoning models", SAMPLING),
    (422, "This model does not support custom sampling settings.", SAMPLING),
    (400, "Custom sampler settings are not allowed", SAMPLING),
    (400, "Penalties are not supported", PENALTIES),
    (400, "This model does not support penalty parameters", PENALTIES),
    (400, "Logprobs are not supported with this model", {"logprobs", "top_logprobs"}),
    (500, "This engine does not support log probabilities", {"logprobs", "top_logprobs"}),
    (400, "JSON mode is not supported by this model", {"response_format"}),
    (400, "json mode cannot be combined with tool/function calling", {"response_format"}),
    (400, "Structured outputs are not supported", {"response_format"}),
    (400, "Function calling with a response mime type: 'application/json' is unsupported", {"response_format"}),
    (400, "Stop sequences are not supported", {"stop"}),
    (400, "Parallel tool calls are not supported", {"parallel_tool_calls"}),
    (400, "This model does not support parallel function calling", {"parallel_tool_calls"}),
    (400, "Prompt caching is not supported for this model", {"prompt_cache_key"}),
    (400, "Streaming is not supported for this model", {"stream"}),
    (400, "This model does not support streaming responses", {"stream"}),
    (400, "Stream options are not supported", {"stream_options"}),
    (400, "Invalid field: include_usage", {"stream_options"}),
    # The field's name, spelt otherwise.
    (500, "`temperature` is deprecated for this model.", {"temperature"}),
    (500, "Top P is no longer supported", {"top_p"}),
    (400, "Unsupported parameter: topP", {"top_p"}),
    (400, "Temperature is not supported", {"temperature"}),
    (400, "unknown field presencePenalty", {"presence_penalty"}),
    (400, "reasoning effort is not supported", {"reasoning_effort"}),
    (400, "Unrecognized option: service-tier", {"service_tier"}),
    # Two that are not taken together: the first stays.
    (400, "`temperature` and `top_p` cannot both be specified for this model. Please use only one.", {"top_p"}),
    (400, "Only one of temperature and top_p may be set", {"top_p"}),
    (400, "temperature and top_p are mutually exclusive", {"top_p"}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "words", "parts"), GROUPS, ids=[row[1][:50] for row in GROUPS])
async def test_a_group_of_parts_is_left_out_once(
    server: ModelServer, make_agent: MakeAgent, status: int, words: str, parts: set[str]
) -> None:
    whole = '{"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}'
    refuse(
        server,
        lambda body: bool(parts & body.keys()),
        status,
        words,
        Script(body=whole) if "stream" in parts else Script("Yes."),
    )
    server.is_judging = False  # a strict one takes no field beside the API's
    for _ in range(2):
        _, outcome = await ended(wishing(make_agent(), WISHES).start("?"))
        assert outcome.status == "completed", outcome.error
    assert len(server.requests) == 3  # told once, and remembered
    assert known(server).left_out == parts
    first, *_, last = (request.body for request in server.requests)
    assert first.keys() - last.keys() - ({"stream_options"} if "stream" in parts else set()) == parts
    assert "tools" in last


@pytest.mark.parametrize(
    "words",
    [
        "The sampling of this question has failed.",
        "Your JSON mode is on, and the answer was no JSON.",
        "Streaming is hard, and the stream broke.",
        "The penalty for this is a failure.",
        "Bad sampling weather",
    ],
)
async def test_a_group_that_is_not_refused_stays(server: ModelServer, make_agent: MakeAgent, words: str) -> None:
    refuse(server, lambda _: True, 400, words)
    server.is_judging = False
    _, outcome = await ended(wishing(make_agent(), WISHES).start("?"))
    assert outcome.status == "failed"
    assert len(server.requests) == 1


async def test_a_group_that_is_refused_without_any_of_it_ends_the_run(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    refuse(server, lambda _: True, 400, "Sampling parameters are not supported by this model")
    _, outcome = await ended(make_agent().start("?"))
    assert outcome.status == "failed"
    assert len(server.requests) == 1
