"""The product as a process, and tokens of its users."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from openai import AsyncOpenAI

from tests.serving import Browser, Server


@dataclass(frozen=True)
class Door:
    """A user's access: their login on the pages, and OpenAI's unmodified client with a token of theirs."""

    browser: Browser
    client: AsyncOpenAI
    token: str
    url: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers for plain HTTP."""
        return {"Authorization": f"Bearer {self.token}"}


async def make_token(browser: Browser, scope: str) -> str:
    status, made = await browser.call("POST", "tokens/", {"name": f"to {scope}", "scope": scope})
    assert status == 201, made
    return str(made["token"])


@pytest.fixture
async def door(product: Server, bo: Browser) -> AsyncIterator[Door]:
    """Bo's."""
    token = await make_token(bo, "ask")
    address = f"{product.url}/v1"
    async with AsyncOpenAI(base_url=address, api_key=token, max_retries=0) as client:
        yield Door(bo, client, token, address)
