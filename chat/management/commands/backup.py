"""``manage.py backup FILE``: makes a consistent copy of the database."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from chat.store.backups import BackupFailed, write_backup


class Command(BaseCommand):
    """Copy the database into a file."""

    help = "Copy the database into a new file, also while the product serves. `manage.py restore` puts it back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The file to write."""
        parser.add_argument("file", type=Path, help="where to; it must not exist yet")

    def handle(self, *args: Any, **options: Any) -> None:
        """Copy, and print where the copy is."""
        try:
            write_backup(options["file"])
        except BackupFailed as failed:
            raise CommandError(str(failed)) from None
        self.stdout.write(f"Written to {options['file']}.")
