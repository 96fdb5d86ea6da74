"""Adds chunks of a completion, in the many formats that servers send, to a reply."""

import json
from collections.abc import Iterator
from typing import Any

from agents.events import Usage
from agents.json_types import JsonObject
from agents.models.ends import classify_end, is_end
from agents.models.reply import DETAILS, Reply
from agents.models.text_chunks import REASONING_FIELDS

# Parts of a list that are thoughts, by their type or by the name of their field.
_THOUGHT_TYPES = ("thinking", "reasoning", "thought")
_HELD_IN = ("text", "thinking", "reasoning", "summary", "content", "refusal")
_DEEPEST = 8
_MOST_TOKENS = 2**53


class ServerError(Exception):
    """The server reports an error within the answer. ``error`` is its message, as JSON."""

    def __init__(self, error: Any) -> None:
        super().__init__(repr(error)[:500])
        self.error = error


def add_chunk(chunk: Any, reply: Reply) -> Any:
    """Add a chunk, or a whole completion. Returns an object that is neither, which may be an error message.

    Raises `ServerError`, or `ValueError` for anything else.
    """
    try:
        return _add(chunk, reply)
    except (TypeError, AttributeError, LookupError, RecursionError) as error:
        raise ValueError(f"no chunk of a completion: {error!r}") from error


def _add(chunk: JsonObject, reply: Reply) -> Any:
    if "choices" not in chunk:
        chunk = _unwrapped(chunk)
    groq = chunk.get("x_groq") or {}
    error = chunk.get("error") or chunk.get("errors") or groq.get("error")
    if _has_content(error):
        _add_choices(chunk, reply)
        raise ServerError(error)
    if usage := chunk.get("usage") or groq.get("usage"):
        reply.usage = _usage(usage) or reply.usage
    if chunk.get("choices"):
        _add_choices(chunk, reply)
        return None
    if _is_error(chunk):
        raise ServerError(chunk)
    if usage and reply.finish_reason is not None:
        reply.end(reply.finish_reason)
    if "choices" in chunk:
        return None
    return chunk if any(isinstance(chunk.get(key), str) for key in _WORDS) else None


_WORDS = ("message", "detail", "msg", "error_msg")


def _has_content(error: Any) -> bool:
    """Whether there is an error: some gateways send all fields of one, empty, with each chunk."""
    return any(error.values()) if isinstance(error, dict) else bool(error)


def _unwrapped(chunk: JsonObject) -> JsonObject:
    """The chunk without the object that some gateways put around it."""
    held = (chunk.get(name) for name in ("data", "result", "response"))
    return next((inner for inner in held if isinstance(inner, dict) and "choices" in inner), chunk)


def _is_error(data: JsonObject) -> bool:
    """Whether an object without choices reports an error, in the formats of various servers and gateways."""
    if "error" in (data.get("object"), data.get("type"), data.get("status")) or data.get("success") is False:
        return True
    state = data.get("base_resp")
    codes = [data.get(key) for key in ("code", "error_code", "status_code")]
    codes.append(state.get("status_code") if isinstance(state, dict) else None)
    if isinstance(status := data.get("status"), int) and status >= 400:
        return True
    has_words = any(data.get(key) for key in _WORDS) or bool(state)
    return has_words and any(code and str(code).lower() not in _GOOD_CODES for code in codes)


_GOOD_CODES = frozenset({"0", "200", "20000", "ok", "success"})


def _usage(data: Any) -> Usage | None:
    """The token counts, if there are any."""
    if not isinstance(data, dict):
        return None
    counts = []
    for names in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")):
        found = next((data[name] for name in names if data.get(name)), 0)
        if not isinstance(found, int | float) or not 0 <= found < _MOST_TOKENS:
            return None
        counts.append(int(found))
    return Usage(counts[0], counts[1], False, _part(data, _CACHED, counts[0]), _part(data, _THOUGHT, counts[1]))


# The paths of a part of a count: in the details or, with DeepSeek, Anthropic and Moonshot, at the top level.
_CACHED: tuple[tuple[str, ...], ...] = (
    ("prompt_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cached_tokens"),
    ("prompt_cache_hit_tokens",),
    ("cache_read_input_tokens",),
    ("cached_tokens",),
)
_THOUGHT: tuple[tuple[str, ...], ...] = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
    ("reasoning_tokens",),
)


def _part(data: JsonObject, places: tuple[tuple[str, ...], ...], whole: int) -> int | None:
    """How many tokens of a count were of a kind; ``None`` if the server does not say so, or not plausibly."""
    for place in places:
        found: Any = data
        for name in place:
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found <= whole:
            return int(found)
    return None


def _add_choices(chunk: JsonObject, reply: Reply) -> None:
    choice = _own_choice(chunk.get("choices") or [], reply)
    if choice is None:
        return
    delta = choice.get("delta")
    if delta:
        if not _repeats_all(delta, choice, reply):
            _add_delta(delta, reply)
    elif message := choice.get("message"):
        _add_message(message, choice, reply)
    elif isinstance(text := choice.get("text"), str):
        reply.add_field_text("content", text)
    if _has_content(error := choice.get("error")):
        raise ServerError(error)
    reason = _reason(choice)
    if reason and is_end(reason) and not _is_cut_already(reply):
        is_alone = not any(value for name, value in (delta or {}).items() if name != "role")
        reply.end(reason, is_sure=is_alone)


def _add_message(message: JsonObject, choice: JsonObject, reply: Reply) -> None:
    """Add a message where streams have deltas. Some servers stream only messages.

    Some end a stream by repeating the whole message, some with only the calls, which they have not streamed.
    """
    is_first = not reply.parts
    reply.is_in_messages |= is_first
    is_all = bool(choice.get("finish_reason")) and message.get("content") == reply.content
    if is_first or (reply.is_in_messages and not is_all):
        _add_delta(message, reply)
    elif not reply.has_calls:
        _add_calls(message, reply)


def _own_choice(choices: list[JsonObject | None], reply: Reply) -> JsonObject | None:
    """The choice that began first: servers may send several answers without being asked to, and the others are ignored."""
    for choice in choices:
        if choice is None:
            continue
        index = choice.get("index") or 0
        if reply.choice is None:
            reply.choice = index
        if index == reply.choice:
            return choice
    return None


def _reason(choice: JsonObject) -> str:
    """The finish reason, if there is one. Gemini has sent it in its own spelling, with an empty one beside it."""
    delta = choice.get("delta") or {}
    reason = choice.get("finish_reason") or choice.get("finishReason") or delta.get("finish_reason")
    reason = reason or choice.get("finish_details") or _known_reason(choice.get("stop_reason"))
    if isinstance(reason, dict):
        reason = reason.get("type")
    # OpenRouter's field for the provider's reason: it replaces unknown reasons with "stop".
    native = choice.get("native_finish_reason")
    if reason == "stop" and isinstance(native, str) and classify_end(native) in ("cut", "withheld"):
        return native
    return "stop" if reason is True else str(reason or "")


def _known_reason(value: Any) -> str:
    """The value if it is a finish reason: vLLM has the text there at which it has stopped."""
    return value if isinstance(value, str) and classify_end(value) != "other" else ""


def _repeats_all(delta: JsonObject, choice: JsonObject, reply: Reply) -> bool:
    """Whether a stream ends by repeating the whole answer with the finish reason."""
    content = delta.get("content")
    is_long = isinstance(content, str) and len(content) >= _LONG and bool(choice.get("finish_reason"))
    return is_long and content == reply.content


#: A last piece of this many characters does not repeat all before it by chance.
_LONG = 32


def _is_cut_already(reply: Reply) -> bool:
    """Whether the reply has already ended incompletely: a second finish reason does not change that."""
    return reply.finish_reason is not None and classify_end(reply.finish_reason) != "whole"


def _add_delta(delta: JsonObject, reply: Reply) -> None:
    _add_reasoning(delta, reply)
    content = delta.get("content")
    if delta.get("role") == "tool" and delta.get("tool_call_id"):
        # The result of a tool that the server itself has called.
        for _, text in _texts(content):
            reply.add_reasoning(text)
        return
    if not content and isinstance(audio := delta.get("audio"), dict):
        content = audio.get("transcript")
    if isinstance(content, str):
        if content:
            reply.add_field_text("content", content)
    elif content:
        for is_thought, text in _texts(content):
            (reply.add_reasoning if is_thought else reply.add_content)(text)
    if isinstance(refusal := delta.get("refusal"), str) and refusal and refusal != content:
        reply.add_content(refusal)
    _add_calls(delta, reply)


def _add_calls(delta: JsonObject, reply: Reply) -> None:
    calls = delta.get("tool_calls") or ()
    if isinstance(calls, dict):
        calls = [calls] if calls.keys() & _CALL_KEYS else list(calls.values())
    for place, call in enumerate(calls):
        if call:
            _add_call(call, reply, place if len(calls) > 1 else None)
    if function := delta.get("function_call"):  # calls as they were before several were possible
        _add_call({"index": _OLD_SLOT, "function": function}, reply, None)


_OLD_SLOT = -1


def _add_reasoning(delta: JsonObject, reply: Reply) -> None:
    for name in REASONING_FIELDS:
        value = delta.get(name)
        if isinstance(value, str):
            if value:
                reply.add_field_text(name, value)
                break
        elif value:
            for _, text in _texts(value):
                reply.add_reasoning(text)
            break
    for field in DETAILS:
        details = delta.get(field) or ()
        for place, detail in enumerate([details] if isinstance(details, dict) else details):
            if isinstance(detail, dict):
                reply.add_detail(field, place, detail, "".join(text for _, text in _texts(detail)))


def _texts(value: Any, *, is_thought: bool = False, depth: int = 0) -> Iterator[tuple[bool, str]]:
    """The texts in a list of parts, each with whether it is a thought. Encrypted parts and other media are left out."""
    if isinstance(value, str):
        if value:
            yield is_thought, value
    elif isinstance(value, int | float) and not isinstance(value, bool):  # a number, from servers that parse too much
        yield is_thought, str(value)
    elif isinstance(value, list) and depth < _DEEPEST:
        for part in value:
            yield from _texts(part, is_thought=is_thought, depth=depth + 1)
    elif isinstance(value, dict) and depth < _DEEPEST:
        kind = str(value.get("type") or "")
        thinks = is_thought or kind.startswith(_THOUGHT_TYPES) or value.get("thought") is True
        for field in _HELD_IN:
            if value.get(field):
                yield from _texts(value[field], is_thought=thinks or field in _THOUGHT_TYPES, depth=depth + 1)
                return


def _add_call(call: JsonObject, reply: Reply, place: int | None) -> None:
    """Add a piece of a call. Its ``place`` among the calls of the chunk identifies the call if nothing else does."""
    function = call.get("function") or call.get("custom") or call  # some leave out that level
    arguments = next((function[name] for name in _ARGUMENTS if name in function), None)
    if arguments is None or arguments == "":
        arguments = ""
    elif not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    reply.add_call_delta(
        _slot(call.get("index"), place), str(call.get("id") or ""), str(function.get("name") or ""), arguments
    )
    if (call.keys() | function.keys()) - _CALL_KEYS:
        reply.add_call_fields(_own_fields(call, function))


def _slot(index: Any, otherwise: int | None) -> int | None:
    """The index of a call; some servers send it as a string or a fraction, and some send none."""
    try:
        return otherwise if index is None else int(index)
    except (TypeError, ValueError, OverflowError):
        return otherwise


#: The names that servers use for a call's arguments.
_ARGUMENTS = ("arguments", "parameters", "input", "args")
_CALL_KEYS = frozenset({"index", "id", "type", "function", "custom", "name", *_ARGUMENTS})


def _own_fields(call: JsonObject, function: JsonObject) -> JsonObject:
    """The fields of a call besides the known ones, which its server may need back."""
    own = {key: value for key, value in call.items() if key not in _CALL_KEYS and value is not None}
    if function is call:
        return own
    inner = {key: value for key, value in function.items() if key not in _CALL_KEYS and value is not None}
    return {**own, "function": inner} if inner else own
