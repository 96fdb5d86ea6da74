"""What a check tells."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How it stands with a part."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """How it stands with one thing, as a line for people, and what mends it where it is not well."""

    level: Level
    said: str
    action: str = ""


Check = Callable[[], Iterable[Finding]]


def well(said: str) -> Finding:
    """It is as it should be."""
    return Finding(Level.OK, said)


def doubtful(said: str, action: str) -> Finding:
    """It works, and should be seen to."""
    return Finding(Level.WARN, said, action)


def broken(said: str, action: str) -> Finding:
    """It does not work."""
    return Finding(Level.FAIL, said, action)
