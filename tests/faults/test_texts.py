"""Characters and numbers that one database accepts and the other refuses: from models, tools and people, the same result on both."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from yarl import URL

from tests.faults import world as worlds
from tests.faults.invariants import quiet_logs
from tests.faults.world import World
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser

#: They share a product with others: in two processes of the tests it would be started twice.
pytestmark = pytest.mark.xdist_group("pair")

NUL, HIGH, LOW, REPLACED = "\x00", "\ud83d", "\ude00", "\ufffd"


@pytest.fixture(scope="module")
def beside(shared_pair: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The product on SQLite, with the same model server as the one on PostgreSQL."""
    with worlds.alone(tmp_path_factory.mktemp("texts"), shared_pair.model) as opened:
        yield opened


@pytest.fixture
def model(two: World) -> ModelServer:
    """The model server of both."""
    return two.model


@pytest.fixture
async def bos(beside: World, two: World) -> AsyncIterator[list[Browser]]:
    """The same user, logged in to each; at the end neither product has logged anything unexpected."""
    async with contextlib.AsyncExitStack() as until_done:
        yield [await until_done.enter_async_context(world.browser("bo")) for world in (beside, two)]
    for world in (beside, two):
        assert not list(quiet_logs(world.output))


async def frames_of(bo: Browser, message: str) -> list[dict[str, Any]]:
    """Send a message in a new session; returns the stored frames, as sent live and as loaded, without fields that always differ."""
    session = await bo.new_session()
    async with bo.socket(session) as socket:
        await socket.send("chat", message=message)
        run = (await socket.until_type("reasoning_complete"))["run_id"]
    async with bo.socket(session, "?last_seq=0") as later:
        await later.until_type("reasoning_complete")
    assert later.stored() == socket.stored()
    status, events = await bo.call("GET", f"sessions/{session}/events/?limit=1000")
    assert status == 200
    assert [e["data"] for e in events["events"]] == [f["data"] for f in socket.stored()]
    for page in (f"/sessions/{session}/", f"/runs/{run}/"):
        async with bo.http.get(page) as answer:
            assert answer.status == 200, page
    passing = ("timestamp", "duration_ms")
    data = [{name: value for name, value in f["data"].items() if name not in passing} for f in socket.stored()]
    # Tool calls of one turn end in any order.
    results = sorted(steps(data, "tool_result"), key=lambda result: str(result["tool_call_id"]))
    return [each for each in data if each.get("type") != "tool_result"] + [{**result, "step": 0} for result in results]


def steps(data: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The steps of a type."""
    return [each for each in data if each.get("type") == kind]


ODD = f"a{NUL}b{HIGH}c{LOW}d\x01\x7f\u2028\ufeff\uffff{HIGH}{LOW}e"
CLEAN = f"a{REPLACED}b{REPLACED}c{REPLACED}d\x01\x7f\u2028\ufeff\uffff\U0001f600e"


async def test_a_model_writes_what_cannot_be_stored(model: ModelServer, bos: list[Browser]) -> None:
    """NUL and lone surrogates in thoughts, arguments, names, results and answers; a pair that arrives in two pieces stays a pair."""
    logs = []
    for bo in bos:
        model.enqueue(
            Script(
                reasoning=f"Hm. {ODD}",
                calls=[
                    Call("python", {"code": f"print({ODD!r})", f"more {ODD}": [ODD, {"in": ODD}]}),
                    Call(f"no{NUL}such{HIGH}tool", {"x": ODD}),
                ],
                escape=True,
                piece=1,
            ),
            Script(f"So: {ODD}", escape=True, piece=1),
        )
        logs.append(await frames_of(bo, "Odd"))
    sqlite, postgres = logs
    assert sqlite == postgres
    assert steps(sqlite, "thought")[0]["content"] == f"Hm. {CLEAN}"
    assert steps(sqlite, "final_answer")[0]["content"] == f"So: {CLEAN}"
    uses = steps(sqlite, "tool_use")
    assert uses[0]["arguments"][f"more {CLEAN}"] == [CLEAN, {"in": CLEAN}]
    assert uses[1]["tool_name"] == f"no{REPLACED}such{REPLACED}tool"
    assert NUL not in json.dumps(sqlite, ensure_ascii=False)
    assert not [c for c in json.dumps(sqlite, ensure_ascii=False) if "\ud800" <= c <= "\udfff"]


@pytest.mark.parametrize(
    "arguments",
    [
        '{"x": NaN}',
        '{"x": Infinity}',
        '{"x": -Infinity}',
        '{"x": 1e999}',
        '{"x": ' + "9" * 5_000 + "}",
        '{"x": 18446744073709551616}',
        '{"x": ' + "[" * 5_000 + "]" * 5_000 + "}",
        '{"x": ' + "[" * 300 + "]" * 300 + "}",
        '{"x": 1, "x": 2}',
        '{"__proto__": {"y": 1}}',
        '["no object"]',
        "null",
        "\ufeff{}",
    ],
)
async def test_a_model_writes_arguments_that_are_hardly_json(
    model: ModelServer, bos: list[Browser], arguments: str
) -> None:
    """NaN, infinities, huge numbers, depth, duplicate keys: stored, sent and loaded the same, as JSON that browsers can read."""
    logs = []
    for bo in bos:
        model.enqueue(Script(calls=[Call("python", arguments)]), Script("Done."))
        logs.append(await frames_of(bo, "Arguments"))
    assert logs[0] == logs[1]
    # Browsers do not accept NaN in JSON, so ours must not contain it.
    json.loads(json.dumps(steps(logs[0], "tool_use")[0]["arguments"], allow_nan=False))
    assert [each["status"] for each in logs[0] if "status" in each] == ["completed"]


TEXTS = [
    f"a{NUL}b",
    f"a{HIGH}b",
    "\x01\x7f",
    "\U0010ffff",
    "x" * 300,
    "",
    " ",
    "'; DROP TABLE chat_step; --",
    "%s %(x)s",
    "\\u0000",
]
NUMBERS = [
    "0",
    "-1",
    "1",
    str(2**31),
    str(2**63 - 1),
    str(2**63),
    "9" * 30,
    "1e3",
    "NaN",
    "",
    "x",
    "1.5",
    "\u0663",
    "%00",
]
#: An invented cursor, and others.
WORDS = [
    "%00",
    "%ED%A0%80",
    "%FF",
    "a%00b",
    "%25",
    "'",
    "\u00e4",
    "x" * 2_000,
    "-",
    "*",
    '"',
    "(",
    "AND",
    "\u8a9e",
    "%F0%9F%98%80",
]


async def test_people_send_what_cannot_be_stored(bos: list[Browser]) -> None:
    """NUL, surrogates, numbers beyond every column, SQL and search syntax in every field of the API: refused or accepted, never a 500."""
    seen: list[list[tuple[str, int]]] = []
    for bo in bos:
        session = await bo.new_session(title="t")
        async with bo.socket(session) as socket:
            await socket.send("chat", message="Say [tokens=1]")
            run = (await socket.until_type("reasoning_complete"))["run_id"]
        requests: list[tuple[str, str, Any]] = []
        for text in TEXTS:
            requests += [
                ("POST", "sessions/", {"title": text}),
                ("POST", "sessions/", {"agent_name": text}),
                ("PATCH", f"sessions/{session}/", {"title": text}),
                ("POST", f"sessions/{session}/messages/", {"message": "", "client_message_id": text}),
                ("POST", f"sessions/{session}/messages/", {"message": "Say", "agent_name": text or NUL}),
                ("POST", f"sessions/{uuid4()}/messages/", {"message": text}),
                ("POST", f"runs/{run}/continue/", {"client_message_id": text}),
            ]
        for number in NUMBERS:
            requests += [
                ("GET", f"sessions/{session}/events/?after={number}", None),
                ("GET", f"sessions/{session}/events/?limit={number}", None),
                ("GET", f"sessions/{session}/events/{number or 'x'}/content/", None),
            ]
        for word in WORDS:
            requests += [("GET", f"sessions/?{name}={word}", None) for name in ("q", "status", "agent", "cursor")]
            requests += [("GET", f"sessions/{word}/", None), ("GET", f"runs/{word}/", None)]
            requests += [("GET", f"sessions/{session}/export/?format={word}", None)]
        answers = [
            (f"{method} {path} {body!a}", await status_of(bo, method, path, body)) for method, path, body in requests
        ]
        for page in (
            "/sessions/?q={}",
            "/sessions/?page={}",
            "/sessions/{}/",
            "/?agent={}",
            "/accounts/login/?next={}",
        ):
            answers += [(page + word, await status_of(bo, "GET", f"..{page.format(word)}", None)) for word in WORDS]
        assert not [each for each in answers if each[1] >= 500]
        seen.append([(what.replace(session, "").replace(run, ""), status) for what, status in answers])
    differing = [pair for pair in zip(*seen, strict=True) if pair[0][1] != pair[1][1]]
    assert not differing


async def status_of(bo: Browser, method: str, path: str, body: Any) -> int:
    """The status of an answer, whatever its body."""
    # Written by hand, so that a surrogate is sent as an escape of JSON.
    data = None if body is None else json.dumps(body)
    headers = {"X-CSRFToken": bo.cookie("csrftoken"), "Referer": f"{bo.url}/", "Content-Type": "application/json"}
    address = f"{bo.url}/api/{path}" if not path.startswith("..") else f"{bo.url}{path[2:]}"
    async with bo.http.request(
        method, URL(address, encoded=True), data=data, headers=headers, allow_redirects=False
    ) as answer:
        await answer.read()
        return answer.status


async def test_a_form_holds_what_cannot_be_stored(bos: list[Browser]) -> None:
    """NUL in the login form and in an account's fields: a page with an error, not a 500."""
    for bo in bos:
        for path, fields in (
            ("/accounts/login/", {"username": f"a{NUL}b", "password": f"c{NUL}d"}),
            ("/accounts/", {"first_name": f"a{NUL}b", "last_name": "x" * 5_000, "email": f"{NUL}@example.com"}),
        ):
            form = {"csrfmiddlewaretoken": bo.cookie("csrftoken"), **fields}
            async with bo.http.post(path, data=form, headers={"Referer": bo.url}, allow_redirects=False) as answer:
                assert answer.status in (200, 302, 400, 403), (path, answer.status)
