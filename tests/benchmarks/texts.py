"""Generated texts for searches: words as frequent as in a language, and a few whose number of occurrences is known.

A step's text is two pieces, another pair for each step, and ends with one of two words that occur together in `TOGETHER` steps only.
"""

import itertools
import random

#: Two words that occur together in `TOGETHER` steps.
RARE = "zanzibar"
#: In nearly half of all.
COMMON = "tide"
#: A word of nearly half, and one of about a twentieth.
PAIR = f"{COMMON} harbour"
#: Each in half of all steps.
SELDOM_TOGETHER = ("moonrise", "moonset")
#: In about an eighth.
CHINESE = "潮汐"

PIECES = 2_000
TOGETHER = 10


def pieces() -> list[str]:
    """The pieces, the same every time: words, in every fourth some Chinese too."""
    chance = random.Random(1)
    syllables = ["".join(pair) for pair in itertools.product("bdfgklmnprstvz", "aeiou")]
    words = ["".join(parts) for parts in itertools.islice(itertools.product(syllables, repeat=3), 0, None, 17)]
    characters = [chr(0x4E00 + 7 * number) for number in range(800)]
    # A word's frequency falls with its rank, as in a language.
    by_rank = list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))
    made = []
    for number in range(PIECES):
        piece = " ".join(chance.choices(words, cum_weights=by_rank, k=14))
        if number % 4 == 0:
            piece += f" {COMMON}"
        if number % 40 == 1:
            piece += " harbour"
        if number % 4 == 3:
            before, after = (
                "".join(chance.choices(characters, cum_weights=by_rank[: len(characters)], k=8)) for _ in range(2)
            )
            piece += f" {before}{CHINESE if number % 16 == 3 else ''}{after}"
        made.append(piece)
    return made
