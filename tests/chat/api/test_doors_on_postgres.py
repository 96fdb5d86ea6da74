"""OpenAI's client, files, and logging in by a provider, on PostgreSQL. The tables of cases are run on SQLite."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
import requests
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

from chat.exports.files import FORMATS
from tests import oidc
from tests.model_server import ModelServer
from tests.oidc import OidcProvider
from tests.serving import Browser, Server

pytestmark = pytest.mark.long

ASKED: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": 'What is 6 times 7? [reasoning=4 call=python:{"code":"6*7"}]'}
]
ANSWER = "The tools said: 42"


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    """Not started yet, because it has to know the product's address."""
    provider = OidcProvider()
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def product(
    tmp_path_factory: pytest.TempPathFactory, tables: str, model: ModelServer, provider: OidcProvider
) -> Iterator[Server]:
    """The product as a process, on PostgreSQL."""
    llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key"}
    server = Server(tmp_path_factory.mktemp("data"), DATABASE_URL=tables, **llm, **provider.environment)
    server.prepare("ada", "bo")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def client(product: Server, bo: Browser) -> AsyncIterator[AsyncOpenAI]:
    _, made = await bo.call("POST", "tokens/", {"name": "t", "scope": "ask"})
    async with AsyncOpenAI(base_url=f"{product.url}/v1", api_key=made["token"], max_retries=0) as client:
        yield client


async def test_openai_s_client_asks(client: AsyncOpenAI) -> None:
    assert "researcher" in [model.id async for model in client.models.list()]
    key = {"Idempotency-Key": "once"}
    ask = client.chat.completions.create
    whole = await ask(model="researcher", messages=ASKED, extra_headers=key)
    assert whole.choices[0].message.content == ANSWER
    again = await ask(model="researcher", messages=ASKED, extra_headers=key)
    assert again.id == whole.id, "the same key is the same run"
    stream = await ask(model="researcher", messages=ASKED, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == ANSWER
    first = await client.responses.create(model="researcher", input="Say [tokens=2]")
    then = await client.responses.create(model="researcher", input="More [tokens=3]", previous_response_id=first.id)
    assert (await client.responses.retrieve(then.id)).output_text == then.output_text


async def test_a_session_is_saved_in_every_format_and_read_in(client: AsyncOpenAI, bo: Browser) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="researcher", messages=ASKED)
    session_id = raw.headers["X-Session-Id"]
    saved = {}
    for name in FORMATS:
        async with bo.http.get(f"/api/sessions/{session_id}/export/?format={name}") as answer:
            assert answer.status == 200
            saved[name] = await answer.text()
    assert all("6*7" in text for text in saved.values())
    status, read_in = await bo.call("POST", "sessions/import/", json.loads(saved["atif"]))
    assert (status, read_in["imported"]) == (201, True), read_in
    _, theirs = await bo.call("GET", f"sessions/{read_in['id']}/events/")
    assert [event["data"]["content"] for event in theirs["events"] if event["data"].get("type") == "final_answer"] == [
        ANSWER
    ]


async def test_somebody_comes_in_by_the_provider_and_goes(product: Server, provider: OidcProvider) -> None:
    provider.lead_back_to(product.url)
    await asyncio.to_thread(provider.start)
    await asyncio.to_thread(provider.know, "g-1", preferred_username="grace", name="Grace H")

    def come_and_go() -> None:
        with requests.Session() as browser:
            begun = browser.get(f"{product.url}/accounts/oidc/login/", allow_redirects=False)
            back = oidc.walk(begun.headers["Location"], product.url)
            assert "Grace H" in browser.get(back).text
            form = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
            left = browser.post(f"{product.url}/accounts/logout/", form, headers={"Referer": product.url})
            assert "Log out of Example ID too" in left.text
            assert browser.get(f"{product.url}/api/sessions/").status_code == 401

    await asyncio.to_thread(come_and_go)
