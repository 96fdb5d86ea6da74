"""``manage.py export_traces``: sends the traces of runs again, or of runs that ended before a collector was configured."""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_date, parse_datetime

from chat.traces import cursor
from chat.traces.exporter import send_runs
from chat.traces.sending import Sender, Sent


class Command(BaseCommand):
    """Send the traces of stored runs. Sent twice, they are the same spans; the processes go on sending meanwhile."""

    help = "Send the traces of runs that ended since a moment to OTEL_EXPORTER_OTLP_ENDPOINT, those that were sent before too."

    def add_arguments(self, parser: CommandParser) -> None:
        """The time to start from."""
        parser.add_argument("--since", type=_moment, required=True, help="as 2026-11-01 or 2026-11-01T08:30:00Z")

    def handle(self, *args: Any, since: datetime, **options: Any) -> None:
        """Send, oldest first. If the collector fails, print where to continue from; the exit code is then 1."""
        if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
            raise CommandError("Set OTEL_EXPORTER_OTLP_ENDPOINT to the address of a collector.")
        sender, count = Sender(), 0
        waiting = cursor.ended_roots().filter(ended_at__gte=since).order_by("ended_at", "pk")
        for run_ids in _in_parts(list(waiting.values_list("pk", flat=True))):
            runs = list(cursor.ended_roots().filter(pk__in=run_ids).order_by("ended_at", "pk"))
            if send_runs(sender, runs) is Sent.AWAY:
                begins = f"{runs[0].ended_at:%Y-%m-%dT%H:%M:%SZ}"
                raise CommandError(f"{count} runs are sent, then {sender.why}. Continue with: --since {begins}")
            count += len(runs)
        self.stdout.write(f"{count} runs are sent.")


def _in_parts(run_ids: list[Any]) -> list[list[Any]]:
    return [run_ids[start : start + cursor.AT_ONCE] for start in range(0, len(run_ids), cursor.AT_ONCE)]


def _moment(text: str) -> datetime:
    day = parse_date(text)
    moment = parse_datetime(text) if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)
    if moment is None:
        raise ValueError(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
