"""An OpenID provider for tests: npm's `oidc-provider`, as a process of its own, and a user who logs in by it."""

import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from django.test import Client

from scripts import bootstrap
from tests.services import Service, free_port

CLIENT_ID, CLIENT_SECRET = "thinkaloud", "the client's secret, of tests"
SCRIPT = Path(__file__).with_name("oidc_provider.js")
CALLBACK = "/accounts/oidc/callback/"


class OidcProvider(Service):
    """The provider: its users, and which of them logs in next."""

    def __init__(self, *origins: str) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        node = bootstrap.find_node(Path(sys.executable))
        self._arguments = [str(node), str(SCRIPT), str(self.port)]
        super().__init__(self._arguments, ready="ready")
        self.lead_back_to(*origins)

    def lead_back_to(self, *origins: str) -> None:
        """Allow redirects back to these addresses, from its next start on."""
        self._arguments += [f"{origin}{CALLBACK}" for origin in origins]

    def _put(self, path: str, value: Any) -> None:
        body = json.dumps(value).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.issuer}{path}", body, method="PUT")).close()

    def know(self, sub: str, **claims: Any) -> None:
        """Add a user with these claims, who logs in next."""
        self._put(f"/people/{quote(sub)}", claims)
        self._put("/next", sub)

    def forget(self, sub: str) -> None:
        """Delete a user, whose tokens become invalid."""
        self._put(f"/people/{quote(sub)}", None)

    def cancel_next(self) -> None:
        """Let the next user cancel the login."""
        self._put("/next", None)

    @property
    def environment(self) -> dict[str, str]:
        """The product's settings for it."""
        return {
            "OIDC_ISSUER": self.issuer,
            "OIDC_NAME": "Example ID",
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET": CLIENT_SECRET,
        }


@contextmanager
def providing(*origins: str) -> Iterator[OidcProvider]:
    """A provider for the length of a block; it redirects back to these origins."""
    provider = OidcProvider(*origins)
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()


def use_provider(settings: Any, issuer: str, **more: Any) -> None:
    """Let the product of this process use a provider."""
    settings.OIDC_ISSUER, settings.OIDC_NAME = issuer, "Example ID"
    app = {
        "provider_id": issuer,
        "name": "Example ID",
        "client_id": CLIENT_ID,
        "secret": CLIENT_SECRET,
        "settings": {"server_url": issuer, "scope": ["openid", "profile", "email"]},
    }
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}}
    for name, value in more.items():
        setattr(settings, name, value)


def walk(address: str, origin: str, own: requests.Session | None = None) -> str:
    """Follow redirects at the provider, as a browser does, until it redirects back to the product; returns that address.

    ``own`` keeps its cookies.
    """
    with contextlib.nullcontext(own) if own is not None else requests.Session() as browser:
        for _ in range(10):
            answer = browser.get(address, allow_redirects=False)
            assert answer.is_redirect, answer.text
            address = requests.compat.urljoin(address, answer.headers["Location"])
            if address.startswith(origin):
                return address
    raise AssertionError("the provider leads in a circle")


def log_in(
    client: Client, going: str = "", origin: str = "http://testserver", own: requests.Session | None = None
) -> Any:
    """Log in by the provider; returns the product's last answer."""
    begun = client.get(f"/accounts/oidc/login/{going}")
    assert begun.status_code == 302, begun.content.decode()
    back = urlsplit(walk(begun["Location"], origin, own))
    return client.get(f"{back.path}?{back.query}")
