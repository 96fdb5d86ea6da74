"""What is sent as an answer, a file that is written while it is sent too."""

from typing import Any

from asgiref.sync import async_to_sync


def text_of(answer: Any) -> str:
    """All of it, in a test that is no coroutine."""

    async def collect() -> bytes:
        return b"".join([part async for part in answer])

    content: bytes = async_to_sync(collect)() if answer.streaming else answer.content
    return content.decode()
