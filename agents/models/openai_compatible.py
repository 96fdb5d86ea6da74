"""The chat model for OpenAI-compatible servers: vLLM, SGLang, Ollama, llama.cpp, LM Studio, gateways, DashScope."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from qwen_agent.llm.base import register_llm
from qwen_agent.llm.fncall_prompts.nous_fncall_prompt import FN_CALL_TEMPLATE
from qwen_agent.llm.schema import ASSISTANT, FUNCTION, Message

from agents.history import ChatMessage, fit
from agents.models.base import LoopModel
from agents.models.openai_stream import stream_completion
from agents.models.reply import Reply
from agents.text import estimate_tokens, json_object

MODEL_TYPE = "openai_compatible"
DASHSCOPE = "https://dashscope.aliyuncs.com/compatible-mode/v1"
_PATH = "/chat/completions"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it goes over the wire."""

    body: bytes
    input_estimate: int
    offers_tools: bool


@register_llm(MODEL_TYPE)
class OpenAICompatible(LoopModel):
    """Streams from ``cfg["model_server"]``. Tools go by the API's ``tools``, or in the prompt where ``cfg["template"]``."""

    def __init__(self, cfg: dict[str, Any]) -> None:
        super().__init__(cfg)
        self._url = completions_url(cfg["model_server"])
        self._api_key: str = cfg["api_key"]
        self._timeout_s: float = cfg["timeout_s"]
        self._template: bool = cfg["template"]
        self._budget: int = cfg["max_input_tokens"]

    def prepare(self, messages: list[Message], functions: list[dict[str, Any]]) -> Request:
        """The request's body, cut to what the model can read."""
        tools = [{"type": "function", "function": function} for function in functions]
        prompt = FN_CALL_TEMPLATE.format(tool_descs="\n".join(orjson.dumps(tool).decode() for tool in tools))
        overhead = estimate_tokens(prompt) if tools else 0
        wire, cost = fit(to_wire(messages), self._budget - overhead)
        body: dict[str, Any] = {
            "model": self.model,
            "messages": wire,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if tools and self._template:
            body["messages"] = in_template(wire, prompt)
        elif tools:
            body["tools"] = tools
        return Request(orjson.dumps(body), cost + overhead, bool(tools))

    async def write(self, request: Request, reply: Reply) -> None:
        """Stream the completion into the reply."""
        reply.input_estimate = request.input_estimate
        reply.calls_in_text = request.offers_tools
        await stream_completion(self._url, self._api_key, request.body, reply, timeout_s=self._timeout_s)


def completions_url(server: str) -> str:
    """Where a server takes chat completions, from its base URL or the word ``dashscope``."""
    base = DASHSCOPE if server.strip().lower() == "dashscope" else server.strip().rstrip("/")
    return base if base.endswith(_PATH) else base + _PATH


def to_wire(messages: Sequence[Message]) -> list[ChatMessage]:
    """Qwen-Agent's messages, in which each tool call is one of its own, in OpenAI's shape."""
    wire: list[ChatMessage] = []
    for message in messages:
        extra = message.extra or {}
        if message.role == FUNCTION:
            wire.append(
                {"role": "tool", "tool_call_id": extra["function_id"], "name": message.name, "content": message.content}
            )
        elif message.role != ASSISTANT:
            wire.append({"role": message.role, "content": message.content})
        else:
            if not (wire and wire[-1]["role"] == "assistant"):
                wire.append({"role": "assistant", "content": ""})
            said = wire[-1]
            said["content"] = "\n\n".join(filter(None, (said["content"], message.content)))
            # Only servers that speak of reasoning in a field of its own take it back, and some insist on it.
            if message.reasoning_content and extra.get("reasoning_field"):
                said[extra["reasoning_field"]] = message.reasoning_content
            if call := message.function_call:
                function = {"name": call.name, "arguments": _arguments(call.arguments)}
                said.setdefault("tool_calls", []).append(
                    {"id": extra["function_id"], "type": "function", "function": function}
                )
    return wire


def _arguments(raw: str) -> str:
    """Arguments that servers can parse: several answer 400 to a history that holds others."""
    return (
        raw
        if json_object(raw, None) is not None and raw.strip()
        else json.dumps({"unreadable": raw} if raw.strip() else {})
    )


def in_template(messages: Sequence[ChatMessage], prompt: str) -> list[ChatMessage]:
    """The conversation with tools, calls and results as text, as Qwen's template has it."""
    wire: list[ChatMessage] = [{"role": "system", "content": prompt}]
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "system":
            wire[0]["content"] = f"{content}\n\n{prompt}"
            continue
        if role == "tool":
            role, content = "user", f"<tool_response>\n{content}\n</tool_response>"
        for call in message.get("tool_calls", ()):
            function = call["function"]
            said = f'{{"name": {json.dumps(function["name"])}, "arguments": {function["arguments"]}}}'
            content = f"{content}\n<tool_call>\n{said}\n</tool_call>".lstrip("\n")
        if wire[-1]["role"] == role:
            wire[-1]["content"] += "\n" + content
        else:
            wire.append({"role": role, "content": content})
    return wire
