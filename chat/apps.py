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
    """Django's admin, with a site that notes what is changed in it."""

    default = False
    default_site = "config.admin_site.Site"


class ChatConfig(AppConfig):
    """Sessions, runs and steps, and everything that shows or drives them."""

    name = "chat"
    verbose_name = pgettext_lazy("application", "Chat")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have logins noted, the built-in agents in the tables wherever these are brought up to date, and the extensions' tools and agents.

        Extensions are taken in every process, so that whichever can't start says so, and why.
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
