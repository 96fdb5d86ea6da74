"""Numbers as people write them, in English or Chinese, in digits or words."""

import re
from collections.abc import Sequence
from decimal import Context, Decimal

# ASCII, so that an English word ends where a Chinese one begins.
_FLAGS = re.IGNORECASE | re.ASCII
_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORDS = {word: value for value, word in enumerate(_ONES)} | {word: 10 * n for n, word in enumerate(_TENS, start=2)}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "k": 1_000, "萬": 10**4, "万": 10**4}
_SCALES |= {"億": 10**8, "亿": 10**8}
_HAN_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "兩": 2, "两": 2}
_HAN_UNITS = {"十": 10, "百": 100, "千": 1_000}
HAN = "零〇一二兩两三四五六七八九十百千"
# Decimal rounds to 28 digits otherwise.
_EXACT = Context(prec=10_000)

_WORD = "|".join(sorted(WORDS, key=len, reverse=True))
_SCALE_WORD = "hundred|thousand|million|billion"
_NUMBER = re.compile(
    rf"""
      (?P<grouped>\d{{1,3}}(?:[,' _]\d{{3}})+(?!\d)(?:\.\d+)?)       # 2,340.50 · 2 340 · 2'340
    | (?P<european>\d{{1,3}}(?:\.\d{{3}})+,\d+(?!\d)|(?<!\d,)(?<!\d)\d{{1,30}},\d{{1,2}}(?![\d,]))  # 2.340,50 · 17,5
    | (?P<plain>\d+(?:\.\d+)?(?:e[+-]?\d{{1,3}}\b)?|\.\d+)
    | (?P<words>\b(?:{_WORD})\b(?:(?:\s+(?:and\s+)?|-)(?:{_WORD}|{_SCALE_WORD})\b)*)
    | (?P<han>(?!百分之)[{HAN}]+)
    """,
    re.VERBOSE | _FLAGS,
)
_SCALE = re.compile(r"\s*(?:(hundred|thousand|million|billion)\b|(k)\b|([萬万億亿]))", _FLAGS)


def parse_number(text: str) -> Decimal | None:
    """The value of a number as people write it; ``None`` if it is none."""
    found = _NUMBER.fullmatch(text.strip())
    return _value(found) if found else None


def match_number(text: str, at: int) -> tuple[Decimal, int] | None:
    """The number that begins at a position in a text, with words of scale after it (“3 million”), and where it ends."""
    found = _NUMBER.match(text, at)
    if found is None:
        return None
    value, end = _value(found), found.end()
    while scale := _SCALE.match(text, end):
        value = _EXACT.multiply(value, _SCALES[next(filter(None, scale.groups())).lower()])
        end = scale.end()
    return value, end


def _value(found: re.Match[str]) -> Decimal:
    kind, text = found.lastgroup, found[0]
    if kind == "grouped":
        return Decimal(re.sub("[,' _]", "", text))
    if kind == "european":
        return Decimal(text.replace(".", "").replace(",", "."))
    if kind == "words":
        return Decimal(_from_words(re.findall("[a-z]+", text.lower())))
    if kind == "han":
        return Decimal(_from_han(text))
    return Decimal(text)


def _from_words(words: Sequence[str]) -> int:
    total = current = 0
    for word in words:
        if word in WORDS:
            current += WORDS[word]
        elif word == "hundred":
            current = (current or 1) * 100
        elif word in _SCALES:
            total += (current or 1) * _SCALES[word]
            current = 0
    return total + current


def _from_han(text: str) -> int:
    if not any(unit in text for unit in _HAN_UNITS):
        return int("".join(str(_HAN_DIGITS[digit]) for digit in text))
    total = digit = 0
    for sign in text:
        if sign in _HAN_UNITS:
            total += (digit or 1) * _HAN_UNITS[sign]
            digit = 0
        else:
            digit = _HAN_DIGITS[sign]
    return total + digit
