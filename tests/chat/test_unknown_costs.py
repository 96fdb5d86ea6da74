"""The cost of a call is not known for every model.

Wherever a cost is shown it is called unknown then, and never zero; and a sum of known costs says that it is incomplete.
"""

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from django.urls import reverse
from django.utils.html import strip_tags

from agents import CallBegun, CallEnded, ModelRequest, Usage
from chat.accounts.models import User
from chat.cases import commands, set_runs
from chat.cases.commands import CaseFields
from chat.models import CaseResult, CaseVerdict, Cost, DailyUsage, Run, RunStatus
from chat.runs import call_costs
from chat.runs import events as run_events
from chat.runs import state as run_state
from chat.runs.state import End
from chat.runtime import metrics
from chat.store.calls import CallWriter, PricedCall
from chat.traces import spans
from chat.traces.content import NoContent
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)
USED = Usage(1_000, 200)
KNOWN = Cost(Decimal("0.25"), "USD")


@pytest.fixture
def ada() -> User:
    return making.user("ada")


def ended(owner: User, cost: Cost | None) -> Run:
    """A run of one model call, in a session of its own; without a cost the price of its model is unknown."""
    run = making.run(making.session(owner), message="What is tea?")
    making.append(run, run_events.started(run, model="m"), making.step("iteration_start"))
    request = ModelRequest("m", [{"role": "user", "content": "What is tea?"}])
    call = CallEnded(1, 1, 250, 50, "stop", USED)
    CallWriter(run, provider="lab").write([CallBegun(1, 1, 1_000.0, request), PricedCall(call, cost)])
    end = End(RunStatus.COMPLETED, 1, USED, cost=cost)
    making.append(run, making.step("final_answer", "A leaf."), run_events.completed(run, end))
    assert run_state.finish(run.pk, run.session_id, end)
    run.refresh_from_db()
    return run


@pytest.fixture
def known(ada: User) -> Run:
    return ended(ada, KNOWN)


@pytest.fixture
def unknown(ada: User) -> Run:
    return ended(ada, None)


def staff_client(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


def bytes_of(answer: Any) -> bytes:
    assert answer.status_code == 200

    async def read() -> bytes:
        return b"".join([part async for part in answer])

    if not answer.streaming:
        return bytes(answer.content)
    return async_to_sync(read)() if answer.is_async else b"".join(answer)


def words_of(answer: Any) -> str:
    text = re.sub(r"<(script|style).*?</\1>", "", bytes_of(answer).decode(), flags=re.DOTALL)
    text = strip_tags(text.replace("<", " <"))
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split())


#: Pages about one run: who reads it, and its address.
PAGES: dict[str, tuple[bool, Callable[[Run], str]]] = {
    "its page": (False, lambda run: reverse("run", args=[run.pk])),
    "its call": (False, lambda run: reverse("call", args=[run.pk, 1])),
    "beside itself": (False, lambda run: f"{reverse('compare')}?a={run.pk}&b={run.pk}"),
    "in the admin": (True, lambda run: reverse("admin:chat_run_change", args=[run.pk])),
    "in the admin's list": (True, lambda run: reverse("admin:chat_run_changelist")),
}


@pytest.mark.parametrize("page", PAGES)
def test_pages_say_that_it_is_not_known(page: str, client: Client, ada: User, unknown: Run) -> None:
    is_staff, address = PAGES[page]
    reader = staff_client(client) if is_staff else client
    if not is_staff:
        reader.force_login(ada)
    words = words_of(reader.get(address(unknown)))
    assert "cost unknown" in words
    assert "0.00" not in words
    Run.objects.filter(pk=unknown.pk).update(cost=Decimal(10), currency="EUR")
    unknown.calls.update(cost=Decimal(10), currency="EUR")
    words = words_of(reader.get(address(unknown)))
    assert "10.00 EUR" in words
    assert "cost unknown" not in words


def test_a_run_without_usage_has_no_cost(client: Client, ada: User) -> None:
    run = making.run(making.session(ada))
    making.end(run, RunStatus.CANCELLED)
    client.force_login(ada)
    assert "cost unknown" not in words_of(client.get(reverse("run", args=[run.pk])))
    staff = staff_client(client)
    assert "cost unknown" not in words_of(staff.get(reverse("admin:chat_run_changelist")))


def test_the_figures_of_runs_say_of_how_many_it_is_not_known(
    client: Client, ada: User, known: Run, unknown: Run
) -> None:
    staff = staff_client(client)
    address = reverse("admin:chat_run_figures")
    assert "Cost 0.2500 USD, unknown for 1 run" in words_of(staff.get(address))
    Run.objects.filter(pk=known.pk).update(cost=None, currency="")
    assert "Cost unknown for 2 runs" in words_of(staff.get(address))


def test_the_file_of_runs_has_nothing_there(client: Client, known: Run, unknown: Run) -> None:
    run_list = csv.DictReader(io.StringIO(file_of(staff_client(client), reverse("admin:chat_run_csv"))))
    costs = {row["run"]: row["cost"] for row in run_list}
    assert Decimal(costs[str(known.pk)]) == KNOWN.amount
    assert costs[str(unknown.pk)] == ""


def file_of(client: Client, address: str, **query: str) -> str:
    return bytes_of(client.get(address, query)).decode()


def test_sets_say_of_how_many_cases_it_is_not_known(client: Client, ada: User, known: Run, unknown: Run) -> None:
    made = commands.make_set(ada, "Teas")
    commands.add_cases(ada, made.pk, [CaseFields("What is tea?"), CaseFields("And coffee?")])
    set_run = set_runs.begin(ada, made.pk)
    used = {"verdict": CaseVerdict.PASSED, "input_tokens": 1_000, "output_tokens": 200}
    for number, run in ((1, known), (2, unknown)):
        results = CaseResult.objects.filter(set_run=set_run, case__number=number)
        results.update(**used, run=run, cost=run.cost, currency=run.currency)
    client.force_login(ada)
    words = words_of(client.get(f"/sets/{made.pk}/"))
    assert "0.2500 USD · cost unknown for 1 case" in words
    (item,) = json.loads(file_of(client, f"/api/sets/{made.pk}/runs/"))["items"]
    assert (item["totals"]["costs"], item["totals"]["unpriced"]) == ({"USD": 0.25}, 1)
    results = json.loads(file_of(client, f"/api/sets/{made.pk}/runs/1/results/"))["items"]
    assert [result["cost"] for result in results] == [0.25, None]
    rows = list(csv.DictReader(io.StringIO(file_of(client, f"/sets/{made.pk}/runs/1/csv/"))))
    assert [row["cost"][:4] for row in rows] == ["0.25", ""]
    CaseResult.objects.update(cost=None, currency="")
    assert "cost unknown for 2 cases" in words_of(client.get(f"/sets/{made.pk}/"))


def test_programs_are_told_no_cost(client: Client, ada: User, known: Run, unknown: Run) -> None:
    client.force_login(ada)
    for run, cost in ((known, {"amount": 0.25, "currency": "USD"}), (unknown, None)):
        (call,) = json.loads(file_of(client, f"/api/runs/{run.pk}/calls/"))["calls"]
        assert call.get("cost") == cost
        last = json.loads(file_of(client, f"/api/sessions/{run.session_id}/events/"))["events"][-1]
        assert (last["type"], last["data"]["usage"].get("cost")) == ("reasoning_complete", cost)
        assert json.loads(file_of(client, f"/api/runs/{run.pk}/"))["usage"].get("cost") == cost
        steps = json.loads(file_of(client, f"/api/runs/{run.pk}/export/", format="atif"))
        assert steps["final_metrics"].get("total_cost_usd") == (cost and 0.25)
        assert [step["metrics"].get("cost_usd") for step in steps["steps"] if "metrics" in step] == [cost and 0.25]


def test_a_file_has_no_total_where_a_part_of_it_is_not_known(client: Client, ada: User, known: Run) -> None:
    client.force_login(ada)
    address = f"/api/sessions/{known.session_id}/export/"
    stopped = making.run(known.session)
    making.end(stopped, RunStatus.CANCELLED)
    assert json.loads(file_of(client, address, format="atif"))["final_metrics"]["total_cost_usd"] == 0.25
    Run.objects.filter(pk=stopped.pk).update(input_tokens=7)
    assert json.loads(file_of(client, address, format="atif"))["final_metrics"].get("total_cost_usd") is None


def test_an_archive_has_none(client: Client, ada: User, known: Run, unknown: Run) -> None:
    client.force_login(ada)
    archive = zipfile.ZipFile(io.BytesIO(bytes_of(client.get("/data/archive/"))))
    sums = {row["currency"]: row["cost"] for row in json.loads(archive.read("usage.json"))}
    assert sums.keys() == {"USD", ""}
    assert (Decimal(sums["USD"]), sums[""]) == (KNOWN.amount, None)


def test_usage_has_none(client: Client, ada: User, known: Run, unknown: Run) -> None:
    assert DailyUsage.objects.count() == 2
    staff, page = staff_client(client), reverse("admin:chat_dailyusage_changelist")
    assert "0.2500 USD, unknown for 1 call" in words_of(staff.get(page))
    rows = csv.DictReader(io.StringIO(file_of(staff, page, format="csv")))
    assert {row["currency"]: row["cost"][:4] for row in rows} == {"USD": "0.25", "": ""}


def test_an_unknown_cost_uses_no_money_of_a_budget(unknown: Run) -> None:
    def counted() -> dict[Any, float]:
        return {tuple(sorted(sample.labels.items())): sample.value for sample in metrics.cost.collect()[0].samples}

    before = counted()
    call_costs.count_call(unknown.agent_name, "lab", CallEnded(1, 1, 250, 50, "stop", USED), None)
    assert counted() == before


def test_a_trace_has_none(known: Run, unknown: Run) -> None:
    def costs(run: Run) -> list[Any]:
        (tree,) = spans.read_trees([run], NoContent())
        attributes = [
            {each.key: each.value.double_value for each in span.attributes}
            for span in spans.spans_of(tree, NoContent())
        ]
        return [each.get("thinkaloud.cost.amount") for each in attributes]

    assert costs(known) == [0.25, 0.25]
    assert costs(unknown) == [None, None]
