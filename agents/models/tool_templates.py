"""Tools, calls and results as text in the prompt, for servers without tool calls, in the forms that models were trained on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from qwen_agent.llm.fncall_prompts.nous_fncall_prompt import FN_CALL_TEMPLATE

from agents.history import IMAGES, ChatMessage


@dataclass(frozen=True, slots=True)
class ToolTemplate:
    """One form: its explanation, with ``{tool_descs}`` in it, and how a call with a name and arguments is written."""

    explained: str
    write_call: Callable[[str, Mapping[str, Any]], str]

    def explain(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """The prompt that describes the tools, given in OpenAI's format, and how to call them."""
        return self.explained.format(tool_descs="\n".join(orjson.dumps(tool).decode() for tool in tools))

    def put_in(self, messages: Sequence[ChatMessage], prompt: str) -> list[ChatMessage]:
        """The conversation with tools, calls and results as text. ``prompt`` is that of `explain`; empty if no tools are offered."""
        wire: list[ChatMessage] = [{"role": "system", "content": prompt}] if prompt else []
        for message in messages:
            role, content = message["role"], message["content"]
            if role == "system" and prompt:
                wire[0]["content"] = f"{content}\n\n{prompt}"
                continue
            if role == "tool":
                role, content = "user", f"<tool_response>\n{content}\n</tool_response>"
            for call in message.get("tool_calls", ()):
                function = call["function"]
                text = self.write_call(function["name"], orjson.loads(function["arguments"]))
                content = f"{content}\n{text}".lstrip("\n")
            if wire and wire[-1]["role"] == role:
                wire[-1]["content"] += "\n" + content
            else:
                wire.append({"role": role, "content": content})
            if IMAGES in message:
                wire[-1][IMAGES] = message[IMAGES]
        return wire


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _hermes(name: str, arguments: Mapping[str, Any]) -> str:
    return f'<tool_call>\n{{"name": {_json(name)}, "arguments": {_json(arguments)}}}\n</tool_call>'


def _coder(name: str, arguments: Mapping[str, Any]) -> str:
    parameters = "".join(f"<parameter={key}>\n{_text(value)}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>"


def _glm(name: str, arguments: Mapping[str, Any]) -> str:
    pairs = "".join(
        f"<arg_key>{key}</arg_key>\n<arg_value>{_text(value)}</arg_value>\n" for key, value in arguments.items()
    )
    return f"<tool_call>{name}\n{pairs}</tool_call>"


def _llama(name: str, arguments: Mapping[str, Any]) -> str:
    return f'<|python_tag|>{{"name": {_json(name)}, "parameters": {_json(arguments)}}}'


_TOOLS = "# Tools\n\nThese functions help to answer:\n<tools>\n{tool_descs}\n</tools>\n\n"
_ANSWER = "Where no function helps, answer without one. Results come back in <tool_response></tool_response>."

#: The form that most models know: Hermes', which is Qwen's up to Qwen 3.
TEMPLATE = "template"
#: By the value of ``LLM_TOOL_FORMAT``, which are those of `agents.specs.ToolFormat`.
TEMPLATES = {
    TEMPLATE: ToolTemplate(FN_CALL_TEMPLATE, _hermes),
    "template:qwen3-coder": ToolTemplate(
        f"{_TOOLS}To call one, write this and nothing behind it, with all required parameters, each value on lines of its own:\n\n"
        "<tool_call>\n<function=name_of_the_function>\n<parameter=name_of_a_parameter>\nits value\n</parameter>\n</function>\n"
        f"</tool_call>\n\n{_ANSWER}",
        _coder,
    ),
    "template:glm": ToolTemplate(
        f"{_TOOLS}To call one, write this, with a key and a value for each argument:\n\n"
        "<tool_call>name_of_the_function\n<arg_key>name_of_an_argument</arg_key>\n<arg_value>its value</arg_value>\n"
        f"</tool_call>\n\n{_ANSWER}",
        _glm,
    ),
    "template:llama": ToolTemplate(
        f"{_TOOLS}To call one, answer with this JSON and nothing around it, without variables:\n\n"
        '{{"name": name of the function, "parameters": dictionary of argument name and its value}}\n\n'
        f"Several calls are separated by a semicolon. {_ANSWER}",
        _llama,
    ),
}
