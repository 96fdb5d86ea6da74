"""What clients are told of verdicts, comments and of what people do just now: beside the log, never numbered in it.

Times are Unix seconds. ``version`` counts the changes of a session's verdicts and comments: what is not above the one that a client has,
it has already.
"""

from typing import Literal, NotRequired

# Python's own cannot be checked against data before 3.12.
from typing_extensions import TypedDict

VerdictName = Literal["good", "bad"]


class VerdictCounts(TypedDict):
    """How many think what of a run."""

    good: int
    bad: int


class NotesData(TypedDict):
    """What is said beside the log of a session: how much of it, and up to which change."""

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
    """What somebody does just now; true for a few seconds, unless it is said again."""

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
