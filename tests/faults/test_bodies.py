"""Requests that are too large, or never end, are refused before they are stored, on every route."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.world import USUAL
from tests.serving import WAIT_S, Server, serving

pytestmark = pytest.mark.xdist_group("bodies")

TIMEOUT_S = 1.0
LARGE = 200 * 1024 * 1024
PATHS = (
    "/",
    "/accounts/login/",
    "/accounts/signup/",
    "/admin/login/",
    "/admin/",
    "/api/sessions/",
    "/api/nothing/",
    "/healthz",
    "/readyz",
    "/static/x",
    "/schedules/new/",
    "/nothing",
    "/%2e%2e/api/../x?y",
)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The product as a process that waits only a second for a request."""
    limits = {"REQUEST_TIMEOUT_S": str(TIMEOUT_S)}
    with serving(tmp_path_factory.mktemp("bodies"), "ada", **USUAL, **limits) as server:
        yield server
        assert "Traceback" not in "".join(server.output), "".join(server.output)


@pytest.fixture(scope="module")
def below_a_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The product as it serves below a path."""
    with serving(tmp_path_factory.mktemp("below"), "ada", PUBLIC_URL="http://localhost/ask/it", **USUAL) as server:
        yield server
        assert "Traceback" not in "".join(server.output), "".join(server.output)


class Client:
    """One connection, on which anything may be written."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        #: Set once the server has sent something.
        self.is_answered = asyncio.Event()

    @classmethod
    async def connect(cls, server: Server) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", server.port))

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Read an answer that closes the connection: its status, and all of it."""
        async with asyncio.timeout(WAIT_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            self.is_answered.set()
            rest = b""
            try:
                while more := await self._reader.read(65_536):
                    rest += more
            except ConnectionError:
                pass  # the client was still sending
        self._writer.close()
        return int(head.split(b" ")[1]), head + rest


def stored(server: Server) -> list[str]:
    """The process's open files without a name, in which bodies are stored."""
    found = []
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.endswith("(deleted)"):
            found.append(target)
    return found


#: Ways to send too much.
LENGTH = f"Content-Length: {LARGE}\r\n\r\n".encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
WAYS = {
    "declared": (LENGTH, b"x" * 65_536),
    "declared, with Expect": (b"Expect: 100-continue\r\n" + LENGTH, b""),
    "declared, ten gigabytes": (b"Content-Length: 10000000000\r\n\r\n", b""),
    "in chunks": (CHUNKED, b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
    "in one chunk without end": (CHUNKED, b"fffffff\r\n" + b"x" * 65_536),
    "in small chunks": (CHUNKED, b"1\r\nx\r\n" * 10_000),
}


@pytest.mark.parametrize(
    ("path", "way"), [*((path, "declared") for path in PATHS), *(("/api/sessions/", way) for way in WAYS)]
)
async def test_a_body_that_is_too_large_is_refused_unread(product: Server, path: str, way: str) -> None:
    head, piece = WAYS[way]
    client = await Client.connect(product)
    await client.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n".encode() + head)
    answering = asyncio.create_task(client.answer())
    sent = 0
    try:
        while piece and not client.is_answered.is_set() and sent < LARGE:
            await client.write(piece)
            sent += len(piece)
    except ConnectionError:
        pass
    status, answer = await answering
    assert status == 413
    assert b"connection: close" in answer.lower()
    assert b"100 Continue" not in answer
    assert (b'"code":"too_large"' in answer) is path.startswith("/api/")
    assert stored(product) == []


#: Requests that stop before their end.
UNFINISHED = {
    "a line": b"POST /accounts/login/ HT",
    "headers": b"POST /accounts/login/ HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n",
    "a body": b"POST /accounts/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nuser",
    "a body of the API": b"POST /api/sessions/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
    "a body for nobody": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
    "a chunk": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\nab",
}


@pytest.mark.parametrize("is_dribbling", [False, True], ids=["silent", "dribbling"])
@pytest.mark.parametrize("what", UNFINISHED)
async def test_a_request_that_never_ends_is_ended(product: Server, what: str, is_dribbling: bool) -> None:
    """A client that sends nothing more, and one that sends a byte now and then."""
    client = await Client.connect(product)
    await client.write(UNFINISHED[what])
    answering = asyncio.create_task(client.answer())
    while is_dribbling and not answering.done():
        try:
            await client.write(b"x")
        except ConnectionError:
            break
        await asyncio.wait([answering], timeout=0.1)
    status, _ = await answering
    assert status == 408
    assert stored(product) == []


async def test_a_request_within_its_limits_is_served(product: Server) -> None:
    """A body as large as its route allows, in chunks; and two requests on one connection that is idle in between."""
    client = await Client.connect(product)
    reader, writer = client._reader, client._writer
    for rests in (False, True):
        if rests:
            await asyncio.sleep(TIMEOUT_S * 1.5)  # longer than a request may take, but none is in progress
        body = b"x" * 60_000
        writer.write(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 10_000):
            await client.write(body[start : start + 10_000])
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.split(b" ")[1] in {b"403", b"404"}, head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()


async def test_an_upload_as_large_as_the_api_takes(product: Server) -> None:
    client = await Client.connect(product)
    body = b" " * 2_600_000
    await client.write(
        b"POST /api/sessions/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    await client.write(body)
    assert (await client.answer())[0] == 401
    assert stored(product) == []


#: Request targets other than a path that begins with a slash, and the status of the answer. A further one is one line.
TARGETS = {
    "GET http://localhost/healthz": 200,
    "GET HTTPS://localhost:8443/healthz?x=1": 200,
    "GET http://localhost": 302,
    "GET http://localhost?next=/": 302,
    "POST http://localhost/api/sessions/": 401,
    "GET http://localhost/api/sessions/": 401,
    "OPTIONS *": 404,
    "GET healthz": 404,
    "GET http:/localhost": 404,
    "CONNECT localhost:80": 404,
}


@pytest.mark.parametrize("target", TARGETS)
async def test_a_target_that_is_no_path_is_answered(product: Server, target: str) -> None:
    client = await Client.connect(product)
    await client.write(f"{target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    status, _ = await client.answer()
    assert status == TARGETS[target]


#: Header lines or targets that are too long, and whether the answer is JSON. A further one is one line.
LONG_LINES = {
    "a search": (b"GET /sessions/?q=" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", False),
    "a search of the API": (b"GET /api/search/?q=" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", True),
    "an address without an end": (b"GET /" + b"x" * 200_000, False),
    "a cookie": (b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: a=" + b"x" * 20_000 + b"\r\n\r\n", False),
    "a token": (b"GET /v1/models HTTP/1.1\r\nAuthorization: Bearer " + b"x" * 20_000 + b"\r\n\r\n", True),
    "no request": (b"\x16\x03" * 20_000, False),
}


@pytest.mark.parametrize("what", LONG_LINES)
async def test_a_line_that_is_too_long_is_refused_in_words(product: Server, what: str) -> None:
    sent, is_json = LONG_LINES[what]
    client = await Client.connect(product)
    await client.write(sent)
    status, answer = await client.answer()
    assert status == 431
    assert b"too long" in answer
    assert (b"application/json" in answer) is is_json


@pytest.mark.parametrize(
    "path", ["/ask/it", "/ask/it/", "/ask/item", "/ask", "", "/ask/it?x", "http://localhost/ask/it"]
)
async def test_requests_to_a_site_below_a_path_are_answered(below_a_path: Server, path: str) -> None:
    """The site's own path without the slash at its end, too, and paths that only begin with the same letters."""
    client = await Client.connect(below_a_path)
    await client.write(f"GET {path or '/'} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    status, answer = await client.answer()
    place = next((line for line in answer.split(b"\r\n") if line.startswith(b"Location: ")), b"")
    assert (status, place.partition(b"?")[0]) in {
        (301, b"Location: /ask/it/"),
        (302, b"Location: /ask/it/accounts/login/"),
        (404, b""),
    }
