"""A proxy between browser and server that forwards pages and refuses WebSockets, as some companies' proxies do."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

#: Headers of one hop, not of the message.
_HOP = {"connection", "content-length", "content-encoding", "keep-alive", "transfer-encoding", "upgrade"}


@contextlib.asynccontextmanager
async def refusing_upgrades(target: str) -> AsyncIterator[str]:
    """The URL of a proxy for ``target`` that answers every WebSocket handshake with 403."""
    async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as client:

        async def forward(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return web.Response(status=403, text="Blocked by policy.")
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
            async with client.request(
                request.method,
                target + request.path_qs,
                headers=headers,
                data=await request.read(),
                allow_redirects=False,
            ) as answer:
                body = await answer.read()
                back = [(n, v) for n, v in answer.headers.items() if n.lower() not in _HOP - {"content-encoding"}]
                response = web.Response(status=answer.status, body=body)
                response.headers.popall("Content-Type", None)
                for name, value in back:
                    response.headers.add(name, value)
                return response

        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
