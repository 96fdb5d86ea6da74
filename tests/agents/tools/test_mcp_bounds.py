"""MCP servers at addresses that staff have entered: where a request may lead, and what it contains there."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agents.tools import inspect_server, mcp
from agents.tools.mcp_config import ServerConfig, Transport, Withheld
from tests.agents.tools.test_mcp import Server, nobody_there, serving

KEY = {"Authorization": "Bearer sk-secret"}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    mcp.connected_servers.close()


def entered(address: str, transport: Transport = "http-or-sse", *, public_only: bool = False) -> ServerConfig:
    return ServerConfig(transport=transport, url=address, headers=KEY, follows_redirects=False, public_only=public_only)


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """Answers every request with a redirect to where its path says, and records it. Yields its address and the records."""
    received: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            received.append(f"{self.command} {self.path} {self.headers.get('Authorization')}")
            self.send_response(307)
            self.send_header("Location", "/other" if self.path == "/same" else self.path.removeprefix("/to/"))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = answer  # noqa: N815 - http.server calls them

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving_it:
        threading.Thread(target=serving_it.serve_forever, args=[0.05], daemon=True).start()
        yield f"http://127.0.0.1:{serving_it.server_port}", received
        serving_it.shutdown()


@pytest.mark.parametrize("transport", ["sse", "streamable-http", "http-or-sse"])
@pytest.mark.parametrize("within", [True, False])
def test_no_redirect_is_followed(elsewhere: tuple[str, list[str]], transport: Transport, within: bool) -> None:
    """Neither to another host nor within the same one, which may be outside of what the operator has allowed."""
    address, received = elsewhere
    url = f"{address}/same" if within else f"{address}/to/http://localhost:{address.rpartition(':')[2]}/other"
    found, problem = inspect_server("far", entered(url, transport), 20)
    assert (found, problem) == (
        {},
        "The MCP server “far” could not be started: it leads to another address, which is not followed.",
    )
    assert received
    assert not [line for line in received if line.split()[1] == "/other"]


@pytest.mark.parametrize("transport", ["sse", "streamable-http"])
def test_a_host_that_the_operator_has_not_named_is_not_in_a_private_network(
    tmp_path: Path, transport: Transport
) -> None:
    there = Server(tmp_path)
    with serving(there, transport) as address:
        named = address.replace("127.0.0.1", "localhost")
        found, problem = inspect_server("far", entered(named, transport), 20)
        assert (len(found), problem) == (8, "")
        assert found["add"] == "Adds two numbers."
        found, problem = inspect_server("far", entered(named, transport, public_only=True), 20)
        assert found == {}
        assert problem.endswith("it is at an address in a private network.")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (entered(f"{nobody_there()}/mcp"), "nothing answers at its address"),
        (entered("http://no-such-host.invalid/mcp", public_only=True), "nothing answers at its address"),
        (Withheld("was closed by staff"), "its configuration was closed by staff"),
        ({"command": "/no/such/program"}, "there is no program “/no/such/program”"),
    ],
)
def test_a_look_says_what_is_wrong(entry: Any, words: str) -> None:
    assert inspect_server("far", entry, 20) == ({}, f"The MCP server “far” could not be started: {words}.")


def test_a_look_leaves_the_server_and_nothing_of_the_key_is_told(tmp_path: Path) -> None:
    there = Server(tmp_path)
    inspect_server("near", next(iter(there.config.values())), 20)
    assert there.notes()[-1] == "ended"
    assert mcp.server_states() == []
    assert "sk-secret" not in json.dumps([str(state) for state in mcp.server_states()])
