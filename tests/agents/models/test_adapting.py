"""What is sent again, and how, where a server's error says that it does not support something. A further phrase is one line."""

import asyncio
import dataclasses
import functools
import json
import re
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from agents import Agent, Outcome, Parameters
from agents.models import server_facts
from agents.models.server_facts import LASTS_S, ServerFacts, facts_of
from agents.models.server_url import completions_url
from tests.agents.conftest import Echo, MakeAgent, kinds, steps_of
from tests.model_server import Call, ModelServer, Script, by_words

Body = dict[str, Any]


def refuse(
    server: ModelServer, refuses: Callable[[Body], bool], status: int, words: str, then: Script | None = None
) -> None:
    """Let the server refuse a feature with this text, and answer everything else."""
    text = words if words.startswith(("{", "[")) else json.dumps({"error": {"message": words}})

    def respond(body: Body) -> Script:
        return Script(status=status, body=text) if refuses(body) else then or by_words(body)

    server.respond = respond


async def ended(run: Any) -> tuple[list[Body], Outcome]:
    steps = await steps_of(run)
    assert run.outcome is not None
    return steps, run.outcome


def known(server: ModelServer) -> ServerFacts:
    return facts_of(completions_url(server.url), "scripted")


NO_TOOLS: list[tuple[int, str]] = [
    (500, "tools param requires --jinja flag"),
    (500, "tool_choice param requires --jinja flag"),
    (500, "Unsupported param: tools"),
    (400, "registry.ollama.ai/library/gemma3:4b does not support tools"),
    (400, '{"error": "qwen:4b does not support tools"}'),
    (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
    (404, "No endpoints found that support tool use. To learn more, visit: https://openrouter.ai/docs"),
    (404, "No endpoints found that support tool use. Try disabling \"echo\"."),
    (400, "litellm.UnsupportedParamsError: together_ai does not support parameters: ['tools'], for model=m"),
    (400, "together_ai does not support parameters: {'tools': [{'type': 'function'}]}, for model=m"),
    (400, "`tool calling` is not supported with this model"),
    (400, "deepseek-reasoner does not support Function Calling"),
    (400, "This model doesn't support tool use."),
    (400, "Function calling is not enabled for this model"),
    (400, "Tools are not supported for this model."),
    (422, '{"message": [{"type": "extra_forbidden", "loc": ["body", "tools"], "msg": "Extra inputs are not permitted"}]}'),
    (400, "property 'tools' is unsupported"),
    (400, "tools is not supported in this model"),
    (501, "tool calls are not yet supported"),
    (400, '{"code": 400, "reason": "INVALID_REQUEST_BODY", "message": "model features function calling not support"}'),
    (500, "Internal server error: Unsupported tool_call_parser: None (request id: 2025)"),
    (400, "Unrecognized request argument supplied: tools"),
    (400, "Unknown parameter: 'tools'."),
    (500, "create() got an unexpected keyword argument 'tools'"),
    (400, 'json: unknown field "tools"'),
    (400, "Additional properties are not allowed ('tools' was unexpected)"),
    (400, "'tools' is not permitted"),
    (400, "Argument not supported on this model: tools. Tools not supported"),
    (400, "No tool support in this model."),
    (400, "this model cannot use tools"),
    (400, "The model does not have tool calling capability"),
    (400, "tools cannot be used with this model"),
    (400, "`tools` param requires `--jinja`"),
    (400, "该模型不支持工具调用"),
    (400, "This model is not able to use tools"),
    (400, 'model "x" is not capable of tool use'),
    (400, "the model `x` was not trained with tool use"),
    (400, "This provider does not implement tool calling"),
    (400, "Unsupported feature: function_calling"),
    (400, "Tools are currently not supported when streaming"),
    (400, "'tools' field is not allowed"),
    (422, "tools: Field not permitted"),
    (400, "Error: tool calling requires a chat template with tool support"),
    (400, "tool_use is only supported by other models"),
    (400, "tools parameter not accepted"),
    (500, "While executing FilterExpression at line 120: Error: Unknown (built-in) filter 'items' for type String"),
    (500, "Value is not callable: null at row 49, column 79: {%- set content = … %}"),
    (400, "Can only get item pairs from a mapping."),
    (400, 'Error rendering prompt with jinja template: "Unknown StringValue filter: safe".'),
    (400, "Error rendering prompt with jinja template: Cannot call something that is not a function: got ObjectValue"),
    (500, "Cannot subscript null at row 23, column 40:\n    {%- set start_of_message = message.content[:tool_start_length] %}"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "words"), NO_TOOLS, ids=[row[1][:50] for row in NO_TOOLS])
async def test_an_error_about_tools_puts_them_in_the_prompt(
    server: ModelServer, make_agent: MakeAgent, caplog: pytest.LogCaptureFixture, status: int, words: str
) -> None:
    refuse(server, lambda body: "tools" in body, status, words)
    steps, outcome = await ended(make_agent().start('[call=echo:{"text": "a"} template]'))
    assert outcome.status == "completed"
    assert kinds(steps) == ["tool_use", "tool_result", "final_answer"]
    assert len(server.requests) == 3  # once with tools, and then never again
    assert "<tools>" in server.requests[-1].body["messages"][0]["content"]
    assert "takes no tools" in caplog.text


#: Errors of servers that do not support tool results; they are sent only once there are some.
NO_RESULTS: list[tuple[int, str]] = [
    (500, "Conversation roles must alternate user/assistant/user/assistant/..."),
    (400, "After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."),
    (500, "Only user and assistant roles are supported!"),
    (500, "Only user, assistant and system roles are supported"),
    (400, "Unexpected message role: tool"),
    (400, "Invalid role 'tool'"),
    (400, "role 'tool' must be one of ['system', 'user', 'assistant']"),
    (400, "messages[3].role must be one of: system, user, assistant"),
    (422, "messages.3.role: Input should be 'system', 'user' or 'assistant'"),
    (400, "body.messages.3.role: Invalid enum value. Expected 'system' | 'user' | 'assistant', received 'tool'"),
    (422, "Failed to deserialize: unknown variant `tool`, expected one of `system`, `user`, `assistant`"),
    (422, "role: tool is not supported"),
    (500, "This model only supports single tool-calls at once!"),
    (400, "After the (optional) system message(s), user or tool message(s) should alternate with assistant message(s)"),
]
#: Errors about a conversation's own tool calls, which say nothing of other conversations.
UNSIGNED: list[tuple[int, str]] = [
    (400, "Function call is missing a thought_signature in functionCall parts. This is required for tools to work."),
    (400, "messages.3.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`."),
]


@pytest.mark.parametrize(("status", "words"), NO_RESULTS + UNSIGNED, ids=lambda value: str(value)[:50])
async def test_calls_and_results_are_text_where_the_tool_role_is_refused(
    server: ModelServer, make_agent: MakeAgent, status: int, words: str
) -> None:
    refuse(server, lambda body: any(message["role"] == "tool" for message in body["messages"]), status, words)
    server.enqueue(Script(calls=[Call("echo", {"text": "a"})]))
    steps, outcome = await ended(make_agent().start("?"))
    assert outcome.status == "completed", outcome.error
    assert kinds(steps) == ["tool_use", "tool_result", "final_answer"]
    assert "<tool_response>" in server.requests[-1].body["messages"][-1]["content"]


@pytest.mark.parametrize(("status", "words"), UNSIGNED, ids=lambda value: str(value)[:50])
async def test_calls_that_lack_something_switch_no_tools_off_elsewhere(
    server: ModelServer, make_agent: MakeAgent, status: int, words: str
) -> None:
    refuse(server, lambda body: any(message["role"] == "tool" for message in body["messages"]), status, words)
    _, outcome = await ended(make_agent().start("?", history=HISTORY))
    assert outcome.status == "completed", outcome.error
    await ended(make_agent().start("?"))
    assert "tools" in server.requests[-1].body


#: What servers say that want the tools with each request whose conversation has calls. A further one is one line.
WITHOUT_TOOLS: list[tuple[int, str]] = [
    (400, "Bedrock doesn't support tool calling without `tools=` param specified. Pass `tools=` param OR set `litellm.modify_params`"),
    (400, "The toolConfig field must be defined when using toolUse and toolResult content blocks."),
    (400, "Requests which include `tool_use` or `tool_result` blocks must define tools"),
    (400, "Anthropic expects the `tools=` param to be passed in."),
]  # fmt: skip


@pytest.mark.parametrize(("status", "words"), WITHOUT_TOOLS, ids=lambda value: str(value)[:50])
async def test_where_calls_want_tools_that_are_not_offered_any_more_they_go_as_text(
    server: ModelServer, make_agent: MakeAgent, status: int, words: str
) -> None:
    refuse(
        server,
        lambda body: "tools" not in body and any(message["role"] == "tool" for message in body["messages"]),
        status,
        words,
    )
    for _ in range(2):
        _, outcome = await ended(make_agent(tools=[]).start("?", history=HISTORY))
        assert outcome.status == "completed", outcome.error
    assert "<tool_response>" in str(server.requests[-1].body["messages"])
    await ended(make_agent().start("?", history=HISTORY))
    assert "tools" in server.requests[-1].body, "with tools it takes them"


async def test_roles_that_do_not_alternate_without_results_are_an_error(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    refuse(server, lambda _: True, 400, "Conversation roles must alternate user/assistant/user/assistant/...")
    _, outcome = await ended(make_agent().start("?"))
    assert outcome.status == "failed"
    assert len(server.requests) == 1


OTHER_ERRORS: list[tuple[int, str]] = [
    (500, "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101] parse error"),
    (500, "error parsing tool call: raw='{'..."),
    (500, "Failed to parse input at pos 0: <tool_call>"),
    (400, "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'."),
    (400, "An assistant message with 'tool_calls' must be followed by tool messages"),
    (400, "Invalid 'tools[0].function.name': string does not match pattern."),
    (400, "Function call is missing a thought_signature in functionCall parts."),
    (400, "tools.3.custom.input_examples: Extra inputs are not permitted"),
    (500, "the tools of the trade are broken"),
    (400, "Unsupported parameter: tools[0].function.strict"),
    (400, "tools: array too long. Expected an array with maximum length 128, but got 140 instead."),
    (400, "Tool names must be unique."),
    (503, "Service unavailable, no tools for you"),
    (404, "No such model: tool-use-7b"),
    (401, "does not support tools"),
    (429, "does not support tools"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "words"), OTHER_ERRORS, ids=[row[1][:50] for row in OTHER_ERRORS])
async def test_any_other_error_is_that_error_and_switches_nothing_off(
    server: ModelServer, make_agent: MakeAgent, status: int, words: str
) -> None:
    agent = make_agent()
    server.enqueue(Script(status=status, body=json.dumps({"error": {"message": words}})))
    _, outcome = await ended(agent.start("?"))
    assert outcome.status == "failed"
    assert words[:60] in outcome.error
    assert len(server.requests) == 1
    await ended(agent.start("?"))
    assert "tools" in server.requests[-1].body, "one error has switched the tools off"


@pytest.mark.parametrize("code", [400, "server_error", None])
async def test_an_error_that_comes_as_a_stream_is_read_alike(
    server: ModelServer, make_agent: MakeAgent, code: Any
) -> None:
    error = {"error": {"message": "This model does not support tools", "code": code}}
    server.enqueue(Script(body=json.dumps(error)))
    _, outcome = await ended(make_agent().start("?"))
    assert outcome.status == "completed"
    assert "tools" not in server.requests[-1].body


async def test_tools_are_given_up_only_where_it_works_without_them(server: ModelServer, make_agent: MakeAgent) -> None:
    agent = make_agent()
    server.enqueue(
        Script(status=400, body="This model does not support tools"), Script(status=500, body="out of memory")
    )
    _, outcome = await ended(agent.start("?"))
    assert outcome.error == "The model server failed (500): out of memory"
    await ended(agent.start("?"))
    assert "tools" in server.requests[-1].body


async def test_a_refused_feature_is_tried_again_after_a_while(
    server: ModelServer, make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    facts = ServerFacts(clock=lambda: now)
    monkeypatch.setitem(server_facts._facts, (completions_url(server.url), "scripted"), facts)
    server.enqueue(Script(status=400, body="This model does not support tools"))
    await ended(make_agent().start("?"))
    await ended(make_agent().start("?"))
    assert "tools" not in server.requests[-1].body
    now += LASTS_S
    await ended(make_agent().start("?"))
    assert "tools" in server.requests[-1].body


async def test_a_refused_feature_counts_for_one_model_of_one_server(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script(status=400, body="This model does not support tools"))
    await ended(make_agent().start("?"))
    await ended(make_agent(model="another").start("?"))
    assert "tools" in server.requests[-1].body


async def test_native_stays_native(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script(status=400, body="This model does not support tools"))
    _, outcome = await ended(make_agent(tool_format="native").start("?"))
    assert outcome.status == "failed"


HISTORY = [
    {"role": "user", "content": "Why?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "echo", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c", "content": "r"},
    {"role": "assistant", "content": "So."},
]


def has_name(body: Body) -> bool:
    return any("name" in message for message in body["messages"])


def has_system(body: Body) -> bool:
    return bool(body["messages"][0]["role"] == "system")


def has_long_id(body: Body) -> bool:
    """Whether Mistral would refuse an id."""
    ids = [call["id"] for message in body["messages"] for call in message.get("tool_calls", ())]
    ids += [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
    assert len(set(ids)) <= 1, "a result has another id than its call"
    return not all(re.fullmatch(r"[a-zA-Z0-9]{9}", each) for each in ids)


def has(part: str) -> Callable[[Body], bool]:
    return lambda body: part in body


REFUSED_PARTS: list[tuple[int, str, str, Callable[[Body], bool]]] = [
    (400, "stream_options", "Unknown parameter: 'stream_options'.", has("stream_options")),
    (422, "stream_options", '{"detail": [{"loc": ["body", "stream_options"], "msg": "extra fields"}]}', has("stream_options")),
    (400, "stream_options", str([{"loc": ("body", "stream_options"), "msg": "Extra inputs"}]), has("stream_options")),
    (400, "stream_options", "stream_options is only supported when stream is true", has("stream_options")),
    (400, "stream_options", '{"error": {"message": "Bad parameter", "param": "stream_options"}}', has("stream_options")),
    (500, "stream_options", "create() got an unexpected keyword argument 'stream_options'", has("stream_options")),
    (400, "stream_options", "[] is too short - 'stream_options'", has("stream_options")),
    (400, "stream", "Unsupported parameter: 'stream' does not support true with this model.", has("stream")),
    (422, "name", '{"detail": [{"loc": ["body", "messages", 3, "name"], "msg": "Extra inputs are not permitted"}]}', has_name),
    (400, "name", "messages.3.tool.name: property 'messages.3.tool.name' is unsupported", has_name),
    (400, "system", "System role not supported", has_system),
    (400, "system", "'system' role is not supported for this model", has_system),
    (400, "system", "Invalid role: system", has_system),
    (422, "system", "unknown variant `system`, expected `user` or `assistant`", has_system),
    (422, "system", "messages.0.role: Input should be 'user' or 'assistant'", has_system),
    (400, "system", "Unsupported value: 'messages[0].role' does not support 'system' with this model.", has_system),
    (500, "system", "Developer instruction is not enabled for models/gemma-3", has_system),
    (400, "system", "Only one system message is supported", has_system),
    (500, "system", "System message must be at the beginning.", has_system),
    (400, "system", "Unexpected role 'system' after role 'system'", has_system),
    (
        400,
        "long ids of tool calls",
        "Tool call id was c but must be a-z, A-Z, 0-9, with a length of 9.",
        has_long_id,
    ),
    (
        500,
        "long ids of tool calls",
        "Tool call IDs should be alphanumeric strings with length 9! at row 91, column 40:\n {%- if not tool_call.id is defined %}",
        has_long_id,
    ),
    (400, "long ids of tool calls", "Function id was c but must be a-z, A-Z, 0-9, with a length of 9.", has_long_id),
    (
        400,
        "long ids of tool calls",
        "Invalid 'messages[3].tool_calls[0].id': string too long. Expected a string with maximum length 40, but got …",
        has_long_id,
    ),
    (
        400,
        "long ids of tool calls",
        "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
        has_long_id,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "part", "words", "refuses"),
    REFUSED_PARTS,
    ids=[f"{row[1]}-{at}" for at, row in enumerate(REFUSED_PARTS)],
)
async def test_a_part_that_is_refused_is_left_out_from_then_on(
    server: ModelServer,
    make_agent: MakeAgent,
    caplog: pytest.LogCaptureFixture,
    status: int,
    part: str,
    words: str,
    refuses: Callable[[Body], bool],
) -> None:
    whole = json.dumps({"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]})
    refuse(server, refuses, status, words, Script(body=whole) if part == "stream" else Script("Yes.", usage=None))
    for _ in range(2):
        _, outcome = await ended(make_agent().start("?", history=HISTORY))
        assert outcome.status == "completed", f"a part that nobody needs has ended the run\n{outcome.error}"
        assert outcome.usage.estimated
    assert len(server.requests) == 3  # announced once, and remembered
    assert caplog.text.count(f"refuses {part}: it is left out from now on") == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "The model name is not known."),
        (400, "Streaming is hard, and the stream broke."),
        (500, "stream_options crashed the server"),
        (400, "temperature is not supported"),
        (401, "Unknown parameter: 'stream_options'"),
    ],
)
async def test_an_error_that_names_no_part_is_not_retried(
    server: ModelServer, make_agent: MakeAgent, status: int, words: str
) -> None:
    refuse(server, lambda _: True, status, words)
    _, outcome = await ended(make_agent().start("?", history=HISTORY))
    assert outcome.status == "failed"
    assert len(server.requests) == 1


#: Errors about an unknown field that also list the known ones. A further one is one line.
KNOWN_TOO = [
    "unknown field `chat_template_kwargs`, expected one of `messages`, `model`, `stream`, `stream_options`, `temperature`",
    "Failed to deserialize the JSON body: chat_template_kwargs: unknown field `chat_template_kwargs`, expected `stream` or `temperature`",
    "Unsupported parameter: 'chat_template_kwargs'. Supported parameters are: model, 'stream', stream_options, temperature.",
    "Unknown parameter chat_template_kwargs. Allowed fields: ['messages', 'stream', 'stream_options', 'temperature']",
    "Not supported parameters: chat_template_kwargs; valid parameters: stream_options, temperature",
    "Unrecognized request argument supplied: chat_template_kwargs (did you mean stream_options?)",
    "Invalid field 'chat_template_kwargs'. Must be one of: 'messages', 'stream', 'stream_options', 'temperature'",
]


@pytest.mark.parametrize("words", KNOWN_TOO)
async def test_a_field_that_a_server_names_as_known_is_not_left_out(
    server: ModelServer, make_agent: MakeAgent, words: str
) -> None:
    refuse(server, has("chat_template_kwargs"), 400, words)
    server.is_judging = False
    _, outcome = await ended(wishing(make_agent(), Parameters(thinking=True, temperature=0.5)).start("?"))
    assert outcome.status == "completed", outcome.error
    assert known(server).left_out == {"chat_template_kwargs"}
    assert len(server.requests) == 2


async def test_a_request_refused_in_any_form_fails_after_few_tries(server: ModelServer, make_agent: MakeAgent) -> None:
    words = "stream_options, 'stream', messages.1.name: not supported; this model does not support tools; System role not supported"
    refuse(server, lambda _: True, 400, words)
    _, outcome = await ended(make_agent().start("?", history=HISTORY))
    assert outcome.status == "failed"
    assert len(server.requests) <= 6
    assert known(server).left_out == set()


# -- what is sent back to the server that it came from ---------------------------------------------


def lacks(field: str, *, everywhere: bool = False) -> Callable[[Body], bool]:
    def refuses(body: Body) -> bool:
        assistant_messages = [message for message in body["messages"] if message["role"] == "assistant"]
        return any(field not in message for message in assistant_messages if everywhere or message.get("tool_calls"))

    return refuses


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_the_thought_of_a_turn_with_calls_goes_back_in_its_field(
    server: ModelServer, make_agent: MakeAgent, field: Any
) -> None:
    called = Script(reasoning="Hm.", calls=[Call("echo", {"text": "a"})], thinking=field)
    refuse(server, lacks(field), 400, f"Missing `{field}` field in the assistant message at message index 2.")
    server.enqueue(called)
    agent = make_agent()
    run = agent.start("?")
    _, outcome = await ended(run)
    assert outcome.status == "completed"
    history = [{"role": "user", "content": "?"}, *run.messages]
    _, outcome = await ended(agent.start("And now?", history=history))
    assert outcome.status == "completed"
    assert server.requests[-1].body["messages"][2][field] == "Hm.", "the thought did not go back"
    _, outcome = await ended(agent.start(None, history=history[:-1]))
    assert outcome.status == "completed"
    assert len(server.requests) == 4  # nothing was refused


def wishing(agent: Agent, wishes: Parameters) -> Agent:
    return dataclasses.replace(agent, spec=dataclasses.replace(agent.spec, parameters=wishes))


@pytest.mark.parametrize(
    "words",
    [
        '"gemma3:4b" does not support thinking',
        'think value "high" is not supported for this model',
        "Reasoning is mandatory for this endpoint and cannot be disabled.",
    ],
)
async def test_thinking_is_not_requested_where_the_model_cannot_think(
    server: ModelServer, make_agent: MakeAgent, words: str
) -> None:
    refuse(server, has("chat_template_kwargs"), 400, words)
    server.is_judging = False  # a strict server refuses fields that the API does not have
    agent = wishing(make_agent(), Parameters(thinking=True))
    for _ in range(2):
        _, outcome = await ended(agent.start("?"))
        assert outcome.status == "completed", outcome.error
    assert len(server.requests) == 3
    assert "chat_template_kwargs" not in server.requests[-1].body


@pytest.mark.parametrize(
    "words",
    [
        "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 8192 tokens.",
        "This model's maximum context length is 8192 tokens. However, you requested 33000 tokens (32000 in the completion).",
        "`inputs` tokens + `max_new_tokens` must be <= 8192. Given: 900 `inputs` tokens and 32000 `max_new_tokens`",
    ],
)
async def test_an_answer_that_may_be_too_long_costs_nothing_of_the_conversation(
    server: ModelServer, make_agent: MakeAgent, words: str
) -> None:
    refuse(server, has("max_tokens"), 400, words)
    server.is_judging = False
    agent = wishing(make_agent(), Parameters(max_tokens=32_000))
    _, outcome = await ended(agent.start("?", history=HISTORY))
    assert outcome.status == "completed", outcome.error
    first, second = (request.body for request in server.requests)
    assert second["messages"] == first["messages"]
    assert known(server).left_out == set()  # a shorter conversation leaves room for it


@pytest.mark.parametrize(
    "words",
    [
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "this model is not supported MaxTokens, please use max_completion_tokens",
    ],
)
async def test_the_length_of_an_answer_is_asked_for_by_the_name_that_the_server_wants(
    server: ModelServer, make_agent: MakeAgent, words: str
) -> None:
    refuse(server, has("max_tokens"), 400, words)
    server.is_judging = False
    agent = wishing(make_agent(), Parameters(max_tokens=300))
    for _ in range(2):
        _, outcome = await ended(agent.start("?"))
        assert outcome.status == "completed", outcome.error
    assert [request.body.get("max_completion_tokens") for request in server.requests] == [None, 300, 300]


#: Errors about a tool's parameters that the server does not support. A further one is one line.
NO_SCHEMAS = [
    "* GenerateContentRequest.tools[0].function_declarations[16].parameters.properties[actions].items: missing field.",
    "Invalid JSON payload received. Unknown name \"$schema\" at 'tools[0].function_declarations[0].parameters': Cannot find field.",
    "Invalid schema for function 'echo': In context=('properties', 'a'), array schema missing items.",
    "tools.0.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft 2020-12",
    "JSON schema conversion failed: Unsupported pattern",
    "schema at top-level requires unspecified property 'type'",
    "tools[0].function.parameters: oneOf is not supported",
    "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024, but got 2094.",
    "tools.0.custom: For 'array' type, property 'maxItems' is not supported",
    "The compiled grammar is too large, which would cause performance issues. Simplify your tool schemas.",
    "invalid value for parameter 'tools'",
]


def is_odd(body: Body) -> bool:
    """Whether a strict server would refuse the schema of `OddEcho`."""
    return any(word in json.dumps(body.get("tools", ())) for word in ("$schema", "anyOf", "pattern"))


class OddEcho(Echo):
    """A tool whose parameters use more of JSON Schema than some servers support, with a long description."""

    description = f"Says it again. {'x' * 2_000}"
    parameters: ClassVar[Body] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "text": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Text"}], "description": "What to say."},
            "rows": {"type": "array"},
            "deep": {"$ref": "#"},
        },
        "required": ["text", "gone"],
        "$defs": {"Text": {"type": ["string", "null"], "pattern": "^a", "enum": ["a", "b"]}},
        "additionalProperties": False,
    }


@pytest.mark.parametrize("words", NO_SCHEMAS)
async def test_parameters_that_a_server_does_not_understand_are_told_in_plain(
    server: ModelServer, make_agent: MakeAgent, words: str
) -> None:
    refuse(server, is_odd, 400, words)
    for _ in range(2):
        steps, outcome = await ended(make_agent(tools=[OddEcho()]).start('[call=echo:{"text": "a"}]'))
        assert outcome.status == "completed", outcome.error
        assert kinds(steps) == ["tool_use", "tool_result", "final_answer"]
    assert len(server.requests) == 5  # announced once, and remembered
    (tool,) = server.requests[-1].body["tools"]
    properties = tool["function"]["parameters"]["properties"]
    assert properties["text"] == {"type": "string", "description": "What to say.", "enum": ["a", "b"]}
    assert len(tool["function"]["description"]) == 1_024
    assert properties["rows"] == {"type": "array", "items": {"type": "string"}}
    assert tool["function"]["parameters"]["required"] == ["text"]


async def test_tools_go_in_the_prompt_where_plain_parameters_are_refused_too(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    refuse(server, has("tools"), 400, NO_SCHEMAS[0])
    _, outcome = await ended(make_agent(tools=[OddEcho()]).start("?"))
    assert outcome.status == "completed", outcome.error
    assert "<tools>" in server.requests[-1].body["messages"][0]["content"]
    assert len(server.requests) == 3


#: Errors of servers with a maximum number of tools, and how many of 300 are sent then. A further one is one line.
TOO_MANY_TOOLS: list[tuple[int, str, int]] = [
    (400, "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 300 instead.", 128),
    (400, "'tools' : maximum number of items is 128", 128),
    (400, "You may not include more than 128 tools in your request.", 128),
    (400, "* tools[0].function_declarations: [FIELD_INVALID] At most 256 function declarations can be specified.", 256),
    (400, "Maximum tools limit reached. 300 tools have been provided but the maximum is 200.", 200),
    (422, '{"detail": [{"loc": ["body", "tools"], "msg": "List should have at most 64 items after validation, not 300"}]}', 64),
    (400, '{"error": {"message": "Bad request", "param": "tools", "code": "array_above_max_length"}}', 150),
    (400, "[{'type': 'function'}] is too long - 'tools'", 150),
    (400, "$.tools: Array must contain at most 20 element(s)", 20),
    (400, "tools: must NOT have more than 128 items", 128),
    (400, "The number of tools (300) exceeds the maximum allowed (128).", 128),
    (400, "Number of functions cannot exceed 64", 64),
    (400, "Too many tools: 300 provided, at most 40 are allowed", 40),
    (400, "too many functions", 150),
    (400, "Maximum number of tools exceeded (max: 100)", 100),
    (400, "Value at 'toolConfig.tools' failed to satisfy constraint: Member must have length less than or equal to 100", 100),
    (400, "tools 数量超过限制，最多支持 128 个", 128),
    (400, "工具数量不能超过64", 64),
    (413, "Too many tools: the limit is 32", 32),
]  # fmt: skip


@functools.cache
def numbered_tools(count: int) -> list[Echo]:
    return [type("Numbered", (Echo,), {"name": f"echo_{at}"})() for at in range(count)]


def thoughts_in(steps: list[Body]) -> list[str]:
    return [step["content"] for step in steps if step["type"] == "thought"]


NOTE = "The model server takes fewer tools at a time: of this agent's 300, the model is offered the first %d in this conversation."


@pytest.mark.parametrize(("status", "words", "most"), TOO_MANY_TOOLS, ids=[row[1][:60] for row in TOO_MANY_TOOLS])
async def test_of_too_many_tools_the_first_are_offered(
    server: ModelServer, make_agent: MakeAgent, caplog: pytest.LogCaptureFixture, status: int, words: str, most: int
) -> None:
    refuse(server, lambda body: len(body.get("tools", ())) > most, status, words)
    agent = make_agent(tools=numbered_tools(300))
    run = agent.start('[call=echo_3:{"text": "a"}]')
    steps, outcome = await ended(run)
    assert outcome.status == "completed", outcome.error
    assert thoughts_in(steps) == [NOTE % most]
    assert kinds(steps)[-3:] == ["tool_use", "tool_result", "final_answer"]
    names = [tool["function"]["name"] for tool in server.requests[-1].body["tools"]]
    assert names == [f"echo_{at}" for at in range(most)]
    assert len(server.requests) == 3  # announced once, and remembered
    # Later messages of the conversation do not announce it again; those of another one do.
    history = [{"role": "user", "content": "?"}, *run.messages]
    steps, _ = await ended(agent.start("And now?", history=history))
    assert not thoughts_in(steps)
    steps, _ = await ended(agent.start("?"))
    assert thoughts_in(steps) == [NOTE % most]
    assert len(server.requests) == 5
    assert caplog.text.count(f"takes at most {most} tools") == 1
    # Nothing is announced to users without more tools.
    steps, _ = await ended(make_agent(tools=numbered_tools(most)).start("?"))
    assert not thoughts_in(steps)


async def test_a_server_that_finds_any_number_too_large_is_not_asked_for_ever(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    refuse(server, has("tools"), 400, "Too many tools")
    _, outcome = await ended(make_agent(tools=numbered_tools(300)).start("?"))
    assert outcome.error == "The model server refused the request (400): Too many tools"
    assert len(server.requests) <= 6
    assert known(server).most_tools == 0


async def test_tools_that_are_not_sent_cost_nothing_of_the_conversation(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    refuse(server, lambda body: len(body.get("tools", ())) > 5, 400, TOO_MANY_TOOLS[0][1].replace("128", "5"))
    agent = make_agent(tools=numbered_tools(300), max_input_tokens=3_000)
    for _ in range(2):
        _, outcome = await ended(agent.start("?", history=HISTORY))
        assert outcome.status == "completed", outcome.error
    assert len(server.requests[-1].body["messages"]) == 2 + len(HISTORY)


#: Errors of servers that refuse an empty content beside tool calls. A further one is one line.
NO_EMPTY_CONTENT = [
    "messages: text content blocks must be non-empty",
    "bedrock error: The content field in the Message object at messages.2 is empty. Add a ContentBlock object",
    "messages.2.content: String should have at least 1 character",
    "Invalid value for 'content': cannot be an empty string",
    "messages[2]: content must not be empty",
    "Invalid request: the message at position 2 with role 'assistant' must not be empty",
    "all messages must have non-empty content except for the optional final assistant message",
    "messages: text content blocks must contain non-whitespace text",
    "The text field in the ContentBlock object at messages.2.content.0 is blank. Add text to the text field, and try again.",
]


@pytest.mark.parametrize("words", NO_EMPTY_CONTENT)
async def test_calls_have_no_content_where_it_may_not_be_empty(
    server: ModelServer, make_agent: MakeAgent, words: str
) -> None:
    refuse(server, lambda body: any(message["content"] == "" for message in body["messages"]), 400, words)
    server.is_judging = False  # other servers, for which the judge stands, want a text there
    for _ in range(2):
        _, outcome = await ended(make_agent().start("?", history=HISTORY))
        assert outcome.status == "completed", outcome.error
    assert len(server.requests) == 3  # announced once, and remembered
    called = server.requests[-1].body["messages"][2]
    assert (called["content"], len(called["tool_calls"])) == (None, 1)


async def test_blocks_of_thought_go_back_as_they_came(server: ModelServer, make_agent: MakeAgent) -> None:
    """LiteLLM's, whose signature Anthropic requires before a call, beside the field with the same text."""
    deltas: list[Body] = [
        {
            "reasoning_content": "Hm, ",
            "thinking_blocks": [{"type": "thinking", "thinking": "Hm, ", "signature": None}],
        },
        {"reasoning_content": "so.", "thinking_blocks": [{"type": "thinking", "thinking": "so.", "signature": None}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]},
        {"thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]},
    ]
    call = {"index": 0, "id": "a", "function": {"name": "echo", "arguments": "{}"}}
    chunks = [{"choices": [{"delta": delta}]} for delta in (*deltas, {"tool_calls": [call]})]
    server.note_fields({"thinking_blocks": deltas, "reasoning_content": ""})
    server.enqueue(Script(body="".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"))
    steps, outcome = await ended(make_agent().start("?"))
    assert outcome.status == "completed"
    assert [step["content"] for step in steps if step["type"] == "thought"] == ["Hm, so."]
    sent = server.requests[-1].body["messages"][2]
    assert sent["reasoning_content"] == "Hm, so."
    assert sent["thinking_blocks"] == [
        {"type": "thinking", "thinking": "Hm, so.", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
    ]


async def test_the_details_of_reasoning_go_back_as_they_came(server: ModelServer, make_agent: MakeAgent) -> None:
    """In one piece, in whatever form they arrived."""
    text = {"type": "reasoning.text", "index": 0, "format": "x-v1"}
    deltas = [
        {"reasoning_details": [{**text, "text": "Hm, "}]},
        {"reasoning_details": [{**text, "text": "so."}]},
        {"reasoning_details": [{**text, "text": "", "signature": "s"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "index": 1, "data": "x", "id": None}]},
    ]
    call = {"index": 0, "id": "a", "function": {"name": "echo", "arguments": "{}"}}
    chunks = [{"choices": [{"delta": delta}]} for delta in (*deltas, {"tool_calls": [call]})]
    server.note_fields({"reasoning_details": deltas})
    server.enqueue(Script(body="".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"))
    agent = make_agent()
    run = agent.start("?")
    steps, outcome = await ended(run)
    assert outcome.status == "completed"
    assert [step["content"] for step in steps if step["type"] == "thought"] == ["Hm, so."]
    whole: list[Body] = [
        {**text, "text": "Hm, so.", "signature": "s"},
        {"type": "reasoning.encrypted", "index": 1, "data": "x"},
    ]
    assert server.requests[-1].body["messages"][2]["reasoning_details"] == whole
    await ended(agent.start("And now?", history=[{"role": "user", "content": "?"}, *run.messages]))
    assert server.requests[-1].body["messages"][2]["reasoning_details"] == whole


@pytest.mark.parametrize(
    "words",
    [
        "The `reasoning_content` in the thinking mode must be passed back to the API.",
        "Missing `reasoning_content` field in the assistant message at message index 2.",
        "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
    ],
)
async def test_a_server_that_wants_a_thought_where_there_was_none_gets_an_empty_one(
    server: ModelServer, make_agent: MakeAgent, words: str
) -> None:
    refuse(server, lacks("reasoning_content", everywhere=True), 400, words)
    server.enqueue(Script(reasoning="Hm.", calls=[Call("echo", {"text": "a"})]))
    _, outcome = await ended(make_agent().start("?", history=HISTORY))
    assert outcome.status == "completed"
    assistant_messages = [message for message in server.requests[-1].body["messages"] if message["role"] == "assistant"]
    assert [message["reasoning_content"] for message in assistant_messages] == ["", "", "Hm."]


async def test_a_server_that_takes_no_empty_thought_gets_words(server: ModelServer, make_agent: MakeAgent) -> None:
    words = "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2"
    server.note_fields({"reasoning_content": ""})
    refuse(
        server,
        lambda body: any(not each.get("reasoning_content") for each in body["messages"] if each["role"] == "assistant"),
        400,
        words,
    )
    for _ in range(2):
        _, outcome = await ended(make_agent().start("?", history=HISTORY))
        assert outcome.status == "completed", outcome.error
    assert len(server.requests) == 4  # announced twice, and remembered


async def test_a_server_that_misses_a_thought_in_any_case_is_not_asked_for_ever(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    server.note_fields({"reasoning_content": ""})
    refuse(server, lambda _: True, 400, "reasoning_content is missing in assistant tool call message at index 2")
    async with asyncio.timeout(20):
        _, outcome = await ended(make_agent().start("?", history=HISTORY))
    assert outcome.status == "failed"
    assert len(server.requests) <= 5


#: Errors about a signature or encrypted content of the server's own that is no longer valid. A further one is one line.
SPOILED = [
    "messages.1.content.0: Invalid `signature` in `thinking` block",
    "messages.7.content.2: Invalid signature in thinking block",
    "Invalid `signature` in `thinking` block. The block is bound to a different conversation.",
    "messages.3.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.",
    "Thought signature is not valid",
    "Corrupted thought signature.",
    "The encrypted content for item rs_1 could not be verified.",
    '{"error": {"message": "Bad item", "code": "invalid_encrypted_content"}}',
]


@pytest.mark.parametrize("words", SPOILED)
async def test_an_invalid_signature_does_not_end_the_conversation(
    server: ModelServer, make_agent: MakeAgent, words: str
) -> None:
    block = {"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]}
    call = {"index": 0, "id": "a", "function": {"name": "echo", "arguments": "{}"}, **SIGNED}
    chunks = [{"choices": [{"delta": delta}]} for delta in (block, {"tool_calls": [call]})]
    server.note_fields({**block, **SIGNED})
    server.enqueue(Script(body="".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"))
    agent = make_agent()
    run = agent.start("?")
    await ended(run)
    assert "signature" in json.dumps(server.requests[-1].body)
    refuse(server, lambda body: "signature" in json.dumps(body["messages"]), 400, words)
    _, outcome = await ended(agent.start("And now?", history=[{"role": "user", "content": "?"}, *run.messages]))
    assert outcome.status == "completed", outcome.error
    assert "tools" in server.requests[-1].body
    assert known(server).left_out == set()  # in other conversations it may be valid


async def test_words_beside_calls_are_left_out_where_they_are_refused(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    words = "Assistant message must have either content or tool_calls, but not both."
    refuse(
        server, lambda body: any(each.get("tool_calls") and each["content"] for each in body["messages"]), 400, words
    )
    history = [HISTORY[0], {**HISTORY[1], "content": "Let me look."}, *HISTORY[2:]]
    for _ in range(2):
        _, outcome = await ended(make_agent().start("?", history=history))
        assert outcome.status == "completed", outcome.error
    assert len(server.requests) == 3


#: Errors of providers about a conversation that their moderation refuses: each later request would be refused too. A further one is one
#: line.
WITHHELD = [
    (400, '{"error": {"message": "The response was filtered due to the prompt triggering", "code": "content_filter"}}'),
    (400, "Content Exists Risk"),
    (400, "<400> InternalError.Algo.DataInspectionFailed: Input data may contain inappropriate content."),
    (400, "The request was rejected because it was considered high risk"),
    (403, "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"),
    (400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy."),
    (400, "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语"),
    (400, "invalid params, input new_sensitive (1026)"),
]


@pytest.mark.parametrize(("status", "words"), WITHHELD)
async def test_a_moderated_history_does_not_end_the_conversation(
    server: ModelServer, make_agent: MakeAgent, status: int, words: str
) -> None:
    refuse(server, lambda body: "Why?" in str(body["messages"]), status, words)
    steps, outcome = await ended(make_agent().start("And the weather?", history=HISTORY))
    assert outcome.status == "completed", outcome.error
    assert [message["role"] for message in server.requests[-1].body["messages"]] == ["system", "user"]
    assert any("without what was said before" in step["content"] for step in steps if step["type"] == "thought")
    await ended(make_agent().start("And the weather?"))
    assert len(server.requests) == 3


async def test_a_moderated_question_is_reported_as_that(server: ModelServer, make_agent: MakeAgent) -> None:
    refuse(server, lambda _: True, 400, "Content Exists Risk")
    _, outcome = await ended(make_agent().start("?"))
    assert outcome.error == "The model's provider did not let this through (400): Content Exists Risk"
    assert len(server.requests) == 1


ROUTED = {"provider": {"data_collection": "deny"}, "user": "u1"}


@pytest.mark.parametrize(
    "words",
    [
        "No endpoints found that can handle the requested parameters. To learn more about provider routing, visit …",
        "No endpoints found matching your data policy for this user.",
        "The provider does not support this.",
    ],
)
async def test_where_a_request_may_go_to_is_not_left_out_because_of_a_word(
    server: ModelServer, make_agent: MakeAgent, words: str
) -> None:
    refuse(server, lambda _: True, 404, words)
    server.is_judging = False
    await ended(wishing(make_agent(), Parameters(extra_body=ROUTED)).start("?"))
    assert all(request.body["provider"] == ROUTED["provider"] for request in server.requests)
    assert all(request.body["user"] == "u1" for request in server.requests)


@pytest.mark.parametrize("words", ["Unknown parameter: 'provider'.", 'json: unknown field "provider"'])
async def test_a_field_that_a_server_does_not_know_is_left_out(
    server: ModelServer, make_agent: MakeAgent, words: str
) -> None:
    refuse(server, has("provider"), 400, words)
    server.is_judging = False
    _, outcome = await ended(wishing(make_agent(), Parameters(extra_body=ROUTED)).start("?"))
    assert outcome.status == "completed", outcome.error
    assert server.requests[-1].body["user"] == "u1"


async def test_a_field_that_is_refused_does_not_go_back_again(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script(reasoning="Hm.", calls=[Call("echo", {"text": "a"})]))
    refuse(
        server,
        lambda body: any("reasoning_content" in message for message in body["messages"]),
        400,
        "messages.2.assistant.reasoning_content: property 'messages.2.assistant.reasoning_content' is unsupported",
    )
    _, outcome = await ended(make_agent().start("?"))
    assert outcome.status == "completed"
    assert known(server).left_out == {"reasoning_content"}


SIGNED = {"extra_content": {"google": {"thought_signature": "abc"}}}


async def test_fields_of_a_call_are_sent_back_unchanged_to_its_server_alone(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    server.enqueue(Script(calls=[Call("echo", {"text": "a"}, extra=SIGNED), Call("echo", {"text": "b"})]))
    run = make_agent().start("?")
    steps, _ = await ended(run)
    assert "thought_signature" not in str(steps)
    for request in server.requests[1:]:
        first, second = request.body["messages"][2]["tool_calls"]
        assert first == {**first, **SIGNED}, "a field of a call did not go back"
        assert second.keys() == {"id", "type", "function"}
    history = [{"role": "user", "content": "?"}, *run.messages]
    await ended(make_agent().start("And now?", history=history))
    assert server.requests[-1].body["messages"][2]["tool_calls"][0]["extra_content"] == SIGNED["extra_content"]
    await ended(make_agent(model="another").start("And now?", history=history))
    assert "extra_content" not in str(server.requests[-1].body)
    with ModelServer() as other:
        await ended(make_agent(server=other.url).start("And now?", history=history))
        assert "extra_content" not in str(other.requests[-1].body)


async def test_more_than_a_call_should_carry_is_dropped(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script(calls=[Call("echo", {"text": "a"}, extra={"blob": "x" * 70_000})]))
    _, outcome = await ended(make_agent().start("?"))
    assert outcome.status == "completed"
    assert "blob" not in str(server.requests[-1].body)


async def test_a_name_that_no_server_takes_is_shown_as_it_came_and_sent_back_valid(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    server.enqueue(Script(calls=[Call("browser.open", {"url": "x"})]))
    server.refuses_like = "vLLM"
    steps, outcome = await ended(make_agent().start("?"))
    assert outcome.status == "completed"
    assert [step["tool_name"] for step in steps if "tool_name" in step] == ["browser.open", "browser.open"]
    assert server.requests[-1].body["messages"][2]["tool_calls"][0]["function"]["name"] == "browser_open"


# -- length ----------------------------------------------------------------------------------------

LONG = [
    message
    for number in range(40)
    for message in (
        {"role": "user", "content": f"Question {number} {'x' * 400}"},
        {"role": "assistant", "content": f"Answer {number} {'y' * 400}"},
    )
]


def notes_in(steps: list[Body]) -> list[str]:
    """The notes for people about how the model was called."""
    return [step["content"] for step in steps if "LLM_MAX_INPUT_TOKENS" in step["content"]]


def size(body: Body) -> int:
    return sum(len(str(message["content"])) for message in body["messages"]) // 4


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (
            "This model's maximum context length is 4096 tokens. However, your messages resulted in 9000 tokens.",
            "4,096 tokens",
        ),
        ("request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it", "4,096 tokens"),
        ("Input is too long for requested model.", "less than was asked"),
    ],
)
async def test_a_refusal_for_length_is_answered_by_cutting_once(
    server: ModelServer, make_agent: MakeAgent, words: str, named: str
) -> None:
    refuse(server, lambda body: size(body) > 5_000, 400, words)
    steps, outcome = await ended(make_agent().start("And now?", history=LONG))
    assert outcome.status == "completed"
    (note,) = notes_in(steps)
    assert named in note
    assert kinds(steps) == ["thought", "final_answer"]
    asked = server.requests[-1].body["messages"]
    assert asked[-1]["content"] == "And now?"
    assert 10 < len(asked) < 80
    steps, outcome = await ended(make_agent().start("And now?", history=LONG))
    assert outcome.status == "completed"
    assert len(server.requests) == 3  # remembered
    assert not notes_in(steps)


#: Errors about a too large request, of a proxy or of a token limit per minute. A further one is one line.
TOO_LARGE = [
    "<html><head><title>413 Request Entity Too Large</title></head></html>",
    "Payload Too Large",
    "",
    '{"error": {"message": "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 9000"}}',
]


@pytest.mark.parametrize("words", TOO_LARGE)
async def test_a_request_that_is_too_large_is_cut(server: ModelServer, make_agent: MakeAgent, words: str) -> None:
    def respond(body: Body) -> Script:
        return Script(status=413, body=words) if size(body) > 4_500 else by_words(body)

    server.respond = respond
    _, outcome = await ended(make_agent().start("And now?", history=LONG))
    assert outcome.status == "completed", outcome.error
    assert len(server.requests) == 2
    assert len(server.requests[-1].body["messages"]) > 10


@pytest.mark.parametrize(
    "words",
    ["Invalid 'messages': array too long. Expected an array with maximum length 30, but got 82.", "Too many messages"],
)
async def test_too_many_messages_do_not_end_the_conversation(
    server: ModelServer, make_agent: MakeAgent, words: str
) -> None:
    refuse(server, lambda body: len(body["messages"]) > 30, 400, words)
    steps, outcome = await ended(make_agent().start("And now?", history=LONG))
    assert outcome.status == "completed", outcome.error
    assert any("takes fewer messages" in step["content"] for step in steps if step["type"] == "thought")
    assert len(server.requests[-1].body["messages"]) > 10
    assert known(server).input_limit == 0


async def test_a_conversation_is_cut_again_where_no_limit_is_named(server: ModelServer, make_agent: MakeAgent) -> None:
    refuse(server, lambda body: size(body) > 1_500, 400, "Input is too long for requested model.")
    _, outcome = await ended(make_agent().start("And now?", history=LONG))
    assert outcome.status == "completed", outcome.error
    asked = len(server.requests)
    await ended(make_agent().start("And now?", history=LONG))
    assert len(server.requests) == asked + 1  # remembered


async def test_a_conversation_is_not_cut_without_end(server: ModelServer, make_agent: MakeAgent) -> None:
    refuse(server, lambda _: True, 400, "Input is too long for requested model.")
    _, outcome = await ended(make_agent().start("And now?", history=LONG))
    assert outcome.status == "failed"
    assert len(server.requests) == 5


async def test_a_conversation_that_cannot_be_cut_enough_is_an_error(server: ModelServer, make_agent: MakeAgent) -> None:
    refuse(server, lambda _: True, 400, "This model's maximum context length is 4096 tokens.")
    _, outcome = await ended(make_agent().start("And now?", history=LONG))
    assert outcome.status == "failed"
    assert "LLM_MAX_INPUT_TOKENS" in outcome.error
    assert len(server.requests) == 2
    assert known(server).input_limit == 0


# -- strict servers --------------------------------------------------------------------------------


@pytest.mark.parametrize("like", ["vLLM", "llama.cpp"])
@pytest.mark.parametrize(
    "history",
    [
        [{"role": "user", "content": "Stopped before the first word"}],
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
        HISTORY[:2],
        HISTORY[:3],
        HISTORY[1:],
    ],
    ids=["no answer", "twice no answer", "a call left open", "no answer after a tool", "cut at the beginning"],
)
async def test_strict_servers_take_what_was_left_behind(
    server: ModelServer, make_agent: MakeAgent, like: Any, history: list[Body]
) -> None:
    server.refuses_like = like
    _, outcome = await ended(make_agent().start("And now?", history=history))
    assert outcome.status == "completed", outcome.error
