"""The table of accounts: Django's own, under its own name, with room for more columns."""

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext_lazy as _


class User(AbstractUser):
    """Somebody who logs in. Its table is that of ``auth.User``, which databases of earlier versions have: see `chat.accounts.adoption`."""

    #: What Django calls the language of pages and mails; empty leaves it to the browser. The database has the default, too, because
    #: processes of the version before this column write rows without it.
    language = models.CharField(_("language"), max_length=16, blank=True, default="", db_default="")
    #: When the provider that the account came from said that this person may not come in any more. Until it says otherwise no login holds,
    #: and no token.
    refused_at = models.DateTimeField(_("refused by the provider"), null=True, blank=True, editable=False)

    @property
    def may_enter(self) -> bool:
        """Whether what proves to be this person lets in: the account is neither deactivated nor refused by its provider."""
        return self.is_active and self.refused_at is None

    retention_days = models.PositiveIntegerField(
        _("days that sessions are kept"),
        null=True,
        blank=True,
        help_text=_(
            "After so many days without a change a session is deleted. Empty: as the installation has it; 0: never."
        ),
    )

    #: What somebody with a confirmed address wants to be mailed.
    mail_waiting = models.BooleanField(_("Mail me when a run waits for me"), default=True, db_default=True)
    mail_failures = models.BooleanField(_("Mail me when a scheduled run has failed"), default=True, db_default=True)

    shows_reading = models.BooleanField(
        _("show others where I read"),
        default=False,
        db_default=False,
        help_text=_(
            "Whether those who watch a session with you see which step you are at. Who asks in it is always seen."
        ),
    )

    class Meta(AbstractUser.Meta):
        db_table = "auth_user"


class ProviderLogin(models.Model):
    """How an account's OpenID provider is asked again about it. Of its tokens only what is encrypted is here."""

    user = models.OneToOneField(User, models.CASCADE, primary_key=True, related_name="provider_login")
    issuer = models.CharField(max_length=200)
    subject = models.CharField(max_length=255)
    #: Empty where the provider gave none.
    refresh_token = models.TextField(blank=True, default="", db_default="")
    access_token = models.TextField(blank=True, default="", db_default="")
    access_expires_at = models.DateTimeField(null=True)
    #: When the provider last said yes.
    confirmed_at = models.DateTimeField()
    #: When it is asked again; null: never, it has said no.
    next_check_at = models.DateTimeField(null=True, db_index=True)

    def __str__(self) -> str:
        return f"{self.subject} of {self.issuer}"
