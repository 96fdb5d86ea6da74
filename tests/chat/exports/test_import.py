"""Other programs' trajectories are imported: shown like any session, read-only; and no file can do harm."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.test import AsyncClient

from agents.steps import CONTENT_LIMIT
from agents.untrusted.pool import Unfinished
from agents.untrusted.trajectories import read_trajectory
from agents.untrusted.trajectory_reader import MOST_STEPS
from chat.exports import importing
from chat.models import ImportedDocument, Run, Session, Step
from chat.protocol import ENDS
from chat.runtime import database
from chat.store import search
from tests.chat import making
from tests.chat.exports import stock
from tests.chat.exports.test_files import text_of

pytestmark = pytest.mark.django_db(transaction=True)

#: The example of the format's Python package.
WEATHER: dict[str, Any] = {
    "schema_version": "ATIF-v1.8",
    "agent": {"name": "my-agent", "version": "1.0.0", "model_name": "claude-sonnet-4-6"},
    "steps": [
        {"step_id": 1, "source": "user", "message": "What time is it?"},
        {
            "step_id": 2,
            "source": "agent",
            "message": "Let me check.",
            "tool_calls": [{"tool_call_id": "c1", "function_name": "now", "arguments": {}}],
            "observation": {"results": [{"source_call_id": "c1", "content": "2026-05-16T12:00:00Z"}]},
            "metrics": {"prompt_tokens": 120, "completion_tokens": 18},
        },
    ],
}
#: With every feature of the format.
RICH: dict[str, Any] = {
    "schema_version": "ATIF-v1.7",
    "session_id": "025B810F-B3A2-4C67-93C0-FE7A142A947A",
    "trajectory_id": "root",
    "agent": {"name": "Harbor 代理", "version": "2", "tool_definitions": [{"type": "function"}], "extra": {"a": [1, None]}},
    "notes": "n",
    "continued_trajectory_ref": "next.json",
    "final_metrics": {"total_prompt_tokens": 7, "total_cost_usd": 0.5, "extra": {"x": 1}},
    "steps": [
        {"step_id": 1, "source": "system", "message": "You are kind.", "timestamp": "2025-10-11T10:30:00Z"},
        {
            "step_id": 2,
            "source": "user",
            "timestamp": "2025-10-11T10:30:01Z",
            "message": [{"type": "text", "text": "Look:"}, {"type": "image", "source": {"media_type": "image/png", "path": "a.png"}}],
        },
        {
            "step_id": 3,
            "source": "agent",
            "timestamp": "2025-10-11T10:30:02.5Z",
            "message": "",
            "model_name": "m",
            "reasoning_effort": "high",
            "reasoning_content": "I think of okapis.",
            "tool_calls": [
                {"tool_call_id": "x", "function_name": "delegate", "arguments": {"q": "é"}},
                {"tool_call_id": "x", "function_name": "delegate", "arguments": {"q": 2}},
            ],
            "observation": {
                "results": [
                    {"source_call_id": "x", "subagent_trajectory_ref": [{"trajectory_id": "sub"}]},
                    {"source_call_id": "x", "content": "y" * 3_000, "subagent_trajectory_ref": [{"trajectory_id": "sub"}]},
                    {"content": "a notice"},
                ]
            },
            "metrics": {"prompt_tokens": 5, "completion_tokens": 2, "cost_usd": 0.5, "logprobs": [-0.1], "completion_token_ids": [1]},
        },
        {"step_id": 4, "source": "agent", "message": "An okapi.", "llm_call_count": 1, "is_copied_context": True},
    ],
    "subagent_trajectories": [
        {
            "schema_version": "ATIF-v1.7",
            "trajectory_id": "sub",
            "agent": {"name": "sub", "version": "1"},
            "steps": [{"step_id": 1, "source": "user", "message": "Which?"}, {"step_id": 2, "source": "agent", "message": "That."}],
        },
        {"schema_version": "ATIF-v1.7", "trajectory_id": "alone", "agent": {"name": "alone", "version": "1"}, "steps": [
            {"step_id": 1, "source": "agent", "message": "Nobody asked me."}]},
    ],
}  # fmt: skip


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    made = AsyncClient()
    await made.aforce_login(await database.write(making.user))
    yield made
    database.close()


async def sent(client: AsyncClient, document: Any) -> Any:
    body = document if isinstance(document, str | bytes) else json.dumps(document)
    return await client.post("/api/sessions/import/", body, content_type="application/json")


async def imported(client: AsyncClient, document: Any) -> str:
    answer = await sent(client, document)
    assert answer.status_code == 201, answer.content
    assert answer.json()["imported"] is True
    return str(answer.json()["id"])


async def exported(client: AsyncClient, session_id: str, kind: str = "atif") -> Any:
    answer = await client.get(f"/api/sessions/{session_id}/export/?format={kind}&mask=false")
    return json.loads(await text_of(answer))


async def kinds(client: AsyncClient, session_id: str) -> list[str]:
    events = (await client.get(f"/api/sessions/{session_id}/events/?limit=1000")).json()["events"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return [event["data"].get("type", event["type"]) for event in events]


@pytest.mark.parametrize("document", [WEATHER, RICH], ids=["small", "rich"])
async def test_an_imported_document_is_exported_unchanged(client: AsyncClient, document: dict[str, Any]) -> None:
    assert await exported(client, await imported(client, document)) == document


async def test_our_own_files_come_back_as_they_went(client: AsyncClient) -> None:
    first = str((await database.write(lambda: stock.fill(making.User.objects.get()))).pk)
    document = await exported(client, first)
    second = await imported(client, document)
    assert await exported(client, second) == document

    def fields_of_events(events: list[dict[str, Any]]) -> list[Any]:
        fields = ("type", "content", "tool_name", "tool_call_id", "arguments", "ok", "message", "user", "status")
        return [
            [event["type"], *(event["data"].get(name) for name in fields)]
            for event in events
            if event["type"] != "error"
            and event["data"].get("type") not in ("iteration_start", "iteration_end", "complete", "error")
        ]

    one = fields_of_events((await exported(client, first, "json"))["events"])
    other = fields_of_events((await exported(client, second, "json"))["events"])
    # Steps of a run without reasoning have numbers now, an error is a system message, and continued text is a thought.
    one = [event for event in one if event[0] != "response"]
    other = [event for event in other if event[3] != "system"]
    # A child run may come before or after what its parent did at the same time.
    for is_child in (False, True):
        assert [it for it in other if it[0].startswith("child") is is_child] == [
            it for it in one if it[0].startswith("child") is is_child
        ]


async def test_an_imported_session_is_shown_as_any_session(client: AsyncClient) -> None:
    session_id = await imported(client, RICH)
    assert await kinds(client, session_id) == [
        *("reasoning_start", "tool_use", "tool_result", "reasoning_complete"),
        *("reasoning_start", "iteration_start", "thought", "tool_use", "tool_use"),
        *("child_start", "iteration_start", "final_answer", "child_complete"),
        *("tool_result", "tool_result", "tool_use", "tool_result", "iteration_start", "final_answer"),
        *("child_start", "iteration_start", "final_answer", "child_complete", "reasoning_complete"),
    ]
    page = (await client.get(f"/sessions/{session_id}/")).content.decode()
    for words in ("I think of okapis.", "An okapi.", "Harbor 代理", "Nobody asked me.", "imported"):
        assert words in page
    assert 'id="message"' not in page
    listed = (await client.get("/api/sessions/")).json()["items"]
    assert [(item["id"], item["imported"], item["status"]) for item in listed] == [(session_id, True, "completed")]
    assert b"imported" in (await client.get("/sessions/")).content
    run = await database.read(lambda: Run.objects.get(session=session_id, number=2, parent=None))
    assert (await client.get(f"/runs/{run.pk}/")).status_code == 200
    assert (run.input_tokens, run.output_tokens, run.currency, float(run.cost or 0)) == (5, 2, "USD", 0.5)
    whole = await client.get(f"/api/sessions/{session_id}/events/15/content/")
    assert len(whole.content) > CONTENT_LIMIT


@pytest.mark.parametrize(
    ("act", "body"),
    [("sessions/{session}/messages/", {"message": "Why?"}), ("runs/{run}/continue/", {})],
)
async def test_nothing_can_be_asked_in_an_imported_session(client: AsyncClient, act: str, body: dict[str, Any]) -> None:
    document = json.loads(json.dumps(WEATHER))
    document["steps"][0]["extra"] = {"status": "failed"}
    session_id = await imported(client, document)
    run = await database.read(lambda: Run.objects.get(session=session_id))
    assert run.status == "failed"
    answer = await client.post(
        f"/api/{act.format(session=session_id, run=run.pk)}", body, content_type="application/json"
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")
    assert "imported" in answer.json()["error"]["message"]
    # Its owner may rename and delete it, with everything that was imported.
    assert (
        await client.patch(f"/api/sessions/{session_id}/", {"title": "Mine"}, content_type="application/json")
    ).status_code == 200
    assert (await client.delete(f"/api/sessions/{session_id}/")).status_code == 204
    assert not await database.read(ImportedDocument.objects.exists)


async def test_no_agent_remembers_it_and_no_limit_counts_it(client: AsyncClient) -> None:
    await imported(client, RICH)
    user = await database.read(making.User.objects.get)
    assert await database.read(search.find, user, "okapis") == []
    assert await database.read(lambda: Run.objects.exclude(user=None).count()) == 0


def deep(levels: int, inner: Any, name: str = "x") -> Any:
    for _ in range(levels):
        inner = {name: inner}
    return inner


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(WEATHER))
    change(document)
    return document


def step(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["steps"][1].update(fields)


STEP = {"step_id": 1, "source": "agent", "message": ""}
SUB = {**WEATHER, "trajectory_id": "s"}
#: What is refused, with its code and a word of the location.
REFUSED: dict[str, tuple[Any, str, str]] = {
    "no JSON": ("{", "bad_json", "JSON"),
    "NaN": ('{"schema_version": NaN}', "bad_json", "JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "bad_json", "JSON"),
    "a huge number": ('{"a": "\\ud800", "b": 1' + "0" * 5_000 + "}", "bad_json", "JSON"),
    "a list": ("[]", "bad_frame", "object"),
    "nothing": ("", "bad_json", "JSON"),
    "no version": ({}, "bad_frame", "schema_version"),
    "a later version": ({**WEATHER, "schema_version": "ATIF-v2.0"}, "bad_frame", "schema_version"),
    "a field too much": ({**WEATHER, "x": 1}, "bad_frame", "x:"),
    "steps that skip": (changed(step(step_id=3)), "bad_frame", "step_id"),
    "an unknown source": (changed(step(source="tool")), "bad_frame", "steps.1.source"),
    "no message": (changed(step(message=None)), "bad_frame", "steps.1.message"),
    "a time that is none": (changed(step(timestamp="yesterday")), "bad_frame", "steps.1.timestamp"),
    "a result of no call": (
        changed(step(observation={"results": [{"source_call_id": "z"}]})), "bad_frame", "steps.1"),
    "a ref that leads nowhere": (
        changed(step(observation={"results": [{"subagent_trajectory_ref": [{}]}]})), "bad_frame", "subagent_trajectory_ref"),
    "two of one name": ({**WEATHER, "subagent_trajectories": [SUB, SUB]}, "bad_frame", "trajectory_id"),
    "a subagent without a name": ({**WEATHER, "subagent_trajectories": [WEATHER]}, "bad_frame", "trajectory_id"),
    "deep values": ({**WEATHER, "extra": deep(300, 1)}, "bad_frame", "deep"),
    "deeper values": ('{"extra":' * 5_000 + "1" + "}" * 5_000, "bad_json", "JSON"),
    "deep lists": ("[" * 100_000, "bad_json", "JSON"),
    "deep subagents": (
        {**WEATHER, "subagent_trajectories": [deep(10, [], "subagent_trajectories")]}, "bad_frame", "subagent_trajectories"),
    "many steps": ({**WEATHER, "steps": [STEP] * (MOST_STEPS + 1)}, "bad_frame", "steps"),
    "a million steps": ('{"schema_version":"ATIF-v1.8","steps":[' + "{}," * 1_000_000 + "{}]}", "bad_frame", "lists and objects"),
    "steps within": (
        {**WEATHER, "subagent_trajectories": [{**SUB, "steps": [STEP] * (MOST_STEPS + 1)}]}, "bad_frame", "steps"),
    "too large": ('{"a": "' + "x" * (20 * 1024 * 1024) + '"}', "too_large", "large"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_an_invalid_document_is_refused_with_the_place(client: AsyncClient, name: str) -> None:
    document, code, word = REFUSED[name]
    answer = await sent(client, document)
    assert answer.status_code == (413 if code == "too_large" else 400)
    error = answer.json()["error"]
    assert (error["code"], word in error["message"]) == (code, True), error["message"]
    assert len(error["message"]) < 600
    assert not await database.read(Session.objects.exists)


#: Odd documents that can be shown.
ODD: dict[str, Any] = {
    "no steps": {**WEATHER, "steps": []},
    "NUL and half a pair": json.dumps(changed(step(message="a\0b"))).replace("Let me", "\\ud83d"),
    "a long text": changed(step(message="x" * 3_000_000)),
    "long arguments": changed(step(tool_calls=[{"tool_call_id": "c1", "function_name": "n" * 5_000, "arguments": {"a": "y" * 500_000}}])),
    "long names": changed(lambda it: it["agent"].update(name="n" * 5_000)),
    "no name": changed(lambda it: it["agent"].update(name="")),
    "NUL in a name": changed(lambda it: it["agent"].update(name="a\0b")),
    "times of long ago": changed(step(timestamp="0001-01-01T00:00:00+14:00")),
    "times to come": changed(step(timestamp="9999-12-31T23:59:59-14:00")),
    "times that go back": changed(lambda it: it["steps"][0].update(timestamp="2025-01-02T00:00:00Z") or step(timestamp="2025-01-01")(it)),
    "many tokens": changed(step(metrics={"prompt_tokens": 2**63 - 1, "completion_tokens": -5, "cost_usd": 1e300})),
    "odd extras": changed(lambda it: it["steps"][0].update(extra={"status": 7, "duration_ms": "x", "agent": ["a"], "user": "\n"})),
    "a ref to nobody": changed(step(observation={"results": [{"subagent_trajectory_ref": [{"trajectory_id": "nobody"}]}]})),
    "a ref to itself": {
        **changed(step(observation={"results": [{"subagent_trajectory_ref": [{"trajectory_id": "s"}]}]})),
        "trajectory_id": "root",
        "subagent_trajectories": [
            {**changed(step(observation={"results": [{"subagent_trajectory_ref": [{"trajectory_id": "s"}, {"trajectory_id": "root"}]}]})),
             "trajectory_id": "s"}],
    },
    "only a user": {**WEATHER, "steps": WEATHER["steps"][:1]},
    "only an agent": {**WEATHER, "steps": [{**WEATHER["steps"][1], "step_id": 1}]},
    "hostile": changed(step(message=stock.HOSTILE)),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
async def test_odd_documents_are_shown(client: AsyncClient, name: str) -> None:
    session_id = await imported(client, ODD[name])
    await kinds(client, session_id)
    assert (await client.get(f"/sessions/{session_id}/")).status_code == 200
    for kind in ("markdown", "html", "json", "atif"):
        answer = await client.get(f"/api/sessions/{session_id}/export/?format={kind}")
        assert await text_of(answer)
    for run in await database.read(lambda: list(Run.objects.filter(session=session_id))):
        assert (await client.get(f"/runs/{run.pk}/")).status_code == 200
    longest = await database.read(
        lambda: max((len(body) for body in Step.objects.values_list("body", flat=True)), default=0)
    )
    assert longest < 1_000_000


async def test_a_form_is_no_document(client: AsyncClient) -> None:
    answer = await client.post("/api/sessions/import/", {"document": "{}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_json")


async def test_a_document_has_20_mib_and_no_more(client: AsyncClient) -> None:
    largest = 20 * 1024 * 1024
    whole = json.dumps(WEATHER)
    assert (await sent(client, whole + " " * (largest - len(whole)))).status_code == 201
    answer = await sent(client, whole + " " * (largest - len(whole) + 1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


async def test_imports_are_limited_per_minute(client: AsyncClient, settings: Any) -> None:
    settings.MAX_MESSAGES_PER_MINUTE = 1
    await imported(client, WEATHER)
    answer = await sent(client, WEATHER)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limited")
    assert await database.read(Session.objects.count) == 1


async def test_reading_has_an_end_and_the_next_document_is_read(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It takes longer than a millisecond in any case.
    large = {**WEATHER, "steps": [{**STEP, "step_id": n, "message": "x" * 500} for n in range(1, MOST_STEPS)]}
    with monkeypatch.context() as hurried:
        hurried.setattr(importing, "_READ_CPU_S", 0.001)
        answer = await sent(client, large)
    assert answer.status_code == 413, "reading went on and on"
    assert answer.json()["error"]["code"] == "too_large"
    await imported(client, WEATHER)


async def test_a_reader_that_has_gone_is_nobodys_fault(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise Unfinished("the worker has ended")

    with monkeypatch.context() as broken:
        broken.setattr(importing._readers, "run", gone)
        answer = await sent(client, WEATHER)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage")
    await imported(client, WEATHER)


async def test_a_reader_out_of_memory_says_that_it_was_too_much(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: Any, **__: Any) -> None:
        raise Unfinished("MemoryError")

    monkeypatch.setattr(importing._readers, "run", short)
    answer = await sent(client, WEATHER)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_calls_of_one_name_get_names_of_their_own() -> None:
    call = {"tool_call_id": "c" * 300, "function_name": "f", "arguments": {}}
    steps = [{**STEP, "step_id": n, "tool_calls": [call, call]} for n in range(1, 3_001)]
    read = read_trajectory(json.dumps({**WEATHER, "steps": steps}).encode(), 1.5, ENDS)
    names = [data["tool_call_id"] for _, data, _ in read["runs"][0]["entries"] if data.get("type") == "tool_use"]
    assert len(names) == len(set(names)) == 6_000
    assert max(map(len, names)) <= 200
