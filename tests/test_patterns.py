"""Every pattern of the product takes time in proportion to its text: texts are untrusted, and the same loop serves other clients.

A new pattern is tested by itself: patterns are found in all modules, and what is repeated are the pattern's own texts and blanks.
"""

import functools
import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import pytest

import agents
import chat
import config
from tests.agents.untrusted.linear import assert_linear

SIZES = (1_500, 24_000)
#: What is never given a longer text than this, in characters: the demo model reads no more of a message, and names of tools are cut.
BOUNDED = {"agents.models.demo.": 4_000, "agents.arguments._AROUND_NAME": 256}
#: Patterns that are only applied at one place of a text (`match`, `fullmatch`), where a search would try each place.
ANCHORED = {
    "agents.models.call_readers._GEMMA",
    "agents.models.call_readers._MISTRAL",
    "agents.models.call_readers._NAMED",
    "agents.models.call_readers._SOLAR",
    "agents.models.demo.quantities._SCALE",
    "agents.models.demo.sums._TOKENS",
    "config.asgi._SESSION",
}
#: How many of a pattern's own texts are repeated, and of how many each pair.
_MOST_UNITS, _MOST_PAIRED = 60, 8


@functools.cache
def found_patterns() -> dict[str, re.Pattern[Any]]:
    """All compiled patterns, by a name: of modules and their classes, and in tuples, lists, sets and dicts there."""
    found: dict[re.Pattern[Any], str] = {}
    for package in (agents, chat, config):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations." in module.name:
                continue
            for name, value in vars(importlib.import_module(module.name)).items():
                inside = (
                    vars(value).values() if isinstance(value, type) and value.__module__ == module.name else [value]
                )
                for pattern in _patterns_in(inside):
                    found.setdefault(pattern, f"{module.name}.{name}")
    return {f"{name} {number}": pattern for number, (pattern, name) in enumerate(found.items())}


def _patterns_in(values: Iterable[Any], depth: int = 0) -> Iterator[re.Pattern[Any]]:
    for value in values:
        if isinstance(value, re.Pattern):
            yield value
        elif depth < 3 and isinstance(value, tuple | list | set | frozenset):
            yield from _patterns_in(value, depth + 1)
        elif depth < 3 and isinstance(value, dict):
            yield from _patterns_in([*value, *value.values()], depth + 1)


def repeated_in(pattern: re.Pattern[Any]) -> list[tuple[str, str]]:
    """Beginnings, and what is repeated behind each: blanks, a letter, a digit, the texts that the pattern names, and pairs of them."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    texts = re.findall(r"[^\W\d_]{2,}|[^\w\s]", re.sub(r"\\[a-zA-Z]|\(\?[P<a-zA-Z:=!]*>?", " ", source))
    units = list(dict.fromkeys([" ", "\n", "a", "0", *texts]))[:_MOST_UNITS]
    pairs = [a + b for a, b in product(units[:_MOST_PAIRED], repeat=2) if a != b]
    return [*(("", unit) for unit in (*units, *pairs)), *((unit, " ") for unit in units)]


def test_all_patterns_are_found() -> None:
    names = {name.partition(" ")[0] for name in found_patterns()}
    assert {"agents.masking._NAMED", "agents.models.refusing.REFUSING_TOOLS", "chat.strip_markdown._INLINE"} <= names
    assert names >= ANCHORED


@pytest.mark.parametrize("package", ["agents.", "chat.", "config."])
def test_every_pattern_takes_time_in_proportion(package: str) -> None:
    slow = []
    for name, pattern in found_patterns().items():
        if not name.startswith(package):
            continue
        work = pattern.match if name.partition(" ")[0] in ANCHORED else pattern.search
        longest = next((limit for prefix, limit in BOUNDED.items() if name.startswith(prefix)), SIZES[-1])
        for size, (begins, unit) in product(SIZES, repeated_in(pattern)):
            text = begins + unit * (min(size, longest) // len(unit)) + "\x01"
            try:
                assert_linear(work, text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text)  # type: ignore[arg-type]
            except AssertionError as error:
                slow.append(f"{name}, {begins!r} and {unit!r}: {error}")
                break
    assert not slow, "\n".join(slow)
