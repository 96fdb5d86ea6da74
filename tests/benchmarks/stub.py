"""The benchmark's model server: that of the tests, with a fast stamped stream, and a record of what it sent and how late it was.

``python -m tests.benchmarks.stub`` prints its address; ``GET /journal`` there returns the record since the last time.
"""

import asyncio
import gc
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from tests.benchmarks.measuring import Ticker
from tests.model_server import ModelServer, Request, Script, _Stream, by_words

_TAG = re.compile(r"\btag=([\w-]+)")
_HERE = "<here>"
_TEMPLATE_RESULT = "<tool_response>"


@dataclass(slots=True)
class Note:
    """One request: the tag in its message, when it arrived, when its first token and when its last was sent, and the stamps."""

    tag: str
    at: float
    first: float = 0.0
    done: float = 0.0
    text: str = ""


class Stub(ModelServer):
    """A model server that keeps up with hundreds of streams."""

    def __init__(self) -> None:
        super().__init__()
        self.respond = lambda body: by_words({**body, "messages": _plainly(body["messages"])})
        self._notes: list[Note] = []
        self._ticker: Ticker | None = None

    async def _listen(self) -> None:
        await super()._listen()
        self._ticker = Ticker()

    async def _journal(self, _request: web.Request) -> web.Response:
        assert self._ticker is not None
        state = {"notes": self._notes, "lateness": self._ticker.drain()}
        self._notes = []
        self.requests.clear()
        return web.Response(body=orjson.dumps(state), content_type="application/json")

    async def _stream(self, script: Script, stream: _Stream, http: web.Request, request: Request) -> None:
        questions = [m["content"] for m in _plainly(request.body["messages"]) if m["role"] == "user"]
        found = _TAG.search(questions[-1])
        note = Note(found[1] if found else "", request.at)
        self._notes.append(note)
        if script.stamp:
            await self._stamped(script, stream, note)
        else:
            await super()._stream(script, stream, http, request)
            note.first = request.first_token_at or 0.0
        note.done = time.time()

    @staticmethod
    async def _stamped(script: Script, stream: _Stream, note: Note) -> None:
        """Each token of the text is the time at which it is sent. Due times are fixed, so that a late one delays no other."""
        loop = asyncio.get_running_loop()
        event = f"data: {orjson.dumps(_chunk(stream, {'content': _HERE})).decode()}\n\n"
        before, _, after = event.partition(_HERE)
        stamps: list[str] = []
        await stream.chunk({"role": "assistant", "content": ""})
        due = loop.time()
        for _ in script.content.split():
            due += script.every_s
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            stamps.append(f"{time.time():.6f} ")
            await stream.write(f"{before}{stamps[-1]}{after}".encode())
        note.first = float(stamps[0])
        note.text = "".join(stamps)
        usage = {"prompt_tokens": 10, "completion_tokens": len(stamps), "total_tokens": 10 + len(stamps)}
        await stream.chunk({}, finish="stop")
        await stream.event({**stream.head, "choices": [], "usage": usage})
        await stream.write(b"data: [DONE]\n\n")


def _plainly(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages in which a tool's result has the role of a tool; Qwen-Agent's own template gives it that of the user."""
    return [
        {**message, "role": "tool"} if str(message.get("content")).startswith(_TEMPLATE_RESULT) else message
        for message in messages
    ]


def _chunk(stream: _Stream, delta: dict[str, Any]) -> dict[str, Any]:
    return {**stream.head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def main() -> None:
    """Serve until ended."""
    gc.freeze()
    gc.disable()
    with Stub() as stub:
        print(stub.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
