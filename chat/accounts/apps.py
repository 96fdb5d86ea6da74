"""The application's registration with Django."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    """Who logs in."""

    name = "chat.accounts"
    label = "accounts"
    verbose_name = _("Accounts")
    # What Django's own users have, whose table this is.
    default_auto_field = "django.db.models.AutoField"
