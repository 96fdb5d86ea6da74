"""Addresses that people have shown to be theirs: nothing is mailed anywhere else."""

from datetime import timedelta

from allauth.account.models import EmailAddress, EmailConfirmation
from django.db import transaction
from django.utils import timezone

from chat.accounts.models import User

#: How long the link in a mail works; how many mails an account may have sent in an hour.
WORKS_FOR = timedelta(days=1)
MOST_MAILS = 5


class TooManyMails(Exception):
    """The account has had as many mails sent as it may for now."""


def confirmed_address(user: User) -> str | None:
    """Where mail for this account may go: its address, if that has been confirmed; None where none has."""
    if not user.email or not EmailAddress.objects.filter(user=user, email=user.email.lower(), verified=True).exists():
        return None
    return user.email


@transaction.atomic
def begin_confirmation(user: User) -> str:
    """What the link in a mail to the account's address is to carry. Raises `TooManyMails`."""
    # Held, so that of two asked for at once the second is counted too.
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    sent = EmailConfirmation.objects.filter(email_address__user=user)
    sent.filter(sent__lt=timezone.now() - WORKS_FOR).delete()
    if sent.filter(sent__gt=timezone.now() - timedelta(hours=1)).count() >= MOST_MAILS:
        raise TooManyMails
    address = EmailAddress.objects.get_or_create(user=user, email=user.email.lower())[0]
    made = EmailConfirmation.create(address)
    made.sent = timezone.now()
    made.save(update_fields=["sent"])
    return str(made.key)


def is_confirmation(user: User, key: str) -> bool:
    """Whether a link is of a mail to the address that this account has now, and still works."""
    return _confirmation(user, key) is not None


@transaction.atomic
def confirm_address(user: User, key: str) -> bool:
    """Take the account's address for confirmed; false where the link is none of it, or works no more."""
    found = _confirmation(user, key)
    if found is None:
        return False
    EmailAddress.objects.filter(pk=found.email_address_id).update(verified=True)
    EmailConfirmation.objects.filter(email_address__user=user).delete()
    return True


def _confirmation(user: User, key: str) -> EmailConfirmation | None:
    alive = EmailConfirmation.objects.filter(sent__gt=timezone.now() - WORKS_FOR)
    return alive.filter(key=key, email_address__user=user, email_address__email=user.email.lower()).first()
