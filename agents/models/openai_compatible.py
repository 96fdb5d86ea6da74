"""The chat model for OpenAI-compatible servers: vLLM, SGLang, Ollama, llama.cpp, LM Studio, gateways, DashScope."""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import orjson
from qwen_agent.llm.base import register_llm
from qwen_agent.llm.schema import ASSISTANT, FUNCTION, ContentItem, Message

from agents.addresses import mask_address
from agents.events import LeftOut, ModelRequest
from agents.history import (
    IMAGES,
    OF_TOOLS,
    TOOLS_SHARE,
    WORD,
    ChatMessage,
    explain_fewer_tools,
    explain_large_tools,
    explain_left_out,
    fit_to_budget,
    fit_tools,
    make_valid,
)
from agents.json_types import JsonObject
from agents.models.adapting import Asking
from agents.models.base import StreamingChatModel
from agents.models.openai_stream import stream_completion
from agents.models.refusals import Refused
from agents.models.reply import Reply
from agents.models.server_facts import ServerFacts, facts_of
from agents.models.server_url import COMPLETIONS, DASHSCOPE, completions_url
from agents.models.tool_templates import TEMPLATE, TEMPLATES, ToolTemplate
from agents.sentence import join_sentences
from agents.specs import OWN_FIELDS, Parameters
from agents.text import clean_text, estimate_tokens, json_object

MODEL_TYPE = "openai_compatible"
#: How many tools the agent of a conversation has had, the newest conversations last.
_tools_of: OrderedDict[str, int] = OrderedDict()
_MOST_CONVERSATIONS = 1_000


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the model."""

    model: str
    messages: list[ChatMessage]
    tools: list[JsonObject]
    template: ToolTemplate
    prompt: str
    """The tools in the format of that template."""
    input_estimate: int
    left_out: LeftOut
    limit: int
    """The largest number of tokens."""
    fewer_tools: str
    """Why not all tools are offered, for people; empty if they are."""
    parameters: Mapping[str, Any]
    """The rest of the body."""

    def body(self) -> JsonObject:
        """The request's body."""
        body: JsonObject = {
            "model": self.model,
            "messages": self.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.parameters,
        }
        return {**body, "tools": self.tools} if self.tools else body

    def in_template(self, messages: Sequence[ChatMessage], tools: Sequence[JsonObject]) -> list[ChatMessage]:
        """The messages with these of the tools in the prompt."""
        is_all = len(tools) == len(self.tools)
        return self.template.put_in(messages, self.prompt if is_all else self.template.explain(tools))


@register_llm(MODEL_TYPE)
class OpenAICompatible(StreamingChatModel):
    """Streams from ``cfg["model_server"]``; ``cfg["tool_format"]`` is that of `agents.specs.ModelSettings`."""

    def __init__(self, cfg: dict[str, Any]) -> None:
        super().__init__(cfg)
        self._url = completions_url(cfg["model_server"])
        self._api_key: str = cfg["api_key"]
        self._timeout_s: float = cfg["timeout_s"]
        self._tool_format: str = cfg["tool_format"]
        self._template = TEMPLATES.get(self._tool_format, TEMPLATES[TEMPLATE])
        self._budget: int = cfg["max_input_tokens"]
        self._noted = LeftOut()
        self._public_only: bool = cfg["public_only"]
        self._parameters = parameters_of_body(cfg["parameters"], self._url)

    def prepare(self, messages: list[Message], functions: list[JsonObject]) -> tuple[Request, Asking]:
        """The request, and its form for this server as far as that is known. Called in the thread of Qwen-Agent's loop."""
        request = self.request(messages, functions)
        # Also if no tools are offered any more: the same applies to calls in the conversation.
        has_calls = bool(request.tools) or any(message["role"] == "tool" for message in request.messages)
        asking = Asking(
            request.body(),
            request.in_template,
            facts_of(self._url, self.model),
            place=mask_address(self._url),
            input_estimate=request.input_estimate,
            all_tools=len(functions),
            uses_template=has_calls and self._tool_format in TEMPLATES,
            may_use_template=has_calls and self._tool_format == "auto",
            left_out=request.left_out,
            limit=request.limit,
        )
        had = _note_tools(self._host.label, len(functions))
        if not any(each.role == ASSISTANT for each in messages) or (had is not None and had < len(functions)):
            asking.note = request.fewer_tools
        if request.left_out.messages > self._noted.messages or (request.left_out.tokens and not self._noted.tokens):
            self._noted = request.left_out
            asking.note = join_sentences(filter(None, (asking.note, explain_left_out(request.left_out))))
        return request, asking

    def describe(self, request: tuple[Request, Asking]) -> ModelRequest:
        """The first request."""
        return request[1].described()

    def request(self, messages: list[Message], functions: list[JsonObject]) -> Request:
        """The request, cut to what the model accepts."""
        facts = facts_of(self._url, self.model)
        limit = facts.limit(self._budget)
        tools, fewer = self._fewer(functions, facts)
        prompt = self._template.explain(tools) if tools else ""
        overhead = estimate_tokens(prompt)
        most = facts.limit_with_tools(self._budget)
        if overhead > most * TOOLS_SHARE and len(fitting := fit_tools(tools, most)) < len(tools):
            tools, fewer = fitting, explain_large_tools(len(functions), len(fitting))
            prompt = self._template.explain(tools)
            overhead = estimate_tokens(prompt)
        valid = make_valid(to_wire(messages, server_id(self._url, self.model)), {each["name"] for each in functions})
        wire, cost, left_out = fit_to_budget(valid, limit - overhead)
        return Request(
            self.model, wire, tools, self._template, prompt, cost + overhead, left_out, limit, fewer, self._parameters
        )

    def _fewer(self, functions: list[JsonObject], facts: ServerFacts) -> tuple[list[JsonObject], str]:
        """The tools, as many as the server takes, and for people why that is not all."""
        most = facts.tools_limit if self._tool_format not in TEMPLATES and not facts.refuses_tools else 0
        tools = [{"type": "function", "function": function} for function in functions[: most or None]]
        return tools, explain_fewer_tools(len(functions), most) if len(tools) < len(functions) else ""

    async def write(self, prepared: tuple[Request, Asking], reply: Reply) -> None:
        """Stream the completion into the reply."""
        request, asking = prepared
        reply.calls_in_text = bool(request.tools)
        reply.tools = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in request.tools}
        reply.server = server_id(self._url, self.model)
        while True:
            reply.input_estimate, reply.note = asking.input_estimate, asking.note
            reply.asks_for_text_calls = asking.uses_template
            try:
                await self._stream(asking.encode(), reply)
            except Refused as refusal:
                if reply.parts or not asking.adapt(refusal):
                    raise
                reply.on_retry(str(refusal), asking.described())
            else:
                asking.remember()
                return

    async def _stream(self, body: bytes, reply: Reply) -> None:
        await stream_completion(
            self._url, self._api_key, body, reply, timeout_s=self._timeout_s, public_only=self._public_only
        )


def _note_tools(conversation: str, count: int) -> int | None:
    """Note how many tools the agent has; returns how many it had before, ``None`` if that is not known here.

    Only the largest number counts: people were already told about those tools.
    """
    had = _tools_of.pop(conversation, None)
    _tools_of[conversation] = max(count, had or 0)
    if len(_tools_of) > _MOST_CONVERSATIONS:
        _tools_of.popitem(last=False)
    return had


def parameters_of_body(parameters: Parameters, url: str = "") -> JsonObject:
    """Sampling and thinking parameters of a request's body, without fields of the extra body that are set elsewhere."""
    plain = {name: getattr(parameters, name) for name in ("temperature", "top_p", "max_tokens", "seed")}
    found = {name: value for name, value in plain.items() if value is not None}
    if parameters.thinking is not None:
        switch = {"enable_thinking": parameters.thinking}
        found |= switch if url.startswith(DASHSCOPE) else {"chat_template_kwargs": switch}
    extra = {name: value for name, value in parameters.extra_body.items() if name not in OWN_FIELDS}
    return {**found, **extra}


def server_id(url: str, model: str) -> str:
    """Identifies a server for its own fields: its address without secrets, and the model."""
    parts = urlsplit(url)
    return f"{mask_address(url)}{parts.path.removesuffix(COMPLETIONS)} {model}"


def to_wire(messages: Sequence[Message], server: str = "") -> list[ChatMessage]:
    """Convert Qwen-Agent's messages, in which each tool call is a message of its own, to OpenAI's format.

    Fields that ``server`` sent besides the known ones are sent back to it; those of other servers are not.
    """
    wire: list[ChatMessage] = []
    seen: list[str] = []
    for message in messages:
        extra = message.extra or {}
        if seen and message.role != FUNCTION:
            wire.append(_shown(seen))
            seen = []
        if message.role == FUNCTION:
            content = _with_pictures(message.content)
            seen += content.pop(IMAGES, [])
            wire.append({"role": "tool", "tool_call_id": extra["function_id"], "name": message.name, **content})
        elif message.role != ASSISTANT:
            marks = {WORD: True} if extra.get(WORD) else {}
            wire.append({"role": message.role, **_with_pictures(message.content), **marks})
        else:
            if not (wire and wire[-1]["role"] == "assistant"):
                wire.append({"role": "assistant", "content": ""})
            last = wire[-1]
            if message.content:
                last["content"] = f"{last['content']}\n\n{message.content}" if last["content"] else message.content
            origin = extra.get("origin")
            own = origin["fields"] if origin and origin["server"] == server else {}
            if call := message.function_call:
                function = {**own.get("function", {}), "name": call.name, "arguments": _arguments(call.arguments)}
                last.setdefault("tool_calls", []).append(
                    {**own, "id": extra["function_id"], "type": "function", "function": function}
                )
            else:
                last.update(own)
    return [*wire, _shown(seen)] if seen else wire


def _shown(pictures: list[str]) -> ChatMessage:
    """Pictures that tools returned: results contain only text, so the pictures follow in a message of the user, within the turn."""
    return {"role": "user", "content": "(The pictures that the tools returned.)", IMAGES: pictures, OF_TOOLS: True}


def _with_pictures(content: str | list[ContentItem]) -> JsonObject:
    """Content as text, with its pictures beside it: `Asking` combines them for a server that accepts pictures."""
    if isinstance(content, str):
        return {"content": content}
    text = "".join(item.text for item in content if item.text)
    return {"content": text, IMAGES: [item.image for item in content if item.image]}


def _arguments(raw: str) -> str:
    """Arguments that all servers can parse, unchanged if they can: several servers answer 400 to a history with invalid ones."""
    # The calls of a conversation are sent again with each request.
    return _checked_again(raw) if len(raw) <= _KEPT_ARGUMENTS else _checked_arguments(raw)


def _checked_arguments(raw: str) -> str:
    read = json_object(raw, None)
    if read is None:
        return json.dumps({"unreadable": clean_text(raw)}, ensure_ascii=False)
    try:
        json.loads(raw, object_pairs_hook=_without_doubles)
        orjson.loads(raw)
    except ValueError:
        return json.dumps(read, ensure_ascii=False)
    return raw


_checked_again = lru_cache(maxsize=4_096)(_checked_arguments)
#: The results of checking arguments up to this many characters are cached.
_KEPT_ARGUMENTS = 500


def _without_doubles(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in the object")
    return found
