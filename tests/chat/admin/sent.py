"""The body of a response, also of one that is streamed."""

from typing import Any

from asgiref.sync import async_to_sync


def text_of(answer: Any) -> str:
    """The whole body as text, for tests that are no coroutines."""

    async def collect() -> bytes:
        return b"".join([part async for part in answer])

    content: bytes = async_to_sync(collect)() if answer.streaming else answer.content
    return content.decode()
