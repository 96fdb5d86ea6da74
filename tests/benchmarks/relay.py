"""The reference: a minimal relay from the model's stream to the WebSockets of a session, a frame per token.

No database, no agent, no permissions. ``python -m tests.benchmarks.relay <model's address>`` prints its own.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import Collection

import aiohttp
import orjson
from aiohttp import web


async def relay(
    sockets: Collection[web.WebSocketResponse], client: aiohttp.ClientSession, model: str, message: str
) -> None:
    """Call the model, and forward its text, serialised once for all sockets."""
    body = {"model": "stub", "stream": True, "messages": [{"role": "user", "content": message}]}
    length = 0
    pending = b""
    async with client.post(f"{model}/chat/completions", json=body) as response:
        async for data in response.content.iter_any():
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                if not line.startswith(b"data: {"):
                    continue
                choices = orjson.loads(line[6:])["choices"]
                text = choices[0]["delta"].get("content") if choices else ""
                if text:
                    delta = {"step": 1, "type": "final_answer", "attempt": 1, "offset": length, "text": text}
                    length += len(text)
                    await send_to_all(sockets, orjson.dumps({"type": "reasoning_delta", "data": delta}).decode())
    await send_to_all(sockets, '{"type":"reasoning_complete","data":{"status":"completed"}}')


async def send_to_all(sockets: Collection[web.WebSocketResponse], frame: str) -> None:
    """Send a frame to all open sockets."""
    for socket in list(sockets):
        await socket.send_str(frame)


async def serve(model: str) -> None:
    """Serve until ended."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout()
    ) as client:
        sockets: defaultdict[str, set[web.WebSocketResponse]] = defaultdict(set)

        async def handle(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse(compress=False)
            await socket.prepare(request)
            group = sockets[request.match_info["session"]]
            group.add(socket)
            await socket.send_str('{"type":"session","data":{"last_seq":0}}')
            try:
                async for received in socket:
                    frame = orjson.loads(received.data)
                    if frame["type"] == "chat":
                        await relay(group, client, model, frame["payload"]["message"])
            finally:
                group.discard(socket)
            return socket

        app = web.Application()
        app.router.add_get("/ws/chat/{session}/", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
