"""The application's registration with Django."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import pgettext_lazy


class ChatConfig(AppConfig):
    """Sessions, runs and steps, and everything that shows or drives them."""

    name = "chat"
    verbose_name = pgettext_lazy("application", "Chat")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have the built-in agents in the tables wherever these are brought up to date."""
        post_migrate.connect(_make_built_in, sender=self)


def _make_built_in(using: str = "default", **_: Any) -> None:
    from chat.catalog.built_in import make_built_in  # noqa: PLC0415 - the models are not loaded yet above

    make_built_in(using)
