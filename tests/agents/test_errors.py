"""What an exception references after it was handled."""

import weakref

from agents.errors import clear_traceback_frames


class Kept:
    """An object that a function uses."""


def reading(kept: Kept) -> None:
    raise OSError(str(kept))


def asking(kept: Kept) -> None:
    try:
        reading(kept)
    except OSError as error:
        raise ValueError from error


def test_an_error_lets_go_of_what_its_calls_held_and_those_of_its_cause() -> None:
    kept = Kept()
    left = weakref.ref(kept)
    try:
        asking(kept)
    except ValueError as caught:
        error = caught
    del kept
    assert left() is not None
    clear_traceback_frames(error)
    assert left() is None


def test_errors_that_are_each_others_cause_have_an_end() -> None:
    first, second = ValueError(), OSError()
    first.__cause__, second.__context__ = second, first
    clear_traceback_frames(first)
