"""``manage.py announce TEXT``: a word to everyone who is connected."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from agents.text import clean_text
from chat.models import NOBODY, Act, Announcement, Door, Level
from chat.security import audit


class Command(BaseCommand):
    """Tell everyone."""

    help = "Tell everyone who is connected: on each open page it appears within two seconds."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the words and how urgent they are."""
        parser.add_argument("text", help="what to say")
        parser.add_argument("--level", choices=Level.values, default=Level.INFO)

    def handle(self, *args: Any, **options: Any) -> None:
        """Write it down; every serving process looks for new ones each second."""
        announcement = Announcement(message=clean_text(options["text"]).strip(), level=options["level"])
        try:
            announcement.full_clean()
        except ValidationError as error:
            raise CommandError(f"That cannot be announced: {' '.join(error.messages)}") from None
        with transaction.atomic():
            announcement.save()
            audit.record_action(NOBODY, Act.CREATE, Door.COMMAND, about=f"announcement {announcement.pk}")
        self.stdout.write("Announced.")
