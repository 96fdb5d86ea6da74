"""Text from models and tools: cleaned for storage, measured in UTF-16 code units, estimated in tokens."""

import json
from math import isfinite
from typing import Any, NoReturn, TypeVar

from agents.json_types import JsonObject

T = TypeVar("T")


def is_clean(text: str) -> bool:
    """Whether every database can store the text: it has no NUL and no surrogate."""
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean_text(text: str) -> str:
    """The text with surrogate pairs joined, and with NUL and lone surrogates replaced by U+FFFD."""
    if is_clean(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\x00", "\ufffd")


def ends_in_half_a_pair(text: str) -> bool:
    """Whether the last character is the first half of a surrogate pair, so that the other half may follow."""
    return "\ud800" <= text[-1:] <= "\udbff"


def utf16_length(text: str) -> int:
    """The length in UTF-16 code units, as counted by JavaScript."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def from_utf16(text: str, offset: int) -> str:
    """The text from an offset in UTF-16 code units on."""
    if offset == 0 or text.isascii():
        return text[offset:]
    return text.encode("utf-16-le", "surrogatepass")[2 * offset :].decode("utf-16-le", "surrogatepass")


def utf16_cut(text: str, limit: int) -> str:
    """The longest beginning of the text with at most ``limit`` UTF-16 code units; never splits a pair."""
    if text.isascii() or len(text) * 2 <= limit:
        return text[:limit]
    return text.encode("utf-16-le")[: 2 * limit].decode("utf-16-le", "ignore")


def estimate_tokens(text: str) -> int:
    """A rough estimate of the text's tokens: four ASCII characters, or one CJK character, make one."""
    if text.isascii():
        return len(text) // 4 + 1
    # In UTF-8, a CJK character takes two bytes more than an ASCII character.
    beyond_ascii = (len(text.encode("utf-8", "replace")) - len(text)) / 2
    return int((len(text) - beyond_ascii) / 4 + beyond_ascii) + 1


def json_object(raw: str, otherwise: T) -> JsonObject | T:
    """The JSON object in a tool call's arguments, its texts cleaned; ``otherwise`` if there is none.

    Line breaks within strings are accepted, because models write them; an empty text means no arguments. Numbers that JSON or a
    database cannot represent make it invalid.
    """
    try:
        value = json.loads(
            raw.strip() or "{}", strict=False, parse_constant=_refuse, parse_int=_integer, parse_float=_float
        )
        return _clean_json(value) if isinstance(value, dict) else otherwise
    except (ValueError, RecursionError):
        return otherwise


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)


def _integer(digits: str) -> int:
    value = int(digits)
    if not -(2**63) <= value < 2**63:
        raise ValueError(digits)
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise ValueError(digits)
    return value


def _clean_json(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(key): _clean_json(item) for key, item in value.items()}
    return [_clean_json(item) for item in value] if isinstance(value, list) else value
