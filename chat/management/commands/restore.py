"""``manage.py restore FILE``: replaces the database with a copy."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from chat.store.backups import BackupFailed, restore_backup


class Command(BaseCommand):
    """Replace the database with a copy."""

    help = "Put a copy that `manage.py backup` made in the place of the database. Stop every process first; what is there is lost."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The file to read."""
        parser.add_argument("file", type=Path, help="the copy")

    def handle(self, *args: Any, **options: Any) -> None:
        """Restore it, then apply the migrations of this version."""
        try:
            restore_backup(options["file"])
        except BackupFailed as failed:
            raise CommandError(str(failed)) from None
        call_command("migrate", interactive=False, verbosity=0)
        self.stdout.write(
            "Restored. Runs that were at work in it end as interrupted at the next start; clients that saw later steps start over."
        )
