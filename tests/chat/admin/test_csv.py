"""Every CSV file of the admin, with odd texts in every cell that people can fill.

When it is read, each is what it was, or is quoted where a spreadsheet would take it for a formula. A new file is found automatically, and
needs one more line here.
"""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat.accounts.models import User
from chat.models import MANY_SESSIONS, Act, AuditEntry, DailyUsage, Door, Run
from tests.chat import making
from tests.chat.admin.sent import text_of

pytestmark = pytest.mark.django_db(transaction=True)
#: Texts, and how they are written in a cell. A further one is one more line.
ODD = {
    "=1+1": "'=1+1",
    "+1": "'+1",
    "-1": "'-1",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": "'\t=1",
    "\r=1": "'\r=1",
    "\n=1": "'\n=1",
    "＝1": "'＝1",
    "=HYPERLINK(\"http://x.example\",\"a\")": "'=HYPERLINK(\"http://x.example\",\"a\")",
    'say "x", y': 'say "x", y',
    "two\nlines": "two\nlines",
    "two\r\nlines": "two\r\nlines",
    "\u202egpj.exe": "\u202egpj.exe",
    "天氣 \N{WASTEBASKET}": "天氣 \N{WASTEBASKET}",
    "a\x00b": "a\x00b",
}  # fmt: skip


def runs(word: str) -> None:
    run = making.run(making.session(User.objects.create(username=word)), message="What was said.")
    making.end(run)
    Run.objects.filter(pk=run.pk).update(model=word, provider=word, agent_name=word)


def entries(word: str) -> None:
    person = User.objects.create(username=word)
    AuditEntry.objects.create(
        actor_id=person.pk, subject_id=person.pk, action=Act.CREATE, door=Door.PAGE, about=word, session_id=MANY_SESSIONS,
        window=0, at=datetime(2026, 3, 10, tzinfo=UTC),
    )  # fmt: skip


def sums(word: str) -> None:
    day = timezone.now().date()
    DailyUsage.objects.create(
        day=day, user=User.objects.create(username=word), agent_name=word, provider=word, model=word, calls=1
    )


#: How each file's rows are made; a filter that leaves out the other rows; and the columns that have the text.
FILES: dict[str, tuple[str, Callable[[str], None], dict[str, str], tuple[str, ...]]] = {
    "runs": ("admin:chat_run_csv", runs, {"status": "completed"}, ("user", "agent", "provider", "model")),
    "audit": (
        "admin:chat_auditentry_changelist", entries, {"format": "csv", "action": "create"}, ("actor", "subject", "about"),
    ),
    "usage": (
        "admin:chat_dailyusage_changelist", sums, {"format": "csv", "days": "7"}, ("user", "agent", "provider", "model"),
    ),
}  # fmt: skip


@pytest.mark.usefixtures("on_each_database")
@pytest.mark.parametrize("name", FILES)
def test_odd_words_are_read_back_as_they_were_and_none_is_a_formula(client: Client, name: str) -> None:
    page, make, query, columns = FILES[name]
    # PostgreSQL cannot store this character.
    words = [word for word in ODD if "\x00" not in word or connection.vendor == "sqlite"]
    for word in words:
        make(word)
    # Rows that the filter leaves out.
    making.run(making.session(making.user("left out")))
    AuditEntry.objects.create(actor_id=0, action=Act.DELETE, door=Door.PAGE, window=0)
    DailyUsage.objects.create(day="2001-01-01", agent_name="left out", model="m", calls=1)
    client.force_login(User.objects.create_superuser("root"))
    answer = client.get(reverse(page), query)
    text = text_of(answer)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment; filename=" in answer["Content-Disposition"]
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert len(rows) == len(words), "what is narrowed to"
    found = {column: sorted(row[header.index(column)] for row in rows) for column in columns}
    assert found == dict.fromkeys(columns, sorted(ODD[word] for word in words))
    assert not any(cell[:1] in "=+-@\t\r\n＝＋－＠" for row in rows for cell in row if cell)
    assert "What was said." not in text


def test_each_file_that_there_is_has_its_line(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    found = set()
    for page in admin.site._registry.values():
        for pattern in page.get_urls():
            # In the log entries that are about no single object.
            if pattern.name and not pattern.pattern.converters:
                name = f"admin:{pattern.name}"
                answers = [client.get(reverse(name), query) for query in ({}, {"format": "csv"})]
                found |= {name for answer in answers if "csv" in answer.get("Content-Type", "")}
    assert found == {page for page, *_ in FILES.values()}
