"""Firefox, by the standard protocol of browsers (WebDriver BiDi), as far as the tests of reading need it.

Playwright has its own build of Firefox; here it is the one that people use. ``Page`` has those of Playwright's methods that the tests of
reading use.
"""

import asyncio
import contextlib
import itertools
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

INSTALLED = ("firefox-esr", "firefox")
_LISTENING = re.compile(rb"WebDriver BiDi listening on (ws://[\d.:]+)")
_KEYS = {
    "PageUp": "\ue00e",
    "PageDown": "\ue00f",
    "End": "\ue010",
    "Home": "\ue011",
    "ArrowUp": "\ue013",
    "Shift": "\ue008",
    "Space": " ",
}
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
_WAIT_S = 20
_UNTIL = """async (arg) => {{
  while (!(await ({function})(arg))) await new Promise((again) => setTimeout(again, 20));
}}"""


def installed() -> str | None:
    """The path of a Firefox, if one is installed."""
    return next((path for name in INSTALLED if (path := shutil.which(name))), None)


class Page:
    """The only page of a Firefox."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._context = ""
        self._pointer = (0.0, 0.0)
        self.mouse = _Mouse(self)
        self.keyboard = _Keyboard(self)

    async def send(self, method: str, **params: Any) -> Any:
        """Send a command, and wait for the answer."""
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json(timeout=60)
            if message.get("id") == number:
                assert message["type"] == "success", message
                return message["result"]

    async def begin(self, width: int, height: int) -> None:
        """Begin a session, and set the page's size."""
        await self.send("session.new", capabilities={})
        self._context = (await self.send("browsingContext.getTree"))["contexts"][0]["context"]
        await self.send(
            "browsingContext.setViewport", context=self._context, viewport={"width": width, "height": height}
        )

    async def add_cookie(self, name: str, value: str, host: str) -> None:
        """Give it a cookie."""
        cookie = {"name": name, "value": {"type": "string", "value": value}, "domain": host, "path": "/"}
        await self.send("storage.setCookie", cookie=cookie)

    async def add_init_script(self, function: str) -> None:
        """Run a function before the scripts of each page."""
        await self.send("script.addPreloadScript", functionDeclaration=function)

    async def goto(self, address: str) -> None:
        """Open an address."""
        await self.send("browsingContext.navigate", context=self._context, url=address, wait="complete")

    async def evaluate(self, function: str, arg: Any = None) -> Any:
        """Call a function in the page."""
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

    async def wait_for_function(self, function: str, arg: Any = None) -> None:
        """Wait until a function returns true."""
        async with asyncio.timeout(_WAIT_S):
            await self.evaluate(_UNTIL.format(function=function), arg)

    def locator(self, selector: str) -> "_Locator":
        """The first element of a selector."""
        return _Locator(self, selector)

    async def act(self, kind: str, *actions: dict[str, Any], **parameters: Any) -> None:
        """Perform actions of an input device."""
        device = {"type": kind, "id": kind, "actions": list(actions), **parameters}
        await self.send("input.performActions", context=self._context, actions=[device])


class _Locator:
    def __init__(self, page: Page, selector: str) -> None:
        self._page = page
        self._selector = selector

    async def bounding_box(self) -> dict[str, float]:
        box = await self._page.evaluate(
            "(selector) => { const { x, y, width, height } = document.querySelector(selector).getBoundingClientRect();"
            " return { x, y, width, height } }",
            self._selector,
        )
        return dict(box)

    async def focus(self) -> None:
        await self._page.evaluate("(selector) => document.querySelector(selector).focus()", self._selector)

    async def click(self) -> None:
        box = await self.bounding_box()
        await self._page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


class _Mouse:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._at = (0, 0)

    async def _act(self, *actions: dict[str, Any]) -> None:
        await self._page.act("pointer", *actions, parameters={"pointerType": "mouse"})

    async def move(self, x: float, y: float, *, steps: int = 1) -> None:
        begin, self._at = self._at, (round(x), round(y))
        for step in range(1, steps + 1):
            x, y = (round(a + (b - a) * step / steps) for a, b in zip(begin, self._at, strict=True))
            await self._act({"type": "pointerMove", "x": x, "y": y})

    async def down(self, *, button: str = "left") -> None:
        await self._act({"type": "pointerDown", "button": 1 if button == "middle" else 0})

    async def up(self, *, button: str = "left") -> None:
        await self._act({"type": "pointerUp", "button": 1 if button == "middle" else 0})

    async def click(self, x: float, y: float) -> None:
        await self.move(x, y)
        await self.down()
        await self.up()

    async def wheel(self, by_x: float, by_y: float) -> None:
        x, y = self._at
        await self._page.act("wheel", {"type": "scroll", "x": x, "y": y, "deltaX": round(by_x), "deltaY": round(by_y)})


class _Keyboard:
    def __init__(self, page: Page) -> None:
        self._page = page

    async def press(self, keys: str) -> None:
        held = [_KEYS[name] for name in keys.split("+")]
        down = [{"type": "keyDown", "value": key} for key in held]
        await self._page.act("key", *down, *[{"type": "keyUp", "value": key} for key in reversed(held)])


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
