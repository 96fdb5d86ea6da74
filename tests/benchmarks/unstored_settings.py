"""The product's settings without storing model calls, to measure the cost of storing them."""

from django.apps import AppConfig

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.benchmarks.unstored_settings.Unstored"]


class Unstored(AppConfig):
    """Stores no model calls."""

    name = "tests.benchmarks"
    label = "unstored"

    def ready(self) -> None:
        """Replace the function that writes them."""
        from chat.store.calls import CallWriter  # noqa: PLC0415 - the models are not loaded yet above

        CallWriter.write = lambda *_: None  # type: ignore[method-assign]
