"""Frames of verdicts, comments and of what people are doing now: beside the log, without its numbers.

Times are Unix seconds. ``version`` counts the changes of a session's verdicts and comments: a client ignores one that is not above the one
that it has.
"""

from typing import Literal, NotRequired

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

VerdictName = Literal["good", "bad"]


class VerdictCounts(TypedDict):
    """How many verdicts of each kind a run has."""

    good: int
    bad: int


class NotesData(TypedDict):
    """The verdicts and comments of a session: how many there are, and up to which change."""

    version: int
    counts: dict[str, int]
    """Comments by the number of the step that they are about."""
    verdicts: dict[str, VerdictCounts]
    """By run."""
    mine: dict[str, VerdictName]
    """The reader's own verdicts by run."""


class VerdictData(TypedDict):
    """Somebody has judged a run, or taken that back: `verdict` is null then."""

    run_id: str
    user: str
    verdict: VerdictName | None
    reason: str
    good: int
    bad: int
    version: int


class CommentData(TypedDict):
    """A comment, new or changed."""

    id: str
    seq: int
    """The number of the step that it is about."""
    user: str
    text: str
    """Plain; empty where it is deleted."""
    created_at: float
    edited_at: float | None
    deleted: NotRequired[Literal[True]]
    count: int
    """Comments that the step has now."""
    version: int


class ActivityData(TypedDict):
    """What somebody is doing now; true for a few seconds, unless it is sent again."""

    user: str
    seq: NotRequired[int]
    """The number of the step that they read."""
    typing: NotRequired[bool]


class VerdictFrame(TypedDict):
    """Somebody has judged a run."""

    type: Literal["verdict"]
    data: VerdictData


class CommentFrame(TypedDict):
    """Somebody has commented on a step, or changed or deleted that."""

    type: Literal["comment"]
    data: CommentData


class ActivityFrame(TypedDict):
    """Somebody types, or reads."""

    type: Literal["activity"]
    data: ActivityData
