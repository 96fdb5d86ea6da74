"""WebKit as GTK has it, by the standard protocol of browsers (WebDriver), on a screen of its own."""

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e import other_browsers
from tests.services import free_port

PROGRAMS = ("WebKitWebDriver", "Xvfb")
#: The window around the page must not be wider than a phone.
_STYLE = "* { min-width: 0; margin: 0; padding: 0; border-width: 0; font-size: 4px; -gtk-icon-transform: scale(0.1); }"
#: Scrollbars that stay visible.
_SETTINGS = "[Settings]\ngtk-overlay-scrolling=0\n"
#: The protocol runs nothing before the scripts of a page: errors are kept from the first call after it is loaded, over all pages.
_KEEP_ERRORS = """if (!window.areErrorsKept) {
  window.areErrorsKept = true;
  const kept = () => JSON.parse(sessionStorage.getItem("errors") ?? "[]");
  const keep = (error) => sessionStorage.setItem("errors", JSON.stringify([...kept(), String(error)]));
  addEventListener("error", ({ message }) => keep(message));
  addEventListener("unhandledrejection", ({ reason }) => keep(reason));
  addEventListener("securitypolicyviolation", ({ violatedDirective }) => keep(violatedDirective));
}"""
_CALL = """const [arg, done] = arguments;
%s
const call = async () => JSON.stringify(await (%s)(JSON.parse(arg)) ?? null);
call().then((value) => done({ value }), (error) => done({ error: String(error) }));"""


def installed() -> bool:
    """Whether its driver, and a screen without a machine's, are installed."""
    return all(map(shutil.which, PROGRAMS))


class Page(other_browsers.Page):
    """The only page of a WebKit."""

    def __init__(self, http: aiohttp.ClientSession, session: str) -> None:
        super().__init__()
        self._http = http
        self._session = session

    async def send(self, path: str, **body: Any) -> Any:
        """Send a command, and wait for the answer."""
        async with self._http.post(f"/session/{self._session}/{path}", json=body) as answer:
            response = await answer.json()
            assert answer.status == 200, response
            return response["value"]

    async def add_cookie(self, name: str, value: str, address: str) -> None:
        # A cookie is given to the site that is open.
        await self.goto(address)
        await self.send("cookie", cookie={"name": name, "value": value, "path": "/"})

    async def set_size(self, width: int, height: int) -> None:
        await self.send("window/rect", x=0, y=0, width=width, height=height)
        await self.wait_for_function("(width) => innerWidth === width", width)

    async def goto(self, address: str) -> None:
        await self.send("url", url=address)
        await self.evaluate("() => null")

    async def evaluate(self, function: str, arg: Any = None) -> Any:
        response = await self.send("execute/async", script=_CALL % (_KEEP_ERRORS, function), args=[json.dumps(arg)])
        assert "value" in response, response
        return json.loads(response["value"])

    async def act(self, kind: str, *actions: dict[str, Any], **more: Any) -> None:
        await self.send("actions", actions=[{"type": kind, "id": kind, "actions": list(actions), **more}])

    async def take_errors(self) -> list[str]:
        kept = await self.evaluate("() => sessionStorage.getItem('errors')")
        await self.evaluate("() => sessionStorage.removeItem('errors')")
        return json.loads(kept or "[]")


@contextlib.asynccontextmanager
async def opened(folder: Path, width: int = 1280, height: int = 800) -> AsyncIterator[Page]:
    """A WebKit with a profile of its own in a folder."""
    (folder / "gtk-3.0").mkdir()
    (folder / "gtk-3.0" / "gtk.css").write_text(_STYLE, "utf-8")
    (folder / "gtk-3.0" / "settings.ini").write_text(_SETTINGS, "utf-8")
    async with contextlib.AsyncExitStack() as until_closed:
        environment = {
            **os.environ,
            **dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(folder)),
            "DISPLAY": f":{await until_closed.enter_async_context(_screen())}",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            # Its sandbox needs privileges that containers lack.
            "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",
        }
        port = free_port()
        await until_closed.enter_async_context(
            _running("WebKitWebDriver", f"--port={port}", "--host=127.0.0.1", env=environment)
        )
        http = await until_closed.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))
        async with asyncio.timeout(60):
            begun = await _begun(http)
        try:
            page = Page(http, begun)
            await page.set_size(width, height)
            yield page
        finally:
            async with http.delete(f"/session/{begun}"):
                pass


async def _begun(http: aiohttp.ClientSession) -> str:
    """The id of a new session, once the driver answers."""
    while True:
        with contextlib.suppress(aiohttp.ClientConnectorError):
            async with http.post("/session", json={"capabilities": {"alwaysMatch": {}}}) as answer:
                response = await answer.json()
                assert answer.status == 200, response
                return str(response["value"]["sessionId"])
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def _screen() -> AsyncIterator[int]:
    """The number of a new screen, larger than any page."""
    reading, writing = os.pipe()
    screen = ("Xvfb", "-displayfd", str(writing), "-screen", "0", "1600x1200x24", "-nolisten", "tcp")
    try:
        async with _running(*screen, pass_fds=(writing,)):
            os.close(writing)
            yield int(await asyncio.to_thread(os.read, reading, 20))
    finally:
        os.close(reading)


@contextlib.asynccontextmanager
async def _running(*command: str, **options: Any) -> AsyncIterator[None]:
    """A program that runs within the block."""
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet, **options)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()
