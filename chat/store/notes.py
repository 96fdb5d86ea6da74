"""Queries about verdicts and comments: how many there are, what has changed since, and the comments themselves."""

from collections.abc import Iterable
from typing import Any, cast
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from chat.models import Comment, Step, Verdict, VerdictWord
from chat.protocol import encode_frame
from chat.protocol.notes import (
    CommentData,
    CommentFrame,
    NotesData,
    VerdictCounts,
    VerdictData,
    VerdictFrame,
    VerdictName,
)

#: How many comments a page shows without scripts.
_PAGE_COMMENTS = 200
NO_NOTES: NotesData = {"version": 0, "counts": {}, "verdicts": {}, "mine": {}}


def summary(session_id: UUID, user_id: int, version: int) -> NotesData:
    """How many verdicts and comments a session has, for one reader. ``version`` was read before, so the counts may be newer."""
    if not version:
        return NO_NOTES
    judged = Verdict.objects.filter(session_id=session_id).exclude(word="")
    mine = judged.filter(user_id=user_id).values_list("run_id", "word")
    return {
        "version": version,
        "counts": {str(seq): count for seq, count in _counts(shown_comments(session_id))},
        "verdicts": {str(run_id): counts for run_id, counts in verdict_counts(judged).items()},
        "mine": {str(run_id): cast(VerdictName, word) for run_id, word in mine},
    }


def shown_comments(session_id: UUID) -> QuerySet[Comment]:
    """A session's comments without deleted ones, oldest first."""
    return Comment.objects.filter(session_id=session_id, deleted_at=None).order_by("created_at", "id")


def notes_of(run_id: UUID) -> dict[str, list[Any]] | None:
    """The verdicts on a run and the comments on its steps, for a page; None if there are none."""
    verdicts = Verdict.objects.filter(run_id=run_id).exclude(word="").select_related("user").order_by("changed_at")
    steps = Step.objects.filter(run_id=run_id, seq__isnull=False)
    comments = Comment.objects.filter(deleted_at=None, session__runs=run_id, seq__in=steps.values("seq"))
    notes: dict[str, list[Any]] = {
        "verdicts": list(verdicts[:_PAGE_COMMENTS]),
        "comments": list(comments.select_related("user").order_by("created_at", "id")[:_PAGE_COMMENTS]),
    }
    return notes if any(notes.values()) else None


def newest_comments(session_id: UUID) -> list[Comment]:
    """The newest comments of a session, oldest first, as many as a page shows without scripts."""
    newest = shown_comments(session_id).select_related("user").reverse()[:_PAGE_COMMENTS]
    return list(newest)[::-1]


def _counts(comments: QuerySet[Comment]) -> Iterable[tuple[int, int]]:
    return comments.order_by("seq").values("seq").annotate(count=Count("pk")).values_list("seq", "count")


def verdict_counts(verdicts: QuerySet[Verdict]) -> dict[UUID, VerdictCounts]:
    """How many verdicts of each kind there are, by run."""
    rows = (
        verdicts.order_by()
        .values("run_id")
        .annotate(good=Count("pk", filter=Q(word=VerdictWord.GOOD)), bad=Count("pk", filter=Q(word=VerdictWord.BAD)))
    )
    return {row["run_id"]: {"good": row["good"], "bad": row["bad"]} for row in rows}


def frames_after(session_id: UUID, version: int, limit: int) -> list[tuple[int, str]]:
    """The frames of changes after a version, by version: the newest of each verdict and comment."""
    verdicts = Verdict.objects.filter(session_id=session_id, version__gt=version).order_by("version")
    comments = Comment.objects.filter(session_id=session_id, version__gt=version).order_by("version")
    changed: list[Verdict | Comment] = [
        *verdicts.select_related("user")[:limit],
        *comments.select_related("user")[:limit],
    ]
    newest = sorted(changed, key=lambda row: row.version)[:limit]
    runs = verdict_counts(Verdict.objects.filter(run__in=[row.run_id for row in newest if isinstance(row, Verdict)]))
    about = [row.seq for row in newest if isinstance(row, Comment)]
    counts = dict(_counts(shown_comments(session_id).filter(seq__in=about)))
    return [
        (
            row.version,
            verdict_frame(row, runs[row.run_id])
            if isinstance(row, Verdict)
            else comment_frame(row, counts.get(row.seq, 0)),
        )
        for row in newest
    ]


def verdict_data(verdict: Verdict, counts: VerdictCounts) -> VerdictData:
    """A verdict as frames have it, with the present numbers of each kind for the run."""
    return {
        "run_id": str(verdict.run_id),
        "user": verdict.user.get_username(),
        "verdict": cast(VerdictName, verdict.word) if verdict.word else None,
        "reason": verdict.reason,
        **counts,
        "version": verdict.version,
    }


def verdict_frame(verdict: Verdict, counts: VerdictCounts) -> str:
    """The frame of a verdict."""
    frame: VerdictFrame = {"type": "verdict", "data": verdict_data(verdict, counts)}
    return encode_frame(frame)


def comment_data(comment: Comment, count: int) -> CommentData:
    """A comment as frames have it, with the present number of comments on its step."""
    data: CommentData = {
        "id": str(comment.pk),
        "seq": comment.seq,
        "user": comment.user.get_username(),
        "text": comment.text,
        "created_at": comment.created_at.timestamp(),
        "edited_at": comment.edited_at.timestamp() if comment.edited_at else None,
        "count": count,
        "version": comment.version,
    }
    if comment.deleted_at is not None:
        data["deleted"] = True
    return data


def comment_frame(comment: Comment, count: int) -> str:
    """The frame of a comment."""
    frame: CommentFrame = {"type": "comment", "data": comment_data(comment, count)}
    return encode_frame(frame)
