"""``manage.py migrate``: Django's own command, which also takes over databases of earlier versions."""

import gc
from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as MigrateCommand

from chat.accounts.adoption import UnfinishedMigrations, adopt_accounts

_COLLECT_AFTER = (200_000, 10, 10)


class Command(MigrateCommand):
    """Migrates; before that, it takes over the accounts of an earlier version."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Take over the accounts, then migrate as Django does."""
        try:
            adopt_accounts(options["database"])
        except UnfinishedMigrations as unfinished:
            raise CommandError(str(unfinished)) from None
        # Migrating creates and drops the state of all tables after each step; garbage collection of that took a third of the time.
        usual = gc.get_threshold()
        gc.set_threshold(*_COLLECT_AFTER)
        try:
            super().handle(*args, **options)
        finally:
            gc.set_threshold(*usual)
