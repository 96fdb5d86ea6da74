"""Firefox, by the standard protocol of browsers (WebDriver BiDi)."""

import asyncio
import contextlib
import itertools
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from tests.e2e import other_browsers

INSTALLED = ("firefox-esr", "firefox")
_LISTENING = re.compile(rb"WebDriver BiDi listening on (ws://[\d.:]+)")
#: No first-run pages, updates or telemetry; scrollbars that stay visible.
_PREFERENCES = {
    "app.update.disabledForTesting": True,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "services.settings.server": "data:,",
    "extensions.getAddons.cache.enabled": False,
    "general.autoScroll": True,
    "widget.gtk.overlay-scrollbars.enabled": False,
    "dom.w3c_touch_events.enabled": 1,
}


def installed() -> str | None:
    """The path of a Firefox, if one is installed."""
    return next((path for name in INSTALLED if (path := shutil.which(name))), None)


class Page(other_browsers.Page):
    """The only page of a Firefox."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        super().__init__()
        self._socket = socket
        self._ids = itertools.count(1)
        self._context = ""
        self._errors: list[str] = []

    async def send(self, method: str, **params: Any) -> Any:
        """Send a command, and wait for the answer."""
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json(timeout=60)
            if message.get("method") == "log.entryAdded":
                self._logged(message["params"])
            if message.get("id") == number:
                assert message["type"] == "success", message
                return message["result"]

    def _logged(self, entry: dict[str, Any]) -> None:
        if (entry["type"], entry["level"]) == ("javascript", "error"):
            self._errors.append(entry["text"])

    async def begin(self, width: int, height: int) -> None:
        """Begin a session, and set the page's size."""
        await self.send("session.new", capabilities={})
        self._context = (await self.send("browsingContext.getTree"))["contexts"][0]["context"]
        await self.send("session.subscribe", events=["log.entryAdded"])
        await self.set_size(width, height)

    async def set_size(self, width: int, height: int) -> None:
        viewport = {"width": width, "height": height}
        await self.send("browsingContext.setViewport", context=self._context, viewport=viewport)

    async def add_cookie(self, name: str, value: str, address: str) -> None:
        host = urlsplit(address).hostname
        cookie = {"name": name, "value": {"type": "string", "value": value}, "domain": host, "path": "/"}
        await self.send("storage.setCookie", cookie=cookie)

    async def goto(self, address: str) -> None:
        await self.send("browsingContext.navigate", context=self._context, url=address, wait="complete")

    async def evaluate(self, function: str, arg: Any = None) -> Any:
        answer = await self.send(
            "script.callFunction",
            functionDeclaration=f"async (arg) => JSON.stringify(await ({function})(JSON.parse(arg)) ?? null)",
            arguments=[{"type": "string", "value": json.dumps(arg)}],
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    async def act(self, kind: str, *actions: dict[str, Any], **more: Any) -> None:
        device = {"type": kind, "id": kind, "actions": list(actions), **more}
        await self.send("input.performActions", context=self._context, actions=[device])

    async def take_errors(self) -> list[str]:
        # What was reported until now comes before the answer.
        await self.send("session.status")
        errors, self._errors = self._errors, []
        return errors


@contextlib.asynccontextmanager
async def opened(folder: Path, width: int = 1280, height: int = 800) -> AsyncIterator[Page]:
    """A Firefox with a profile of its own in a folder."""
    program = installed()
    assert program is not None
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in _PREFERENCES.items()]
    (folder / "user.js").write_text("\n".join(lines), "utf-8")
    process = await asyncio.create_subprocess_exec(
        program, "--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port", "0", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while (found := _LISTENING.search(await process.stderr.readline())) is None:
                assert process.returncode is None
        reading = asyncio.create_task(process.stderr.read())
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"{found[1].decode()}/session", max_msg_size=0) as socket,
        ):
            page = Page(socket)
            await page.begin(width, height)
            yield page
        reading.cancel()
    finally:
        process.terminate()
        await process.wait()
