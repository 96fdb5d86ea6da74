"""The application's registration with Django."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    """The application of the accounts."""

    name = "chat.accounts"
    label = "accounts"
    verbose_name = _("Accounts")
    # As in Django's own application of users, whose table this is.
    default_auto_field = "django.db.models.AutoField"
