"""The traces of runs that a collector is sent: complete, and a collector that misbehaves disturbs nothing."""

import json
import logging
import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus

from agents import CallBegun, CallEnded, ModelRequest, Usage
from chat.models import ModelCall, Run, RunStatus, TraceCursor, TracedRun
from chat.runs import state as run_state
from chat.runs.state import End
from chat.store.calls import CallWriter, PricedCall
from chat.traces import cursor, exporter
from chat.traces.exporter import TraceExporter, send_unsent
from chat.traces.sending import Sender, Sent
from chat.traces.spans import span_id
from tests.chat import making
from tests.chat.traces.collector import Collector, attributes_of
from tests.http_proxy import forget_proxies, proxying
from tests.services import free_port

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "sk-0123456789abcdefghijklmnop"


@pytest.fixture
def collector(settings: Any) -> Iterator[Collector]:
    with Collector() as made:
        settings.OTEL_EXPORTER_OTLP_ENDPOINT = made.address
        settings.OTEL_EXPORTER_OTLP_HEADERS = "x-tenant=lab"
        yield made


def call(run: Run, iteration: int, *, error: str = "", message: str = "Why?") -> None:
    request = ModelRequest("qwen", [{"role": "user", "content": message}], parameters={"temperature": 0.5})
    begun = CallBegun(iteration, 1, 1_800_000_000.0, request)
    ended = CallEnded(iteration, 1, 250, 50, "stop", Usage(11, 7, cached_tokens=3), error)
    CallWriter(run, provider="lab").write([begun, PricedCall(ended, None)])


def ended_run(status: RunStatus = RunStatus.COMPLETED, code: str = "", **fields: Any) -> Run:
    """A run that has ended, with two model calls, a tool call with a result and one without."""
    run = making.run(making.session(making.user(f"user-{uuid4().hex[:8]}")), **fields)
    call(run, 1)
    use = {"tool_name": "python", "timestamp": 1_800_000_001.0, "arguments": {"code": f"key = '{KEY}'"}}
    making.append(
        run,
        making.step("thought", "Hm."),
        making.step("tool_use", tool_call_id="1", **use),
        making.step("tool_result", f"It is {KEY}.", tool_call_id="1", tool_name="python", duration_ms=40),
        making.step("tool_use", tool_call_id="2", **use),
    )
    call(run, 2, error="It does not answer." if code else "")
    making.append(run, making.step("final_answer", "Because.", iteration=2))
    assert run_state.finish(run.pk, run.session_id, End(status, 2, Usage(22, 14), code))
    run.refresh_from_db()
    return run


def trace_from_now() -> None:
    """A collector was configured before any run had ended, so that none is skipped."""
    cursor.acquire_lease("process-1")
    TraceCursor.objects.update(since=timezone.now() - timedelta(days=1))


def send() -> list[Sent]:
    results: list[Sent] = []
    sender = Sender()
    while (lease := cursor.acquire_lease("process-1")) and send_unsent(lease, sender, results.append):
        pass
    return results


def by_name(spans: list[Span]) -> dict[str, Span]:
    return {span.name: span for span in spans}


def test_a_run_is_a_trace_of_its_model_and_tool_calls(collector: Collector) -> None:
    trace_from_now()
    run = ended_run()
    assert send() == [Sent.ACCEPTED]
    assert collector.headers[0]["x-tenant"] == "lab"
    spans = collector.spans
    names = ["invoke_agent researcher", "chat qwen", "chat qwen", "execute_tool python", "execute_tool python"]
    assert [span.name for span in spans] == names
    root, first, _, worked, left = spans
    assert {UUID(bytes=span.trace_id) for span in spans} == {run.pk}
    assert len({span.span_id for span in spans}) == 5
    assert root.parent_span_id == b""
    assert {span.parent_span_id for span in spans[1:]} == {root.span_id}
    assert (first.end_time_unix_nano - first.start_time_unix_nano) == 250_000_000
    assert (worked.start_time_unix_nano, worked.end_time_unix_nano) == (
        1_800_000_001 * 10**9,
        1_800_000_001_040_000_000,
    )
    assert [span.status.code for span in (root, worked, left)] == [
        SpanStatus.STATUS_CODE_UNSET,
        SpanStatus.STATUS_CODE_UNSET,
        SpanStatus.STATUS_CODE_ERROR,
    ]
    attributes = attributes_of(first)
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "qwen",
        "gen_ai.provider.name": "lab",
        "gen_ai.agent.name": "researcher",
        "gen_ai.conversation.id": str(run.session_id),
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.response.time_to_first_chunk": 0.05,
    }
    assert expected.items() <= attributes.items()
    of_tool = attributes_of(worked)
    assert (of_tool["gen_ai.tool.name"], of_tool["gen_ai.tool.call.id"]) == ("python", "1")
    resource = collector.requests[0].resource_spans[0].resource.attributes
    assert [each.value.string_value for each in resource if each.key == "service.name"] == ["thinkaloud"]


def test_a_collector_is_reached_by_the_environments_proxy(
    collector: Collector, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://collector.test"
    forget_proxies(monkeypatch)
    trace_from_now()
    ended_run()
    with proxying(int(collector.address.rpartition(":")[2])) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        assert send() == [Sent.ACCEPTED]
    assert proxy.asked == ["POST http://collector.test/v1/traces HTTP/1.1"]
    assert collector.spans


def test_the_resource_of_traces_is_set_by_opentelemetrys_variables(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ours")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab")
    trace_from_now()
    ended_run()
    send()
    (sent,) = collector.requests[0].resource_spans
    attributes = {each.key: each.value.string_value for each in sent.resource.attributes}
    assert {"service.name": "ours", "deployment.environment.name": "lab"}.items() <= attributes.items()
    assert sent.scope_spans[0].scope.name == "thinkaloud"


def test_any_parameter_is_in_the_trace(collector: Collector) -> None:
    trace_from_now()
    run = ended_run()
    odd = {"temperature": 2**63, "top_p": {"a": None}, "max_tokens": [1, None, ["x"]], "seed": True}
    ModelCall.objects.filter(run=run).update(parameters=json.dumps(odd))
    assert send() == [Sent.ACCEPTED]
    attributes = attributes_of(collector.spans[1])
    assert [attributes[f"gen_ai.request.{name}"] for name in odd] == [
        str(2**63),
        "{'a': None}",
        [1, "None", ["x"]],
        True,
    ]


def test_few_texts_are_in_memory_at_once(collector: Collector, settings: Any) -> None:
    settings.OTEL_CONTENT = True
    trace_from_now()
    runs = [ended_run() for _ in range(12)]
    assert send() == [Sent.ACCEPTED]
    sent = [
        [UUID(bytes=span.trace_id) for span in each.resource_spans[0].scope_spans[0].spans]
        for each in collector.requests
    ]
    assert [set(each) for each in sent] == [{run.pk for run in runs[:10]}, {run.pk for run in runs[10:]}]


@pytest.mark.parametrize("has_content", [False, True])
def test_many_runs_are_read_together_and_no_column_later(
    collector: Collector, settings: Any, has_content: bool
) -> None:
    settings.OTEL_CONTENT = has_content
    trace_from_now()
    for _ in range(4):
        ended_run()
    with CaptureQueriesContext(connection) as captured:
        assert send() == [Sent.ACCEPTED]
    # Otherwise Django would load the missing columns row by row.
    later = [
        query["sql"] for query in captured if re.search(r'FROM "chat_(?!tracecursor)\w+" .* LIMIT 21', query["sql"])
    ]
    assert later == []
    assert has_content or len(captured) < 15


def test_texts_are_not_sent_by_default(collector: Collector) -> None:
    trace_from_now()
    ended_run(message="the okapi")
    send()
    text = str(collector.requests)
    assert "okapi" not in text
    assert "Because" not in text
    assert "Hm." not in text


def test_texts_are_sent_masked_with_otel_content(collector: Collector, settings: Any) -> None:
    settings.OTEL_CONTENT = True
    trace_from_now()
    ended_run(message="the okapi")
    send()
    root, first, second, worked, _ = collector.spans
    attributes = attributes_of(root)
    assert json.loads(attributes["gen_ai.input.messages"])[0]["parts"] == [{"type": "text", "content": "the okapi"}]
    assert json.loads(attributes["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "Because."}]
    answered = json.loads(attributes_of(first)["gen_ai.output.messages"])[0]["parts"]
    assert [part["type"] for part in answered] == ["reasoning", "tool_call", "tool_call"]
    asked = json.loads(attributes_of(second)["gen_ai.input.messages"])
    assert asked == [{"role": "user", "parts": [{"type": "text", "content": "Why?"}]}]
    assert "It is" in attributes_of(worked)["gen_ai.tool.call.result"]


#: How a run has ended, its error code, and the error of its span.
ENDS = [
    (RunStatus.COMPLETED, "", None),
    (RunStatus.CANCELLED, "", None),
    (RunStatus.MAX_ITERATIONS, "", None),
    (RunStatus.FAILED, "model_timeout", "model_timeout"),
    (RunStatus.INTERRUPTED, "", "interrupted"),
]


@pytest.mark.parametrize(("status", "code", "error"), ENDS)
def test_a_trace_says_how_its_run_ended(collector: Collector, status: RunStatus, code: str, error: str | None) -> None:
    trace_from_now()
    ended_run(status, code)
    send()
    attributes = attributes_of(collector.spans[0])
    assert attributes["thinkaloud.run.status"] == status
    assert attributes.get("error.type") == error
    of_call = attributes_of(collector.spans[2])
    assert of_call.get("error.type") == ("model_error" if code else None)


def test_a_run_within_a_run_is_below_the_call_that_asked_for_it(collector: Collector) -> None:
    trace_from_now()
    parent = making.run(making.session(making.user()))
    making.append(parent, making.step("tool_use", tool_call_id="7", tool_name="ask_writer", timestamp=1.5))
    child = Run(agent_name="writer", message="Write.", parent_call_id="7")
    run_state.begin_within(child, parent)
    call(child, 1)
    assert run_state.finish(child.pk, child.session_id, End(RunStatus.COMPLETED))
    making.end(parent)
    send()
    named = by_name(collector.spans)
    asking, below = named["execute_tool ask_writer"], named["invoke_agent writer"]
    assert below.parent_span_id == asking.span_id
    assert named["chat qwen"].parent_span_id == below.span_id
    assert {UUID(bytes=span.trace_id) for span in collector.spans} == {parent.pk}
    assert len(collector.spans) == 4


def test_a_run_that_goes_on_from_another_says_so(collector: Collector) -> None:
    trace_from_now()
    stopped = ended_run(RunStatus.CANCELLED)
    later = making.run(stopped.session, continues=stopped)
    making.end(later)
    send()
    (link,) = [link for span in collector.spans for link in span.links]
    assert UUID(bytes=link.trace_id) == stopped.pk
    assert link.span_id == span_id(stopped.pk, "run")


def test_a_trace_is_sent_once_and_made_again_is_the_same(collector: Collector) -> None:
    trace_from_now()
    ended_run()
    send()
    send()
    assert len(collector.requests) == 1
    since = (timezone.now() - timedelta(days=1)).isoformat()
    output = StringIO()
    call_command("export_traces", since=cursor.clock.now() - timedelta(days=1), stdout=output)
    assert since
    assert output.getvalue() == "1 runs are sent.\n"
    assert collector.requests[1] == collector.requests[0]


#: The collector's first answers, the result, and whether the same is sent again later.
BAD_ANSWERS = [(429, Sent.AWAY), (503, Sent.AWAY), (401, Sent.AWAY), (404, Sent.AWAY), (302, Sent.AWAY)]


@pytest.mark.parametrize(("status", "came"), BAD_ANSWERS)
def test_traces_are_sent_when_a_collector_is_back(
    collector: Collector, status: int, came: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.traces.sending._PATIENCE_S", 0.2)
    trace_from_now()
    run = ended_run()
    collector.statuses.extend([status] * 20)
    assert send() == [came]
    assert not TracedRun.objects.exists()
    collector.statuses.clear()
    assert send() == [Sent.ACCEPTED]
    assert {UUID(bytes=span.trace_id) for span in collector.spans} == {run.pk}


def test_a_refused_trace_is_logged_and_does_not_delay_others(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    trace_from_now()
    runs = [ended_run() for _ in range(3)]
    # All together, and then the second one alone.
    collector.statuses.extend([400, 200, 413, 200])
    assert send() == [Sent.ACCEPTED]
    assert [UUID(bytes=span.trace_id) for span in collector.spans if not span.parent_span_id] == [
        runs[0].pk,
        runs[2].pk,
    ]
    assert f"refused the trace of run {runs[1].pk}: it answers 413" in caplog.text
    assert TracedRun.objects.count() == 3


def test_an_end_that_becomes_visible_late_is_not_passed_over(collector: Collector) -> None:
    trace_from_now()
    ended_run()
    send()
    # Its transaction took longer than those of runs that ended after it.
    late = ended_run()
    Run.objects.filter(pk=late.pk).update(ended_at=timezone.now() - timedelta(minutes=9))
    send()
    assert UUID(bytes=collector.requests[1].resource_spans[0].scope_spans[0].spans[0].trace_id) == late.pk


def test_the_cursor_moves_on_and_takes_its_notes_along(collector: Collector) -> None:
    trace_from_now()
    run = ended_run()
    Run.objects.filter(pk=run.pk).update(ended_at=timezone.now() - timedelta(minutes=11))
    send()
    assert not TracedRun.objects.exists()
    assert timedelta(minutes=10) <= timezone.now() - TraceCursor.objects.get().since < timedelta(minutes=11)
    send()
    assert len(collector.requests) == 1


def test_traces_are_sent_by_one_process_at_a_time() -> None:
    assert cursor.acquire_lease("one")
    assert not cursor.acquire_lease("two")
    assert cursor.acquire_lease("one")
    TraceCursor.objects.update(leased_until=timezone.now() + timedelta(seconds=cursor.LEASE_S / 4))
    assert cursor.acquire_lease("one"), "and has it for longer"
    assert TraceCursor.objects.get().leased_until > timezone.now() + timedelta(seconds=cursor.LEASE_S / 2)
    TraceCursor.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert cursor.acquire_lease("two")
    cursor.give_up_lease("two")
    assert cursor.acquire_lease("one")


def test_runs_before_a_collector_was_configured_are_not_sent(collector: Collector) -> None:
    ended_run()
    # In another millisecond, which is the resolution of SQLite's clock.
    Run.objects.update(ended_at=F("ended_at") - timedelta(seconds=1))
    cursor.acquire_lease("process-1")
    assert send() == [Sent.ACCEPTED]
    assert collector.requests == []


def test_the_command_says_from_where_to_go_on(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.traces.sending._PATIENCE_S", 0.2)
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = f"http://127.0.0.1:{free_port()}"
    run = ended_run()
    with pytest.raises(
        CommandError, match=f"0 runs are sent, then it does not answer. Continue with: --since {run.ended_at:%Y}"
    ):
        call_command("export_traces", since=cursor.clock.now() - timedelta(days=1))
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = ""
    with pytest.raises(CommandError, match="Set OTEL_EXPORTER_OTLP_ENDPOINT"):
        call_command("export_traces", since=cursor.clock.now())


def test_the_thread_sends_by_itself_and_tells_once_that_the_collector_is_away(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("chat.traces.sending._PATIENCE_S", 0.1)
    monkeypatch.setattr(exporter, "EVERY_S", 0.02)
    asked = threading.Semaphore(0)
    acquire_lease = cursor.acquire_lease

    def counted(process: str, since: Any = None) -> bool:
        asked.release()
        return acquire_lease(process, since)

    monkeypatch.setattr(cursor, "acquire_lease", counted)
    began_at = timezone.now()
    # Before its first look.
    run = ended_run()
    collector.statuses.extend([401] * 3)
    sending = TraceExporter("process-1", began_at)
    sending.start()
    try:
        while not collector.requests:
            assert asked.acquire(timeout=20)
    finally:
        sending.stop(10)
    assert {UUID(bytes=span.trace_id) for span in collector.spans} == {run.pk}
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    away = [words for words in messages if "does not answer; traces are sent later: it answers 401" in words]
    assert len(away) == 1
    assert sum("accepts traces again" in words for words in messages) == 1
    assert len(messages) == 2, "the library says nothing beside it"
