"""Two runs laid side by side: which of their steps belong together, and which words differ. What models and tools wrote is untrusted:
it may be made so that comparing it takes for ever. Runs in a worker: see ``agents.untrusted.pool``.
"""  # noqa: D205 - one thought

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

#: Characters of each text that are compared; of what is longer the rest stays unmarked.
COMPARED = 8_000
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")

#: A step: its kind with its tool, and what it was asked.
Step = tuple[str, str]
#: Places in the two lists; None where there is nothing beside.
Pair = tuple[int | None, int | None]


def align(left: Sequence[Step], right: Sequence[Step]) -> list[Pair]:
    """The steps of two runs in pairs, in order: those that ask the same first, then those of the same kind and tool."""
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
    """Both texts in pieces, each with whether the other one has it not."""
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
