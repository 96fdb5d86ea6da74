"""The product's settings, with every statement that a process executes written to the file that the variable ``STATEMENTS`` names."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chat.recording_settings.Recording"]


class Recording(AppConfig):
    """Records from the first connection on."""

    name = "tests.chat"
    label = "recording"

    def ready(self) -> None:
        """Begin."""
        connection_created.connect(_record, weak=False)


def _record(connection: Any, **_: Any) -> None:
    connection.execute_wrappers.append(_write)


def _write(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    with Path(os.environ["STATEMENTS"]).open("a", encoding="utf-8") as file:
        file.write(" ".join(sql.split()) + "\n")
    return execute(sql, params, many, context)
