"""A conversation made valid for a model: every call has its result, and it is no longer than the model can read."""

import re
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, NotRequired, TypeAlias, TypedDict

import orjson

from agents.events import LeftOut
from agents.json_types import JsonObject
from agents.sentence import Sentence
from agents.text import clean_text, estimate_tokens

ChatMessage: TypeAlias = JsonObject
"""A message in OpenAI's format, with any further fields that its server uses."""


class MessageOrigin(TypedDict):
    """Fields that a message or a call came with, which only the server that sent them gets back."""

    server: str
    fields: Mapping[str, Any]


class CalledFunction(TypedDict):
    """Which tool is called, and its arguments as the model wrote them, which may not be valid JSON."""

    name: str
    arguments: str


class MessageToolCall(TypedDict):
    """A tool call in an assistant's message."""

    id: str
    type: Literal["function"]
    function: CalledFunction
    origin: NotRequired[MessageOrigin]


NO_RESULT = "This call was interrupted before it had a result."
NO_ANSWER = "(This was stopped or failed before there was an answer.)"
LEFT_OUT = "(What was said before is left out.)"
LOOKING = "(Looking at the pictures.)"
READING = "(Reading what is added meanwhile.)"
GO_ON = "(This breaks off here. Go on exactly where it does, without repeating anything.)"
NOTHING = "(nothing)"
_READING: ChatMessage = {"role": "assistant", "content": READING}
_SHORTENED = "\n[… shortened to fit the model's memory]"
_SHORT = 600
"""Characters that a shortened tool result keeps."""
_INVALID_IN_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_NAME = 64
#: The field of a user's message that holds its pictures' addresses, and the tokens that one takes, about.
IMAGES = "images"
_IMAGE_COST = 1_000
#: The share of the model's context that tools may take: the conversation needs the rest.
TOOLS_SHARE = 0.5
#: Marks a user's message that this package has added to show the pictures of results: it begins no turn.
OF_TOOLS = "of_tools"
#: Marks a steering word, a user's message within a turn: it begins no turn, and is never left out of it.
WORD = "word"
_KNOWN_FIELDS = frozenset({"role", "content", "tool_calls", "tool_call_id", "name", IMAGES, OF_TOOLS, WORD})
_KNOWN_IN_CALL = frozenset({"id", "type", "function"})


class _Waiting(NamedTuple):
    """A call without its result yet."""

    id: str
    name: str


class _ValidNames:
    """Makes names of tools valid for servers: valid names stay, any other is replaced by a valid one that differs from all others."""

    def __init__(self, tool_names: Collection[str], messages: Sequence[ChatMessage]) -> None:
        named = {call["function"]["name"] for message in messages for call in message.get("tool_calls") or ()}
        valid = set(filter(_is_valid_name, named))
        #: The name that is sent, by the original name.
        self._sent: dict[str, str] = {name: name for name in valid}
        self._names = _UniqueNames(valid.union(tool_names))

    def put_in(self, given: ChatMessage) -> ChatMessage:
        """The message, or a copy of it with valid names."""
        if given["role"] == "tool":
            name = self._sent_as(given["name"])
            return given if name == given["name"] else {**given, "name": name}
        calls = given.get("tool_calls")
        if not calls or all(self._sent_as(call["function"]["name"]) == call["function"]["name"] for call in calls):
            return given
        named = [
            {**call, "function": {**call["function"], "name": self._sent_as(call["function"]["name"])}}
            for call in calls
        ]
        return {**given, "tool_calls": named}

    def _sent_as(self, name: str) -> str:
        if name not in self._sent:
            plain = _INVALID_IN_NAME.sub("_", name)[:_LONGEST_NAME] or "unnamed"
            self._sent[name] = name if _is_valid_name(name) else self._names.pick(plain, _LONGEST_NAME)
        return self._sent[name]


def _is_valid_name(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and _INVALID_IN_NAME.search(name) is None


class _UniqueNames:
    """Gives out names that are not used yet. Some servers give all their calls the same id: that costs no more than other ids."""

    def __init__(self, used: Collection[str] = ()) -> None:
        self._used = set(used)
        #: The last number that was tried, by what is before it.
        self._numbers: dict[str, int] = {}

    def pick(self, wanted: str, longest: int = 200) -> str:
        """The wanted name if it is free, else the same with a number. It is used from then on."""
        found, start = wanted or "call", wanted[: longest - 8]
        while found in self._used:
            number = self._numbers[start] = self._numbers.get(start, 1) + 1
            found = f"{start}_{number}"
        self._used.add(found)
        return found


def repair_tool_calls(history: Sequence[Mapping[str, Any]]) -> list[ChatMessage]:
    """The history with a result for every tool call, a call for every result, and no id used twice.

    A call without a result, as a stop or a crash leaves it, gets a result that says so; a result without its call is dropped.
    Results directly follow the message with their call.
    """
    messages: list[ChatMessage] = []
    #: By the id that is sent, in order; and these ids by the given one, which several calls may have.
    waiting: dict[str, _Waiting] = {}
    sent_ids: dict[str, deque[str]] = {}
    ids = _UniqueNames()

    def close() -> None:
        messages.extend(
            {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": NO_RESULT}
            for call in waiting.values()
        )
        waiting.clear()
        sent_ids.clear()

    for given in history:
        message = dict(given)
        message["content"] = clean_text(_text(message.get("content")))
        if message["role"] == "tool":
            sent = sent_ids.get(str(message.get("tool_call_id", "")))
            if not sent:
                continue
            call = waiting.pop(sent.popleft())
            message["tool_call_id"], message["name"] = call.id, call.name
        else:
            close()
            if calls := message.get("tool_calls"):
                for call in calls:
                    sent_id = ids.pick(str(call["id"]))
                    waiting[sent_id] = _Waiting(sent_id, call["function"]["name"])
                    sent_ids.setdefault(str(call["id"]), deque()).append(sent_id)
                message["tool_calls"] = [{**call, "id": sent_id} for call, sent_id in zip(calls, waiting, strict=True)]
        messages.append(message)
    close()
    return messages


def make_valid(messages: Sequence[ChatMessage], tool_names: Collection[str] = ()) -> list[ChatMessage]:
    """Make a conversation valid by the rules of the strictest servers; every conversation is sent like this.

    User and assistant alternate, beginning with the user and ending with the user or with results: a turn without an answer is
    closed by a text that says so. No content is empty. Names of tools are valid, and those that differed still differ.
    """
    names = _ValidNames(tool_names, messages)
    valid: list[ChatMessage] = []
    #: Contents that are joined, by the place of their message.
    joined: dict[int, list[str]] = {}
    for given in messages:
        message = names.put_in(given)
        role, before = message["role"], valid[-1]["role"] if valid else ""
        if role == "system" and before:
            joined.setdefault(0, [valid[0]["content"]]).append(message["content"])
            continue
        if role == before == "assistant":
            texts = joined.setdefault(len(valid) - 1, [valid[-1]["content"]] if valid[-1]["content"] else [])
            texts += [message["content"]] if message["content"] else []
            valid[-1] = {**valid[-1], **message}
            continue
        if role == "user" and before in ("user", "tool"):
            valid.append({"role": "assistant", "content": _between(message)})
        elif role in ("assistant", "tool") and before in ("", "system"):
            valid.append({"role": "user", "content": LEFT_OUT})
        if not message["content"].strip() and not message.get("tool_calls"):
            message = {**message, "content": NO_ANSWER if role == "assistant" else NOTHING}
        valid.append(message)
    for place, texts in joined.items():
        valid[place] = {**valid[place], "content": "\n\n".join(texts)}
    if not valid or valid[-1]["role"] in ("system", "assistant"):
        valid.append({"role": "user", "content": GO_ON})
    return valid


def _between(message: ChatMessage) -> str:
    """The assistant's text before a user's message, if nothing was answered to the message before."""
    return LOOKING if OF_TOOLS in message else READING if WORD in message else NO_ANSWER


def without_marks(message: ChatMessage) -> ChatMessage:
    """The message as servers accept it, without this package's marks."""
    return {name: value for name, value in message.items() if name != WORD} if WORD in message else message


def word_message(content: str) -> ChatMessage:
    """The message by which a model is given a steering word."""
    return {"role": "user", "content": content, WORD: True}


def fit_to_budget(messages: list[ChatMessage], budget: int) -> tuple[list[ChatMessage], int, LeftOut]:
    """Shorten a conversation to ``budget`` tokens. Returns its messages, their tokens and what was left out, all estimated.

    Whole turns are left out, the oldest first; a turn goes from a user's message to the next. The system's message and
    the newest turn stay; if these alone are too long, the newest turn's results are shortened, the oldest first, and then its
    oldest calls are left out with their results. Steering words of the newest turn stay.
    """
    costs = [message_tokens(message) for message in messages]
    total = whole = sum(costs)
    if total <= budget:
        return messages, total, LeftOut()
    head = 1 if messages and messages[0]["role"] == "system" else 0
    starts = [i for i in range(head, len(messages)) if i == head or _begins_turn(messages[i])]
    keep_from = head
    for start, following in pairwise(starts):
        if total <= budget:
            break
        total -= sum(costs[start:following])
        keep_from = following
    kept = messages[:head] + messages[keep_from:]
    for index, message in enumerate(kept):
        if total <= budget:
            break
        if message["role"] == "tool" and len(message["content"]) > _SHORT + len(_SHORTENED):
            before = message_tokens(message)
            kept[index] = {**message, "content": message["content"][:_SHORT] + _SHORTENED}
            total -= before - message_tokens(kept[index])
    kept, total = _without_oldest_calls(kept, head + 1, total, budget)
    return kept, total, LeftOut(len(messages) - len(kept), whole - total)


def fit_tools(tools: list[JsonObject], limit: int) -> list[JsonObject]:
    """The first of the tools that together take no more than `TOOLS_SHARE` of ``limit`` tokens, as estimated; at least one."""
    left = limit * TOOLS_SHARE
    for count, tool in enumerate(tools):
        left -= tool_tokens(tool)
        if left < 0:
            return tools[: max(1, count)]
    return tools


def tool_tokens(tool: JsonObject) -> int:
    """Estimated tokens of a tool's description."""
    return estimate_tokens(orjson.dumps(tool).decode())


def newest_turn(messages: list[ChatMessage]) -> list[ChatMessage]:
    """The conversation with its newest turn only, and the system's message."""
    head = 1 if messages and messages[0]["role"] == "system" else 0
    starts = (at for at in range(len(messages) - 1, head, -1) if _begins_turn(messages[at]))
    return messages[:head] + messages[next(starts, head) :]


def _begins_turn(message: ChatMessage) -> bool:
    return message["role"] == "user" and not message.keys() & {OF_TOOLS, WORD}


def explain_left_out(left_out: LeftOut) -> str:
    """A sentence for people about what was left out; empty if nothing was."""
    tokens = f"{left_out.tokens:,}"
    if left_out.messages:
        return Sentence(
            "The conversation is longer than the model reads at a time: from here on its %(messages)s oldest messages, about %(tokens)s "
            "tokens with what was shortened, are left out.",
            messages=f"{left_out.messages:,}",
            tokens=tokens,
        )
    if left_out.tokens:
        return Sentence(
            "The tools' results are longer than the model reads at a time: about %(tokens)s tokens of them are left out from here on.",
            tokens=tokens,
        )
    return ""


def explain_fewer_tools(offered: int, most: int) -> Sentence:
    """A sentence for people about tools of an agent that its model is not offered because there are too many."""
    return Sentence(
        "The model server takes fewer tools at a time: of this agent's %(all)s, the model is offered the first %(most)s in this "
        "conversation.",
        all=f"{offered:,}",
        most=f"{most:,}",
    )


def explain_shorter(limit: int) -> Sentence:
    """A sentence for people: a model server refused a request as too long. ``limit``: the limit that it named, in tokens, else 0."""
    if not limit:
        return Sentence(
            "The model server reads less than was asked at a time, so the oldest of this conversation was left out. "
            "LLM_MAX_INPUT_TOKENS has to be below that."
        )
    return Sentence(
        "The model server reads %(limit)s tokens at a time, so the oldest of this conversation was left out. "
        "LLM_MAX_INPUT_TOKENS has to be below that.",
        limit=f"{limit:,}",
    )


def explain_large_tools(offered: int, most: int) -> Sentence:
    """A sentence for people about tools of an agent that its model is not offered because all are too long for it."""
    return Sentence(
        "This agent's tools take more than half of what the model reads at a time: of its %(all)s, the model is offered the first "
        "%(most)s in this conversation.",
        all=f"{offered:,}",
        most=f"{most:,}",
    )


def _without_oldest_calls(
    kept: list[ChatMessage], first: int, total: int, budget: int
) -> tuple[list[ChatMessage], int]:
    """Leave out the newest turn's oldest calls, from ``first`` on, until the rest fits into ``budget``; the last call stays."""
    asking = [i for i in range(first, len(kept)) if kept[i]["role"] == "assistant"]
    cut_to = first
    words: list[ChatMessage] = []
    for start, following in pairwise(asking):
        if total <= budget:
            break
        steering = [message for message in kept[start:following] if WORD in message]
        # Each follows an assistant's message, as the strictest servers require.
        words += [each for word in steering for each in (_READING, word)]
        total += (
            sum(map(message_tokens, steering))
            + message_tokens(_READING) * len(steering)
            - sum(map(message_tokens, kept[start:following]))
        )
        cut_to = following
    return kept[:first] + words + kept[cut_to:], total


def message_tokens(message: ChatMessage) -> int:
    """Estimated tokens of a message."""
    content = message["content"]
    tokens = 4 + estimate_tokens(_text(content)) + _other_costs(message, _KNOWN_FIELDS)
    # Pictures are next to the text, or, once the message is in its sent form, among the parts of the content.
    pictures = len(content) - 1 if isinstance(content, list) else len(message.get(IMAGES, ()))
    tokens += _IMAGE_COST * pictures
    for call in message.get("tool_calls") or ():
        function = call["function"]
        tokens += 8 + estimate_tokens(function["name"] + function["arguments"]) + _other_costs(call, _KNOWN_IN_CALL)
    return tokens


def _other_costs(part: Mapping[str, Any], known: frozenset[str]) -> int:
    """Estimated tokens of fields that only some servers use."""
    if part.keys() <= known:
        return 0
    other = (value for key, value in part.items() if key not in known)
    return sum(estimate_tokens(value if isinstance(value, str) else orjson.dumps(value).decode()) for value in other)


def _text(content: Any) -> str:
    """The content as text, also if it is a list of parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return "" if content is None else str(content)
