"""The table of accounts: Django's own, under its own name, with room for more columns."""

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext_lazy as _


class User(AbstractUser):
    """Somebody who logs in. Its table is that of ``auth.User``, which databases of earlier versions have: see `chat.accounts.adoption`."""

    #: What Django calls the language of pages and mails; empty leaves it to the browser. The database has the default, too, because
    #: processes of the version before this column write rows without it.
    language = models.CharField(_("language"), max_length=16, blank=True, default="", db_default="")

    retention_days = models.PositiveIntegerField(
        _("days that sessions are kept"),
        null=True,
        blank=True,
        help_text=_(
            "After so many days without a change a session is deleted. Empty: as the installation has it; 0: never."
        ),
    )

    class Meta(AbstractUser.Meta):
        db_table = "auth_user"
