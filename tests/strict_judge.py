"""The strictest model server possible, as one function: what is wrong with a request for a chat completion.

Each rule is that of some real server, which answers 400 or 422 where it is broken. `tests.model_server` checks every request with it that
the product sends in any test; see there how a test fails because of its result.
"""

import base64
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_BODY = {"model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls"}
#: What messages of each role may hold, as the API's documentation says.
_FIELDS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id", "name"},
}
#: Which role may follow which, apart from tool results, which follow their calls.
_AFTER = {"": ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user",)}


def find_faults(body: Mapping[str, Any], sent_before: Collection[str] = ()) -> list[str]:
    """Every reason for which a strict server would refuse the request; ``sent_before``: further fields that the server has sent."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return ["there are no messages"]
    faults = [f"unknown parameter: {key}" for key in body.keys() - _BODY]
    if not (isinstance(body.get("model"), str) and body["model"]):
        faults.append("model is no name")
    if "stream_options" in body and body.get("stream") is not True:
        faults.append("stream_options is only allowed with stream")
    faults += _tool_faults(body.get("tools"))
    for at, message in enumerate(messages):
        faults += [f"messages[{at}]: {fault}" for fault in _message_faults(message, sent_before)]
    return [*faults, *_order_faults(messages)]


def _tool_faults(tools: Any) -> Iterator[str]:
    if tools is None:
        return
    if not tools:
        yield "tools is empty"
    for tool in tools:
        if not _NAME.fullmatch(tool["function"]["name"]):
            yield f"the name of a tool is invalid: {tool['function']['name']!r}"
    if len({tool["function"]["name"] for tool in tools}) < len(tools):
        yield "two tools have the same name"


def _message_faults(message: Mapping[str, Any], sent_before: Collection[str]) -> Iterator[str]:
    role = message.get("role")
    if role not in _FIELDS:
        yield f"unknown role: {role!r}"
        return
    for key in message.keys() - _FIELDS[role]:
        if role != "assistant" or key not in sent_before:
            yield f"unknown field of a message: {key}"
    content = message.get("content")
    if role == "user" and isinstance(content, list):
        yield from _part_faults(content)
    elif not isinstance(content, str):
        yield f"content is {content!r}"
    elif not content.strip() and not (role == "assistant" and message.get("tool_calls")):
        yield f"empty content of role {role}"
    if "tool_calls" in message and not message["tool_calls"]:
        yield "tool_calls is empty"
    for call in message.get("tool_calls") or ():
        yield from _call_faults(call, sent_before)
    if role == "tool" and "name" in message and not _NAME.fullmatch(message["name"]):
        yield f"the name of a tool is invalid: {message['name']!r}"


def _part_faults(parts: list[Any]) -> Iterator[str]:
    """A user's content in parts: its text first, then its pictures, each with all its fields."""
    kinds = [part.get("type") for part in parts]
    if kinds[:1] != ["text"] or len(kinds) < 2 or set(kinds[1:]) != {"image_url"}:
        yield f"the parts of a content are {kinds!r}"
        return
    if set(parts[0]) != {"type", "text"} or not parts[0]["text"].strip():
        yield f"a part of text is {parts[0]!r}"
    for part in parts[1:]:
        address = part["image_url"].get("url", "")
        head, _, encoded = address.partition(";base64,")
        if (
            set(part) != {"type", "image_url"}
            or set(part["image_url"]) != {"url"}
            or not head.startswith("data:image/")
        ):
            yield f"a picture is {address[:80]!r}"
        elif not base64.b64decode(encoded, validate=True):
            yield "a picture is empty"


def _call_faults(call: Mapping[str, Any], sent_before: Collection[str]) -> Iterator[str]:
    for key in [*(call.keys() - {"id", "type", "function"}), *(call["function"].keys() - {"name", "arguments"})]:
        if key not in sent_before:
            yield f"unknown field of a tool call: {key}"
    if not (isinstance(call["id"], str) and call["id"]):
        yield f"the id of a tool call is {call['id']!r}"
    if call["type"] != "function":
        yield f"the type of a tool call is {call['type']!r}"
    if not _NAME.fullmatch(call["function"]["name"]):
        yield f"the name of a tool call is invalid: {call['function']['name']!r}"
    try:
        arguments = json.loads(
            call["function"]["arguments"],
            parse_constant=_no_number,
            parse_float=_finite,
            object_pairs_hook=_without_doubles,
        )
        json.dumps(arguments, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError):
        yield f"the arguments of a tool call are no JSON: {call['function']['arguments']!r}"
    else:
        if not isinstance(arguments, dict):
            yield f"the arguments of a tool call are no object: {call['function']['arguments']!r}"


def _no_number(word: str) -> None:
    raise ValueError(word)


def _finite(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise ValueError(digits)
    return value


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands there twice")
    return dict(pairs)


def _order_faults(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    before = ""
    used: set[str] = set()
    waiting: list[str] = []
    for at, message in enumerate(messages):
        role = message.get("role", "")
        if role == "tool":
            if message.get("tool_call_id") in waiting:
                waiting.remove(message["tool_call_id"])
            else:
                yield f"messages[{at}]: a result that no call right before it asked for"
            before = "tool"
            continue
        if waiting:
            yield f"messages[{at}]: the tool calls {waiting} have no result"
            waiting = []
        allowed = ("assistant",) if before == "tool" else _AFTER.get(before, ())
        if role not in allowed:
            yield f"messages[{at}]: conversation roles must alternate user/assistant/user/assistant/…: {role} after {before or 'nothing'}"
        before = role
        for call in message.get("tool_calls") or ():
            if call["id"] in used:
                yield f"messages[{at}]: the id {call['id']!r} was used before"
            used.add(call["id"])
            waiting.append(call["id"])
    if waiting:
        yield f"the tool calls {waiting} have no result"
    if before not in ("user", "tool"):
        yield f"the last message is of role {before}"
