"""The product's settings with one more tool for its agents, in the product's own process: it ignores cancellation and never ends."""

import threading
from dataclasses import replace
from typing import Any

from django.apps import AppConfig

from agents import CancelToken
from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.deaf_settings.WithDeafTool"]


class Deaf:
    """A call that nothing ends, like one into a library that waits for something that never happens."""

    name = "deaf"
    description = "Never ends."
    parameters: dict[str, Any] = {"type": "object", "properties": {}}
    timeout_s = 3_600.0
    output_limit = 100

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        """Wait for ever."""
        threading.Event().wait()
        return ""


class WithDeafTool(AppConfig):
    """Adds the tool to every run's tools once all applications are loaded."""

    name = "tests.faults"
    label = "deaf"

    def ready(self) -> None:
        """Add it."""
        from chat.runs import toolbox  # noqa: PLC0415 - its models exist only now

        usual = toolbox.toolbox_for
        toolbox.toolbox_for = lambda run, extra=(), servers=None: replace(
            usual(run, extra, servers), extra=[*extra, Deaf()]
        )
