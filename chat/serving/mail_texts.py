"""The texts of mails, in their readers' languages: what happened, a title and a link, but no questions or answers."""

from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core import signing
from django.utils import translation
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from django.utils.translation import gettext as _

from chat.models import MailKind
from chat.store.links import page_address
from chat.store.mails import SWITCHES, ClaimedMail

_SALT = "mails"


@dataclass(frozen=True, slots=True)
class Words:
    """A mail's subject and text, and the address by which it can be switched off, if any."""

    subject: str
    body: str
    stop_address: str = ""


def words_of(claimed: ClaimedMail) -> Words:
    """The text of a mail, in its reader's language."""
    with translation.override(claimed.user.language or settings.LANGUAGE_CODE):
        subject, body = _WORDS[claimed.mail.kind](claimed)
        if claimed.mail.kind not in SWITCHES:
            return Words(subject, body)
        stop = page_address(f"/accounts/mail/stop/{sign_stop(claimed.user.pk, claimed.mail.kind)}/")
        foot = _("To be mailed no more of these, open %(link)s") % {"link": stop}
        return Words(subject, f"{body}\n\n-- \n{foot}\n", stop)


def sign_stop(user_id: int, kind: str) -> str:
    """The signed value of an address that switches off a kind of mail for a user."""
    return signing.dumps([user_id, kind], salt=_SALT)


def read_stop(signed: str) -> tuple[int, str] | None:
    """The user and the kind of mail of such a value; None if it is not valid."""
    try:
        user_id, kind = signing.loads(signed, salt=_SALT)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return int(user_id), str(kind)


def _of_run(claimed: ClaimedMail, subject: str, body: str) -> tuple[str, str]:
    run = claimed.run
    if run is None:
        raise ValueError("The mail is about a run that does not exist any more.")
    # A title from a model or a client may contain line breaks, which a subject must not.
    title = " ".join(run.session.title.split()) or str(run.session_id)
    link = page_address(f"/sessions/{run.session_id}/#run-{run.pk}")
    return subject % {"title": title}, body % {"title": title, "link": link}


def _waiting(claimed: ClaimedMail) -> tuple[str, str]:
    body = _("A run in “%(title)s” waits for a decision or an answer of yours:\n\n%(link)s")
    return _of_run(claimed, _("Needs you: %(title)s"), body)


def _failed(claimed: ClaimedMail) -> tuple[str, str]:
    body = _("A scheduled run in “%(title)s” has failed. What happened is told here:\n\n%(link)s")
    return _of_run(claimed, _("Failed: %(title)s"), body)


def _reset(claimed: ClaimedMail) -> tuple[str, str]:
    user = claimed.user
    token = f"{urlsafe_base64_encode(force_bytes(user.pk))}/pr_{default_token_generator.make_token(user)}"
    link = page_address(f"/accounts/password_reset/{token}/")
    body = _(
        "Somebody, probably you, wants to set a new password for %(name)s at Thinkaloud. To do that, open this link within a day:"
        "\n\n%(link)s\n\nIf it was not you, do nothing: the password stays as it is."
    )
    return _("Set a new password"), body % {"name": user.get_username(), "link": link}


def _changed(claimed: ClaimedMail) -> tuple[str, str]:
    body = _(
        "The password of %(name)s at Thinkaloud was changed. Everything else that was logged in, and every token, has ended.\n\n"
        "If it was not you, set a new one and tell whoever runs the installation."
    )
    return _("Your password was changed"), body % {"name": claimed.user.get_username()}


_WORDS: dict[str, Callable[[ClaimedMail], tuple[str, str]]] = {
    MailKind.RUN_WAITING: _waiting,
    MailKind.RUN_FAILED: _failed,
    MailKind.PASSWORD_RESET: _reset,
    MailKind.PASSWORD_CHANGED: _changed,
}
