"""The metrics, who may read them, and that collecting them delays nobody."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from django.db import OperationalError
from django.test import AsyncClient, override_settings
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from agents import CallEnded, PartialStep, Usage
from chat.models import Cost, Run, RunStatus, Scope
from chat.runs import call_costs
from chat.runs import queue as run_queue
from chat.runs import state as run_state
from chat.runs.recorder import RunRecorder
from chat.runtime import database, metrics
from chat.security.tokens import make_token, revoke_all
from chat.serving import gauges, metrics_port
from chat.web import metrics as view
from tests.chat import making
from tests.chat.following import Client, Silent, layer, started, store, watching
from tests.faults.world import until
from tests.services import free_port

__all__ = ["layer", "started", "watching"]

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "a token for the scraper"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
#: Every label that a metric may have.
LABELS = {"end", "agent", "model_server", "currency", "le"}


def figure(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"thinkaloud_{name}", labels) or 0.0


def counting(run: Run, *, error: str = "", read: int = 0, written: int = 0, cost: Cost | None = None) -> None:
    usage = Usage(read, written)
    call_costs.count_call(run.agent_name, "lab", CallEnded(1, 1, 250, 50, "stop", usage, error), cost)


def ended(run: Run) -> None:
    making.end(run, RunStatus.FAILED)


def stopped(run: Run) -> None:
    run_state.request_cancel(run, None)
    Run.objects.filter(pk=run.pk).update(cancel_requested_at=timezone.now() - timedelta(seconds=3))
    making.end(run, RunStatus.CANCELLED)


#: What happens to a run, the metric that counts it, and by how much.
COUNTED: list[tuple[Callable[[Run], Any], str, dict[str, str], float]] = [
    (ended, "runs_total", {"end": "failed", "agent": "researcher"}, 1),
    (ended, "run_seconds_count", {"end": "failed"}, 1),
    (ended, "stop_seconds_count", {}, 0),
    (stopped, "runs_total", {"end": "cancelled", "agent": "researcher"}, 1),
    (stopped, "stop_seconds_bucket", {"le": "5.0"}, 1),
    (stopped, "stop_seconds_bucket", {"le": "2.5"}, 0),
    (counting, "model_calls_total", {"model_server": "lab"}, 1),
    (counting, "model_errors_total", {"model_server": "lab"}, 0),
    (counting, "model_first_token_seconds_bucket", {"model_server": "lab", "le": "0.05"}, 1),
    (counting, "model_call_seconds_bucket", {"model_server": "lab", "le": "0.25"}, 1),
    (lambda run: counting(run, error="stopped"), "model_errors_total", {"model_server": "lab"}, 0),
    (lambda run: counting(run, error="No answer."), "model_errors_total", {"model_server": "lab"}, 1),
    (
        lambda run: counting(run, read=11, written=7),
        "input_tokens_total",
        {"agent": "researcher", "model_server": "lab"},
        11,
    ),
    (
        lambda run: counting(run, read=11, written=7),
        "output_tokens_total",
        {"agent": "researcher", "model_server": "lab"},
        7,
    ),
    (
        lambda run: counting(run, cost=Cost(Decimal("0.25"), "USD")),
        "cost_total",
        {"agent": "researcher", "model_server": "lab", "currency": "USD"},
        0.25,
    ),
]


@pytest.mark.parametrize(("act", "name", "labels", "more"), COUNTED)
def test_events_of_a_run_are_counted(act: Callable[[Run], Any], name: str, labels: dict[str, str], more: float) -> None:
    run = making.run(making.session(making.user()))
    before = figure(name, **labels)
    act(run)
    assert figure(name, **labels) - before == more


def test_an_end_that_is_not_committed_is_not_counted() -> None:
    run = making.run(making.session(making.user()))
    making.end(run)
    before = figure("runs_total", end="failed", agent="researcher")
    assert not run_state.finish(run.pk, run.session_id, run_state.End(RunStatus.FAILED))
    assert figure("runs_total", end="failed", agent="researcher") == before


async def test_the_first_words_of_a_run_are_counted_once(started: tuple[Run, Any]) -> None:
    run, _ = started
    run.begun_at = 0.0
    before = figure("first_token_seconds_count")
    recording = RunRecorder(run, lambda _: None)
    for text in ("I", "I see"):
        recording.on_partial(PartialStep(1, "thought", text))
    assert figure("first_token_seconds_count") - before == 1


async def test_a_step_s_way_to_a_client_is_measured_and_a_replay_is_none(started: tuple[Run, Any]) -> None:
    run, login = started
    await store(run, 3)
    before = figure("step_delay_seconds_count")
    client = await Client().join(run, login)
    await client.until(lambda: client.seqs == [1, 2, 3])
    assert figure("step_delay_seconds_count") == before
    # An event that the poll of every second finds before its group message arrives has no time to measure.
    for after in range(3, 43, 2):
        await store(run, 2, after=after)
        await client.until(lambda after=after: client.seqs[-1:] == [after + 2])
        if measured := figure("step_delay_seconds_count") - before:
            break
    assert measured in (1, 2)


@pytest.mark.parametrize("layer", [Silent()], indirect=True)
async def test_lost_group_messages_are_counted(started: tuple[Run, Any]) -> None:
    run, login = started
    client = await Client().join(run, login)
    before = figure("healed_group_messages_total")
    await store(run, 1)
    await client.until(lambda: client.seqs == [1])
    assert figure("healed_group_messages_total") - before == 1


def test_a_label_s_list_is_closed() -> None:
    names = metrics.LabelList(2)
    assert [names.of(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]


async def asked(client: AsyncClient, **headers: str) -> Any:
    answer = await client.get("/metrics", headers=headers)
    database.close()
    return answer


@override_settings(METRICS_TOKEN=TOKEN)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (BEARER, 200),
        ({"Authorization": f"bearer  {TOKEN} "}, 200),
        ({"Authorization": "Bearer another"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer å"}, 401),
        ({"Authorization": TOKEN}, 401),
    ],
)
async def test_the_operator_s_token_opens_it(headers: dict[str, str], status: int) -> None:
    assert (await asked(AsyncClient(), **headers)).status_code == status


async def test_without_a_token_set_none_opens_it() -> None:
    assert (await asked(AsyncClient(), Authorization="Bearer ")).status_code == 401


@override_settings(METRICS_TOKEN=TOKEN, SECURE_SSL_REDIRECT=True, ALLOWED_HOSTS=["chat.example.org"])
async def test_a_scraper_comes_by_address_and_without_https() -> None:
    assert (await asked(AsyncClient(), **BEARER)).status_code == 200
    assert (await asked(AsyncClient())).status_code == 400


@pytest.mark.parametrize(("permissions", "status"), [((), 403), (("chat.view_metrics",), 200)])
async def test_staff_see_it_by_permission(permissions: tuple[str, ...], status: int) -> None:
    user = await database.write(making.staff, *permissions)
    client = AsyncClient()
    await client.aforce_login(user)
    assert (await asked(client)).status_code == status


@override_settings(METRICS_TOKEN=TOKEN)
async def test_labels_of_metrics_are_closed_and_name_nobody() -> None:
    run = await database.write(lambda: making.run(making.session(making.user("okapi"), title="okapi")))
    await database.write(ended, run)
    answer = await asked(AsyncClient(), **BEARER)
    content = answer.content.decode()
    assert answer["Content-Type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(content)}
    assert {"thinkaloud_sockets", "thinkaloud_runs", "thinkaloud_step_delay_seconds"} <= families.keys()
    assert {label for family in families.values() for sample in family.samples for label in sample.labels} <= LABELS
    assert "okapi" not in content
    assert str(run.pk) not in content
    assert str(run.session_id) not in content


@override_settings(METRICS_TOKEN=TOKEN)
async def test_metrics_of_all_processes_are_read_from_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges.gauges, "_everywhere", None)

    def make() -> None:
        session = making.session(making.user())
        making.run(session)
        waiting = making.run(session, owned_by="")
        Run.objects.filter(pk=waiting.pk).update(created_at=timezone.now() - timedelta(seconds=90))
        making.run(making.session(session.owner), owned_by="")

    await database.write(make)
    await asked(AsyncClient(), **BEARER)
    figures = [figure(name) for name in ("queued_runs", "active_runs", "waiting_sessions")]
    assert figures == [2, 1, 1]
    assert figure("oldest_queued_seconds") >= 90


@override_settings(METRICS_TOKEN=TOKEN)
async def test_a_database_that_is_away_costs_what_it_would_have_told_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away() -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(gauges.gauges, "_everywhere", None)
    monkeypatch.setattr(run_queue, "count_unfinished", away)
    answer = await asked(AsyncClient(), **BEARER)
    assert answer.status_code == 200
    assert b"thinkaloud_sockets" in answer.content
    assert b"thinkaloud_queued_runs" not in answer.content


@override_settings(METRICS_TOKEN=TOKEN)
async def test_figures_are_put_into_words_off_the_loop_and_once_for_all_who_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[threading.Thread] = []
    began, go_on = threading.Event(), threading.Event()

    def render(accept: str) -> tuple[bytes, str]:
        threads.append(threading.current_thread())
        began.set()
        assert go_on.wait(10)
        return b"", "text/plain"

    class Making(dict[str, Any]):
        def get(self, accept: str, default: Any = None) -> Any:
            arrived.append(accept)
            return super().get(accept, default)

    arrived: list[str] = []
    monkeypatch.setattr(view, "_making", Making())
    monkeypatch.setattr(metrics, "render_figures", render)
    asking = [asyncio.create_task(asked_quietly()) for _ in range(5)]
    # Requests that arrive meanwhile get the same text.
    await until(lambda: began.is_set() and len(arrived) == 5, wanted="all to wait for the text")
    go_on.set()
    assert {answer.status_code for answer in await asyncio.gather(*asking)} == {200}
    database.close()
    assert threading.current_thread() not in threads
    assert len(threads) == 1


async def asked_quietly() -> Any:
    return await AsyncClient().get("/metrics", headers=BEARER)


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("::", "127.0.0.1")])
async def test_a_worker_tells_its_figures_at_a_port_of_its_own(host: str, address: str) -> None:
    port = free_port()
    with override_settings(METRICS_TOKEN=TOKEN, WORKER_METRICS_PORT=port, HOST=host):
        end = metrics_port.serve_figures()
        try:
            async with httpx.AsyncClient(base_url=f"http://{address}:{port}") as client:
                assert (await client.get("/metrics")).status_code == 401
                answer = await client.get("/metrics", headers=BEARER)
            # The worker works even if the port is taken.
            metrics_port.serve_figures()()
        finally:
            await asyncio.to_thread(end)
    assert answer.status_code == 200
    assert "thinkaloud_runs_here" in answer.text


#: Whose token, its scope, and the answer.
TOKENS = [
    (("chat.view_metrics",), Scope.READ, 200),
    (("chat.view_metrics",), Scope.MANAGE, 200),
    ((), Scope.READ, 403),
]


@pytest.mark.parametrize(("permissions", "scope", "status"), TOKENS)
async def test_a_token_of_staff_opens_it_with_their_own_right(
    permissions: tuple[str, ...], scope: Scope, status: int
) -> None:
    user = await database.write(making.staff, *permissions)
    _, token = await database.write(make_token, user, "scraper", scope, None)
    assert (await asked(AsyncClient(), Authorization=f"Bearer {token}")).status_code == status
    await database.write(revoke_all, user.pk)
    assert (await asked(AsyncClient(), Authorization=f"Bearer {token}")).status_code == 401
