"""E-mail addresses that users have confirmed: mail is sent to no others."""

from datetime import timedelta

from allauth.account.models import EmailAddress, EmailConfirmation
from django.db import transaction
from django.utils import timezone

from chat.accounts.models import User

#: How long the link in a mail is valid; how many confirmation mails an account may cause in an hour.
WORKS_FOR = timedelta(days=1)
MOST_MAILS = 5


class TooManyMails(Exception):
    """The account has caused as many mails as it may within an hour."""


def confirmed_address(user: User) -> str | None:
    """The account's address, if it is confirmed; else None. Mail may be sent only there."""
    if not user.email or not EmailAddress.objects.filter(user=user, email=user.email.lower(), verified=True).exists():
        return None
    return user.email


@transaction.atomic
def begin_confirmation(user: User) -> str:
    """Return the key for the link in a mail to the account's address. Raises `TooManyMails`."""
    # Locked, so that of two simultaneous requests the second counts the first.
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
    """Whether a link's key was sent to the account's present address, and is still valid."""
    return _confirmation(user, key) is not None


@transaction.atomic
def confirm_address(user: User, key: str) -> bool:
    """Mark the account's address as confirmed. Returns False if the key is invalid or has expired."""
    found = _confirmation(user, key)
    if found is None:
        return False
    EmailAddress.objects.filter(pk=found.email_address_id).update(verified=True)
    EmailConfirmation.objects.filter(email_address__user=user).delete()
    return True


def _confirmation(user: User, key: str) -> EmailConfirmation | None:
    alive = EmailConfirmation.objects.filter(sent__gt=timezone.now() - WORKS_FOR)
    return alive.filter(key=key, email_address__user=user, email_address__email=user.email.lower()).first()
