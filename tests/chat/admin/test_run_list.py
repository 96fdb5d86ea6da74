"""The list of runs, its figures and its file: compared with sums made by hand, bounded, restricted, and audited."""

import csv
import io
import random
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from chat.accounts.models import User
from chat.admin import run_file
from chat.models import Act, AuditEntry, ModelCall, Run, RunStatus, Session
from chat.runs import state as run_state
from chat.runtime import database
from chat.store import run_figures
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)
LIST, FILE, FIGURES = "admin:chat_run_changelist", "admin:chat_run_csv", "admin:chat_run_figures"


def ended(owner: User, lasted_ms: int, spoke_ms: int | None = None, **fields: Any) -> Run:
    """A run with this duration, whose model's first token came this long after its start, in its second request."""
    run = making.run(making.session(owner))
    began = timezone.now() - timedelta(minutes=1)
    usual = {"status": RunStatus.COMPLETED, "started_at": began, "ended_at": began + timedelta(milliseconds=lasted_ms)}
    Run.objects.filter(pk=run.pk).update(**(usual | fields))
    asked = began + timedelta(milliseconds=(spoke_ms or 0) // 2)
    after = None if spoke_ms is None else spoke_ms - spoke_ms // 2
    for attempt, first in ((1, None), (2, after)):
        ModelCall.objects.create(
            session=run.session, run=run, iteration=1, attempt=attempt, model="m", provider="p", parameters="{}",
            tool_names="[]", depth=0, messages="[]", started_at=asked, first_token_ms=first,
        )  # fmt: skip
    return Run.objects.get(pk=run.pk)


@pytest.mark.usefixtures("on_each_database")
def test_figures_are_those_of_a_sum_by_hand() -> None:
    ada, chance = making.user("ada"), random.Random(7)
    lasted = [chance.randrange(1, 90_000) for _ in range(41)]
    spoke = [None if n % 5 == 0 else chance.randrange(1, 900) for n in range(41)]
    for n, (total, first) in enumerate(zip(lasted, spoke, strict=True)):
        money = {"cost": Decimal("0.25"), "currency": "USD" if n % 2 else "EUR"} if n % 3 else {}
        ended(ada, total, first, input_tokens=n, output_tokens=2 * n, **money)
    root = ended(ada, 5, None, status=RunStatus.FAILED)
    ended(ada, 1, None, parent=root, input_tokens=10**6, status=RunStatus.FAILED)
    ended(ada, 1, None, copied_from=root.pk, input_tokens=10**6, status=RunStatus.FAILED)
    making.run(making.session(ada))  # has not ended
    found = run_figures.figures_of(Run.objects.exclude(status=RunStatus.FAILED))

    def brute(values: list[int]) -> tuple[int, int]:
        """The percentile by brute force: the least value that is not exceeded by this share of all values."""

        def least(part: float) -> int:
            return min(value for value in values if sum(other <= value for other in values) >= part * len(values))

        return least(0.5), least(0.95)

    assert found.runs == 42
    assert found.duration_ms == pytest.approx(brute(lasted), abs=1)
    assert found.first_token_ms == pytest.approx(brute([first for first in spoke if first is not None]), abs=1)
    assert (found.input_tokens, found.output_tokens) == (sum(range(41)), 2 * sum(range(41)))
    assert found.costs == {"USD": Decimal("0.25") * 13, "EUR": Decimal("0.25") * 14}
    failed = run_figures.figures_of(Run.objects.filter(status=RunStatus.FAILED))
    assert (failed.runs, failed.input_tokens, failed.first_token_ms) == (2, 0, None), "what is within one counts once"


@pytest.mark.usefixtures("on_each_database")
def test_figures_are_of_all_runs_and_not_only_of_the_newest() -> None:
    """More runs than one page or one statement reads: the old ones are the slow ones."""
    runs, session, began = 12_000, making.session(making.user("ada")), timezone.now() - timedelta(days=9)
    Run.objects.bulk_create(
        Run(
            session=session, number=n, client_message_id=str(n), status=RunStatus.COMPLETED, created_at=began + timedelta(seconds=n),
            started_at=began, ended_at=began + timedelta(seconds=runs - n), first_token_ms=10 * (runs - n),
        )
        for n in range(runs)
    )  # fmt: skip
    found = run_figures.figures_of(Run.objects.all())
    assert found.runs == runs
    assert found.duration_ms == pytest.approx((runs * 500, runs * 950), abs=1)
    assert found.first_token_ms == pytest.approx((runs * 5, runs * 9.5), abs=1)


@pytest.mark.parametrize(
    ("runs", "words"), [(1, "Of this 1 run"), (2, "Of these 2 runs"), (1_200, "Of these 1,200 runs")]
)
def test_figures_say_of_how_many_runs_they_are(runs: int, words: str) -> None:
    assert run_file.figure_lines(run_figures.Figures(runs))["of"] == words


@pytest.mark.usefixtures("on_each_database")
def test_when_a_run_spoke_first_is_kept_when_it_ends() -> None:
    """The same value as is computed for a run at work, and not computed again afterwards."""
    run = ended(making.user("ada"), 2_000, 730, status=RunStatus.RUNNING, ended_at=None)
    (looked_up,) = run_figures.with_figures(Run.objects.all()).values_list("first_ms", flat=True)
    assert run_state.finish(run.pk, run.session_id, run_state.End(RunStatus.COMPLETED))
    run.refresh_from_db()
    assert run.first_token_ms == pytest.approx(730, abs=1) == looked_up
    run.calls.all().delete()
    (kept,) = run_figures.with_figures(Run.objects.all()).values_list("first_ms", flat=True)
    assert kept == run.first_token_ms


def test_the_list_shows_figures_of_what_it_is_narrowed_to(client: Client) -> None:
    client.force_login(making.staff("chat.view_run"))
    ada = making.user("ada")
    ended(ada, 2_000, 300, input_tokens=40, output_tokens=2, model="qwen-9", cost=Decimal("0.5"), currency="USD")
    ended(ada, 60_000, 900, status=RunStatus.FAILED, code="model_timeout", model="other")

    def shown(**query: str) -> tuple[int, list[Any]]:
        rows = client.get(reverse(LIST), query).context["cl"].result_list
        lines = client.get(reverse(FIGURES), query).context["figures"]["lines"]
        return len(rows), [value.replace("\N{NO-BREAK SPACE}", " ") for _, value in lines]

    for query, count, duration, first in (
        ({}, 2, "half within 2.0 s, 95 % within 1 m 00 s", "half within 0.3 s, 95 % within 0.9 s"),
        ({"model": "qwen-9"}, 1, "half within 2.0 s, 95 % within 2.0 s", "half within 0.3 s, 95 % within 0.3 s"),
        (
            {"code": "model_timeout"},
            1,
            "half within 1 m 00 s, 95 % within 1 m 00 s",
            "half within 0.9 s, 95 % within 0.9 s",
        ),
        ({"slow": "10"}, 1, "half within 1 m 00 s, 95 % within 1 m 00 s", "half within 0.9 s, 95 % within 0.9 s"),
        ({"model": "none"}, 0, "—", "—"),
    ):
        assert (shown(**query)[0], *shown(**query)[1][:2]) == (count, duration, first), query
    content = client.get(reverse(LIST), {"model": "qwen-9"}).content.decode()
    for words in ("0.3\N{NO-BREAK SPACE}s", "qwen-9", "0.50"):
        assert words in content


def test_the_list_asks_as_much_for_many_runs_as_for_few(client: Client) -> None:
    client.force_login(making.staff("chat.view_run"))
    ada, asked = making.user("ada"), []
    for more in (2, 20):
        for _ in range(more):
            ended(ada, 500, 50)
        client.get(reverse(LIST))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(reverse(LIST)).status_code == 200
        asked.append(len(queries))
    assert asked[0] == asked[1] <= 14, asked


#: A search, and the numbers of the runs that it finds; also in quotes, and as identifiers.
SEARCHES = (
    ("", {1, 2, 3}),
    ("TIDE", {1, 3}),
    ("tide harbour", {1}),
    ('"high tide"', {1}),
    ("high'", set()),
    ("ada", {1, 2}),
    ("ada tide", {1}),
    ("%", {2}),
    ("{run 2}", {2}),
    ("{run 2 bare}", {2}),
    ("{session 3}", {3}),
    ("00000000-0000-4000-8000-000000000000", set()),
)


@pytest.mark.usefixtures("on_each_database")
def test_the_list_is_searched_by_message_title_name_and_identifier(client: Client) -> None:
    client.force_login(making.staff("chat.view_run"))
    ada, bo, runs = making.user("ada"), making.user("bo"), {}
    for number, (owner, title, message) in enumerate(
        (
            (ada, "Harbour", "How high tide is"),
            (ada, "", "100 %"),
            (bo, "The tide", "?"),
        ),
        1,
    ):
        runs[making.run(making.session(owner, title=title), message=message).pk] = number
    gone = making.run(making.session(ada), message="tide")
    Session.objects.filter(pk=gone.session_id).update(deleted_at=timezone.now())
    of = {number: key for key, number in runs.items()}
    session_3 = Run.objects.get(pk=of[3]).session_id
    marks = {"{run 2}": str(of[2]), "{run 2 bare}": of[2].hex, "{session 3}": str(session_3)}
    for words, numbers in SEARCHES:
        answer = client.get(reverse(LIST), {"q": marks.get(words, words)})
        found = answer.context["cl"]
        assert {runs.get(run.pk) for run in found.result_list} == numbers, words
        assert found.result_count == len(numbers), words


def test_parts_loaded_later_are_audited_and_require_the_permission(client: Client) -> None:
    for who, status in (
        (making.staff(name="bare"), 403),
        (making.user("ada"), 302),
        (making.staff("chat.view_run"), 200),
    ):
        client.force_login(who)
        assert client.get(reverse(FIGURES), {"q": "tide"}).status_code == status
    assert AuditEntry.objects.filter(action=Act.SEARCH).count() == 1
    odd = client.get(reverse(FIGURES), {"created_at__nonsense": "1"})
    assert (odd.status_code, odd["Location"]) == (302, f"{reverse(LIST)}?e=1")


def test_a_page_s_runs_are_found_by_the_index_of_dates_and_none_where_there_are_none(client: Client) -> None:
    """SQLite used to scan all sessions first, and then looked up the first token of each skipped run."""
    client.force_login(making.staff("chat.view_run"))
    for _ in range(3):
        ended(making.user(str(uuid4())), 500, 50)
    with CaptureQueriesContext(connection) as asked:
        client.get(reverse(LIST))
    (page,) = [sql["sql"] for sql in asked if sql["sql"].startswith('SELECT "chat_run"."id" AS "pk"')]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {page}")
        plan = [row[3] for row in cursor.fetchall()]
    assert any("run_by_date" in step for step in plan), plan
    assert not any("chat_modelcall" in step or step == "USE TEMP B-TREE FOR ORDER BY" for step in plan), plan
    with CaptureQueriesContext(connection) as asked:
        client.get(reverse(LIST), {"q": "nothing like it"})
    about_runs = [sql["sql"] for sql in asked if 'FROM "chat_run"' in sql["sql"] and "LIKE" in sql["sql"]]
    assert len(about_runs) == 1, "those that were counted as none are not looked for"


async def read(staff: User, **query: str) -> list[list[str]]:
    client = AsyncClient()
    await client.aforce_login(staff)
    answer: Any = await client.get(reverse(FILE), query)
    assert answer.status_code == 200
    return list(csv.reader(io.StringIO(b"".join([part async for part in answer]).decode())))


async def test_the_file_has_what_the_list_has_in_pieces_and_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_figures, "ROWS_AT_ONCE", 3)

    def make() -> tuple[User, list[Run]]:
        ada = making.user("=cmd()")
        runs = [ended(ada, 1_500, 250, model="@m", cost=Decimal("0.5"), currency="USD") for _ in range(7)]
        # Several runs with the same time, among which a batch may end.
        Run.objects.update(created_at=timezone.now())
        ended(ada, 10, status=RunStatus.FAILED, code="internal")
        return making.staff("chat.view_run"), runs

    staff, runs = await database.write(make)
    header, *rows = await read(staff, status="completed", q="Why")
    assert header == list(run_figures.COLUMNS)
    assert sorted(row[0] for row in rows) == sorted(str(run.pk) for run in runs)
    columns = dict(zip(header, rows[0], strict=True))
    facts = (columns["user"], columns["model"], columns["duration_ms"], columns["first_token_ms"], columns["currency"])
    assert facts == ("'=cmd()", "'@m", "1500", "250", "USD")
    assert Decimal(columns["cost"]) == Decimal("0.5")
    assert not any("Why?" in cell for row in rows for cell in row), "what was said is in no file of figures"
    entry = await AuditEntry.objects.aget(action=Act.EXPORT)
    assert (entry.actor_id, entry.about, entry.details) == (staff.pk, "runs", {"narrowed_by": ["q", "status"]})
    monkeypatch.setattr(run_figures, "MOST_ROWS", 6)
    assert len(await read(staff)) == 1 + 6
    database.close()


def test_the_file_is_for_those_who_may_see_runs(client: Client) -> None:
    for who, status in (
        (making.staff(name="bare"), 403),
        (making.user("ada"), 302),
        (making.staff("chat.view_run"), 200),
    ):
        client.force_login(who)
        assert client.get(reverse(FILE)).status_code == status
    odd = client.get(reverse(FILE), {"created_at__nonsense": "1"})
    assert (odd.status_code, odd["Location"]) == (302, f"{reverse(LIST)}?e=1")
