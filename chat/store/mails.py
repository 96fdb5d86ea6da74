"""Mails: stored in the transaction of the event, sent later, each at most once.

A mail is marked as being sent before it is. If the server refuses it, or cannot be reached, it is retried a few times. If the connection or
this process ended meanwhile, so that it is not known whether the server has accepted it, it is not: no mail comes twice.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.models import Mail, MailKind, MailState, Origin, Run, RunStatus

#: How many mails of a kind an account gets within an hour.
MOST_IN_AN_HOUR = {MailKind.PASSWORD_RESET: 5}
_MOST = 20
#: Pauses before a mail is retried; after the last one it fails for good.
RETRY_AFTER = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 120))
#: A mail for a password's reset is not sent after so long.
RESET_WITHIN = timedelta(hours=1)
#: After so long the process that is sending a mail counts as dead.
_LEASE = timedelta(minutes=5)
_KEPT_FOR = timedelta(days=30)
_SWEPT = 500
#: The kinds of mail that users can switch off, each with its column in the user's row.
SWITCHES: dict[str, str] = {MailKind.RUN_WAITING: "mail_waiting", MailKind.RUN_FAILED: "mail_failures"}


@dataclass(frozen=True, slots=True)
class ClaimedMail:
    """A mail that this process is to send, its recipient, and its run."""

    mail: Mail
    user: User
    run: Run | None


# Storing


def queue_mail(user_id: int, kind: MailKind, run_id: UUID | None = None) -> None:
    """Queue a mail, in the transaction of the event. Nothing is queued if mail is off, or the hourly limit is reached."""
    if not settings.EMAIL_URL:
        return
    lately = Mail.objects.filter(user=user_id, kind=kind, created_at__gt=timezone.now() - timedelta(hours=1))
    if lately.count() < MOST_IN_AN_HOUR.get(kind, _MOST):
        Mail.objects.create(user_id=user_id, kind=kind, run_id=run_id)


def queue_run_mails(run_id: UUID, kind: MailKind) -> None:
    """Queue mails for the session's owner and the requesting user, by their settings; not for runs within runs, nor for runs of sets."""
    if not settings.EMAIL_URL:
        return
    runs = Run.objects.filter(pk=run_id, parent=None).exclude(origin=Origin.SET)
    if kind == MailKind.RUN_FAILED:
        runs = runs.filter(origin=Origin.SCHEDULE, status=RunStatus.FAILED)
    concerned = set(runs.values_list("session__owner", flat=True)) | set(runs.values_list("user", flat=True))
    wanted = Q(pk__in=concerned - {None}) & Q(**{SWITCHES[kind]: True})
    for user_id in User.objects.filter(wanted, is_active=True).values_list("pk", flat=True):
        queue_mail(user_id, kind, run_id)


# Sending


def is_any_due() -> bool:
    """Whether a mail is due, or its sending was interrupted."""
    return Mail.objects.filter(state__in=[MailState.WAITING, MailState.SENDING], next_at__lte=timezone.now()).exists()


@transaction.atomic
def claim_due(most: int) -> list[ClaimedMail]:
    """Claim due mails, and mark them as being sent. Mails that another process was sending when it died fail for good."""
    now = timezone.now()
    lost = Sentence("The process that sent it has stopped: it may have arrived.")
    Mail.objects.filter(state=MailState.SENDING, next_at__lte=now).update(
        state=MailState.FAILED, error=lost, settled_at=now
    )
    due = Mail.objects.select_for_update(skip_locked=True, of=("self",)).select_related("user")
    claimed = list(due.filter(state=MailState.WAITING, next_at__lte=now).order_by("next_at")[:most])
    Mail.objects.filter(pk__in=[mail.pk for mail in claimed]).update(
        state=MailState.SENDING, next_at=now + _LEASE, attempts=F("attempts") + 1
    )
    runs = Run.objects.select_related("session").in_bulk([mail.run_id for mail in claimed if mail.run_id])
    return [ClaimedMail(mail, mail.user, runs.get(mail.run_id) if mail.run_id else None) for mail in claimed]


def is_still_wanted(claimed: ClaimedMail) -> bool:
    """Whether a mail is still true, and its recipient still wants it."""
    user, run = claimed.user, claimed.run
    if not user.may_enter:
        return False
    switch = SWITCHES.get(claimed.mail.kind)
    if switch is not None and (run is None or run.session.deleted_at is not None or not getattr(user, switch)):
        return False
    match claimed.mail.kind:
        case MailKind.RUN_WAITING:
            return run is not None and run.status == RunStatus.WAITING
        case MailKind.PASSWORD_RESET:
            return claimed.mail.created_at > timezone.now() - RESET_WITHIN
    return True


def drop(mail: Mail) -> None:
    """Mark a mail as dropped: it is of no use any more, or there is no address to send it to."""
    _settle(mail, MailState.DROPPED)


def mark_sent(mail: Mail) -> None:
    """Mark a mail as sent: the server has accepted it."""
    _settle(mail, MailState.SENT)


def mark_failed(mail: Mail, error: str, *, is_final: bool) -> None:
    """Store that a mail was not sent; unless that is final, it is retried a few times."""
    attempts = mail.attempts + 1
    if is_final or attempts > len(RETRY_AFTER):
        _settle(mail, MailState.FAILED, error)
        return
    Mail.objects.filter(pk=mail.pk, state=MailState.SENDING).update(
        state=MailState.WAITING, next_at=timezone.now() + RETRY_AFTER[attempts - 1], error=error[:300]
    )


def _settle(mail: Mail, state: MailState, error: str = "") -> None:
    Mail.objects.filter(pk=mail.pk, state=MailState.SENDING).update(
        state=state, error=error[:300], settled_at=timezone.now()
    )


def stop_mails(user_id: int, kind: str) -> bool:
    """Switch off a kind of mail for a user. Returns False if it cannot be switched off, or there is no such user."""
    column = SWITCHES.get(kind)
    return column is not None and bool(User.objects.filter(pk=user_id).update(**{column: False}))


def sweep_mails() -> None:
    """Delete some of the mails that are past their time."""
    old = Mail.objects.filter(created_at__lt=timezone.now() - _KEPT_FOR).order_by("created_at")
    Mail.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:_SWEPT])).delete()
