"""Traces of the running product in a receiver that others wrote: how it shows them, and that repeated ones change nothing."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.scale.phoenix import phoenix
from tests.serving import Browser, Server, serving

pytestmark = [pytest.mark.long, pytest.mark.scale]
#: Messages to the demo model: a tool call, and a run within a run.
QUESTIONS = ("What is 17 % of 2,340?", "Ask the developer: what is 12 % of 50?")
_LOOKS = 120


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with phoenix(tmp_path_factory.mktemp("phoenix")) as address:
        yield address


@pytest.fixture(scope="module")
def product(receiver: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    own = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver, "OTEL_CONTENT": "true"}
    with serving(tmp_path_factory.mktemp("data"), "bo", **own) as server:
        yield server


async def spans_at(receiver: str) -> list[dict[str, Any]]:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{receiver}/v1/projects/default/spans", params={"limit": 1000})
        found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
        return found


async def test_phoenix_shows_runs_their_calls_and_tools_and_sent_again_no_more(receiver: str, product: Server) -> None:
    async with Browser.logged_in(product.url, "bo") as browser:
        for question in QUESTIONS:
            session_id = await browser.new_session()
            async with browser.socket(session_id) as socket:
                await socket.send("chat", message=question)
                await socket.until(lambda frame: frame["type"] == "reasoning_complete")
    for _ in range(_LOOKS):
        if sum(span["parent_id"] is None for span in await spans_at(receiver)) == len(QUESTIONS):
            break
        await asyncio.sleep(0.5)
    spans = await spans_at(receiver)
    names = Counter(span["name"] for span in spans)
    assert names["invoke_agent researcher"] == 2
    assert names["invoke_agent developer"] == 1
    assert names["execute_tool ask_developer"] == 1
    assert names["execute_tool python"] >= 1
    assert names["chat demo"] >= 4
    by_id = {span["context"]["span_id"]: span for span in spans}
    developer = next(span for span in spans if span["name"] == "invoke_agent developer")
    assert by_id[developer["parent_id"]]["name"] == "execute_tool ask_developer"
    # What it derives from the conventions by itself.
    kinds = {span["name"].split()[0]: span["span_kind"] for span in spans}
    assert kinds == {"invoke_agent": "AGENT", "chat": "LLM", "execute_tool": "TOOL"}
    call = next(span for span in spans if span["name"] == "chat demo")
    assert call["attributes"]["llm.token_count.prompt"] > 0
    assert "397.8" in str([span["attributes"] for span in spans])
    assert product.manage("export_traces", "--since", "2020-01-01").startswith("2 runs are sent.")
    assert len(await spans_at(receiver)) == len(spans)
