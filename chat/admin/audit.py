"""The audit: a page with filters, and the same entries as a file. Read-only."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID

import orjson
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext

from chat.admin.actions import ReadOnlyAdmin, user_pk
from chat.models import LOOKS, Act, AuditEntry, Door, Run
from chat.protocol import as_uuid
from chat.rendering.spreadsheets import csv_line
from chat.rendering.template_row import Row
from chat.runtime import database
from chat.security.audit import record_action
from chat.store.audit_log import COLUMNS, AuditFilter, Cursor, file_row, names_in, person_of

_ROWS = 100
#: How many entries a run's own page shows.
_BESIDE_A_RUN = 20
#: How many entries are read at a time for the file.
_AT_ONCE = 1_000
_FIELDS = ("person", "action", "door", "session", "since", "until")
_ACTS = dict(Act.choices)
_DOORS = dict(Door.choices)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """One page instead of a list."""

    is_private = False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """A page of the entries that match the filters, newest first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        typed = {name: request.GET.get(name, "").strip() for name in _FIELDS}
        wanted, problems = _filter_of(typed)
        if request.GET.get("format") == "csv" and not problems:
            record_action(user_pk(request), Act.EXPORT, Door.ADMIN, about="audit")
            return cast(HttpResponse, _csv_file(wanted))
        before = Cursor.read(request.GET.get("before", ""))
        found = [] if problems else wanted.entries(_ROWS + 1, before)
        shown, is_more = found[:_ROWS], len(found) > _ROWS
        names = names_in(shown)
        query = {name: value for name, value in typed.items() if value}
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Audit"),
            "opts": self.opts,
            "typed": typed,
            "problems": problems,
            "acts": [(act.value, act.label, act.value == typed["action"]) for act in Act],
            "doors": [(door.value, door.label, door.value == typed["door"]) for door in Door],
            "rows": [_row(entry, names) for entry in shown],
            "older": urlencode({**query, "before": str(Cursor(shown[-1].at, shown[-1].pk))}) if is_more else "",
            "newest": urlencode(query) if before is not None else "",
            "is_filtered": bool(query),
            "file": urlencode({**query, "format": "csv"}),
            "clock": timezone.get_current_timezone_name(),
        }
        return TemplateResponse(request, "admin/chat/audit.html", context)


def audit_rows(run_id: UUID | None) -> list[Row]:
    """The newest entries about a run or its session, in words, for the run's own page."""
    session_id = Run.objects.filter(pk=run_id).values_list("session_id", flat=True).first() if run_id else None
    if session_id is None:
        return []
    found = [
        entry for entry in AuditFilter(session_id=session_id).entries(_ROWS, None) if entry.run_id in (run_id, None)
    ]
    names = names_in(found)
    return [_row(entry, names) for entry in found[:_BESIDE_A_RUN]]


def _filter_of(typed: dict[str, str]) -> tuple[AuditFilter, list[str]]:
    """The filter from the typed values, and the errors in them: with errors nothing is shown, rather than everything."""
    problems: list[str] = []

    def understood(name: str, value: Any, problem: str) -> Any:
        if typed[name] and value is None:
            problems.append(problem)
        return value

    person = understood(
        "person", person_of(typed["person"]) if typed["person"] else None, gettext("Nobody has that name.")
    )
    session = understood("session", as_uuid(typed["session"]), gettext("That is no session's identifier."))
    no_day = gettext("Write a day as in 2026-11-28.")
    since = understood("since", _midnight(typed["since"]), no_day)
    until = understood("until", _midnight(typed["until"]), no_day)
    wanted = AuditFilter(
        person=person,
        action=typed["action"] or None,
        door=typed["door"] or None,
        session_id=session,
        since=since,
        until=until + timedelta(days=1) if until else None,
    )
    return wanted, problems


def _midnight(text: str) -> datetime | None:
    """The beginning of a day; None if it is not a date."""
    try:
        day = parse_date(text)
        return timezone.make_aware(datetime(day.year, day.month, day.day)) if day and day.year < 9999 else None  # noqa: DTZ001 - made aware; a day follows
    except ValueError:
        return None


def _row(entry: AuditEntry, names: dict[int | None, str]) -> Row:
    """An entry in words. For views by staff it shows whose session it was."""
    details = ", ".join(f"{name}: {_shown(value)}" for name, value in entry.details.items())
    return {
        "at": entry.at,
        "who": names[entry.actor_id],
        "act": _ACTS.get(entry.action, entry.action),
        "door": _DOORS.get(entry.door, entry.door),
        "whose": names[entry.subject_id] if entry.subject_id != entry.actor_id else "",
        "session": "" if entry.session_id.int == 0 else str(entry.session_id),
        "many": entry.session_id.int == 0 and entry.action in LOOKS,
        "run": str(entry.run_id or ""),
        "about": entry.about,
        "details": details,
    }


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _csv_file(wanted: AuditFilter) -> StreamingHttpResponse:
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
    return StreamingHttpResponse(_lines(wanted), content_type="text/csv; charset=utf-8", headers=headers)


async def _lines(wanted: AuditFilter) -> AsyncIterator[str]:
    """The lines of the file, read in batches; only entries that existed when it began."""
    yield csv_line(COLUMNS)
    before: Cursor | None = None
    wanted = replace(wanted, until=min(filter(None, (wanted.until, timezone.now()))))
    while True:
        lines, before = await database.read(_piece, wanted, before)
        if not lines:
            return
        yield lines


def _piece(wanted: AuditFilter, before: Cursor | None) -> tuple[str, Cursor | None]:
    entries = wanted.entries(_AT_ONCE, before)
    if not entries:
        return "", None
    names = names_in(entries)
    lines = (csv_line(file_row(entry, names, _details(entry))) for entry in entries)
    return "".join(lines), Cursor(entries[-1].at, entries[-1].pk)


def _details(entry: AuditEntry) -> str:
    return orjson.dumps(entry.details).decode() if entry.details else ""
