"""Asks a model server once more, in a way that it takes, where its words say what it refuses: tools, a part, a field it misses, the length.

What was learned is remembered only once the server has answered, see `agents.models.server_facts`.
"""

import functools
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any

import orjson

from agents.events import LeftOut, ModelRequest
from agents.history import IMAGES, OF_TOOLS, ChatMessage, fit_to_budget, without_marks
from agents.models.plain_schemas import plain_tool
from agents.models.refusals import Refused, find_limit, is_too_long
from agents.models.server_facts import ServerFacts

log = logging.getLogger(__name__)

#: What may be left of a limit for the request itself: the answer needs the rest.
_SHARE_OF_LIMIT = 0.75
#: To what share a request is cut where the server does not say its limit.
_BLIND_CUT = 0.5
_NEEDED = frozenset({"model", "messages", "tools"})
_NEEDED_IN_MESSAGES = frozenset({"role", "content", "tool_calls", "tool_call_id"})
_NEEDED_IN_CALLS = frozenset({"id", "type", "function"})
#: Names that say nothing unless it is said, too, that they are refused.
_COMMON_NAMES = frozenset({"stream", "name"})
SYSTEM = "system"
LONG_IDS = "long ids of tool calls"
SCHEMAS = "details of tools' parameters"
EMPTY = "empty contents beside tool calls"
OLD_LENGTH = "max_tokens under its older name"
_UNSEEN = "(The pictures could not be passed on: you cannot see them.)"

# llama.cpp: tools param requires --jinja flag; Unsupported param: tools. Ollama: … does not support tools. vLLM: "auto" tool choice
# requires --enable-auto-tool-choice and --tool-call-parser. OpenRouter: No endpoints found that support tool use. LiteLLM: … does not
# support parameters: ['tools']. Groq: `tool calling` is not supported with this model. Bedrock: This model doesn't support tool use.
# Gemini, Mistral: Function calling is not enabled for … DeepSeek: … does not support Function Calling.
# Novita: model features function calling not support. SGLang's gateways: Unsupported tool_call_parser: None. Servers that check fields
# by their names: Unrecognized request argument supplied: tools; json: unknown field "tools"; ('tools' was unexpected).
_TOOLS = (
    r"[`'\"]?(?:tools?|tool[-_ ]?(?:use|usage|calls?|calling|choice)|functions?|function[-_ ]call(?:s|ing)?)[`'\"]?"
)
_REFUSING_TOOLS = re.compile(
    r"(?:tools|tool_choice)[`'\"]? param requires|unsupported tool_call_parser|\bno (?:native )?tool support|不支持.{0,4}(?:工具|函数)"
    r"|(?:unsupported|unknown|unrecogni[sz]ed|unexpected|invalid) (?:request |keyword )?(?:param|parameter|field|argument|key|property)s?"
    rf"(?: supplied)?:? {_TOOLS}(?![\w.\[])"
    rf"|(?:param|parameter|field|argument)s? not supported:? {_TOOLS}(?![\w.\[])"
    rf"|does(?: not|n't) support (?:the )?(?:use of )?(?:parameters?:? )?[\[{{]?{_TOOLS}(?![\w.])"
    rf"|does(?: not|n't) have (?:the )?{_TOOLS} capabilit|(?:can ?not|can't) (?:call|use) {_TOOLS}(?![\w.])"
    r"|\"?auto\"? tool choice requires|requires? [`'\"]?--?(?:enable-auto-tool-choice|tool-call-parser|jinja)"
    rf"|no endpoints found that support (?:the provided )?{_TOOLS}|(?<![\w.]){_TOOLS} (?:is|are) only supported"
    rf"|(?<![\w.]){_TOOLS}(?: parameters?)? (?:(?:is|are|was|were) )?(?:not (?:yet |currently )?|un)(?:support(?:ed)?|enabled|available"
    r"|allowed|permitted|expected|accepted)\b"
    rf"|(?<![\w.]){_TOOLS} (?:can ?not|can't) be used"
    r"|property '(?:tools|functions)' is unsupported|(?<![\w.])tools: (?:extra|unexpected|unknown)"
    r"|(?:extra_forbidden|extra inputs|extra fields)\W.{0,40}\btools\b(?!\.)",
    re.IGNORECASE,
)
# llama.cpp: image input is not supported - hint: … mmproj. vLLM: … is not a multimodal model; At most 0 image(s) may be provided.
# OpenAI: image_url is only supported by certain models. DeepSeek: unknown variant `image_url`, expected `text`. OpenRouter: No endpoints
# found that support image input. Ollama: this model is missing data required for image input.
_REFUSING_IMAGES = re.compile(
    r"not a multimodal model|at most 0 image|image_url|image inputs?\b|images? (?:is |are )?(?:not|un)|support (?:for )?(?:images?|vision)"
    r"|does(?: not|n't) support (?:image|vision|multimodal)|vision is not|\bmmproj\b|\bnot (?:a )?(?:vision|multimodal)\b"
    r"|(?:multimodal|mm) (?:input|content|data)s? (?:is |are )?not|(?:only|just) (?:supports? |accepts? )?text\b|content part:? '?image"
    # Who knows of no parts at all: FastAPI, serde, Go, and others that check types.
    r"|content'? (?:must|should) be a (?:valid )?string|content: input should be a valid string|sequence, expected (?:a )?string"
    r"|cannot unmarshal array into .{0,80}content of type string|content\W{1,3}expected (?:a )?string",
    re.IGNORECASE,
)
# What is wrong with one picture, of a server that takes others: it stays in the conversation, which could not go on with it.
_BAD_IMAGE = re.compile(
    r"(?:invalid|unsupported|corrupt|broken|malformed|too many|(?:could|can|did) ?n[o']t|fail(?:ed|ure)|unable).{0,40}\b(?:image|picture)"
    r"|\b(?:image|picture)s?\b.{0,60}(?:invalid|unsupported|not (?:valid|supported)|corrupt|too (?:large|small|big|long|many)|exceeds?"
    r"|(?:could|can) ?not|must be|at (?:most|least))",
    re.IGNORECASE,
)
_REFUSING = re.compile(
    r"extra (?:inputs?|fields?)|extra_forbidden|not (?:permitted|allowed|supported|recognized|implemented|expected|accepted|valid)"
    r"|unsupported|unknown|unrecogni[sz]ed|unexpected|additional propert|does(?:n't| not) support|invalid (?:param|field|arg|key)"
    r"|only allowed|must not|cannot (?:be )?(?:specified|used|set)|no endpoints found",
    re.IGNORECASE,
)
_NO_SYSTEM = re.compile(
    r"system (?:role|messages?|prompts?|instructions?) (?:is |are )?(?:not|un)|does(?:n't| not) support (?:the )?system"
    r"|only user and assistant roles|(?:developer|system) instruction is not enabled",
    re.IGNORECASE,
)
# Templates of servers that know of no results: Gemma's, Mistral's, Llama 2's; of several calls in one turn: Llama 3.1's. Servers that
# check roles: LocalAI, TGI, KoboldCpp.
_NO_RESULTS = re.compile(
    r"roles? must alternate|only supports single tool[- ]calls?|only user(?:,| and|,? or)? .{0,30}roles? (?:are|is) (?:supported|allowed)"
    r"|(?:unknown|invalid|unsupported|unexpected|unrecogni[sz]ed) (?:message )?role:? ?[`'\"]?tool\b"
    r"|role:? ?[`'\"]?tool[`'\"]? (?:is |are )?(?:not|un)(?: ?supported| ?known| ?allowed)",
    re.IGNORECASE,
)
# Mistral: Tool call id (or: Function id) was … but must be a-z, A-Z, 0-9, with a length of 9. OpenAI, of ids that other servers have
# made: Invalid 'messages[3].tool_calls[0].id': string too long. Anthropic: tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'.
_SHORT_IDS = re.compile(
    r"(?:tool[ _]call|function)[ _]ids?\b.{0,200}(?:length of 9|9 (?:alphanumeric )?characters)"
    r"|(?:tool_calls\[\d+\]\.|tool_call_|tool_use\.|tool_use_)id\b.{0,40}(?:string too long|maximum length|match pattern)",
    re.IGNORECASE | re.DOTALL,
)
# Gemini: GenerateContentRequest.tools[0].function_declarations[16].parameters.properties[a].items: missing field; Unknown name "$schema"
# at 'tools[0]…'. OpenAI: Invalid schema for function 'x': array schema missing items. Anthropic: tools.0.custom.input_schema: JSON schema
# is invalid. llama.cpp: JSON schema conversion failed; Unrecognized schema.
_REFUSING_SCHEMAS = re.compile(
    r"function_declarations\b|invalid (?:json )?schema for (?:function|tool)|json schema (?:is invalid|conversion failed)"
    r"|unrecogni[sz]ed schema|schema at top-level|\btools\W{1,3}\d+\W{1,3}(?:(?:function|custom)\W)?(?:parameters|input_schema)\b"
    r"|unknown name .{1,60} at 'tools",
    re.IGNORECASE,
)
# OpenAI's newer models: Unsupported parameter: 'max_tokens' … Use 'max_completion_tokens' instead.
_NEW_LENGTH = re.compile(r"\buse\W{1,3}max_completion_tokens", re.IGNORECASE)
# Bedrock and Anthropic, behind gateways that pass a content without words on.
_NO_EMPTY = re.compile(
    r"content blocks must be non-empty|non-empty content|content\b.{0,60}(?:is empty|(?:must not|cannot|can't|should not) be (?:an )?empty"
    r"|at least 1 character)",
    re.IGNORECASE,
)
# Ollama: "gemma3" does not support thinking; think value "high" is not supported for this model.
_NO_THINKING = re.compile(
    r"does(?: not|n't) support (?:thinking|reasoning)\b|think(?:ing)? (?:value .{0,20})?is not supported", re.IGNORECASE
)
#: Where a request says whether the model is to think.
_THINKING = frozenset({"chat_template_kwargs", "enable_thinking", "reasoning_effort", "reasoning", "think", "thinking"})
#: What a refusal for length names where the answer's length, and not the request's alone, is too much.
_ANSWER_TOO = re.compile(
    r"max(?:_completion|_new|_output)?_tokens|(?:in|for) the completion|completion tokens|output tokens", re.IGNORECASE
)
_SHORT_ID = 9
_MISSING = re.compile(
    r"[`'\"]?(reasoning_content|reasoning)[`'\"]?.{0,40}(?:must be (?:passed|provided|sent|included)|is (?:missing|required))"
    r"|(?:missing|requires?|expected)\W{1,3}(?:the )?(?:field )?[`'\"]?(reasoning_content|reasoning)\b",
    re.IGNORECASE,
)


def wants_field(words: str) -> bool:
    """Whether a refusal says that something is missing which the server would have sent itself."""
    return _MISSING.search(words) is not None or "thought_signature" in words


class Asking:
    """One request, changed as the server's refusals say, until it is answered or refused for good."""

    def __init__(
        self,
        body: Mapping[str, Any],
        template: Callable[[list[ChatMessage]], list[ChatMessage]],
        facts: ServerFacts,
        *,
        place: str,
        input_estimate: int,
        uses_template: bool,
        may_use_template: bool,
        left_out: LeftOut = LeftOut(),  # noqa: B008 - frozen
        limit: int = 0,
    ) -> None:
        self.note = ""
        """What people should know of the change, if anything."""
        self.input_estimate = input_estimate
        self._body = body
        self._messages: list[ChatMessage] = list(body["messages"])
        self._template = template
        self._facts = facts
        self._place = place
        self.uses_template = uses_template or (may_use_template and facts.refuses_tools)
        self._may_use_template = may_use_template
        self._left_out = set(facts.left_out)
        self._filled_in = facts.filled_in
        self._limit = 0
        self._given_limit, self._cut = limit, left_out
        self._learned: list[Callable[[], None]] = []

    def encode(self) -> bytes:
        """The request as it goes over the wire now."""
        return orjson.dumps(self._current())

    def described(self) -> ModelRequest:
        """The same for the record: `encode` is its messages, tools, model and parameters, and nothing else."""
        body = self._current()
        messages, tools, model = body.pop("messages"), body.pop("tools", []), body.pop("model")
        names = [tool["function"]["name"] for tool in self._body.get("tools", ())]
        limit = self._limit or self._given_limit
        return ModelRequest(model, messages, tools, names, body, self._cut, limit)

    def adapt(self, refusal: Refused) -> bool:
        """Change the request as the refusal says; false where it doesn't say what would do."""
        words = refusal.words
        if refusal.status in (401, 402, 403, 429):
            return False
        if is_too_long(words):
            return self._leaves_length_open(words) or self._shorten(refusal)
        return (
            self._refuses_images(words)
            or self._refuses_tools(words)
            or self._refuses_schemas(words)
            or self._misses_field(words)
            or self._refuses_part(refusal)
        )

    def remember(self) -> None:
        """The server has answered: what it refused before that it is not asked for again."""
        for learn in self._learned:
            learn()

    # -- what may be changed ----------------------------------------------------------------------

    def _refuses_tools(self, words: str) -> bool:
        if self.uses_template or not self._may_use_template:
            return False
        has_results = any(message["role"] == "tool" for message in self._messages)
        if not _REFUSING_TOOLS.search(words) and not (has_results and _NO_RESULTS.search(words)):
            return False
        return self._give_up_tools()

    def _give_up_tools(self) -> bool:
        self.uses_template = True
        self._learn(self._facts.record_tools_refused, "takes no tools; for some minutes they go in the prompt")
        return True

    def _refuses_schemas(self, words: str) -> bool:
        """Say less of the tools' parameters; where that is refused, too, put the tools in the prompt."""
        if "tools" not in self._body or self.uses_template or not _REFUSING_SCHEMAS.search(words):
            return False
        if SCHEMAS in self._left_out:
            return self._may_use_template and self._give_up_tools()
        self._left_out.add(SCHEMAS)
        self._learn(lambda: self._facts.left_out.add(SCHEMAS), f"refuses {SCHEMAS}: they are left out from now on")
        return True

    def _refuses_images(self, words: str) -> bool:
        has_some = any(message.get(IMAGES) for message in self._messages)
        if not has_some or IMAGES in self._left_out:
            return False
        if not _REFUSING_IMAGES.search(words):
            return self._refuses_one_image(words)
        self._left_out.add(IMAGES)
        self.note = "The model server takes no pictures, so this is answered without seeing them."
        self._learn(lambda: self._facts.left_out.add(IMAGES), "takes no pictures: they are left out from now on")
        return True

    def _refuses_one_image(self, words: str) -> bool:
        """Leave the pictures out this once, where one of them is no good."""
        if not _BAD_IMAGE.search(words):
            return False
        self._left_out.add(IMAGES)
        self.note = "The model server does not take one of this conversation's pictures, so this is answered without seeing any."
        return True

    def _misses_field(self, words: str) -> bool:
        found = _MISSING.search(words)
        if found is None or self._filled_in:
            return False
        self._filled_in = name = (found[1] or found[2]).lower()
        self._learn(lambda: setattr(self._facts, "filled_in", name), f"wants {name} in each message of the model's")
        return True

    def _refuses_part(self, refusal: Refused) -> bool:
        words = refusal.words
        says_so = _REFUSING.search(words) is not None
        named: list[str] = []
        if says_so or refusal.status in (400, 422):
            named = [name for name in _optional_names(self._current()) if _names(words, name, says_so=says_so)]
        if _SHORT_IDS.search(words) and LONG_IDS not in self._left_out:
            named = [LONG_IDS]
        elif _NO_EMPTY.search(words) and EMPTY not in self._left_out:
            named = [EMPTY]
        elif "max_tokens" in self._body and _NEW_LENGTH.search(words) and OLD_LENGTH not in self._left_out:
            named = [OLD_LENGTH]
        elif not named and _NO_THINKING.search(words):
            named = [name for name in _optional_names(self._current()) if name in _THINKING]
        elif not named and _NO_SYSTEM.search(words) and SYSTEM not in self._left_out:
            named = [SYSTEM]
        for name in named:
            self._left_out.add(name)
            leave_out = functools.partial(self._facts.left_out.add, name)
            self._learn(leave_out, f"refuses {name}: it is left out from now on")
        return bool(named)

    def _shorten(self, refusal: Refused) -> bool:
        if self._limit:
            return False
        limit, counted = find_limit(f"{refusal.words} {refusal.body}")
        estimate = self.input_estimate
        # Its tokens are not quite ours.
        budget = int(limit * _SHARE_OF_LIMIT * min(1.0, estimate / counted if counted > limit else 1.0))
        if not limit or budget >= estimate:
            budget = int(estimate * _BLIND_CUT)
        overhead = estimate - fit_to_budget(self._messages, estimate)[1]
        kept, cost, left_out = fit_to_budget(self._messages, budget - overhead)
        if len(kept) == len(self._messages) and cost + overhead >= estimate:
            return False
        self._messages, self.input_estimate, self._limit = kept, cost + overhead, budget
        self._cut = LeftOut(self._cut.messages + left_out.messages, self._cut.tokens + left_out.tokens)
        at = f"{limit:,} tokens" if limit else "less than was asked"
        self.note = (
            f"The model server reads {at} at a time, so the oldest of this conversation was left out. "
            "LLM_MAX_INPUT_TOKENS has to be below that."
        )
        self._learn(lambda: self._facts.record_limit(budget), f"takes requests of about {budget} tokens at most")
        return True

    def _leaves_length_open(self, words: str) -> bool:
        """Leave the answer's length to the server, this once: what the conversation and it take together is too much for some."""
        if "max_tokens" not in self._body or "max_tokens" in self._left_out or not _ANSWER_TOO.search(words):
            return False
        self._left_out.add("max_tokens")
        return True

    def _learn(self, learn: Callable[[], None], words: str) -> None:
        def remember() -> None:
            learn()
            log.warning("%s, asked for %s, %s", self._place, self._body["model"], words)

        self._learned.append(remember)

    # -- the request as it is now -----------------------------------------------------------------

    def _current(self) -> dict[str, Any]:
        body = self._changed()
        return {**body, "messages": [_in_parts(message) for message in body["messages"]]}

    def _changed(self) -> dict[str, Any]:
        body = {key: value for key, value in self._body.items() if key not in self._left_out}
        if OLD_LENGTH in self._left_out and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        if "stream" not in body:
            body.pop("stream_options", None)
        if SCHEMAS in self._left_out and "tools" in body:
            body["tools"] = [plain_tool(tool) for tool in body["tools"]]
        messages = self._messages
        if self.uses_template:
            body.pop("tools", None)
            messages = self._template(messages)
        body["messages"] = messages
        if not (self._left_out or self._filled_in):
            return body
        body["messages"] = [self._message(message) for message in messages]
        if SYSTEM in self._left_out:
            body["messages"] = _without_system(body["messages"])
        return body

    def _message(self, message: ChatMessage) -> ChatMessage:
        kept = {key: value for key, value in message.items() if key not in self._left_out or key in _NEEDED_IN_MESSAGES}
        if IMAGES not in kept:
            kept.pop(OF_TOOLS, None)
        if IMAGES in message and IMAGES in self._left_out:
            kept["content"] = f"{message['content']}\n{_UNSEEN}"
        if self._filled_in and kept["role"] == "assistant":
            kept.setdefault(self._filled_in, "")
        if LONG_IDS in self._left_out:
            kept = _with_short_ids(kept)
        if calls := kept.get("tool_calls"):
            if EMPTY in self._left_out and not kept["content"]:
                kept["content"] = None
            kept["tool_calls"] = [
                {key: value for key, value in call.items() if key not in self._left_out or key in _NEEDED_IN_CALLS}
                for call in calls
            ]
        return kept


def _in_parts(message: ChatMessage) -> ChatMessage:
    """A message with pictures as the API has it: its text and they as parts of its content."""
    message = without_marks(message)
    if IMAGES not in message:
        return message
    pictures = [{"type": "image_url", "image_url": {"url": address}} for address in message[IMAGES]]
    plain = {name: value for name, value in message.items() if name not in {IMAGES, OF_TOOLS}}
    return {**plain, "content": [{"type": "text", "text": message["content"]}, *pictures]}


def _optional_names(body: Mapping[str, Any]) -> Iterator[str]:
    """What a request could do without."""
    found: dict[str, None] = dict.fromkeys(body.keys() - _NEEDED)
    for message in body["messages"]:
        found |= dict.fromkeys(message.keys() - _NEEDED_IN_MESSAGES)
        for call in message.get("tool_calls") or ():
            found |= dict.fromkeys(call.keys() - _NEEDED_IN_CALLS)
    yield from found


def _names(words: str, name: str, *, says_so: bool) -> bool:
    """Whether the words name that part as what is refused."""
    if name not in _COMMON_NAMES:
        return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words) is not None
    quoted = (
        rf"[`'\"]{name}[`'\"]|[\w\])]\.{name}(?![\w.])|(?:param\w*|field|key|argument|inputs?):? {name}(?!\w)|^{name}: "
    )
    return says_so and re.search(quoted, words) is not None


def _with_short_ids(message: ChatMessage) -> ChatMessage:
    """The message with its ids of calls made of nine letters and digits, the same ones for the same id."""
    short = dict(message)
    if "tool_call_id" in short:
        short["tool_call_id"] = _short(short["tool_call_id"])
    if calls := short.get("tool_calls"):
        short["tool_calls"] = [{**call, "id": _short(call["id"])} for call in calls]
    return short


def _short(call_id: str) -> str:
    return sha256(call_id.encode()).hexdigest()[:_SHORT_ID]


def _without_system(messages: list[ChatMessage]) -> list[ChatMessage]:
    """The system's words as the beginning of the first user's."""
    if not messages or messages[0]["role"] != "system":
        return messages
    system, first, *others = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *others]
