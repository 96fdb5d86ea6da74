"""A reference: Qwen-Agent unchanged, behind a minimal WebSocket, as in its tutorials. Nothing is stored.

Its own loop with its own OpenAI client, in a thread for each message; each state that the loop yields becomes a frame with the whole text.
``python -m tests.benchmarks.stock <model's address>`` prints its own.
"""

import asyncio
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web
from qwen_agent.agents import Assistant
from qwen_agent.llm.schema import FUNCTION
from qwen_agent.log import logger
from qwen_agent.tools.base import BaseTool, register_tool

_OVER: dict[str, Any] = {"type": "reasoning_complete", "data": {"status": "completed"}}


@register_tool("current_time", allow_overwrite=True)
class CurrentTime(BaseTool):  # type: ignore[misc] # Qwen-Agent has no types
    """The tool that is called."""

    description = "Tells the time."
    parameters = {"type": "object", "properties": {}, "required": []}

    def call(self, params: str | dict[str, Any], **_: Any) -> str:
        """Tell the time."""
        return datetime.now(UTC).isoformat()


def frame(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The frame for a state: of the last message, the whole text."""
    step, last = len(messages), messages[-1]
    if last["role"] == FUNCTION:
        return {"type": "reasoning_step", "data": {"type": "tool_result", "step": step, "content": last["content"]}}
    delta = {"step": step, "type": "final_answer", "attempt": 1, "offset": 0, "text": last["content"]}
    return {"type": "reasoning_delta", "data": delta}


async def serve(model: str) -> None:
    """Serve until ended."""
    logger.setLevel("WARNING")  # otherwise it would log a line for each call of the model
    agent = Assistant(llm={"model": "stub", "model_server": model, "api_key": "none"}, function_list=["current_time"])
    loop = asyncio.get_running_loop()

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.send_str('{"type":"session","data":{"last_seq":0}}')

        def send(data: dict[str, Any]) -> None:
            asyncio.run_coroutine_threadsafe(socket.send_str(orjson.dumps(data).decode()), loop)

        def work(history: list[dict[str, Any]]) -> None:
            messages: list[dict[str, Any]] = []
            for messages in agent.run(history):
                if messages:
                    send(frame(messages))
            history += messages
            send(_OVER)

        history: list[dict[str, Any]] = []
        async for received in socket:
            command = orjson.loads(received.data)
            if command["type"] == "chat":
                history.append({"role": "user", "content": command["payload"]["message"]})
                threading.Thread(target=work, args=(history,), daemon=True).start()
        return socket

    app = web.Application()
    app.router.add_get("/ws/chat/{session}/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
