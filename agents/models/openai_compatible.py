"""The chat model for OpenAI-compatible servers: vLLM, SGLang, Ollama, llama.cpp, LM Studio, gateways, DashScope."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from qwen_agent.llm.base import register_llm
from qwen_agent.llm.fncall_prompts.nous_fncall_prompt import FN_CALL_TEMPLATE
from qwen_agent.llm.schema import ASSISTANT, FUNCTION, Message

from agents.addresses import mask_address
from agents.errors import ToolsRefused
from agents.history import ChatMessage, fit
from agents.models.base import LoopModel
from agents.models.openai_stream import stream_completion
from agents.models.reply import Reply
from agents.text import estimate_tokens, json_object

log = logging.getLogger(__name__)

MODEL_TYPE = "openai_compatible"
DASHSCOPE = "https://dashscope.aliyuncs.com/compatible-mode/v1"
_PATH = "/chat/completions"


#: Servers and models that have refused the API's ``tools``: what they are asked next goes in the template at once.
_without_tools: set[tuple[str, str]] = set()


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the model."""

    model: str
    messages: list[ChatMessage]
    tools: list[dict[str, Any]]
    prompt: str
    """The tools as Qwen's template has them."""
    input_estimate: int

    def body(self, *, in_prompt: bool) -> bytes:
        """The request as it goes over the wire, its tools in the prompt or as the API has them."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": self.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.tools and in_prompt:
            body["messages"] = in_template(self.messages, self.prompt)
        elif self.tools:
            body["tools"] = self.tools
        return orjson.dumps(body)


@register_llm(MODEL_TYPE)
class OpenAICompatible(LoopModel):
    """Streams from ``cfg["model_server"]``; ``cfg["tool_format"]`` is that of `agents.specs.ModelSettings`."""

    def __init__(self, cfg: dict[str, Any]) -> None:
        super().__init__(cfg)
        self._url = completions_url(cfg["model_server"])
        self._api_key: str = cfg["api_key"]
        self._timeout_s: float = cfg["timeout_s"]
        self._tool_format: str = cfg["tool_format"]
        self._budget: int = cfg["max_input_tokens"]

    def prepare(self, messages: list[Message], functions: list[dict[str, Any]]) -> Request:
        """The request, cut to what the model can read."""
        tools = [{"type": "function", "function": function} for function in functions]
        prompt = FN_CALL_TEMPLATE.format(tool_descs="\n".join(orjson.dumps(tool).decode() for tool in tools))
        overhead = estimate_tokens(prompt) if tools else 0
        wire, cost = fit(to_wire(messages), self._budget - overhead)
        return Request(self.model, wire, tools, prompt, cost + overhead)

    async def write(self, request: Request, reply: Reply) -> None:
        """Stream the completion into the reply."""
        reply.input_estimate = request.input_estimate
        reply.calls_in_text = bool(request.tools)
        reply.tools = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in request.tools}
        place = (self._url, self.model)
        in_prompt = self._tool_format == "template" or (self._tool_format == "auto" and place in _without_tools)
        try:
            await self._stream(request.body(in_prompt=in_prompt), reply)
        except ToolsRefused:
            if in_prompt or not request.tools or self._tool_format != "auto":
                raise
            log.info("%s takes no tools for %s; they go in the prompt from now on", mask_address(self._url), self.model)
            _without_tools.add(place)
            await self._stream(request.body(in_prompt=True), reply)

    async def _stream(self, body: bytes, reply: Reply) -> None:
        await stream_completion(self._url, self._api_key, body, reply, timeout_s=self._timeout_s)


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
