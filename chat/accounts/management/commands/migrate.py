"""``manage.py migrate``: Django's own, on databases of earlier versions too."""

import gc
from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as MigrateCommand

from chat.accounts.adoption import UnfinishedMigrations, adopt_accounts

_COLLECT_AFTER = (200_000, 10, 10)


class Command(MigrateCommand):
    """Migrate; before that, accounts of an earlier version become this one's."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Adopt the accounts, then do what Django does."""
        try:
            adopt_accounts(options["database"])
        except UnfinishedMigrations as unfinished:
            raise CommandError(str(unfinished)) from None
        # All tables' states after each step are made and dropped: looking for garbage among them took a third of the time.
        usual = gc.get_threshold()
        gc.set_threshold(*_COLLECT_AFTER)
        try:
            super().handle(*args, **options)
        finally:
            gc.set_threshold(*usual)
