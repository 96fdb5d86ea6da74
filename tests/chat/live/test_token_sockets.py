"""Sockets that programs open with a token: accepted, limited to its scope, and closed when it is revoked in any process."""

import asyncio
import contextlib
import os
import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from chat import consumers, protocol
from tests.event_streams import following
from tests.serving import PASSWORD, Browser, Server, Socket

README = (Path(__file__).resolve().parents[3] / "README.md").read_text("utf-8")


@contextlib.asynccontextmanager
async def socket(url: str, session_id: str, *authorization: str, **headers: str) -> AsyncIterator[Socket]:
    """A socket as a program opens it: with this header, and only the given cookie and origin."""
    sent = [*(("Authorization", value) for value in authorization), *headers.items()]
    address = f"{url.replace('http', 'ws', 1)}/ws/chat/{session_id}/"
    async with websockets.connect(address, additional_headers=sent, max_queue=None) as connection:
        yield Socket(connection)


async def token(browser: Browser, scope: str = "read", **fields: Any) -> tuple[str, str]:
    """A token's id, and the header with it."""
    status, made = await browser.call("POST", "tokens/", {"name": "t", "scope": scope, **fields})
    assert status == 201, made
    return made["id"], f"Bearer {made['token']}"


def test_every_command_says_what_a_token_must_hold() -> None:
    assert set(consumers.NEEDED) == set(protocol.commands.PAYLOADS.values())


#: The answer to each command, for a token of each scope: the type of the frame, or an error's code.
COMMANDS: list[tuple[str, dict[str, Any], str, str]] = [
    ("ping", {}, "pong", "pong"),
    ("resume", {"last_seq": 0}, "session", "session"),
    ("chat", {"message": "hello", "client_message_id": "m"}, "not_allowed", "accepted"),
    ("continue", {"run_id": "00000000-0000-0000-0000-000000000000"}, "not_allowed", "not_found"),
    ("cancel", {"all": True}, "not_allowed", "nothing_to_cancel"),
]


@pytest.mark.parametrize(("command", "payload", "for_read", "for_ask"), COMMANDS, ids=[row[0] for row in COMMANDS])
async def test_a_command_is_held_to_the_scope(
    product: Server, bo: Browser, command: str, payload: dict[str, Any], for_read: str, for_ask: str
) -> None:
    session_id = await bo.new_session()
    for scope, expected in (("read", for_read), ("ask", for_ask), ("manage", for_ask)):
        _, header = await token(bo, scope)
        async with socket(product.url, session_id, header) as open_socket:
            assert (await open_socket.receive())["data"]["role"] == "owner"
            await open_socket.send(
                command, **{**payload, **({"client_message_id": scope} if command == "chat" else {})}
            )
            answer = await open_socket.until(lambda f: f["type"] in ("pong", "session", "accepted", "error"))
            assert (answer["data"]["code"] if answer["type"] == "error" else answer["type"]) == expected
            if answer["type"] == "accepted":
                await open_socket.until_type("reasoning_complete")
    await bo.call("DELETE", f"sessions/{session_id}/")


async def test_no_page_s_origin_matters_and_no_token_opens_another_s_session(product: Server, bo: Browser) -> None:
    session_id = await bo.new_session()
    async with Browser.logged_in(product.url, "cy") as cy:
        _, theirs = await token(cy)
        own_cookie = "; ".join(f"{name}={value}" for name, value in bo.cookies.items())
        for headers in ({}, {"Origin": "https://elsewhere.example"}):
            async with socket(product.url, session_id, (await token(bo))[1], **headers) as own:
                assert (await own.receive())["type"] == "session"
        # The owner's cookie does not help another user's token.
        async with socket(product.url, session_id, theirs, Cookie=own_cookie, Origin=product.url) as closed:
            assert await closed.closed() == protocol.Close.NO_SUCH_SESSION


BAD = {
    "unknown": ["Bearer tk_" + "a" * 49],
    "nothing": ["Bearer"],
    "long": ["Bearer tk_" + "a" * 4000],
    "two": ["GOOD", "GOOD"],
    "one of two": ["GOOD", "Bearer tk_x"],
}


@pytest.mark.parametrize("sent", BAD.values(), ids=BAD)
async def test_an_invalid_token_opens_no_socket_whatever_cookie_comes_with_it(
    product: Server, bo: Browser, sent: list[str]
) -> None:
    session_id = await bo.new_session()
    _, good = await token(bo)
    cookie = "; ".join(f"{name}={value}" for name, value in bo.cookies.items())
    authorization = [good if each == "GOOD" else each for each in sent]
    async with socket(product.url, session_id, *authorization, Cookie=cookie, Origin=product.url) as closed:
        assert await closed.closed() == protocol.Close.NOT_LOGGED_IN
        assert closed.frames == []


async def test_a_socket_closes_when_its_token_ends_and_no_other_does(product: Server, bo: Browser) -> None:
    session_id = await bo.new_session()
    ended = {name: await token(bo) for name in ("revoked", "expired", "revoked elsewhere")}
    _, stays = await token(bo)

    def change(column: str, value: str, token_id: str) -> None:
        """As another process does it, without notifying anybody."""
        with contextlib.closing(sqlite3.connect(product.data_dir / "thinkaloud.sqlite3")) as file, file:
            file.execute(f"UPDATE chat_apitoken SET {column} = ? WHERE id = ?", (value, token_id.replace("-", "")))

    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        sockets = {name: await enter(socket(product.url, session_id, header)) for name, (_, header) in ended.items()}
        other, page = await enter(socket(product.url, session_id, stays)), await enter(bo.socket(session_id))
        for open_socket in (*sockets.values(), other, page):
            assert (await open_socket.receive())["type"] == "session"
        assert await bo.call("DELETE", f"tokens/{ended['revoked'][0]}/") == (204, None)
        change("expires_at", "2020-01-01 00:00:00", ended["expired"][0])
        change("revoked_at", "2020-01-01 00:00:00", ended["revoked elsewhere"][0])
        for open_socket in sockets.values():
            assert await open_socket.closed(5) == protocol.Close.NOT_LOGGED_IN
        for open_socket in (other, page):
            await open_socket.send("ping")
            await open_socket.until_type("pong")


async def test_a_stream_ends_when_its_token_does(product: Server, bo: Browser) -> None:
    session_id = await bo.new_session()
    token_id, header = await token(bo)
    async with following(bo, session_id, token=header) as stream:
        assert (await stream.next()).event == "session"
        assert await bo.call("DELETE", f"tokens/{token_id}/") == (204, None)
        async with asyncio.timeout(5):
            assert await stream.closed() == protocol.Close.NOT_LOGGED_IN
    async with following(bo, session_id, token=header) as stream:
        assert stream.response.status_code == 401


async def test_another_password_ends_what_a_token_has_opened(product: Server) -> None:
    """Sockets and streams of a token end when the password is changed; the page on which it was changed stays connected."""
    async with Browser.logged_in(product.url, "cy") as cy:
        session_id = await cy.new_session()
        _, header = await token(cy)

        async def change(old: str, new: str) -> None:
            form = {"old_password": old, "new_password1": new, "new_password2": new}
            form["csrfmiddlewaretoken"] = cy.cookie("csrftoken")
            page, headers = "/accounts/password_change/", {"Referer": f"{cy.url}/"}
            async with cy.http.post(page, data=form, headers=headers, allow_redirects=False) as answer:
                assert answer.status == 302, await answer.text()

        async with socket(product.url, session_id, header) as there, following(cy, session_id, token=header) as stream:
            assert (await there.receive())["type"] == "session"
            assert (await stream.next()).event == "session"
            await change(PASSWORD, "battery staple 18")
            try:
                assert await there.closed(5) == protocol.Close.NOT_LOGGED_IN
                async with asyncio.timeout(5):
                    assert await stream.closed() == protocol.Close.NOT_LOGGED_IN
                async with cy.socket(session_id) as page:
                    assert (await page.receive())["type"] == "session"
            finally:
                await change("battery staple 18", PASSWORD)


async def test_the_readme_s_five_lines_ask_by_a_token(product: Server, bo: Browser) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if "THINKALOUD_TOKEN" in block]
    _, header = await token(bo, "manage")
    environment = {**os.environ, "THINKALOUD_URL": product.url, "THINKALOUD_TOKEN": header.removeprefix("Bearer ")}
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await program.communicate()
    assert "'run_id'" in output.decode(), output.decode()
