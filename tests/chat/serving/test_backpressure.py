"""What a connection has received waits for its application, in order, and nothing is lost."""

import asyncio

import pytest

from chat.serving.backpressure import MessageQueue


async def test_an_inbox_gives_what_it_got_in_order_and_waits_for_more() -> None:
    inbox = MessageQueue()
    inbox.put_nowait({"type": "one"})
    inbox.put_nowait({"type": "two"})
    assert inbox.qsize() == 2
    assert [(await inbox.get())["type"] for _ in range(2)] == ["one", "two"]
    waiting = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)  # it waits now
    assert not waiting.done()
    inbox.put_nowait({"type": "three"})
    inbox.put_nowait({"type": "four"})
    assert (await waiting)["type"] == "three"
    assert inbox.qsize() == 1


async def test_a_cancelled_reader_loses_no_message() -> None:
    inbox = MessageQueue()
    waiting = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    waiting.cancel()
    inbox.put_nowait({"type": "one"})
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await inbox.get())["type"] == "one"
