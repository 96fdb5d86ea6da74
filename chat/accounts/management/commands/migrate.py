"""``manage.py migrate``: Django's own, on databases of earlier versions too."""

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as MigrateCommand

from chat.accounts.adoption import UnfinishedMigrations, adopt_accounts


class Command(MigrateCommand):
    """Migrate; before that, accounts of an earlier version become this one's."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Adopt the accounts, then do what Django does."""
        try:
            adopt_accounts(options["database"])
        except UnfinishedMigrations as unfinished:
            raise CommandError(str(unfinished)) from None
        super().handle(*args, **options)
