"""The protocol of the socket exactly as documented, on the product as it is deployed: what other people's clients rely on."""

import asyncio
import json
import time
from typing import Any
from uuid import uuid4

import pytest
import websockets

from tests.model_server import ModelServer
from tests.serving import PASSWORD, Browser, Server, Socket

ASK = "Add it up [reasoning=6 every=5 call=current_time:{}]"
SLOW = "Count [tokens=400 every=25]"
DENIED = 403


async def ask(socket: Socket, message: str = ASK, **more: Any) -> dict[str, Any]:
    """Send a message, and receive until the run's end."""
    await socket.send("chat", message=message, **more)
    accepted = await socket.until_type("accepted")
    return await socket.until(lambda f: f["type"] == "reasoning_complete" and f["run_id"] == accepted["data"]["run_id"])


async def test_a_run_is_told_from_its_start_to_its_end(bo: Browser) -> None:
    async with bo.socket(await bo.new_session()) as socket:
        session = await socket.receive()
        assert session["type"] == "session"
        assert {
            k: session["data"][k]
            for k in ("agent", "last_seq", "role", "window", "run", "queue", "children", "steering")
        } == {
            "agent": "researcher",
            "last_seq": 0,
            "role": "owner",
            "window": 200,
            "run": None,
            "queue": [],
            "children": [],
            "steering": [],
        }
        complete = await ask(socket)
        accepted = next(f for f in socket.frames if f["type"] == "accepted")
        assert accepted["data"]["queued"] == 0
        assert complete["data"]["status"] == "completed"
        assert complete["data"]["total_iterations"] == 2
        assert complete["data"]["usage"]["estimated"] is False
        stored = socket.stored()
        assert [f["seq"] for f in stored] == list(range(1, len(stored) + 1))
        assert {f["run_id"] for f in stored} == {accepted["data"]["run_id"]}
        assert [f["data"].get("type", f["type"]) for f in stored] == [
            "reasoning_start",
            "start",
            "iteration_start",
            "thought",
            "tool_use",
            "tool_result",
            "iteration_end",
            "iteration_start",
            "thought",
            "final_answer",
            "iteration_end",
            "complete",
            "reasoning_complete",
        ]
        numbered = [f["data"]["step"] for f in stored if "step" in f["data"]]
        assert numbered == list(range(1, len(numbered) + 1))
        assert socket.frames.index(accepted) < socket.frames.index(stored[0])


async def test_growth_put_together_is_what_is_stored(bo: Browser) -> None:
    async with bo.socket(await bo.new_session()) as socket:
        await ask(socket, "Say [reasoning=20 tokens=30 every=20]")
        texts: dict[int, str] = {}
        deltas = 0
        for frame in socket.frames:
            data = frame["data"]
            if frame["type"] == "reasoning_delta":
                deltas += 1
                assert data["offset"] <= len(texts.get(data["step"], ""))
                texts[data["step"]] = texts.get(data["step"], "")[: data["offset"]] + data["text"]
            elif frame["type"] == "reasoning_step" and data["type"] in ("thought", "final_answer"):
                assert data["content"].startswith(texts.pop(data["step"]).rstrip())
        assert deltas > 4
        assert not texts


async def test_a_second_client_sees_the_same_live_and_begins_with_the_whole_text(bo: Browser) -> None:
    session = await bo.new_session()
    async with bo.socket(session) as first:
        await first.send("chat", message="Say [tokens=60 every=20]")
        await first.until_type("reasoning_delta")
        async with bo.socket(session) as second:
            hello = await second.receive()
            assert hello["data"]["run"]["status"] == "running"
            delta = await second.until_type("reasoning_delta")
            assert delta["data"]["offset"] == 0
            await second.until_type("reasoning_complete")
        await first.until_type("reasoning_complete")
    assert first.stored() == second.stored()


async def test_a_client_that_comes_back_gets_the_rest_once_and_in_order(bo: Browser) -> None:
    session = await bo.new_session()
    async with bo.socket(session) as first:
        await first.send("chat", message="Say [reasoning=5 tokens=40 every=10]")
        await first.until(lambda f: f.get("seq") == 3)
    last = first.stored()[-1]
    async with bo.socket(session, f"?last_seq={last['seq']}&last_id={last['id']}") as again:
        hello = await again.receive()
        assert "reset" not in hello["data"]
        await again.until_type("reasoning_complete")
    seqs = [f["seq"] for f in first.stored() + again.stored()]
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize(
    ("query", "begins", "reset", "code"),
    [
        ("?last_seq=5", 6, False, None),
        ("?last_seq=0", 1, False, None),
        ("?last_seq=999", 1, True, None),
        ("?last_seq=5&last_id=00000000-0000-4000-8000-000000000000", 1, True, None),
        ("?last_seq=5&last_id=nonsense", 1, True, None),
        ("?last_id=00000000-0000-4000-8000-000000000000", 1, True, None),
        ("?last_seq=-1", 1, False, "bad_last_seq"),
        ("?last_seq=abc", 1, False, "bad_last_seq"),
        ("?last_seq=", 1, False, "bad_last_seq"),
        ("?last_seq=1e3", 1, False, "bad_last_seq"),
        ("?last_seq=" + "9" * 400, 1, True, None),
        ("?last_seq=" + "0" * 400 + "5", 6, False, None),
        ("?agent_name=nobody", 1, False, "unknown_agent"),
    ],
)
async def test_a_socket_begins_after_last_seq(
    bo: Browser, query: str, begins: int, reset: bool, code: str | None
) -> None:
    session = await bo.new_session()
    async with bo.socket(session) as socket:
        await ask(socket, "Say [tokens=3]")
    async with bo.socket(session, query) as socket:
        hello = await socket.receive()
        assert hello["data"].get("reset", False) is reset
        head = hello["data"]["last_seq"]
        if code is not None:
            error = await socket.until_type("error")
            assert error["data"]["code"] == code
            assert error["data"]["message"]
            assert "seq" not in error
        await socket.send("ping")
        if not socket.stored() or socket.stored()[-1]["seq"] < head:
            await socket.until(lambda f: f.get("seq") == head)
        assert [f["seq"] for f in socket.stored()] == list(range(begins, head + 1))


async def test_resume_answers_with_the_session_and_the_rest(bo: Browser) -> None:
    async with bo.socket(await bo.new_session()) as socket:
        await ask(socket, "Say [tokens=3]")
        head = socket.stored()[-1]["seq"]
        known = socket.stored()[3]
        before = len(socket.frames)
        await socket.send("resume", last_seq=known["seq"], last_id=known["id"])
        await socket.until_type("session")
        await socket.until(lambda f: f.get("seq") == head)
        again = [f for f in socket.frames[before:] if "seq" in f]
        assert [f["seq"] for f in again] == list(range(known["seq"] + 1, head + 1))
        await socket.send("resume", last_seq="x")
        await socket.until(lambda f: f["type"] == "error" and f["data"]["code"] == "bad_last_seq")


async def test_the_agent_is_the_messages_else_the_querys_else_the_sessions(bo: Browser) -> None:
    session = await bo.new_session(agent_name="developer")
    async with bo.socket(session, "?agent_name=writer") as socket:
        await ask(socket, "Say [tokens=1]", agent_name="researcher")
        await ask(socket, "Say [tokens=1]")
    async with bo.socket(session) as other:
        await ask(other, "Say [tokens=1]")
        agents = [f["data"]["agent"] for f in other.frames if f["type"] == "reasoning_start"]
    assert agents == ["researcher", "writer", "developer"]


async def test_messages_wait_in_line_and_run_in_order(bo: Browser) -> None:
    async with bo.socket(await bo.new_session()) as socket:
        await socket.send("chat", message=SLOW, client_message_id="a")
        for name in "bc":
            await socket.send("chat", message=f"Say {name} [tokens=2]", client_message_id=name)
        queue = await socket.until(lambda f: f["type"] == "queue" and len(f["data"]) == 2)
        assert [(w["client_message_id"], w["user"]) for w in queue["data"]] == [("b", "bo"), ("c", "bo")]
        accepted = {f["data"]["client_message_id"]: f["data"] for f in socket.frames if f["type"] == "accepted"}
        assert {name: a["queued"] for name, a in accepted.items()} == {"a": 0, "b": 1, "c": 2}
        await socket.send("cancel")
        for name in "abc":
            run = accepted[name]["run_id"]
            await socket.until(lambda f, run=run: f["type"] == "reasoning_complete" and f["run_id"] == run)
        # The events of each run are consecutive.
        runs = [f["run_id"] for f in socket.stored()]
        assert [r for i, r in enumerate(runs) if i == 0 or runs[i - 1] != r] == [accepted[n]["run_id"] for n in "abc"]


async def test_the_same_message_again_never_makes_a_second_run(bo: Browser) -> None:
    session = await bo.new_session()
    async with bo.socket(session) as one, bo.socket(session) as two:
        for socket in (one, one, two):
            await socket.send("chat", message="Say [tokens=2]", client_message_id="same")
        answers = [await one.until_type("accepted"), await one.until_type("accepted"), await two.until_type("accepted")]
        assert len({a["data"]["run_id"] for a in answers}) == 1
        await one.send("chat", message="Something else", client_message_id="same")
        error = await one.until_type("error")
        assert (error["data"]["code"], error["data"]["client_message_id"]) == ("conflict", "same")
        await completed(two)
    async with bo.socket(session) as later:
        await later.send("chat", message="Say [tokens=2]", client_message_id="same")
        assert (await later.until_type("accepted"))["data"]["run_id"] == answers[0]["data"]["run_id"]
        assert (await completed(later))["seq"] == (await later_head(later))
        assert len({f["run_id"] for f in later.stored()}) == 1


async def completed(socket: Socket) -> dict[str, Any]:
    """The event that ends a run, which may have arrived before an answer that was waited for."""
    known = (frame for frame in socket.frames if frame["type"] == "reasoning_complete")
    return next(known, None) or await socket.until_type("reasoning_complete")


async def later_head(socket: Socket) -> int:
    """The number of the log's last event now."""
    await socket.send("ping")
    head: int = (await socket.until_type("pong"))["data"]["last_seq"]
    return head


async def test_without_reasoning_only_the_answer_is_numbered_and_sent(bo: Browser, model: ModelServer) -> None:
    session = await bo.new_session()
    async with bo.socket(session) as socket:
        await ask(socket, ASK, enable_reasoning=False)
        assert [f["type"] for f in socket.stored()] == ["reasoning_start", "response", "reasoning_complete"]
        response = socket.stored()[1]["data"]
        deltas = [f["data"] for f in socket.frames if f["type"] == "reasoning_delta"]
        assert {(d["type"], d["step"]) for d in deltas} == {("response", 0)}
        assert response["content"].startswith("The tools said:")
        await ask(socket, "And again [tokens=2]")
    roles = [message["role"] for message in model.requests[-1].body["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]


@pytest.mark.parametrize("phase", ["queued", "before the first token", "mid-token", "inside a tool"])
async def test_stop_in_every_phase(bo: Browser, model: ModelServer, phase: str) -> None:
    session = await bo.new_session()
    async with bo.socket(session) as socket, bo.socket(session) as other:
        asked = len(model.requests)
        message = {
            "before the first token": "Wait [fault=hang]",
            "inside a tool": 'Loop [call=python:{"code": "while True: pass"}]',
        }.get(phase, SLOW)
        await socket.send("chat", message=message)
        run = (await socket.until_type("accepted"))["data"]["run_id"]
        if phase == "queued":
            await socket.send("chat", message="Later")
            run = (await socket.until_type("accepted"))["data"]["run_id"]
        elif phase == "before the first token":
            await socket.until_step("iteration_start")
            await asyncio.to_thread(model.wait_for, lambda: len(model.requests) > asked)
        elif phase == "inside a tool":
            await socket.until_step("tool_use")
        else:
            await socket.until_type("reasoning_delta")
        began = time.monotonic()
        await other.send("cancel", run_id=run)
        end = await socket.until(lambda f: f["type"] == "reasoning_complete" and f["run_id"] == run)
        took = time.monotonic() - began
        assert (end["data"]["status"], end["data"]["cancelled_by"]) == ("cancelled", "bo")
        assert took < 1, f"stopped after {took:.2f} s"
        if phase in ("before the first token", "mid-token"):
            await asyncio.to_thread(model.wait_for, lambda: model.requests[asked].closed_at is not None, 2)
        if phase == "mid-token":
            assert socket.steps("final_answer")[-1]["partial"] is True
        if phase == "inside a tool":
            result = socket.steps("tool_result")[-1]
            assert result["ok"] is False
            assert "Stopped by bo." in result["content"]
        if phase == "queued":
            own = [f["type"] for f in socket.stored() if f["run_id"] == run]
            assert own == ["reasoning_start", "reasoning_complete"]
            await socket.send("cancel")
        # Once more: the session can still be used, and the model is sent no call without a result.
        done = await ask(socket, "Once more [tokens=2]")
        assert done["data"]["status"] == "completed"
        calls = [c["id"] for m in model.requests[-1].body["messages"] for c in m.get("tool_calls") or ()]
        results = [m["tool_call_id"] for m in model.requests[-1].body["messages"] if m["role"] == "tool"]
        assert calls == results


async def test_a_stop_without_a_run_is_an_error_and_stores_nothing(bo: Browser) -> None:
    async with bo.socket(await bo.new_session()) as socket:
        await socket.send("cancel")
        assert (await socket.until_type("error"))["data"]["code"] == "nothing_to_cancel"
        done = await ask(socket, "Say [tokens=1]")
        await socket.send("cancel", run_id=done["run_id"])
        assert (await socket.until_type("error"))["data"]["code"] == "nothing_to_cancel"
        await socket.send("cancel", run_id=str(uuid4()))
        assert (await socket.until_type("error"))["data"]["code"] == "not_found"
        assert await later_head(socket) == done["seq"]


async def test_stop_all_clears_the_line(bo: Browser) -> None:
    async with bo.socket(await bo.new_session()) as socket:
        for _ in range(3):
            await socket.send("chat", message=SLOW)
            await socket.until_type("accepted")
        await socket.send("cancel", all=True)
        for _ in range(3):
            end = await socket.until_type("reasoning_complete")
            assert end["data"]["status"] == "cancelled"
        while [f["data"] for f in socket.frames if f["type"] == "queue"][-1]:
            await socket.until_type("queue")


async def test_continue_goes_on_from_what_is_stored(bo: Browser, model: ModelServer) -> None:
    async with bo.socket(await bo.new_session()) as socket:
        asked = len(model.requests)
        await socket.send("chat", message="Look [call=current_time:{} then tokens=400 every=25]")
        await socket.until_step("tool_result")
        await socket.until_type("reasoning_delta")
        await socket.send("cancel")
        stopped = await socket.until_type("reasoning_complete")
        before = len(model.requests)
        await socket.send("continue", run_id=stopped["run_id"], client_message_id="go on")
        accepted = await socket.until_type("accepted")
        start = await socket.until_type("reasoning_start")
        assert start["data"]["continues"] == stopped["run_id"]
        assert start["run_id"] == accepted["data"]["run_id"]
        await asyncio.to_thread(model.wait_for, lambda: len(model.requests) > before)
        messages = model.requests[before].body["messages"]
        assert [m["role"] for m in messages] == ["system", "user", "assistant", "tool"]
        assert messages[3]["content"] == socket.steps("tool_result")[0]["content"]
        await socket.send("cancel")
        await socket.until(lambda f: f["type"] == "reasoning_complete" and f["run_id"] == start["run_id"])
        assert len(model.requests) == before + 1 > asked + 1
        # The old one is no longer the latest.
        await socket.send("continue", run_id=stopped["run_id"])
        assert (await socket.until_type("error"))["data"]["code"] == "not_continuable"


async def test_a_message_taken_out_of_the_line_hinders_no_continuation(bo: Browser) -> None:
    async with bo.socket(await bo.new_session()) as socket:
        await socket.send("chat", message=SLOW)
        first = (await socket.until_type("accepted"))["data"]["run_id"]
        await socket.send("chat", message="Later")
        await socket.until_type("accepted")
        await socket.send("cancel", all=True)
        for _ in range(2):
            await socket.until_type("reasoning_complete")
        await socket.send("continue", run_id=first)
        start = await socket.until(lambda f: f["type"] == "reasoning_start" and "continues" in f["data"])
        assert start["data"]["continues"] == first
        await socket.send("cancel")
        await socket.until_type("reasoning_complete")


async def test_a_finished_run_is_not_continued(bo: Browser) -> None:
    async with bo.socket(await bo.new_session()) as socket:
        done = await ask(socket, "Say [tokens=1]")
        await socket.send("continue", run_id=done["run_id"])
        assert (await socket.until_type("error"))["data"]["code"] == "not_continuable"
        for other in (str(uuid4()), "no run"):
            await socket.send("continue", run_id=other)
            assert (await socket.until_type("error"))["data"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("[status=401]", "model_auth"),
        ("[status=429]", "model_rate_limited"),
        ("[status=500]", "model_error"),
        ("[status=400]", "model_error"),
        ("[fault=drop]", "model_cut_off"),
        ("[fault=hang]", "model_timeout"),
        ("[tokens=9 after=4 fault=stall]", "model_timeout"),
        ("[tokens=9 after=4 fault=reset]", "model_cut_off"),
        ("[tokens=9 after=4 fault=cut]", "model_cut_off"),
        ("[tokens=9 after=4 fault=clean_cut]", "model_cut_off"),
        ("[tokens=9 after=4 fault=bad_json]", "model_error"),
        ("[fault=bad_sse]", "model_error"),
        ("[tokens=9 after=4 fault=error_event]", "model_error"),
    ],
)
async def test_every_failure_of_a_model_has_its_code_and_the_session_goes_on(
    bo: Browser, message: str, code: str
) -> None:
    async with bo.socket(await bo.new_session()) as socket:
        end = await ask(socket, f"Try {message}")
        assert (end["data"]["status"], end["data"]["code"]) == ("failed", code)
        error = next(f for f in socket.frames if f["type"] == "error")
        assert error["data"]["code"] == code
        assert error["data"]["message"]
        assert "Traceback" not in json.dumps(socket.frames)
        assert socket.steps("error")[0]["code"] == code
        for answer in socket.steps("final_answer"):
            assert answer["partial"] is True
        assert (await ask(socket, "Say [tokens=2]"))["data"]["status"] == "completed"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "bad_json"),
        ("[]", "bad_frame"),
        ('{"type":"dance"}', "unknown_type"),
        ('{"type":"chat","payload":{"message":7}}', "bad_frame"),
        ('{"type":"chat","payload":{"message":"  \\n"}}', "empty_message"),
        ('{"type":"chat","payload":{"message":"a\\u0000b"}}', "bad_text"),
        ('{"type":"chat","payload":{"message":"a\\ud800b"}}', "bad_text"),
        ('{"type":"chat","payload":{"message":"hi","agent_name":"nobody"}}', "unknown_agent"),
        (json.dumps({"type": "chat", "payload": {"message": "x" * 32_001}}), "too_large"),
        (json.dumps({"type": "chat", "payload": {"message": "x" * 1_000_000}}), "too_large"),
    ],
)
async def test_bad_input_gets_an_error_and_changes_nothing(bo: Browser, text: str, code: str) -> None:
    async with bo.socket(await bo.new_session()) as socket:
        await socket.connection.send(text)
        error = await socket.until_type("error")
        assert error["data"]["code"] == code
        assert error["data"]["message"]
        assert error["data"]["id"]
        await socket.connection.send(b"\x00\x01")
        assert (await socket.until_type("error"))["data"]["code"] == "bad_frame"
        assert await later_head(socket) == 0
        assert (await ask(socket, "Say [tokens=1]"))["data"]["status"] == "completed"


async def test_a_frame_beyond_every_limit_ends_the_connection_and_no_other(bo: Browser) -> None:
    session = await bo.new_session()
    async with bo.socket(session) as socket, bo.socket(session) as other:
        await socket.receive()
        await socket.connection.send("x" * (1024 * 1024 + 1))
        assert await socket.closed() in (4413, 1006, 1009)
        assert (await ask(other, "Say [tokens=1]"))["data"]["status"] == "completed"


async def handshake(bo: Browser, path: str, **headers: str | None) -> int:
    """Try to open a socket; returns the close code, or the status of the refused handshake."""
    cookies = "; ".join(f"{c.key}={c.value}" for c in bo.http.cookie_jar)
    sent = {"Cookie": cookies, "Origin": bo.url, **headers}
    address = f"{bo.url.replace('http', 'ws', 1)}{path}"
    try:
        async with websockets.connect(
            address, additional_headers={k: v for k, v in sent.items() if v is not None}, compression=None
        ) as connection:
            return await Socket(connection).closed(3)
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


async def test_origins(bo: Browser, product: Server) -> None:
    path = f"/ws/chat/{await bo.new_session()}/"
    port = product.port
    foreign = [
        None,
        "null",
        "",
        "file://",
        f"http://127.0.0.1:{port + 1}",
        "http://127.0.0.1",
        f"https://127.0.0.1:{port}",
        f"http://localhost:{port}",
        f"http://127.0.0.1.evil.example:{port}",
        "http://evil.example",
        "http://[::1",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:abc",
        f"http://bo@127.0.0.1:{port}",
    ]
    for origin in foreign:
        assert await handshake(bo, path, Origin=origin) == DENIED, origin


async def test_other_paths_are_refused(bo: Browser) -> None:
    for path in ("/", "/ws/", "/ws/chat/", "/ws/other/1/", f"/ws/chat/{uuid4()}/more/", "/ws/chat//"):
        assert await handshake(bo, path) == DENIED, path


async def test_a_socket_on_another_users_session_is_refused(bo: Browser, product: Server) -> None:
    async with Browser.logged_in(product.url, "cy") as cy:
        foreign = await cy.new_session()
    for path in (f"/ws/chat/{foreign}/", f"/ws/chat/{foreign}", f"/ws/chat/{uuid4()}/", "/ws/chat/7/", "/ws/chat/%00/"):
        assert await handshake(bo, path) == 4404, path


async def test_a_socket_without_a_login_is_refused(bo: Browser) -> None:
    path = f"/ws/chat/{await bo.new_session()}/"
    for cookie in (None, "sessionid=nonsense", "sessionid=", "sessionid=a; sessionid=b", ";;;=", "x" * 5000):
        assert await handshake(bo, path, Cookie=cookie) == 4401, cookie


async def test_staff_see_and_stop_but_do_not_ask(bo: Browser, product: Server) -> None:
    session = await bo.new_session()
    async with Browser.logged_in(product.url, "ada") as ada, bo.socket(session) as owner, ada.socket(session) as staff:
        assert (await staff.receive())["data"]["role"] == "staff"
        await staff.send("chat", message="Hello")
        assert (await staff.until_type("error"))["data"]["code"] == "not_allowed"
        await owner.send("chat", message=SLOW)
        await staff.until_type("reasoning_delta")
        await staff.send("cancel")
        end = await owner.until_type("reasoning_complete")
        assert end["data"]["cancelled_by"] == "ada"


async def test_presence_counts_sockets(bo: Browser) -> None:
    session = await bo.new_session()
    async with bo.socket(session) as first:
        async with bo.socket(session):
            await first.until(
                lambda f: f["type"] == "presence" and f["data"] == [{"user": "bo", "role": "owner", "sockets": 2}]
            )
        await first.until(
            lambda f: f["type"] == "presence" and f["data"] == [{"user": "bo", "role": "owner", "sockets": 1}]
        )


async def test_logging_out_closes_the_sockets(product: Server) -> None:
    async with Browser.logged_in(product.url, "bo") as bo:
        session = await bo.new_session()
        async with bo.socket(session) as socket:
            await socket.receive()
            form = {"csrfmiddlewaretoken": bo.cookie("csrftoken")}
            async with bo.http.post("/accounts/logout/", data=form, headers={"Referer": bo.url}) as answer:
                assert answer.status == 200
            assert await socket.closed() == 4401


async def test_deactivating_a_user_closes_the_sockets(product: Server) -> None:
    product.manage(
        "shell",
        "--no-imports",
        "--command",
        f"from chat.accounts.models import User\nUser.objects.create_user('di', password={PASSWORD!r})",
    )
    async with Browser.logged_in(product.url, "di") as di, di.socket(await di.new_session()) as socket:
        await socket.receive()
        command = "from chat.accounts.models import User\nUser.objects.filter(username='di').update(is_active=False)"
        await asyncio.to_thread(product.manage, "shell", "--no-imports", "--command", command)
        assert await socket.closed() == 4401


async def test_deleting_a_session_closes_its_sockets_and_stops_its_run(bo: Browser, model: ModelServer) -> None:
    session = await bo.new_session()
    async with bo.socket(session) as socket:
        asked = len(model.requests)
        await socket.send("chat", message=SLOW)
        await socket.until_type("reasoning_delta")
        status, _ = await bo.call("DELETE", f"sessions/{session}/")
        assert status == 204
        assert await socket.closed() == 4404
        await asyncio.to_thread(model.wait_for, lambda: model.requests[asked].closed_at is not None, 2)
    assert (await bo.call("GET", f"sessions/{session}/"))[0] == 404


async def test_an_announcement_reaches_everyone(bo: Browser, product: Server) -> None:
    async with bo.socket(await bo.new_session()) as socket:
        await socket.receive()
        await asyncio.to_thread(product.manage, "announce", "Back at noon.", "--level", "warning")
        announcement = await socket.until_type("announcement")
        assert announcement["data"] == {"message": "Back at noon.", "level": "warning"}
        await asyncio.to_thread(product.manage, "announce", "--withdraw")
        assert (await socket.until_type("announcement"))["data"]["message"] == ""


async def test_a_long_result_is_cut_and_kept_whole(bo: Browser) -> None:
    session = await bo.new_session()
    async with bo.socket(session) as socket:
        await ask(socket, 'Print [call=python:{"code": "print(chr(128578) * 3000)"}]')
        result = next(f for f in socket.stored() if f["data"].get("type") == "tool_result")
    data = result["data"]
    assert (data["truncated"], len(data["content"].encode("utf-16-le")) // 2) == (True, 2000)
    assert data["content_length"] > 6000 - 2
    async with bo.http.get(f"/api/sessions/{session}/events/{result['seq']}/content/") as answer:
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        whole = await answer.text()
    assert whole.startswith(data["content"])
    assert len(whole.encode("utf-16-le")) // 2 == data["content_length"]
