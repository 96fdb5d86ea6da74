"""The page of the audit: filters, pages and the file."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import AsyncClient, Client
from django.urls import reverse

from chat.accounts.models import User
from chat.models import MANY_SESSIONS, NOBODY, Act, AuditEntry, Door
from chat.rendering.spreadsheets import csv_line
from chat.runtime import database
from chat.store.audit_log import AuditFilter, Cursor, former_name, person_of
from tests.chat import making

pytestmark = pytest.mark.django_db
PAGE = "admin:chat_auditentry_changelist"
SESSION, OTHER = UUID(int=7), UUID(int=8)
DAY = datetime(2026, 3, 10, 12, tzinfo=UTC)
PSEUDONYM = -123456789012345


@pytest.fixture
def people() -> dict[str, User]:
    return {name: making.user(name) for name in ("ada", "bo")} | {"staff": making.staff("chat.view_auditentry")}


@pytest.fixture
def noted(people: dict[str, User]) -> list[str]:
    """Audit entries, each with its own word in ``about``."""
    staff, ada, bo = (people[name].pk for name in ("staff", "ada", "bo"))
    lines: list[tuple[str, int, Act, Door, int | None, UUID, int]] = [
        ("one", staff, Act.VIEW, Door.PAGE, ada, SESSION, 0),
        ("two", staff, Act.VIEW, Door.ADMIN, None, MANY_SESSIONS, 1),
        ("three", ada, Act.DELETE, Door.API, ada, OTHER, 1),
        ("four", NOBODY, Act.LOGIN_FAILED, Door.PAGE, bo, MANY_SESSIONS, 2),
        ("five", bo, Act.EXPORT, Door.ADMIN, None, MANY_SESSIONS, 3),
        ("six", PSEUDONYM, Act.SHARE, Door.V1, PSEUDONYM, SESSION, 4),
    ]
    for about, actor, act, door, subject, session, days in lines:
        AuditEntry.objects.create(
            actor_id=actor,
            action=act,
            door=door,
            subject_id=subject,
            session_id=session,
            about=f"the {about}",
            at=DAY + timedelta(days=days),
            window=days,
        )
    return [line[0] for line in reversed(lines)]


#: A filter, and the entries that it leaves, newest first.
FILTERS: dict[str, tuple[dict[str, str], str]] = {
    "nothing": ({}, "six five four three two one"),
    "a person who did it, or whose it was": ({"person": "ada"}, "three one"),
    "a person by number": ({"person": "PK"}, "three one"),
    "somebody deleted": ({"person": former_name(PSEUDONYM)}, "six"),
    "nobody there is": ({"person": "eve"}, ""),
    "an act": ({"action": "view"}, "two one"),
    "an act there is not": ({"action": "dance"}, ""),
    "a door": ({"door": "admin"}, "five two"),
    "a session": ({"session": str(SESSION)}, "six one"),
    "no session": ({"session": "x"}, ""),
    "a day": ({"since": "2026-03-11", "until": "2026-03-11"}, "three two"),
    "no day": ({"since": "soon"}, ""),
    "a day that is none": ({"until": "2026-02-31"}, ""),
    "the last day of all": ({"until": "9999-12-31"}, ""),
    "a person and a door": ({"person": "bo", "door": "page"}, "four"),
    "an act and a time": ({"action": "view", "until": "2026-03-10"}, "one"),
    "words of SQL": ({"person": "' OR 1=1 --", "session": "'; DROP TABLE"}, ""),
    "a byte of nothing": ({"person": "a\0b"}, ""),
    "a place that is none": ({"before": "2026-13-45~x"}, "six five four three two one"),
    "half a place": ({"before": "2026-03-12T00:00:00~5"}, "six five four three two one"),
    "a place": ({"before": "2026-03-12T00:00:00+00:00~5"}, "three two one"),
}


@pytest.mark.parametrize("by", FILTERS)
def test_filters_leave_what_they_say(client: Client, people: dict[str, User], noted: list[str], by: str) -> None:
    client.force_login(people["staff"])
    query, left = FILTERS[by]
    query = {name: value.replace("PK", str(people["ada"].pk)) for name, value in query.items()}
    page = client.get(reverse(PAGE), query).content.decode()
    shown = '<span class="mono">the {}</span>'
    assert sorted(word for word in noted if shown.format(word) in page) == sorted(left.split())


def test_a_page_tells_who_and_whose(client: Client, people: dict[str, User], noted: list[str]) -> None:
    client.force_login(people["staff"])
    page = client.get(reverse(PAGE)).content.decode()
    for text in ("staff", "ada", former_name(PSEUDONYM), "Login failed", "many", str(SESSION)):
        assert f">{text}<" in page, text


def test_pages_follow_each_other_without_a_gap(people: dict[str, User]) -> None:
    AuditEntry.objects.bulk_create(
        AuditEntry(
            actor_id=n % 3 + 1, subject_id=1, action="view", door="page", at=DAY + timedelta(seconds=n // 4), window=n
        )
        for n in range(100)
    )
    for wanted in (AuditFilter(), AuditFilter(person=1), AuditFilter(door="page")):
        seen: list[int] = []
        before: Cursor | None = None
        while entries := wanted.entries(7, before):
            seen += [entry.pk for entry in entries]
            before = Cursor.read(str(Cursor(entries[-1].at, entries[-1].pk)))
        assert seen == list(AuditEntry.objects.order_by("-at", "-id").values_list("pk", flat=True))


@pytest.mark.django_db(transaction=True)
async def test_the_file_has_all_of_it_and_is_noted() -> None:
    def make() -> User:
        staff = making.staff("chat.view_auditentry", name="=cmd()")
        AuditEntry.objects.bulk_create(
            AuditEntry(actor_id=staff.pk, action="view", door="page", at=DAY + timedelta(seconds=n), window=n)
            for n in range(2_345)
        )
        return staff

    staff = await database.write(make)
    client = AsyncClient()
    await client.aforce_login(staff)
    answer: Any = await client.get(reverse(PAGE), {"format": "csv", "action": "view"})
    content = b"".join([part async for part in answer]).decode()
    rows = list(csv.DictReader(io.StringIO(content)))
    assert len(rows) == 2_345
    assert rows[0]["at"] == (DAY + timedelta(seconds=2_344)).isoformat()
    assert {row["actor"] for row in rows} == {"'=cmd()"}
    entry = await AuditEntry.objects.aget(action=Act.EXPORT)
    assert (entry.actor_id, entry.about) == (staff.pk, "audit")
    database.close()


@pytest.mark.parametrize("text", ["", "deleted-", "deleted-!", "0x7", "٣", "9" * 40])
def test_odd_names_are_nobody(text: str) -> None:
    assert person_of(text) in (None, 0)


#: Values, and how they are written in a file.
CELLS = {
    "=1+1": "'=1+1",
    "+1": "'+1",
    "-1": "'-1",
    "@SUM(A1)": "'@SUM(A1)",
    "\tx": "'\tx",
    "\n=1": '"\'\n=1"',
    "＝1+1": "'＝1+1",
    "＠SUM(A1)": "'＠SUM(A1)",
    "－1": "'－1",
    "a=b": "a=b",
    "a,b": '"a,b"',
    'say "x"': '"say ""x"""',
    -5: "-5",
    "": '""',
}


@pytest.mark.parametrize("cell", CELLS)
def test_no_cell_is_a_formula(cell: Any) -> None:
    assert csv_line([cell]) == f"{CELLS[cell]}\r\n"
