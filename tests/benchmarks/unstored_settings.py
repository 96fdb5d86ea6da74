"""The product's settings without one thing that it does: model calls are not kept. For what keeping them costs."""

from django.apps import AppConfig

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.benchmarks.unstored_settings.Unstored"]


class Unstored(AppConfig):
    """Keeps none from the beginning on."""

    name = "tests.benchmarks"
    label = "unstored"

    def ready(self) -> None:
        """Let their only writer write nothing."""
        from chat.store.calls import CallWriter  # noqa: PLC0415 - the models are not loaded yet above

        CallWriter.write = lambda *_: None  # type: ignore[method-assign]
