"""Verdicts on runs and comments on steps. The only writer of these tables.

Each change is one transaction, on a database thread, and checks there that the user may make it. It gets the next number of its
session's ``notes_version``, by which every process finds changes that it has missed. After the commit, call `publish`.
"""

import time
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from agents.sentence import Sentence
from agents.text import utf16_length
from chat.access import Role, may_note, role_in
from chat.accounts.models import User
from chat.models import Act, Comment, Door, Run, Session, Verdict
from chat.protocol import group_messages, is_blank
from chat.protocol.group_messages import Noted
from chat.protocol.notes import CommentData, VerdictData
from chat.runs.admission import Refused, lock_session
from chat.runtime import groups
from chat.security import audit
from chat.store import notes

#: The longest comment, and the longest reason, in UTF-16 code units.
MOST_UNITS = 4_000
#: The most comments of a session, including deleted ones, and of a user within a minute.
MOST_COMMENTS = 10_000
COMMENTS_PER_MINUTE = 30
#: How many changes a user may make within a minute, as counted by each process: verdicts, edits and deletions.
CHANGES_PER_MINUTE = 60
_MINUTE_S = 60.0
_STAFF = Sentence("Staff may look at this session, but not judge it or comment on it.")
_NO_COMMENT = Sentence("There is no such comment.")


@dataclass(frozen=True, slots=True)
class NoteChange:
    """What has to be published about a change; without a frame, nothing has changed."""

    session_id: UUID
    version: int
    frame: str


async def publish(change: NoteChange) -> None:
    """Publish a change to every process that shows the session."""
    if change.frame:
        message: Noted = {
            "version": group_messages.VERSION,
            "type": "noted",
            "notes_version": change.version,
            "frame": change.frame,
        }
        await groups.publish(groups.of_session(change.session_id), message)


@transaction.atomic
def give_verdict(user: User, session_id: UUID, run_id: UUID, word: str, reason: str) -> tuple[VerdictData, NoteChange]:
    """Give a run a verdict, a `VerdictWord`; an empty one takes it back. Raises `Refused`."""
    _check_length(reason)
    _check_pace(user.pk)
    lock_session(session_id, user, may_note, _STAFF)
    if not Run.objects.filter(pk=run_id, session_id=session_id).exists():
        raise Refused("not_found", Sentence("There is no such run."))
    reason = reason if word else ""
    verdict = Verdict.objects.filter(run_id=run_id, user=user).first()
    if verdict is None:
        verdict = Verdict(session_id=session_id, run_id=run_id, user=user, version=0)
    is_changed = (verdict.word, verdict.reason) != (word, reason)
    if is_changed:
        verdict.word, verdict.reason, verdict.changed_at = word, reason, timezone.now()
        verdict.version = _next_version(session_id)
        verdict.save()
    every = notes.verdict_counts(Verdict.objects.filter(run_id=run_id))
    counts = every.get(run_id, {"good": 0, "bad": 0})
    change = NoteChange(session_id, verdict.version, notes.verdict_frame(verdict, counts) if is_changed else "")
    return notes.verdict_data(verdict, counts), change


@transaction.atomic
def write_comment(user: User, session_id: UUID, seq: int, text: str) -> tuple[CommentData, NoteChange]:
    """Comment on a step of a session, by its number. Raises `Refused`."""
    _check_text(text)
    session = lock_session(session_id, user, may_note, _STAFF)
    if not 1 <= seq <= session.last_seq:
        raise Refused("bad_seq", Sentence("There is no step %(n)s in this session.", n=str(seq)[:20]))
    recent = Comment.objects.filter(user=user, created_at__gt=timezone.now() - timedelta(seconds=_MINUTE_S))
    if recent.count() >= COMMENTS_PER_MINUTE:
        raise Refused(
            "rate_limited", Sentence("At most %(n)d comments a minute. Please wait a moment.", n=COMMENTS_PER_MINUTE)
        )
    if Comment.objects.filter(session_id=session_id).count() >= MOST_COMMENTS:
        raise Refused("conflict", Sentence("This session has %(n)d comments, and takes no more.", n=MOST_COMMENTS))
    comment = Comment(session_id=session_id, seq=seq, user=user, text=text, version=_next_version(session_id))
    comment.save(force_insert=True)
    return _comment_change(comment)


@transaction.atomic
def edit_comment(user: User, comment_id: UUID, text: str) -> tuple[CommentData, NoteChange]:
    """Change the user's own comment. Raises `Refused`."""
    _check_text(text)
    _check_pace(user.pk)
    comment, _ = _lock_comment(user, comment_id)
    if comment.user_id != user.pk:
        raise Refused("not_allowed", Sentence("Only its author can change a comment."))
    if comment.text == text:
        return _comment_change(comment, is_changed=False)
    comment.text, comment.edited_at = text, timezone.now()
    comment.version = _next_version(comment.session_id)
    comment.save(update_fields=("text", "edited_at", "version"))
    return _comment_change(comment)


@transaction.atomic
def delete_comment(user: User, comment_id: UUID, door: Door) -> NoteChange:
    """Delete the user's own comment; or any in their own session, which is recorded in the audit log. Raises `Refused`."""
    _check_pace(user.pk)
    comment, session = _lock_comment(user, comment_id)
    if comment.user_id != user.pk:
        if role_in(user, session) is not Role.OWNER:
            raise Refused("not_allowed", Sentence("Only its author and the session's owner can delete a comment."))
        audit.record_action(
            user.pk,
            Act.DELETE,
            door,
            session_id=session.pk,
            subject_id=comment.user_id,
            about=f"comment {comment.pk}",
        )
    comment.text, comment.deleted_at = "", timezone.now()
    comment.version = _next_version(session.pk)
    comment.save(update_fields=("text", "deleted_at", "version"))
    return _comment_change(comment)[1]


def _lock_comment(user: User, comment_id: UUID) -> tuple[Comment, Session]:
    """A comment that is not deleted, in a session that the user may see, which is locked for the rest of the transaction."""
    session_id = Comment.objects.filter(pk=comment_id).values_list("session_id", flat=True).first()
    if session_id is None:
        raise Refused("not_found", _NO_COMMENT)
    try:
        session = lock_session(session_id, user, may_note, _STAFF)
    except Refused as refused:
        # Even that the session exists is not revealed.
        raise Refused("not_found", _NO_COMMENT) if refused.code == "not_found" else refused from None
    comment = Comment.objects.select_related("user").filter(pk=comment_id, deleted_at=None).first()
    if comment is None:
        raise Refused("not_found", _NO_COMMENT)
    return comment, session


def _comment_change(comment: Comment, *, is_changed: bool = True) -> tuple[CommentData, NoteChange]:
    count = notes.shown_comments(comment.session_id).filter(seq=comment.seq).count()
    frame = notes.comment_frame(comment, count) if is_changed else ""
    return notes.comment_data(comment, count), NoteChange(comment.session_id, comment.version, frame)


def _next_version(session_id: UUID) -> int:
    """Raise and return the number of changes of a session that this transaction has locked."""
    Session.objects.filter(pk=session_id).update(notes_version=F("notes_version") + 1)
    return Session.objects.values_list("notes_version", flat=True).get(pk=session_id)


def _check_text(text: str) -> None:
    _check_length(text)
    if is_blank(text):
        raise Refused("empty_message", Sentence("The comment is empty."))


def _check_length(text: str) -> None:
    if utf16_length(text) > MOST_UNITS:
        raise Refused("too_large", Sentence("At most %(most)s characters are allowed.", most=f"{MOST_UNITS:,}"))


#: The times of each user's latest changes in this process, by `time.monotonic`.
recent_changes: dict[int, deque[float]] = {}
_MOST_KNOWN = 10_000


def _check_pace(user_id: int) -> None:
    now = time.monotonic()
    if len(recent_changes) > _MOST_KNOWN:
        recent_changes.clear()
    latest = recent_changes.setdefault(user_id, deque(maxlen=CHANGES_PER_MINUTE))
    if len(latest) == CHANGES_PER_MINUTE and now - latest[0] < _MINUTE_S:
        raise Refused(
            "rate_limited", Sentence("At most %(n)d changes a minute. Please wait a moment.", n=CHANGES_PER_MINUTE)
        )
    latest.append(now)
