"""Cleans JSON and text for databases and browsers."""

import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

import orjson

from agents.text import clean_text

#: Categories of characters that cannot be seen alone: spaces, controls, formatting, and combining marks.
_UNSEEN = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Mn", "Me"})
#: Letters and symbols that are drawn as nothing: fillers of Hangul, the empty Braille cell.
_EMPTY = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen."""
    return all(unicodedata.category(letter) in _UNSEEN or letter in _EMPTY for letter in text)


def clean_json(data: Mapping[str, Any]) -> str:
    """An event's data as JSON text that every database can store and every browser can read.

    The one sanitiser for what models and tools write: NUL and lone surrogates become U+FFFD, NaN and infinities null.
    """
    try:
        encoded = orjson.dumps(data)
    except (TypeError, ValueError):
        return json.dumps(_cleaned(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if b"\\u0000" in encoded:
        return orjson.dumps(_cleaned(data)).decode()
    return encoded.decode()


#: Arguments nested deeper than this are stored as text.
_DEEPEST = 100


def _cleaned(value: Any, depth: int = 0) -> Any:
    match value:
        case str():
            return clean_text(value)
        case dict() if depth < _DEEPEST:
            return {clean_text(str(key)): _cleaned(item, depth + 1) for key, item in value.items()}
        case list() | tuple() if depth < _DEEPEST:
            return [_cleaned(item, depth + 1) for item in value]
        case float() if not math.isfinite(value):
            return None
        case None | bool() | int() | float():
            return value
        case dict() | list() | tuple():
            return "\u2026"
    return clean_text(str(value))
