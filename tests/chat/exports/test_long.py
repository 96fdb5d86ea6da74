"""A session of a hundred thousand steps is written without being in memory."""

import tracemalloc

import pytest

from chat.exports.files import FORMATS, next_piece
from chat.exports.source import Source
from chat.store import step_log
from tests.chat import making

STEPS, AT_ONCE = 100_000, 1_000
MOST_BYTES = 24_000_000


@pytest.mark.long
@pytest.mark.django_db
def test_a_long_session_takes_little_memory() -> None:
    session = making.session(making.user())
    run = making.run(session)
    for first in range(0, STEPS, AT_ONCE):
        thoughts = [
            making.step("thought", f"I think of {n}. " * 10, step=n, iteration=n) for n in range(first, first + AT_ONCE)
        ]
        step_log.append_unowned(run, thoughts, position=first, findable=False)
    session.refresh_from_db()
    for kind, chosen in FORMATS.items():
        texts = chosen.write(Source(session))
        tracemalloc.start()
        try:
            length = 0
            while piece := next_piece(texts):
                length += len(piece)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert length > STEPS * 150, kind
        assert peak < MOST_BYTES, (kind, peak)
