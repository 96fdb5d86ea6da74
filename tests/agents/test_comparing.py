"""Steps of two runs side by side, and the words in which they differ."""

import pytest

from agents.untrusted import comparing
from agents.untrusted.comparing import COMPARED, mark_words

T, P, W, A = ("thought ", ""), ("tool python", "1+1"), ("tool fetch_page", "a"), ("answer ", "")
ALIGNED = [
    ([], [], []),
    ([T, P, A], [T, P, A], [(0, 0), (1, 1), (2, 2)]),
    ([T, P, A], [T, A], [(0, 0), (1, None), (2, 1)]),
    # The same arguments first, then the same tool.
    ([P], [("tool python", "2+2"), P], [(None, 0), (0, 1)]),
    ([P, A], [("tool python", "2+2"), A], [(0, 0), (1, 1)]),
    ([W, A], [P, A], [(0, None), (None, 0), (1, 1)]),
]


@pytest.mark.parametrize(("left", "right", "pairs"), ALIGNED)
def test_steps_stand_beside_what_they_are_most_like(left: list, right: list, pairs: list) -> None:  # type: ignore[type-arg]
    assert comparing.align(left, right) == pairs


WORDS = [
    ("a b c", "a b c", [("a b c", False)], [("a b c", False)]),
    ("green tea", "black tea", [("green", True), (" tea", False)], [("black", True), (" tea", False)]),
    ("", "so", [], [("so", True)]),
]


@pytest.mark.parametrize(("left", "right", "here", "there"), WORDS)
def test_words_that_differ_are_marked(left: str, right: str, here: list, there: list) -> None:  # type: ignore[type-arg]
    assert mark_words(left, right) == [here, there]


def test_a_long_text_is_shown_whole_and_compared_in_part() -> None:
    long = "x " * COMPARED
    here, there = mark_words(long, f"{long}y")
    assert "".join(text for text, _ in here) == long
    assert "".join(text for text, _ in there) == f"{long}y"
