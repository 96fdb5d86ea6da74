"""``manage.py doctor``: reports whether each part works, and what to do if it does not."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from chat.doctor.checks import CHECKS
from chat.doctor.examination import PATIENCE_S, run_checks
from chat.doctor.findings import Level


class Command(BaseCommand):
    """Run all checks. Changes nothing and prints no secrets."""

    help = "Report whether database, Redis, servers, files, clock and proxy work, and what to do where they do not."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """The output format and the time limit."""
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")
        parser.add_argument(
            "--timeout", type=float, default=PATIENCE_S, help="seconds that each check has (default: %(default)g)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Report; the exit code is 1 if something does not work."""
        found = []
        for result in run_checks(CHECKS, options["timeout"]):
            found.append(result)
            if not options["json"]:
                self.stdout.write(f"{result.level:4}  {result.check}: {result.finding.text}")
                if result.finding.action:
                    self.stdout.write(f"      → {result.finding.action}")
                self.stdout.flush()
        if options["json"]:
            lines = [
                {"check": each.check, "level": each.level, "said": each.finding.text, "action": each.finding.action}
                for each in found
            ]
            self.stdout.write(json.dumps({"findings": lines}, ensure_ascii=False, indent=2))
        if any(each.level is Level.FAIL for each in found):
            sys.exit(1)
