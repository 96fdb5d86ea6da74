"""Deletes sessions and accounts: at once for everyone, and from the tables in small batches, so that other writers do not wait.

The command's transaction marks what is deleted; from then on no query finds it. The marked rows, however many, are deleted in
batches, each a short transaction, by any process and after any crash; the marked row itself goes last. Rows that refer to a deleted row
are deleted too, or their reference is set to null, as the tables' foreign keys say.
"""

import logging
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from axes.models import AccessAttempt
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.db.models import Model, Q, QuerySet
from django.utils import timezone

from chat.accounts.models import User
from chat.models import (
    IS_OPEN,
    Case,
    CaseFile,
    CaseResult,
    CaseSet,
    ClosedAccount,
    Comment,
    Connection,
    Draft,
    File,
    FileChunk,
    FileText,
    ImportedDocument,
    IndexMove,
    Mail,
    ModelCall,
    ModelContent,
    Occurrence,
    OwnerOffer,
    RequestKey,
    Run,
    Schedule,
    SentAlong,
    Session,
    SessionFile,
    SetRun,
    SetShare,
    Share,
    ShareJoin,
    StandingApproval,
    SteeringWord,
    Step,
    StepContent,
    StepOrigin,
    Thread,
    Verdict,
    WaitingCall,
    WebhookDelivery,
    WordState,
)
from chat.runs import state as run_state
from chat.security import audit
from chat.store import files as stored_files
from chat.store import search

logger = logging.getLogger(__name__)

#: Rows of a batch: the first, the most and the fewest; and how many seconds one may take, because other writers wait for it.
_FIRST_BATCH = 200
_LARGEST_BATCH = 1_000
_SMALLEST_BATCH = 50
_LONGEST_S = 0.1
#: A session with no more rows than this is deleted in the command's transaction.
_AT_ONCE = 500
#: How many files one batch deletes: each may be large.
_FILES = 2
#: How many sessions one batch covers.
_SESSIONS = 50


# Marking


def hide_session(session_id: UUID) -> list[UUID]:
    """Delete a session for everyone, in the caller's transaction, which has locked its row. Returns its running runs.

    A short session is deleted completely in that transaction; the rest of a longer one by `erase_batch`.
    """
    at_work = run_state.abandon(Q(session=session_id))
    # As when a session's row is deleted: its schedules have none any more.
    Schedule.objects.filter(session=session_id).update(session=None)
    Occurrence.objects.filter(IS_OPEN, run__session=session_id).update(run=None)
    CaseResult.objects.filter(run__session=session_id).update(run=None)
    Session.everything.filter(pk=session_id).update(deleted_at=timezone.now())
    _erase_sessions([session_id], _AT_ONCE)
    return at_work


def hide_sessions_of_set(set_id: UUID) -> list[UUID]:
    """Delete the sessions that were opened for a set's cases for everyone; `erase_batch` deletes their rows. Returns their running runs."""
    opened = Session.everything.filter(for_set=set_id, deleted_at=None)
    # A subquery: there may be more than a statement accepts as parameters.
    at_work = run_state.abandon(Q(session__in=opened.values("pk")))
    opened.update(deleted_at=timezone.now())
    return at_work


@transaction.atomic
def close_account(user_id: int) -> list[UUID]:
    """Delete an account: its logins end, and none of its runs continues. Returns its running runs."""
    user = User.objects.select_for_update().get(pk=user_id)
    user.is_active = user.is_staff = user.is_superuser = False
    # This ends all of its logins.
    user.set_unusable_password()
    user.save(update_fields=("is_active", "is_staff", "is_superuser", "password"))
    SteeringWord.objects.filter(user=user, state=WordState.PENDING).update(state=WordState.TAKEN_BACK)
    ClosedAccount.objects.get_or_create(user=user, defaults={"pseudonym": audit.new_pseudonym()})
    Schedule.objects.filter(owner=user).update(enabled=False, next_at=None)
    own = run_state.abandon(Q(session__owner=user))
    elsewhere = run_state.abandon(Q(user=user))
    return [*own, *elsewhere]


# Removing


class Pace:
    """Adapts the size of batches, so that each takes a short time on any database."""

    def __init__(self) -> None:
        self.rows = _FIRST_BATCH

    def adapt(self, took_s: float) -> None:
        """Adapt the size of the next batch to the seconds that one took."""
        if took_s > _LONGEST_S:
            self.rows = max(_SMALLEST_BATCH, self.rows // 2)
        elif took_s < _LONGEST_S / 3:
            self.rows = min(_LARGEST_BATCH, self.rows * 2)


def is_any() -> bool:
    """Whether deleted rows are still in the tables, or a file was never used."""
    return (
        Session.everything.filter(deleted_at__lte=timezone.now()).exists()
        or ClosedAccount.objects.exists()
        or stored_files.unused().exists()
    )


def erase_batch(pace: Pace) -> float | None:
    """Delete a batch. Returns for how many seconds it has blocked other writers; None if there is nothing more to delete."""
    began = time.monotonic()
    with transaction.atomic():
        has_deleted = _erase_hidden(pace.rows) or _erase_account(pace.rows) or _erase_unused()
    took = time.monotonic() - began
    if not has_deleted:
        return None
    pace.adapt(took)
    return took


def _erase_hidden(limit: int) -> bool:
    # A session that is hidden until a later time is still being copied; if nothing copies it any more, it is deleted after that time.
    hidden = Session.everything.select_for_update(skip_locked=True).filter(deleted_at__lte=timezone.now())
    session_ids = list(hidden.order_by("deleted_at").values_list("pk", flat=True)[:_SESSIONS])
    return bool(session_ids) and _erase_sessions(session_ids, limit)


def _erase_sessions(session_ids: list[UUID], limit: int) -> bool:
    """Delete up to ``limit`` rows of marked sessions, and the sessions once they have no more. Returns whether anything was deleted."""
    if _erase_files_of(session_ids):
        return True
    steps = _keys(Step.objects.filter(session__in=session_ids), limit)
    if steps:
        search.forget(steps)
        _delete(StepContent.objects.filter(step__in=steps))
        _delete(StepOrigin.objects.filter(step__in=steps))
        _delete(Step.objects.filter(pk__in=steps))
    if len(steps) == limit:
        return True
    for kept in (ModelCall, ModelContent, Verdict, Comment, WaitingCall, StandingApproval):
        rows = kept._base_manager.filter(session__in=session_ids)  # noqa: SLF001
        keys = _keys(rows, limit)
        if keys:
            _delete(kept._base_manager.filter(pk__in=keys))  # noqa: SLF001
        if len(keys) == limit:
            return True
    # Runs within others first, because they refer to these.
    within = Run.objects.filter(session__in=session_ids).order_by("-depth")
    runs = list(within.values_list("pk", flat=True)[:limit])
    if runs:
        Run.objects.filter(continues__in=runs).update(continues=None)
        Occurrence.objects.filter(run__in=runs).update(run=None)
        CaseResult.objects.filter(run__in=runs).update(run=None)
        _delete(Draft.objects.filter(run__in=runs))
        _delete(SentAlong.objects.filter(run__in=runs))
        _delete(SteeringWord.objects.filter(run__in=runs))
        _delete(Run.objects.filter(pk__in=runs))
    if len(runs) == limit:
        return True
    _delete(Connection.objects.filter(session__in=session_ids))
    _delete(ImportedDocument.objects.filter(session__in=session_ids))
    _delete(Thread.objects.filter(session__in=session_ids))
    Schedule.objects.filter(session__in=session_ids).update(session=None)
    shares = Share.objects.filter(session__in=session_ids)
    _delete(ShareJoin.objects.filter(share__in=_keys(shares, limit)))
    _delete(shares)
    _delete(OwnerOffer.objects.filter(session__in=session_ids))
    _delete(IndexMove.objects.filter(session__in=session_ids))
    _delete(Session.everything.filter(pk__in=session_ids))
    return True


def _erase_files_of(session_ids: list[UUID]) -> bool:
    """Detach some files from the sessions, and delete those that nothing else uses. Returns whether there may be more."""
    uses = dict(SessionFile.objects.filter(session__in=session_ids).values_list("pk", "file_id")[:_FILES])
    if not uses:
        return False
    _delete(SessionFile.objects.filter(pk__in=uses))
    file_ids = set(uses.values())
    for other in (SessionFile, CaseFile):
        file_ids -= set(other._base_manager.filter(file__in=file_ids).values_list("file_id", flat=True))  # noqa: SLF001
    _erase_files(file_ids)
    return len(uses) == _FILES


def _erase_files(file_ids: set[UUID]) -> bool:
    if not file_ids:
        return False
    for parts in (SessionFile, CaseFile, FileChunk, FileText):
        _delete(parts.objects.filter(file__in=file_ids))
    _delete(File.objects.filter(pk__in=file_ids))
    return True


def _erase_unused() -> bool:
    return _erase_files(set(_keys(stored_files.unused(), _FILES)))


def _erase_files_of_user(user_id: int, _limit: int) -> bool:
    return _erase_files(set(_keys(File.objects.filter(owner=user_id), _FILES)))


def _erase_account(limit: int) -> bool:
    closed = ClosedAccount.objects.select_for_update(skip_locked=True, of=("self",)).order_by("closed_at").first()
    if closed is None:
        return False
    if closed.pseudonym is None:
        # An account that a process of an earlier version has closed.
        closed.pseudonym = audit.new_pseudonym()
        closed.save(update_fields=["pseudonym"])
    for part in _PARTS:
        if part(closed.user_id, limit):
            return True
    if audit.use_pseudonym(closed.user_id, closed.pseudonym, limit):
        return True
    user = User.objects.get(pk=closed.user_id)
    # Failed logins contain its name, and do not refer to its row.
    AccessAttempt.objects.filter(username=user.get_username()).delete()
    # Only few rows are left, and those of other packages.
    user.delete()
    logger.info("The account %d was removed", closed.user_id)
    return True


def _hide_sessions(user_id: int, limit: int) -> bool:
    now = timezone.now()
    # Including those that are still being copied.
    shown = Session.everything.filter(Q(deleted_at=None) | Q(deleted_at__gt=now), owner=user_id)
    session_ids = _keys(shown, limit)
    Session.everything.filter(pk__in=session_ids).update(deleted_at=now)
    return bool(session_ids)


def _forget_asked(user_id: int, limit: int) -> bool:
    runs = _keys(Run.objects.filter(user=user_id), limit)
    Run.objects.filter(pk__in=runs).update(user=None)
    return bool(runs)


def _forget_stopped(user_id: int, limit: int) -> bool:
    runs = _keys(Run.objects.filter(cancelled_by=user_id), limit)
    Run.objects.filter(pk__in=runs).update(cancelled_by=None)
    return bool(runs)


def _delete_some(rows: Callable[[int], QuerySet[Model]]) -> Callable[[int, int], bool]:
    def delete(user_id: int, limit: int) -> bool:
        keys = _keys(rows(user_id), limit)
        # By primary keys only: the query may join tables, and would join them completely for each batch.
        _delete(rows(user_id).model._base_manager.filter(pk__in=keys))  # noqa: SLF001
        return bool(keys)

    return delete


#: An account's tables that may have many rows, in the order in which they can be deleted.
_PARTS: tuple[Callable[[int, int], bool], ...] = (
    _hide_sessions,
    _forget_asked,
    _forget_stopped,
    _delete_some(lambda user_id: Occurrence.objects.filter(schedule__owner=user_id)),
    _delete_some(lambda user_id: Schedule.objects.filter(owner=user_id)),
    _delete_some(lambda user_id: CaseResult.objects.filter(set_run__case_set__owner=user_id)),
    _delete_some(lambda user_id: SetRun.objects.filter(case_set__owner=user_id)),
    _delete_some(lambda user_id: CaseFile.objects.filter(case__case_set__owner=user_id)),
    _delete_some(lambda user_id: Case.objects.filter(case_set__owner=user_id)),
    _delete_some(lambda user_id: SetShare.objects.filter(case_set__owner=user_id)),
    _delete_some(lambda user_id: CaseSet.objects.filter(owner=user_id)),
    _erase_files_of_user,
    _delete_some(lambda user_id: SteeringWord.objects.filter(user=user_id)),
    _delete_some(lambda user_id: Verdict.objects.filter(user=user_id)),
    _delete_some(lambda user_id: Comment.objects.filter(user=user_id)),
    _delete_some(lambda user_id: Connection.objects.filter(user=user_id)),
    _delete_some(lambda user_id: RequestKey.objects.filter(owner=user_id)),
    _delete_some(lambda user_id: Mail.objects.filter(user=user_id)),
    _delete_some(lambda user_id: WebhookDelivery.objects.filter(webhook__owner=user_id)),
    _delete_some(lambda user_id: LogEntry.objects.filter(user=user_id)),
)


def _keys(rows: QuerySet[Model], limit: int) -> list[Any]:
    return list(rows.order_by().values_list("pk", flat=True)[:limit])


def _delete(rows: QuerySet[Model]) -> None:
    """Delete rows that no other row refers to. Django's own `delete` would first read all of them to find such rows."""
    rows.order_by()._raw_delete(rows.db)  # noqa: SLF001
