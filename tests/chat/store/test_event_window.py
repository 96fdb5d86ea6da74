"""A window of events has no gap, and never treats unknown events as missing ones."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.store.event_window import NOT_KNOWN, EventWindow
from chat.store.step_log import Stored

RUN = uuid4()


def stored(seq: int, run_id: UUID = RUN) -> Stored:
    return Stored(seq, run_id, f"frame {seq}", "reasoning_step", seq)


@given(
    begins=st.integers(0, 30), offered=st.lists(st.integers(1, 60)), keep=st.integers(1, 5), asked=st.integers(0, 70)
)
def test_a_window_holds_consecutive_numbers(begins: int, offered: list[int], keep: int, asked: int) -> None:
    window, last = EventWindow(begins, keep), begins
    for seq in [*offered, *range(begins + 1, begins + 9)]:
        if seq == last + 1:
            window.append(stored(seq))
            last = seq
        else:
            with pytest.raises(ValueError, match="does not follow"):
                window.append(stored(seq))
    assert window.last == last
    after = window.after(asked)
    if asked >= last:
        assert after == []
    elif after is not NOT_KNOWN:
        assert after == [stored(seq) for seq in range(asked + 1, last + 1)]
    else:
        assert asked < max(begins, last - keep)
    assert window.at(asked) in (NOT_KNOWN, stored(asked))
    assert (window.at(asked) is NOT_KNOWN) == (asked > last or asked == 0 or window.after(asked - 1) is NOT_KNOWN)
