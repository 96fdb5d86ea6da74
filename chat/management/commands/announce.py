"""``manage.py announce TEXT``: shows a message to everyone who is connected; ``--withdraw`` takes the last one away again."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from agents.text import clean_text
from chat.models import NOBODY, Act, Announcement, Door, Level
from chat.security import audit


class Command(BaseCommand):
    """Store an announcement, which all serving processes send to their clients."""

    help = "Show a message to everyone who is connected: it appears on each open page within two seconds."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The text, and how urgent it is."""
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("text", nargs="?", help="what to say")
        what.add_argument("--withdraw", action="store_true", help="remove the last one from all open pages")
        parser.add_argument("--level", choices=Level.values, default=Level.INFO)

    def handle(self, *args: Any, **options: Any) -> None:
        """Store it, or delete the last one; every serving process reads changes each second."""
        if options["withdraw"]:
            self._withdraw()
            return
        announcement = Announcement(message=clean_text(options["text"]).strip(), level=options["level"])
        try:
            announcement.full_clean()
        except ValidationError as error:
            raise CommandError(f"That cannot be announced: {' '.join(error.messages)}") from None
        with transaction.atomic():
            announcement.save()
            audit.record_action(NOBODY, Act.CREATE, Door.COMMAND, about=f"announcement {announcement.pk}")
        self.stdout.write("Announced.")

    def _withdraw(self) -> None:
        with transaction.atomic():
            announcement = Announcement.objects.order_by("-pk").first()
            if announcement is None:
                raise CommandError("There is no announcement.")
            audit.record_action(NOBODY, Act.DELETE, Door.COMMAND, about=f"announcement {announcement.pk}")
            announcement.delete()
        self.stdout.write("Withdrawn.")
