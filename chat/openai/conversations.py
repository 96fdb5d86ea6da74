"""Parses the conversation that clients send with each request, and makes the digest by which an earlier one is recognised. Pure."""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from typing import Any, Literal

from agents.history import MessageToolCall
from agents.text import is_clean
from chat.openai.failures import bad_request, unsupported_parameter
from chat.openai.pieces import BETWEEN
from chat.store.sent_along import next_digest

Role = Literal["user", "assistant", "tool"]
#: Roles whose texts are added to the agent's instructions.
_INSTRUCTING = ("system", "developer")
_TEXTS = ("text", "input_text", "output_text", "refusal", "summary_text")
_IMAGES = ("image_url", "input_image")
_DATA_URL = re.compile(r"data:image/[\w.+-]{1,40};base64,")


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the client sent it."""

    role: Role
    text: str
    images: tuple[str, ...] = ()
    """The ``data:`` addresses of its pictures."""
    calls: tuple[MessageToolCall, ...] = ()
    """The assistant's calls of the client's own tools, in OpenAI's format."""
    call_id: str = ""
    """For a tool's result: the id of its call."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """The question of a request, and the messages before it."""

    asked: Message
    earlier: tuple[Message, ...] = ()
    instructions: str = ""


def conversation_of(messages: Sequence[Message], instructions: Iterable[str], where: str) -> Conversation:
    """The conversation, which must end with the user's message; else raises `Failure`. ``where``: the field's name, for the error."""
    if not messages or messages[-1].role != "user":
        raise bad_request(f"The last of “{where}” must be the user's: it is what is asked.", where)
    return Conversation(messages[-1], tuple(_joined(messages[:-1])), BETWEEN.join(filter(None, instructions)))


def _joined(messages: Iterable[Message]) -> Iterable[Message]:
    """The messages, with consecutive messages of the assistant joined into one."""
    for is_answer, some in groupby(messages, lambda each: each.role == "assistant" and not each.calls):
        if is_answer:
            yield Message("assistant", BETWEEN.join(each.text for each in some if each.text))
        else:
            yield from some


# Digests


def digest_of(messages: Iterable[Message]) -> str:
    """A conversation's digest: the same for the same messages, in whatever form their texts were sent."""
    digest = ""
    for each in messages:
        pictures = [picture_digest(image) for image in each.images]
        digest = next_digest(digest, each.role, each.text, pictures, each.calls, each.call_id)
    return digest


def picture_digest(address: str) -> str:
    """A picture's digest."""
    return sha256(address.encode()).hexdigest()


# Parsing a body


@dataclass(slots=True)
class _Read:
    """The messages and instructions that were parsed so far."""

    messages: list[Message] = field(default_factory=list)
    instructions: list[str] = field(default_factory=list)

    def add_message(self, raw: Any, place: str) -> None:
        """Parse a further message."""
        if not isinstance(raw, dict):
            raise bad_request(f"{place}: a message is an object with a role.", place)
        role = raw.get("role")
        text, images = _content(raw.get("content"), f"{place}.content")
        if role in _INSTRUCTING:
            self.instructions.append(text)
        elif role == "user":
            self.messages.append(Message("user", text, images))
        elif role == "assistant":
            self.messages.append(Message("assistant", text, calls=_calls(raw.get("tool_calls"), f"{place}.tool_calls")))
        elif role in ("tool", "function"):
            call_id = raw.get("tool_call_id") or raw.get("name") or ""
            self.messages.append(Message("tool", text, call_id=_text(call_id, f"{place}.tool_call_id")))
        else:
            raise bad_request(f"{place}.role: one of system, developer, user, assistant, tool.", f"{place}.role")


def read_messages(raw: Sequence[Any], where: str) -> tuple[list[Message], list[str]]:
    """The messages and the instructions of a chat completion's body. Raises `Failure`, which names the wrong field."""
    read = _Read()
    for number, each in enumerate(raw):
        read.add_message(each, f"{where}[{number}]")
    return read.messages, read.instructions


def read_items(raw: Any, where: str) -> tuple[list[Message], list[str]]:
    """As `read_messages`, for the input of a response: a text, or items. Thoughts and calls of hosted tools are ignored."""
    if isinstance(raw, str):
        return [Message("user", _text(raw, where))], []
    if not isinstance(raw, list):
        raise bad_request(f"{where}: a text, or a list of items.", where)
    read = _Read()
    for number, each in enumerate(raw):
        place = f"{where}[{number}]"
        kind = each.get("type", "message") if isinstance(each, dict) else None
        if kind == "message":
            read.add_message(each, place)
        elif kind == "function_call":
            function = {"name": each.get("name"), "arguments": each.get("arguments")}
            calls = _calls([{"id": each.get("call_id"), "function": function}], place)
            read.messages.append(Message("assistant", "", calls=calls))
        elif kind == "function_call_output":
            output, _ = _content(each.get("output"), f"{place}.output")
            read.messages.append(Message("tool", output, call_id=_text(each.get("call_id"), f"{place}.call_id")))
        elif kind == "item_reference" or not isinstance(kind, str):
            raise unsupported_parameter(place, f"{place}: send the item itself.")
        # Other items are thoughts or calls of hosted tools: parts of an answer, not messages.
    return read.messages, read.instructions


def _content(raw: Any, place: str) -> tuple[str, tuple[str, ...]]:
    if raw is None:
        return "", ()
    if isinstance(raw, str):
        return _text(raw, place), ()
    if not isinstance(raw, list):
        raise bad_request(f"{place}: a text, or a list of parts.", place)
    texts: list[str] = []
    images: list[str] = []
    for number, part in enumerate(raw):
        at = f"{place}[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _TEXTS:
            texts.append(_text(part.get("refusal" if kind == "refusal" else "text"), at))
        elif kind in _IMAGES:
            images.append(_image(part.get("image_url"), f"{at}.image_url"))
        elif isinstance(kind, str):
            raise unsupported_parameter(
                at, f"{at}: parts of type “{kind[:40]}” are not taken here, only texts and images."
            )
        else:
            raise bad_request(f"{at}: a part is an object with a type.", at)
    return "\n".join(texts), tuple(images)


def _text(raw: Any, place: str) -> str:
    if not isinstance(raw, str):
        raise bad_request(f"{place}: a text is needed here.", place)
    if not is_clean(raw):
        raise bad_request(
            f"{place}: the text holds a character that cannot be stored (NUL or half of a pair).", place, "bad_text"
        )
    return raw


def _image(raw: Any, place: str) -> str:
    address = raw.get("url") if isinstance(raw, dict) else raw
    if not isinstance(address, str):
        raise bad_request(f"{place}: the address of an image is needed here.", place)
    if not _DATA_URL.match(address):
        raise unsupported_parameter(
            place, f"{place}: images are taken as data:image/…;base64,… alone; no address is fetched."
        )
    return address


def image_bytes(address: str) -> bytes:
    """The image's bytes. Raises `Failure`."""
    try:
        return base64.b64decode(address.partition(",")[2], validate=True)
    except binascii.Error:
        raise bad_request("An image is not valid base64.", "image_url") from None


def _calls(raw: Any, place: str) -> tuple[MessageToolCall, ...]:
    """Tool calls in OpenAI's format, with only the fields that models need."""
    if raw is None:
        return ()
    if not isinstance(raw, list):
        raise bad_request(f"{place}: a list of calls.", place)
    return tuple(_call(each, f"{place}[{number}]") for number, each in enumerate(raw))


def _call(raw: Any, place: str) -> MessageToolCall:
    function = raw.get("function") if isinstance(raw, dict) else None
    if not isinstance(function, dict):
        raise bad_request(f"{place}: a call is an object with an id and a function.", place)
    name, arguments = (_text(function.get(field), f"{place}.function.{field}") for field in ("name", "arguments"))
    call_id = _text(raw.get("id"), f"{place}.id")
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
