"""The URL of a page, as mails and webhooks contain it."""

from typing import Any

import pytest

from chat.store.links import page_address
from config.env_types import PublicUrl

NONE = PublicUrl()


@pytest.mark.parametrize(
    ("host", "public", "address"),
    [
        ("127.0.0.1", NONE, "http://127.0.0.1:8000/x/"),
        ("::1", NONE, "http://[::1]:8000/x/"),
        ("::", NONE, "http://localhost:8000/x/"),
        ("0.0.0.0", NONE, "http://localhost:8000/x/"),
        ("::", PublicUrl("https://chat.example", "chat.example", secure=True), "https://chat.example/x/"),
        ("::", PublicUrl("https://a.example", "a.example", secure=True, path="/chat"), "https://a.example/chat/x/"),
    ],
)
def test_a_page_is_where_a_browser_finds_it(settings: Any, host: str, public: PublicUrl, address: str) -> None:
    settings.HOST, settings.PORT, settings.PUBLIC_URL = host, 8000, public
    assert page_address("/x/") == address
