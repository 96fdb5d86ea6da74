"""The table of accounts: Django's own table, under its own name, to which columns can be added."""

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext_lazy as _


class User(AbstractUser):
    """An account. Its table is that of ``auth.User``, as in databases of earlier versions: see `chat.accounts.adoption`."""

    #: The language of pages and mails, by Django's code; empty: the browser's. The database has the default as well, because
    #: processes of the version before this column insert rows without it.
    language = models.CharField(_("language"), max_length=16, blank=True, default="", db_default="")
    #: When the account's OpenID provider refused this user. As long as it is set, no login and no token
    #: of the account is valid.
    refused_at = models.DateTimeField(_("refused by the provider"), null=True, blank=True, editable=False)

    @property
    def may_enter(self) -> bool:
        """Whether the account can be used to log in: it is neither deactivated nor refused by its provider."""
        return self.is_active and self.refused_at is None

    retention_days = models.PositiveIntegerField(
        _("days that sessions are kept"),
        null=True,
        blank=True,
        help_text=_(
            "After so many days without a change a session is deleted. Empty: as the installation has it; 0: never."
        ),
    )

    #: What a user with a confirmed address gets by mail.
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
    """How the OpenID provider of an account is asked about it again. Its tokens are stored only encrypted."""

    user = models.OneToOneField(User, models.CASCADE, primary_key=True, related_name="provider_login")
    issuer = models.CharField(max_length=200)
    subject = models.CharField(max_length=255)
    #: Empty if the provider issued none.
    refresh_token = models.TextField(blank=True, default="", db_default="")
    access_token = models.TextField(blank=True, default="", db_default="")
    access_expires_at = models.DateTimeField(null=True)
    #: When the provider last confirmed the account.
    confirmed_at = models.DateTimeField()
    #: When the provider is asked again; null: never, because it has refused the account.
    next_check_at = models.DateTimeField(null=True, db_index=True)

    def __str__(self) -> str:
        return f"{self.subject} of {self.issuer}"
