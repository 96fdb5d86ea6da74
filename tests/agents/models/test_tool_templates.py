"""Tools, calls and results in the formats that models were trained on: a call in such a format is parsed as that call."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.models.tool_templates import TEMPLATE, TEMPLATES
from agents.specs import ToolFormat
from agents.text import json_object
from tests.agents.conftest import MakeAgent, kinds, steps_of
from tests.agents.models.wire.transcript import Look, Python, answers, result_of
from tests.model_server import ModelServer, Script

_TEXTS = st.text(
    st.sampled_from("ab \n{}\"'\\<>/é天") | st.characters(exclude_categories=["Cs", "Cc"]), max_size=12
) | st.sampled_from(
    ["</tool_call>", "x = '</parameter>'", "<think>", "```", "42", "null", "\n", "\n\nif x:\n    y\n", "<tool_call>{}"]
)
_ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "code": _TEXTS,
        "times": st.integers(-(2**60), 2**60),
        "quick": st.booleans(),
        "names": st.lists(_TEXTS, max_size=2),
    },
)


def test_every_value_of_the_setting_that_names_a_template_has_one() -> None:
    assert {value for value in get_args(ToolFormat) if value.startswith(TEMPLATE)} == TEMPLATES.keys()


@pytest.mark.parametrize("name", TEMPLATES)
@given(_ARGUMENTS, st.integers(1, 9))
def test_a_call_in_a_template_is_parsed_as_that_call(name: str, arguments: dict[str, Any], piece: int) -> None:
    written = TEMPLATES[name].write_call("python", arguments)
    (call,) = result_of([answers(written, piece=piece)])
    kind, tool, raw = call.split(" ", 2)
    assert (kind, tool, json_object(raw, None)) == ("call:", "python", arguments)


@pytest.mark.parametrize("name", TEMPLATES)
async def test_a_run_with_the_tools_in_the_prompt(server: ModelServer, make_agent: MakeAgent, name: Any) -> None:
    calls = [TEMPLATES[name].write_call(tool, {"code": "6*7", "times": 2}) for tool in ("python", "look")]
    server.enqueue(Script(calls[0]), Script(f"Once more.\n{calls[1]}"), Script("It is 42."))
    run = make_agent(tool_format=name, tools=[Python(), Look()]).start("What is 6*7?")
    steps = await steps_of(run)
    assert kinds(steps) == ["tool_use", "tool_result", "thought", "tool_use", "tool_result", "final_answer"]
    assert [step["arguments"] for step in steps if step["type"] == "tool_use"] == [{"code": "6*7", "times": 2}] * 2
    first, *_, last = (request.body for request in server.requests)
    assert "tools" not in first
    assert '"name":"python"' in first["messages"][0]["content"]
    assert last["messages"][2:] == [
        {"role": "assistant", "content": calls[0]},
        {"role": "user", "content": "<tool_response>\n42\n</tool_response>"},
        {"role": "assistant", "content": f"Once more.\n\n{calls[1]}"},
        {"role": "user", "content": "<tool_response>\n42\n</tool_response>"},
    ]


@pytest.mark.parametrize("name", TEMPLATES)
async def test_a_call_within_a_thought_is_run_where_the_tools_are_in_the_prompt(
    server: ModelServer, make_agent: MakeAgent, name: Any
) -> None:
    written = TEMPLATES[name].write_call("python", {"code": "6*7"})
    server.enqueue(Script(reasoning=f"I count.\n{written}"), Script("It is 42."))
    run = make_agent(tool_format=name, tools=[Python()]).start("What is 6*7?")
    steps = await steps_of(run)
    assert kinds(steps) == ["thought", "tool_use", "tool_result", "final_answer"]
    assert steps[-3]["content"] == "It is 42."
