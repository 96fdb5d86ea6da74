"""The result of a check of one part of an installation."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one thing, as a line for people; ``action`` says what to do about it, and is empty if nothing has to be done."""

    level: Level
    text: str
    action: str = ""

    @classmethod
    def ok(cls, text: str) -> Self:
        """Everything is as it should be."""
        return cls(Level.OK, text)

    @classmethod
    def warn(cls, text: str, action: str) -> Self:
        """It works, but something should be done about it."""
        return cls(Level.WARN, text, action)

    @classmethod
    def fail(cls, text: str, action: str) -> Self:
        """It does not work."""
        return cls(Level.FAIL, text, action)


Check = Callable[[], Iterable[Finding]]
