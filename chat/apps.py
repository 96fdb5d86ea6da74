"""The application's registration with Django."""

import sys
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin import apps as admin_apps
from django.db.models.signals import post_migrate
from django.utils.translation import pgettext_lazy

import agents


class SiteConfig(admin_apps.AdminConfig):
    """Django's admin, with a site that records changes made in it."""

    default = False
    default_site = "config.admin_site.Site"


class ChatConfig(AppConfig):
    """The application of sessions, runs and steps."""

    name = "chat"
    verbose_name = pgettext_lazy("application", "Chat")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the audit of logins, create the built-in agents after migrations, and load extensions.

        Extensions are loaded in every process, so that each of them reports an extension that cannot be loaded.
        """
        from chat.security.account_acts import watch_accounts, watch_logins  # noqa: PLC0415 - the models are not loaded yet above

        watch_logins()
        watch_accounts()
        post_migrate.connect(_make_built_in, sender=self)
        try:
            agents.load_extensions(settings.EXTENSIONS)
        except agents.ExtensionsRefused as refused:
            sys.exit("\n".join(f"Thinkaloud cannot start: {problem}" for problem in refused.problems))


def _make_built_in(using: str = "default", **_: Any) -> None:
    from chat.catalog.built_in import make_built_in  # noqa: PLC0415 - the models are not loaded yet above

    make_built_in(using)
