"""Texts that take extremely long to process: the server that shows or fetches them does everything else meanwhile."""

import asyncio
import http.server
import threading
import time
from collections.abc import Iterator

import aiohttp
import psutil
import pytest

from agents import CancelToken, ToolError
from agents.tools.fetch_page import FetchPageTool
from tests.faults.conftest import OpenWorld, Record
from tests.faults.probe import probed
from tests.faults.world import World, until
from tests.model_server import ModelServer, Script
from tests.serving import Browser, Server

#: Takes the renderer several seconds of CPU; with a different beginning each is a different text.
WORST = "[" * 200_000
#: Take very long to compare with each other.
WORST_BESIDE = ("x y " * 2_000, "x z " * 2_000)
FORMATS = ("markdown", "html", "json", "atif")
PEOPLE = 10
#: Much longer than a page may take, and much shorter than ten such texts take.
ANSWERED_S = 30.0


async def asked(world: World, model: ModelServer, text: str) -> str:
    """A session whose answer is a text."""
    session = await world.new_session()
    model.enqueue(Script(text, piece=100_000))
    async with world.client(session) as client:
        assert await client.ended(await client.ask("Say it")) == "completed"
    return session


async def opened(browser: Browser, address: str) -> str | None:
    """A page or a file; None if there was no answer."""
    try:
        async with browser.http.get(address, timeout=aiohttp.ClientTimeout(total=ANSWERED_S)) as page:
            return await page.text() if page.status == 200 else None
    except (TimeoutError, aiohttp.ClientError):
        return None


def busy(server: Server) -> bool:
    """Whether one of a server's worker processes for texts has used CPU since the last look."""
    workers = [child for child in psutil.Process(server.pid).children() if "untrusted" in " ".join(child.cmdline())]
    return any(child.cpu_percent(0.1) > 20 for child in workers)


async def test_ten_people_open_the_worst_texts(
    open_world: OpenWorld, model: ModelServer, record_property: Record
) -> None:
    """Pages, files in each format and a comparison at once: each is answered, with the text unrendered, and nobody waits; a stop works."""
    world = open_world("sqlite")
    sessions = [await asked(world, model, f"{number} {WORST}") for number in range(PEOPLE)]
    alike = [world.database.runs(await asked(world, model, text))[0].id for text in WORST_BESIDE]
    server = world.servers[0]
    addresses = [f"/sessions/{session}/" for session in sessions]
    addresses += [f"/api/sessions/{sessions[0]}/export/?format={name}" for name in FORMATS]
    addresses += ["/compare/?a={}&b={}".format(*alike)]
    async with world.browser("bo") as browser:
        async with probed(server) as probe:
            answers = await asyncio.gather(*(opened(browser, address) for address in addresses))
        if None in answers:
            # The work would not end by itself.
            await world.kill(server)
        answered = dict(zip(addresses, answers, strict=True))
        assert [address for address, text in answered.items() if text is None] == [], "something was not answered"
        pages, (markdown, html, *_), compared = answers[:PEOPLE], answers[PEOPLE:-1], answers[-1] or ""
        assert all('class="unrendered"' in (page or "") for page in (*pages, html))
        assert WORST in (markdown or "")
        assert ("<pre>" in compared, "<del>" in compared) == (False, False)
        assert all(text.strip() in compared for text in WORST_BESIDE)
        record_property("/healthz meanwhile", probe.words)
        probe.assert_soon()
        fresh = await asked(world, model, f"fresh {WORST}")
        looking = asyncio.create_task(opened(browser, f"/sessions/{fresh}/"))
        await until(lambda: not looking.done() and busy(server), 20, "it to be rendered")
        began = time.monotonic()
        assert await asyncio.to_thread(server.stop) == 0
        record_property("stopped after", f"{time.monotonic() - began:.1f} s")
        assert time.monotonic() - began < 20, "the server was deaf"
        await looking


PAGE = "words" * 200_000


@pytest.fixture
def site() -> Iterator[str]:
    """A page that declares an encoding which Python supports and browsers do not."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; charset=punycode")
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


async def test_a_page_in_an_encoding_that_the_web_has_not(site: str) -> None:
    """`fetch_page` of a megabyte in ``punycode``, whose decoder takes quadratic time: it is read as UTF-8, at once."""
    tool = FetchPageTool(allow_address=lambda _: True, allow_port=lambda _: True, total_s=60.0)
    # The decoder could not be stopped, and so its thread would live as long as the process.
    read: list[str] = []
    reading = threading.Thread(target=lambda: read.append(_fetch(tool, site)), daemon=True)
    reading.start()
    await asyncio.to_thread(reading.join, 30)
    assert read, "decoding went on and on"
    assert "wordswords" in read[0]


def _fetch(tool: FetchPageTool, url: str) -> str:
    try:
        return tool.call({"url": url}, CancelToken())
    except ToolError as refused:
        return str(refused)
