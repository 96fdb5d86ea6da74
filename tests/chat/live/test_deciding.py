"""Decisions and answers by a socket's commands and by the API, at the same time and too late, on the product as it is deployed."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import jsonschema
import pytest

from tests.model_server import ModelServer
from tests.serving import Browser, Server, Socket, serving

POLICY = [{"tool": "python", "decision": "ask"}]
CALL = 'Work it out [call=python:{"code":"6*7"}]'

QUESTION = 'Book it [call=ask_user:{"question":"Where?"}]'


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Iterator[Server]:
    """The product, whose agents ask before they calculate."""
    llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key"}
    data = tmp_path_factory.mktemp("data")
    with serving(data, "ada", "bo", MAX_MESSAGES_PER_MINUTE="0", APPROVAL_POLICY=json.dumps(POLICY), **llm) as server:
        yield server


@pytest.fixture
async def socket(bo: Browser) -> AsyncIterator[Socket]:
    """A socket on a new session of the user's."""
    async with bo.socket(await bo.new_session()) as opened:
        await opened.until_type("session")
        yield opened


async def held(socket: Socket, message: str = CALL) -> dict[str, Any]:
    """Send a message, and receive until the run waits; returns the ids that a decision needs."""
    await socket.send("chat", message=message)
    request = await socket.until(
        lambda frame: frame["type"] == "reasoning_step" and frame["data"]["type"] in ("approval_request", "question")
    )
    return {"run_id": request["run_id"], "tool_call_id": request["data"]["tool_call_id"]}


async def outcome(socket: Socket) -> tuple[bool, str, str]:
    """Receive until the run's end; returns the result of its call, and the run's status."""
    complete = await socket.until_type("reasoning_complete")
    [result] = socket.steps("tool_result")
    return result["ok"], result["content"], complete["data"]["status"]


#: The message, the command that decides, and the result of the call.
DECIDED: dict[str, tuple[str, str, dict[str, Any], tuple[bool, str]]] = {
    "allow": (CALL, "approve", {"decision": "allow"}, (True, "42")),
    "with other arguments": (CALL, "approve", {"decision": "allow", "arguments": {"code": "6*8"}}, (True, "48")),
    "deny": (
        CALL,
        "approve",
        {"decision": "deny", "reason": "No."},
        (False, "bo denied this call, so it was not run. No."),
    ),
    "answer": (QUESTION, "answer", {"answers": {"answer": "Rome"}}, (True, '{"answer":"Rome"}')),
}


@pytest.mark.parametrize("by", ["socket", "api"])
@pytest.mark.parametrize(("message", "command", "fields", "expected"), DECIDED.values(), ids=DECIDED)
async def test_a_call_is_decided_by_a_command(
    bo: Browser, socket: Socket, by: str, message: str, command: str, fields: dict[str, Any], expected: tuple[bool, str]
) -> None:
    names = await held(socket, message)
    if by == "socket":
        await socket.send(command, **names, **fields)
    else:
        body = {"tool_call_id": names["tool_call_id"], **fields}
        assert (await bo.call("POST", f"runs/{names['run_id']}/{command}/", body))[0] == 202
    ok, content, status = await outcome(socket)
    assert (ok, content.splitlines()[-1], status) == (*expected, "completed")
    [step] = socket.steps("approval" if command == "approve" else "answer")
    assert step["user"] == "bo"


async def test_one_of_two_decisions_counts_and_the_other_is_told_who_was_first(bo: Browser, socket: Socket) -> None:
    names = await held(socket)
    body = {"tool_call_id": names["tool_call_id"], "decision": "allow"}
    answering = asyncio.create_task(bo.call("POST", f"runs/{names['run_id']}/approve/", body))
    await socket.send("approve", **names, decision="allow")
    ok, content, status = await outcome(socket)
    code, answer = await answering
    if code == 202:
        refusals = [frame["data"] for frame in socket.frames if frame["type"] == "error"]
        refusals = refusals or [(await socket.until_type("error"))["data"]]
    else:
        assert code == 409
        refusals = [answer["error"]]
    assert (ok, content, status) == (True, "42", "completed")
    assert [(refusal["code"], refusal["message"]) for refusal in refusals] == [
        ("conflict", "bo has decided on this already.")
    ]
    assert len(socket.steps("approval")) == 1


#: Invalid commands for a call that waits, and the code of the error.
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "arguments that do not fit": ("approve", {"decision": "allow", "arguments": {"code": 7}}, "bad_arguments"),
    "arguments that are no object": ("approve", {"decision": "allow", "arguments": []}, "bad_frame"),
    "no decision": ("approve", {"decision": "perhaps"}, "bad_frame"),
    "an answer to what is no question": ("answer", {"answers": {"city": "Rome"}}, "not_waiting"),
    "another call": ("approve", {"decision": "allow", "tool_call_id": "call_9"}, "not_waiting"),
    "another run": ("approve", {"decision": "allow", "run_id": str(uuid4())}, "not_found"),
}


async def test_an_invalid_decision_changes_nothing(bo: Browser, socket: Socket) -> None:
    names = await held(socket)
    head = socket.stored()[-1]["seq"]
    for command, fields, code in WRONG.values():
        await socket.send(command, **{**names, **fields})
        assert (await socket.until_type("error"))["data"]["code"] == code
        run_id = {**names, **fields}["run_id"]
        body = {key: value for key, value in {**names, **fields}.items() if key != "run_id"}
        status, answer = await bo.call("POST", f"runs/{run_id}/{command}/", body)
        assert (answer["error"]["code"], status >= 400) == (code, True)
    assert socket.stored()[-1]["seq"] == head
    await socket.send("cancel")
    assert (await outcome(socket))[2] == "cancelled"
    await socket.send("approve", **names, decision="allow")
    assert (await socket.until_type("error"))["data"]["code"] == "not_waiting"


async def test_a_waiting_call_is_notified_on_every_page_of_its_drivers(bo: Browser, socket: Socket) -> None:
    _, before = await bo.call("GET", "notifications/")
    async with bo.socket(await bo.new_session()) as elsewhere:
        await elsewhere.until_type("session")
        names = await held(socket)
        notification = (await elsewhere.until_type("notification"))["data"]
    assert {name: notification[name] for name in names} == names
    assert (notification["kind"], notification["tool_name"]) == ("approval", "python")
    status, waiting = await bo.call("GET", "waiting/")
    assert status == 200
    [item] = [item for item in waiting["items"] if item["run_id"] == names["run_id"]]
    assert item["deadline"] == notification["deadline"]
    # A user without a socket asks the API.
    _, asked = await bo.call("GET", f"notifications/?after={before['now']}")
    assert asked["items"] == [notification]
    # A notification of a scheduled run's end has no `kind`.
    _, described = await bo.call("GET", "openapi.json")
    schemas = described["components"]["schemas"]
    shapes = schemas["Notifications"]["properties"]["items"]["items"]["anyOf"]
    named = [shape["$ref"].rpartition("/")[2] for shape in shapes]
    assert [name for name in named if {"kind"} <= set(schemas[name]["required"])] == ["WaitingData"]
    assert [name for name in named if jsonschema.Draft202012Validator(schemas[name]).is_valid(notification)] == [
        "WaitingData"
    ]
    await socket.send("cancel")
    await outcome(socket)
    _, asked = await bo.call("GET", f"notifications/?after={before['now']}")
    assert asked["items"] == [], "what waits no more"
