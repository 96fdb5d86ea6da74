"""The product's settings with the guard switched off that the variable ``MUTATION`` names; see ``tests.faults.mutations``.

With an empty variable all guards are on, so that the same test, run in the same way, can be seen to pass.
"""

import os

from django.apps import AppConfig

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.mutated_settings.Mutated"]


class Mutated(AppConfig):
    """Switches the guard off once all applications are loaded."""

    name = "tests.faults"
    label = "mutations"

    def ready(self) -> None:
        """Switch it off."""
        from tests.faults.mutations import MUTATIONS  # noqa: PLC0415 - imports what exists only now

        if mutation := os.environ["MUTATION"]:
            MUTATIONS[mutation]()
