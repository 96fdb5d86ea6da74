"""Splits texts into words for the index: folded, and text of scripts without spaces into pairs of characters."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import orjson

#: How many characters of a step's text are indexed; more would delay the transaction that stores it.
INDEXED_CHARACTERS = 100_000
_LONGEST_WORD = 64
_MOST_WORDS = 24
QUERY_CHARACTERS = 1_000
#: The last word of a query, if it has at least so many letters, also matches all words that begin with it.
_SHORTEST_BEGINNING = 4
#: On PostgreSQL: how many of an owner's newest steps are scanned before the index is queried for all, and how many if the
#: words turn out to be common.
RECENT_STEPS = 5_000
RECENT_STEPS_FOR_COMMON = 25_000

# Prefixes of the owner's and the session's word: private-use characters, which no word of a text can contain.
OWNER_MARK = "\ue000"
SESSION_MARK = "\ue001"

#: Scripts written without spaces between words: Han, kana, bopomofo, hangul, and their iteration marks.
_UNSPACED = "\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff"
_LETTER = f"[^\\W_{_UNSPACED}]"
_WORDS = re.compile(f"[{_UNSPACED}]+|{_LETTER}+")
_UNSPACED_WORD = re.compile(f"[{_UNSPACED}]")
_ASCII_WORDS = re.compile("[a-z0-9]+")


class _Folding(dict[int, str]):
    """What each character becomes when it is folded, computed when it first occurs."""

    def __init__(self, *, keep_length: bool = False) -> None:
        super().__init__()
        self._keep_length = keep_length

    def __missing__(self, code: int) -> str:
        char = chr(code)
        folded = "" if 0x300 <= code <= 0x36F else unicodedata.normalize("NFKC", char).casefold()
        base = unicodedata.normalize("NFD", folded)[:1]
        if base and base < "\u0400":
            # Accents are removed from Latin and Greek letters; in other scripts a combining mark may be part of the letter.
            folded = "".join(c for c in unicodedata.normalize("NFD", folded) if not unicodedata.combining(c))
        if self._keep_length and len(folded) != 1:
            folded = char
        self[code] = folded
        return folded


_folding = _Folding()
_folding_in_place = _Folding(keep_length=True)


def split_words(text: str) -> list[str]:
    """A text's words, folded."""
    if text.isascii():
        return _ASCII_WORDS.findall(text.lower())
    return _WORDS.findall(text.translate(_folding))


def _is_unspaced(word: str) -> bool:
    return _UNSPACED_WORD.match(word) is not None


def _pairs(run: str) -> list[str]:
    """A run's pairs of characters, and its last character alone: so each of its characters begins one of these."""
    return [run[at : at + 2] for at in range(len(run))]


def index_terms(text: str) -> Iterable[str]:
    """The terms by which a text is found: its words, and pairs of characters of scripts without spaces."""
    found: dict[str, None] = {}
    for word in dict.fromkeys(split_words(text[:INDEXED_CHARACTERS])):
        if _is_unspaced(word):
            found.update(dict.fromkeys(_pairs(word)))
        else:
            found[word[:_LONGEST_WORD]] = None
    return found


class SearchQuery:
    """A parsed query: its words as the index has them, and how to find them in a text."""

    def __init__(self, text: str) -> None:
        text = text[:QUERY_CHARACTERS].rstrip()
        words = list(dict.fromkeys(split_words(text)))[:_MOST_WORDS]
        #: Whole words, and beginnings of words.
        self.whole: list[str] = []
        self.beginnings: list[str] = []
        self._patterns: list[str] = []
        for at, word in enumerate(words):
            if _is_unspaced(word):
                self._add_run(word)
                continue
            open_end = at == len(words) - 1 and len(word) >= _SHORTEST_BEGINNING and text[-1].isalnum()
            (self.beginnings if open_end else self.whole).append(word[:_LONGEST_WORD])
            end = f"{_LETTER}*" if open_end or len(word) > _LONGEST_WORD else f"(?!{_LETTER})"
            self._patterns.append(f"(?<!{_LETTER}){word[:_LONGEST_WORD]}{end}")
        self.whole = self.whole[:_MOST_WORDS]

    def _add_run(self, run: str) -> None:
        pairs = list(dict.fromkeys(_pairs(run)[:-1]))
        if pairs:
            self.whole += pairs
        else:
            self.beginnings.append(run)
        self._patterns.append("|".join([run, *pairs]))

    def __bool__(self) -> bool:
        return bool(self.whole or self.beginnings)

    @cached_property
    def _each(self) -> list[re.Pattern[str]]:
        return [re.compile(pattern) for pattern in self._patterns]

    @cached_property
    def _any(self) -> re.Pattern[str]:
        return re.compile("|".join(self._patterns))

    def occurs_in(self, text: str) -> bool:
        """Whether all its words occur in a text."""
        folded = text.translate(_folding_in_place)
        return all(pattern.search(folded) for pattern in self._each)

    def stands_in(self, text: str) -> bool:
        """Whether any of its words occurs in a text."""
        return self._any.search(text.translate(_folding_in_place)) is not None

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where its words occur in a text."""
        return (match.span() for match in self._any.finditer(text.translate(_folding_in_place)))


def indexed_text(event: str, kind: str, body: str, numbered: bool, full_content: str | None = None) -> str:
    """The text of a step that is searched; empty if it has none."""
    if event == "reasoning_start":
        data = orjson.loads(body)
        return "" if data.get("continues") else str(data["message"])
    if event == "response":
        return str(orjson.loads(body)["content"])
    if event not in ("reasoning_step", "child_step"):
        return ""
    if kind == "tool_use":
        data = orjson.loads(body)
        return f"{data['tool_name']} {flat_text(data.get('arguments'))}"
    # The answer of a run without reasoning is indexed as its `response`.
    if kind in ("thought", "tool_result") or (kind == "final_answer" and numbered):
        return full_content if full_content is not None else str(orjson.loads(body)["content"])
    return ""


def flat_text(value: Any) -> str:
    """Arguments as plain text: in JSON text, line breaks would be letters."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {flat_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(flat_text(item) for item in value)
    return "" if value is None else str(value)
