"""Compares two runs: which of their steps correspond, and which words differ.

Texts of models and tools are untrusted: comparing them may take very long. Runs in a worker: see ``agents.untrusted.pool``.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

#: How many characters of each text are compared; the rest of a longer one stays unmarked.
COMPARED = 8_000
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")

#: A step: its kind with its tool, and the text of its call.
Step = tuple[str, str]
#: Indexes in the two lists; None if a step has no counterpart.
Pair = tuple[int | None, int | None]


def align(left: Sequence[Step], right: Sequence[Step]) -> list[Pair]:
    """Pair the steps of two runs, in order: equal ones first, then those of the same kind and tool."""
    pairs: list[Pair] = []
    exact = SequenceMatcher(None, [tuple(each) for each in left], [tuple(each) for each in right], autojunk=False)
    for tag, a, a_end, b, b_end in exact.get_opcodes():
        if tag == "equal":
            pairs += zip(range(a, a_end), range(b, b_end), strict=True)
        else:
            pairs += _by_kind(left, right, range(a, a_end), range(b, b_end))
    return pairs


def _by_kind(left: Sequence[Step], right: Sequence[Step], here: range, there: range) -> Iterator[Pair]:
    kinds = SequenceMatcher(None, [left[at][0] for at in here], [right[at][0] for at in there], autojunk=False)
    for tag, a, a_end, b, b_end in kinds.get_opcodes():
        if tag == "equal":
            yield from zip(here[a:a_end], there[b:b_end], strict=True)
        else:
            yield from ((at, None) for at in here[a:a_end])
            yield from ((None, at) for at in there[b:b_end])


def mark_words(left: str, right: str) -> list[list[tuple[str, bool]]]:
    """Both texts in pieces, each with whether the other text lacks it."""
    a, b = _WORDS.findall(left[:COMPARED]), _WORDS.findall(right[:COMPARED])
    marked: list[list[tuple[str, bool]]] = [[], []]
    for tag, a_at, a_end, b_at, b_end in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for side, words in enumerate((a[a_at:a_end], b[b_at:b_end])):
            if words:
                marked[side].append(("".join(words), tag != "equal"))
    for side, text in enumerate((left, right)):
        if text[COMPARED:]:
            marked[side].append((text[COMPARED:], False))
    return marked
