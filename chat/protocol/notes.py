"""Frames of verdicts and comments, and of what people are doing now. They are not part of the log, and have no numbers in it.

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
    """How many comments there are, by the number of the step that they are about."""
    verdicts: dict[str, VerdictCounts]
    """By the run's id."""
    mine: dict[str, VerdictName]
    """The reader's own verdicts, by the run's id."""


class VerdictData(TypedDict):
    """A user's verdict on a run; `verdict` is null if it was taken back."""

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
    """Plain text; empty if it was deleted."""
    created_at: float
    edited_at: float | None
    deleted: NotRequired[Literal[True]]
    count: int
    """How many comments the step has now."""
    version: int


class ActivityData(TypedDict):
    """What somebody is doing now; valid for a few seconds, unless it is sent again."""

    user: str
    seq: NotRequired[int]
    """The number of the step that they read."""
    typing: NotRequired[bool]


class VerdictFrame(TypedDict):
    """A verdict on a run was given or taken back."""

    type: Literal["verdict"]
    data: VerdictData


class CommentFrame(TypedDict):
    """A comment on a step was written, changed or deleted."""

    type: Literal["comment"]
    data: CommentData


class ActivityFrame(TypedDict):
    """Somebody is typing, or reading."""

    type: Literal["activity"]
    data: ActivityData
