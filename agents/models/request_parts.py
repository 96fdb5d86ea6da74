"""The parts of a request that can be left out or written differently, for servers that refuse them."""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from agents.history import IMAGES, OF_TOOLS, ChatMessage, without_marks
from agents.models import refusing

_NEEDED = frozenset({"model", "messages", "tools"})
NEEDED_IN_MESSAGES = frozenset({"role", "content", "tool_calls", "tool_call_id"})
NEEDED_IN_CALLS = frozenset({"id", "type", "function"})
#: Ordinary words that count as a part's name wherever they occur. Other words count only if the message also says that they are refused.
_UNAMBIGUOUS_NAMES = frozenset({"temperature", "seed"})
_SHORT_ID = 9
_PENALTIES = frozenset({"presence_penalty", "frequency_penalty", "repetition_penalty", "repeat_penalty"})
#: Groups of parts, as servers call them. Either the message says that they are refused, or the pattern itself does.
_GROUPS = [
    (
        refusing.SAMPLING,
        _PENALTIES
        | {"temperature", "top_p", "top_k", "min_p", "top_a", "typical_p", "tfs_z", "mirostat", "seed", "logit_bias"},
    ),
    (refusing.PENALTIES, _PENALTIES),
    (refusing.LOGPROBS, frozenset({"logprobs", "top_logprobs", "prompt_logprobs"})),
    (
        refusing.FORMS,
        frozenset(
            {"response_format", "structured_outputs", "json_schema", "format", "grammar", "guided_json", "guided_regex"}
        ),
    ),
    (refusing.STOPS, frozenset({"stop", "stop_token_ids"})),
    (refusing.PARALLEL, frozenset({"parallel_tool_calls"})),
    (refusing.CACHING, frozenset({"prompt_cache_key", "prompt_cache_retention", "cache_control", "cache_prompt"})),
    (refusing.USAGE, frozenset({"stream_options"})),
    (refusing.STREAMING, frozenset({"stream"})),
]
#: The fields by which a request says whether the model should think.
_THINKING = frozenset({"chat_template_kwargs", "enable_thinking", "reasoning_effort", "reasoning", "think", "thinking"})


def write_parts(message: ChatMessage) -> ChatMessage:
    """A message in the API's format: if it has pictures, its content is a list of parts."""
    message = without_marks(message)
    if IMAGES not in message:
        return message
    pictures = [{"type": "image_url", "image_url": {"url": address}} for address in message[IMAGES]]
    plain = {name: value for name, value in message.items() if name not in {IMAGES, OF_TOOLS}}
    return {**plain, "content": [{"type": "text", "text": message["content"]}, *pictures]}


def optional_names(body: Mapping[str, Any]) -> Iterator[str]:
    """The names of the parts of a request that can be left out."""
    found: dict[str, None] = dict.fromkeys(name for name in body if name not in _NEEDED)
    for message in body["messages"]:
        found |= dict.fromkeys(message.keys() - NEEDED_IN_MESSAGES)
        for call in message.get("tool_calls") or ():
            found |= dict.fromkeys(call.keys() - NEEDED_IN_CALLS)
    yield from found


def find_group(words: str, *, is_refusal: bool) -> frozenset[str]:
    """The parts that the message refuses as a group, without naming them one by one."""
    if refusing.NO_THINKING.search(words):
        return _THINKING
    return next((parts for pattern, parts in _GROUPS if is_refusal and pattern.search(words)), frozenset())


def wants_field(words: str) -> bool:
    """Whether a refusal says that a field is missing that the server itself should have sent before."""
    return refusing.MISSING.search(words) is not None or "thought_signature" in words


def names_part(words: str, name: str, *, is_refusal: bool) -> bool:
    """Whether the message names that part as refused."""
    # The name may be a word that occurs in any sentence. Fields that an operator has added to the body, such as the allowed
    # providers, must not be dropped because of such a word.
    if not name.isalpha() or name in _UNAMBIGUOUS_NAMES:
        # If the message says that something is refused, the name may also be written as topP, top-p, or Top P.
        spelt = re.escape(name).replace("_", "[_ -]?") if is_refusal else re.escape(name)
        return re.search(rf"(?<!\w){spelt}(?!\w)", words, re.IGNORECASE if is_refusal else 0) is not None
    quoted = (
        rf"[`'\"]{name}[`'\"]|[\w\])]\.{name}(?![\w.])|(?:param\w*|field|key|argument|inputs?):? {name}(?!\w)|^{name}: "
    )
    return is_refusal and re.search(quoted, words) is not None


def shorten_ids(message: ChatMessage) -> ChatMessage:
    """The message with call ids of nine letters and digits; the same id always becomes the same."""
    short = dict(message)
    if "tool_call_id" in short:
        short["tool_call_id"] = _short(short["tool_call_id"])
    if calls := short.get("tool_calls"):
        short["tool_calls"] = [{**call, "id": _short(call["id"])} for call in calls]
    return short


def _short(call_id: str) -> str:
    return sha256(call_id.encode()).hexdigest()[:_SHORT_ID]


def merge_system(messages: list[ChatMessage]) -> list[ChatMessage]:
    """Move the system's message to the beginning of the user's first message."""
    if not messages or messages[0]["role"] != "system":
        return messages
    system, first, *others = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *others]
