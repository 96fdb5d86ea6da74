"""The application's registration with Django."""

import sys

from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import pgettext_lazy

import agents


class ChatConfig(AppConfig):
    """Sessions, runs and steps, and everything that shows or drives them."""

    name = "chat"
    verbose_name = pgettext_lazy("application", "Chat")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Take the tools and agents of extensions: in every process, so that whichever can't start says so, and why."""
        try:
            agents.load_extensions(settings.EXTENSIONS)
        except agents.ExtensionsRefused as refused:
            sys.exit("\n".join(f"Thinkaloud cannot start: {problem}" for problem in refused.problems))
