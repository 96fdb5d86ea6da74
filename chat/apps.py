"""The application's registration with Django."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    """Sessions, runs and steps, and everything that shows or drives them."""

    name = "chat"
    default_auto_field = "django.db.models.BigAutoField"
