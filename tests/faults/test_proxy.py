"""The proxy of these tests breaks connections as its methods say."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.faults.proxy import Proxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy in front of a server that returns whatever it is sent."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with Proxy.before("127.0.0.1", server.sockets[0].getsockname()[1]) as before:
        yield before
    server.close()


async def open_and_send(proxy: Proxy, words: bytes = b"hello") -> Streams:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(words)
    return reader, writer


async def test_a_slow_proxy_passes_data_late(proxy: Proxy) -> None:
    proxy.latency_s = 0.05
    began = asyncio.get_running_loop().time()
    reader, writer = await open_and_send(proxy)
    assert await reader.readexactly(5) == b"hello"
    assert asyncio.get_running_loop().time() - began >= 0.1
    assert proxy.instead_of("redis://me:pw@elsewhere:1/0") == f"redis://me:pw@127.0.0.1:{proxy.port}/0"
    writer.close()


@pytest.mark.parametrize("bytes_", [0, 1, 4])
async def test_the_proxy_cuts_after_so_many_bytes(proxy: Proxy, bytes_: int) -> None:
    proxy.cut_after = bytes_
    reader, writer = await open_and_send(proxy)
    assert await reader.read() == b"hello"[:bytes_]
    writer.close()


async def test_the_proxy_freezes_and_thaws(proxy: Proxy) -> None:
    reader, writer = await open_and_send(proxy)
    await reader.readexactly(5)
    proxy.freeze()
    writer.write(b"again")
    later, new = await open_and_send(proxy, b"new")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    proxy.thaw()
    assert await reader.readexactly(5) == b"again"
    assert await later.readexactly(3) == b"new"
    writer.close()
    new.close()


async def test_the_proxy_resets(proxy: Proxy) -> None:
    reader, _ = await open_and_send(proxy)
    await reader.readexactly(5)
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    proxy.refuses = True
    reader, _ = await open_and_send(proxy)
    with pytest.raises(ConnectionResetError):
        await reader.read(1)


async def test_the_proxy_closes_one_half(proxy: Proxy) -> None:
    reader, writer = await open_and_send(proxy)
    await reader.readexactly(5)
    proxy.lines[0].half_close()
    assert await reader.read() == b""
    writer.write(b"still")
    await writer.drain()
    assert len(proxy.lines) == 1
    writer.close()
