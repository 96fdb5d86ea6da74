"""The application's registration with Django."""

from django.apps import AppConfig
from django.utils.translation import pgettext_lazy


class ChatConfig(AppConfig):
    """Sessions, runs and steps, and everything that shows or drives them."""

    name = "chat"
    verbose_name = pgettext_lazy("application", "Chat")
    default_auto_field = "django.db.models.BigAutoField"
