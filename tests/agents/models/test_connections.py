"""Connections to model servers: what arrives is what was sent, however it was split, and none is kept open that should not be."""

import asyncio
import contextlib
import datetime as dt
import gc
import ipaddress
import select
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.errors import ModelError
from agents.models import http, openai_stream
from agents.models.http import CutOff, Unreachable
from agents.models.refusals import Refused
from agents.models.reply import Reply
from tests.model_server import ModelServer

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SOME = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "?"}]}'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Server:
    """Answers each request as it is told, and records the requests and the number of connections."""

    def __init__(self, *answers: bytes, cut: int = 0, then: Answer | None = None) -> None:
        self.asked: list[bytes] = []
        self.connections = 0
        self.left = asyncio.Event()
        self.url = ""
        self._answers = list(answers)
        self._cut = cut
        self._then = then

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self._answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
                self.asked.append(head + await reader.readexactly(length))
                answer = self._answers.pop(0)
                for at in range(0, len(answer), self._cut or len(answer)):
                    writer.write(answer[at : at + (self._cut or len(answer))])
                    await writer.drain()
                    await asyncio.sleep(0)  # the pieces must be sent separately
            if self._then is not None:
                await self._then(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.left.set()


@contextlib.asynccontextmanager
async def serving(server: Server, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    async with await asyncio.start_server(server.serve, host, 0, ssl=tls) as listening:
        port = listening.sockets[0].getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        server.url = f"http{'s' if tls else ''}://{shown}:{port}/v1/chat/completions"
        yield server


async def until_closed(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Send nothing more, and wait for the client to disconnect."""
    await _reader.read()


async def ask(url: str, **headers: str) -> tuple[int, bytes]:
    """Send a request, read to the end, and return the connection to the pool."""
    connection = await http.post(url, headers, b"{}", connect_s=2)
    with contextlib.closing(connection):
        body = b""
        while data := await connection.read():
            body += data
        return connection.status, body


ANSWERS: dict[str, tuple[bytes, int, bytes]] = {
    "chunks": (CHUNKED + b"3\r\nOne\r\n5;note=x\r\n two \r\nA\r\nand three.\r\n0\r\nLast: yes\r\n\r\n", 200, b"One two and three."),
    "a length": (b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nNo.", 404, b"No."),
    "nothing": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "soon, and then": (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", 200, b"OK"),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nOK", 200, b"OK"),
    "to the end of the connection": (b"HTTP/1.0 200 OK\r\n\r\nAll of it", 200, b"All of it"),
}  # fmt: skip


@pytest.mark.parametrize("cut", [0, 1, 2, 7])
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_the_same_however_it_is_cut(name: str, cut: int) -> None:
    raw, status, body = ANSWERS[name]
    async with serving(Server(raw, cut=cut)) as server:
        assert await ask(server.url) == (status, body)


_HEAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 900\r\n"
_WORDS = b'{"error": {"message": "No such thing."}}'
#: Errors whose body does not come to its end: their words are told all the same. A further one is one line.
UNFINISHED: dict[str, tuple[bytes, Answer | None]] = {
    "cut off": (_HEAD + b"\r\n" + _WORDS, None),
    "cut off between two chunks": (
        b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(_WORDS), _WORDS),
        None,
    ),
    "chunks of rubbish behind it": (
        b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\nxyz\r\n" % (len(_WORDS), _WORDS),
        until_closed,
    ),
    "never ending": (_HEAD + b"\r\n" + _WORDS, until_closed),
    "never ending, without a length": (b"HTTP/1.1 400 Bad Request\r\n\r\n" + _WORDS, until_closed),
}


@pytest.mark.parametrize("name", UNFINISHED)
async def test_an_error_that_does_not_come_to_its_end_is_that_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_stream, "_ERROR_S", 0.2)
    raw, then = UNFINISHED[name]
    async with serving(Server(raw, then=then)) as server:
        with pytest.raises(Refused) as refused:
            await openai_stream.stream_completion(server.url, "", b"{}", Reply(), timeout_s=20)
    assert str(refused.value) == "The model server refused the request (400): No such thing."


_OK = b"HTTP/1.1 200 OK\r\n"
#: Heads that mean one thing to one reader and another to the next, which a proxy refuses too. A further one is one line.
AMBIGUOUS: dict[str, bytes] = {
    "two lengths": b"Content-Length: 2\r\nContent-Length: 5\r\n",
    "a length twice": b"Content-Length: 2\r\nContent-Length: 2\r\n",
    "a list of lengths": b"Content-Length: 2, 2\r\n",
    "a length with a sign": b"Content-Length: +2\r\n",
    "a length below nothing": b"Content-Length: -2\r\n",
    "a length and chunks": b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n",
    "a folded header": b"X-Request: a\r\n b\r\nContent-Length: 2\r\n",
    "a space before the colon": b"Content-Length : 2\r\n",
}


async def test_an_answer_with_an_ambiguous_head_is_refused_in_words() -> None:
    errors = {}
    for name, head in AMBIGUOUS.items():
        async with serving(Server(_OK + head + b"\r\nOK")) as server:
            with pytest.raises(ModelError) as refused:
                await openai_stream.stream_completion(server.url, "", b"{}", Reply(), timeout_s=20)
        errors[name] = str(refused.value)
    assert errors == dict.fromkeys(AMBIGUOUS, "The model server's answer could not be understood.")


async def test_data_that_arrive_together_are_one_piece() -> None:
    async with serving(Server(CHUNKED + b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n")) as server:
        connection = await http.post(server.url, {}, b"{}", connect_s=2)
        with contextlib.closing(connection):
            assert [await connection.read(), await connection.read()] == [b"abc", b""]


async def test_a_connection_is_used_again_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_KEEPALIVE_S", 0.2)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
    async with serving(Server(answer, answer, answer)) as server:
        assert await ask(server.url) == await ask(server.url) == (200, b"OK")
        assert server.connections == 1
        await asyncio.wait_for(server.left.wait(), 5)
        assert await ask(server.url) == (200, b"OK")
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nOK",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nOK",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK, and more than that",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOKHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nFake",
    ],
)
async def test_a_connection_that_ends_with_its_answer_is_not_used_again(answer: bytes) -> None:
    async with serving(Server(answer, answer, then=until_closed)) as server:
        assert await ask(server.url) == await ask(server.url) == (200, b"OK")
        assert server.connections == 2


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


class DyingServer:
    """Answers the first request of each connection, and each further one as it is told; a reset is no proper end."""

    def __init__(self, dying_words: bytes, *, reads: bool, resets: bool) -> None:
        self.connections = self.asked = 0
        self.url = ""
        self._dying_words, self._reads, self._resets = dying_words, reads, resets

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await reader.readuntil(b"{}")
        self.asked += 1
        writer.write(OK)
        await writer.drain()
        if self._reads:
            with contextlib.suppress(asyncio.IncompleteReadError):
                await reader.readuntil(b"{}")
                self.asked += 1
        writer.write(self._dying_words)
        if self._resets:
            network = writer.get_extra_info("socket")
            network.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()


@pytest.mark.parametrize("resets", [False, True], ids=["an end", "a reset"])
@pytest.mark.parametrize("reads", [False, True], ids=["before the request", "after it"])
async def test_a_kept_connection_that_died_without_a_word_is_asked_anew(reads: bool, resets: bool) -> None:
    server = DyingServer(b"", reads=reads, resets=resets)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        assert [await ask(url) for _ in range(3)] == [(200, b"OK")] * 3
    assert server.connections == 3


@pytest.mark.parametrize("raw", [b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", OK[:-1]])
async def test_an_answer_that_had_begun_is_not_asked_for_again(raw: bytes) -> None:
    server = DyingServer(raw, reads=True, resets=False)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        await ask(url)
        with pytest.raises(CutOff):
            await ask(url)
    assert (server.connections, server.asked) == (1, 2)


async def test_a_new_connection_that_dies_is_not_asked_again() -> None:
    async with serving(Server()) as server:
        with pytest.raises(CutOff):
            await ask(server.url)
        assert server.connections == 1


async def test_an_answer_without_a_request_is_never_used() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
    unasked = asyncio.Event()

    async def send_more(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await unasked.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nFake")
        await reader.read()

    server = Server(answer, then=send_more)
    async with serving(server):
        assert await ask(server.url) == (200, b"OK")
        unasked.set()
        await asyncio.wait_for(server.left.wait(), 5)
        server._answers.append(answer)
        assert await ask(server.url) == (200, b"OK")
        assert server.connections == 2


async def test_an_answer_left_before_its_end_takes_its_connection_along() -> None:
    async with serving(Server(CHUNKED + b"3\r\nOne\r\n", then=until_closed)) as server:
        connection = await http.post(server.url, {}, b"{}", connect_s=2)
        assert await connection.read() == b"One"
        connection.close()
        await asyncio.wait_for(server.left.wait(), 5)


@pytest.mark.parametrize(
    ("raw", "error", "words"),
    [
        (b"", CutOff, "closed by the server"),
        (b"HTTP/1.1 200 OK\r\nContent-Len", CutOff, "closed by the server"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nNo", CutOff, "closed by the server"),
        (CHUNKED + b"3\r\nOne\r\n", CutOff, "closed by the server"),
        (CHUNKED + b"three\r\nOne\r\n", ValueError, "no HTTP"),
        (b"220 mail.example ESMTP\r\n", ValueError, "no HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", ValueError, "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, ValueError, "without end"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, ValueError, "without end"),
        (CHUNKED + b"0\r\n" + b"X: y\r\n" * 50_000, ValueError, "without end"),
    ],
)
async def test_an_invalid_answer_is_an_error(raw: bytes, error: type[Exception], words: str) -> None:
    async def close(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        """Send nothing more, and close."""

    async with serving(Server(raw, then=close)) as server:
        with pytest.raises(error, match=words):
            await ask(server.url)


async def test_data_that_nobody_reads_stay_in_the_network() -> None:
    sent = 0

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < 64 << 20:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()
            sent += 0x10000
        writer.write(b"0\r\n\r\n")

    async with serving(Server(CHUNKED, then=flood)) as server:
        connection = await http.post(server.url, {}, b"{}", connect_s=2)
        with contextlib.closing(connection):
            async with asyncio.timeout(10):
                while connection._transport.is_reading():  # noqa: ASYNC110 - it tells nobody when it pauses
                    await asyncio.sleep(0)
            assert connection._waiting < 1 << 20
            read = 0
            while data := await connection.read():
                read += len(data)
            assert read == sent == 64 << 20


@contextlib.asynccontextmanager
async def paused(raw: bytes, **options: ssl.SSLContext) -> AsyncIterator[http.Connection]:
    """A connection that has read one piece and paused; what is sent then waits in the network."""
    go_on, was_sent = asyncio.Event(), asyncio.Event()

    async def send_more(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(raw)
        was_sent.set()

    async with serving(Server(CHUNKED + b"3\r\none\r\n", then=send_more), **options) as server:
        connection = await http.post(server.url, {}, b"{}", connect_s=2)
        with contextlib.closing(connection):
            assert await connection.read() == b"one"
            connection.pause()
            go_on.set()
            await was_sent.wait()
            if not options:  # with TLS, the transport reads from the network even then, and buffers
                network = connection._transport.get_extra_info("socket").fileno()
                arrived, _, _ = await asyncio.to_thread(select.select, [network], [], [], 10)
                assert arrived
            yield connection


async def test_a_paused_connection_says_what_has_come_and_stays_paused() -> None:
    async with paused(b"3\r\ntwo\r\n4\r\n and\r\n") as connection:
        assert connection.read_now() == b"two and"
        assert connection.read_now() == b""
        assert not connection._transport.is_reading()


async def test_data_that_waited_during_a_pause_are_read_without_the_loop() -> None:
    async with paused(b"3\r\ntwo\r\n4\r\n and\r\n") as connection:
        reading = connection.read()
        with pytest.raises(StopIteration) as read:  # it never waits
            reading.send(None)
        assert read.value.value == b"two and"
        # Nothing waits now: the loop is used again, and reports the end.
        with pytest.raises(CutOff):
            await connection.read()


@pytest.mark.parametrize(("raw", "error"), [(b"", CutOff), (b"no chunk\r\n", ValueError)])
async def test_an_error_during_a_pause_is_raised_after_it(raw: bytes, error: type[Exception]) -> None:
    async with paused(raw) as connection:
        with pytest.raises(error):
            await connection.read()


async def test_a_pause_ends_with_the_next_read(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    for options in ({}, {"tls": tls[0]}):
        async with paused(b"3\r\ntwo\r\n0\r\n\r\n", **options) as connection:
            assert await connection.read() == b"two"
            assert await connection.read() == b""


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "ftp://127.0.0.1/v1",
        "http://",
        "http://127.0.0.1:99999/v1",
        "http://127.0.0.1:9/v1",
        "http://nowhere.invalid/v1",
        f"http://{'long' * 20}.invalid/v1",
        "https://127.0.0.1:9/v1",
    ],
)
async def test_an_address_where_nothing_answers_is_an_error(url: str) -> None:
    with pytest.raises(Unreachable):
        await http.post(url, {}, b"{}", connect_s=2)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_cancelled_connect_leaves_no_connection_behind(host: str) -> None:
    """Cancelled after one step of the event loop, after two …: the server sees each connection end, without a garbage collection."""
    here: set[asyncio.StreamWriter] = set()
    nobody = asyncio.Event()
    connections_made = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections_made
        connections_made += 1
        here.add(writer)
        nobody.clear()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        here.discard(writer)
        if not here:
            nobody.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://{host}:{server.sockets[0].getsockname()[1]}/v1"
        gc.disable()
        try:
            for steps in range(40):
                asking = asyncio.create_task(http.post(url, {}, b"{}", connect_s=5))
                for _ in range(steps):
                    await asyncio.sleep(0)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
            connection = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
            connection[1].close()
            async with asyncio.timeout(5):
                await nobody.wait()
        finally:
            gc.enable()
        assert connections_made > 2


async def test_a_server_that_accepts_nothing_is_not_waited_for() -> None:
    with contextlib.ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # who fill the listener's backlog
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with pytest.raises(Unreachable):
            await http.post(f"http://127.0.0.1:{full.getsockname()[1]}/", {}, b"{}", connect_s=0.3)


async def test_a_request_names_its_host_and_proves_its_user() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with serving(Server(answer, answer), "::1") as server:
        address = server.url.removeprefix("http://")
        await ask(f"http://mei:s%20same@{address}?v=1#x")
        await ask(f"http://mei:sesame@{address}", Authorization="Bearer key")
    first, second = (asked.decode() for asked in server.asked)
    assert first.startswith("POST /v1/chat/completions?v=1 HTTP/1.1\r\n")
    assert f"\r\nHost: {address.partition('/')[0]}\r\n" in first
    assert "\r\nAuthorization: Basic bWVpOnMgc2FtZQ==\r\n" in first
    assert "\r\nAuthorization: Bearer key\r\n" in second
    assert "Basic" not in second
    assert first.endswith("\r\n\r\n{}")


@pytest.mark.parametrize("key", ["Bearer a\r\nX-Evil: b", "Bearer a\nb", "Bearer \0"])
async def test_a_header_cannot_contain_another(key: str) -> None:
    async with serving(Server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as server:
        with pytest.raises(ValueError, match="line break"):
            await ask(server.url, Authorization=key)
        assert not server.asked


def test_an_idle_connection_is_closed_with_its_loop(server: ModelServer, recwarn: pytest.WarningsRecorder) -> None:
    async def once() -> tuple[asyncio.AbstractEventLoop, http.Connection]:
        connection = await http.post(f"{server.url}/chat/completions", {}, SOME, connect_s=2)
        while await connection.read():
            pass
        connection.close()
        assert not connection._transport.is_closing()
        return asyncio.get_running_loop(), connection

    loop, connection = asyncio.run(once())
    assert connection._transport.is_closing()
    assert loop not in http._idle
    assert not recwarn.list


def certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "model server")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's side of TLS, and a client that trusts it, which the product uses in this test."""
    path = certificate(tmp_path)
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(path)
    theirs = ssl.create_default_context(cafile=str(path))
    monkeypatch.setattr(http, "tls_context", lambda: theirs)
    return ours, theirs


async def test_over_tls_only_with_those_whose_certificate_is_good(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, status, body = ANSWERS["chunks"]
    async with serving(Server(raw, raw, cut=5), tls=tls[0]) as server:
        monkeypatch.setattr(http, "tls_context", ssl.create_default_context)
        with pytest.raises(Unreachable, match="certificate"):
            await ask(server.url)
        monkeypatch.setattr(http, "tls_context", lambda: tls[1])
        assert await ask(server.url) == await ask(server.url) == (status, body)
        assert server.connections == 1
