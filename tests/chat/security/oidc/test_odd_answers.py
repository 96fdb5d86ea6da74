"""An identity provider, or an attacker in its place, with wrong answers: nobody is logged in, and no page fails."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client

from chat.accounts.models import ProviderLogin, User
from chat.security.oidc import http as bounds
from chat.security.oidc import provider as provider_module
from chat.security.oidc import rechecks
from tests.http_proxy import forget_proxies, proxying
from tests.oidc import CLIENT_ID, CLIENT_SECRET, use_provider

pytestmark = pytest.mark.django_db
KEY, OTHER_KEY = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class Odd:
    """Answers as a test says: for each path the status, the headers and the body."""

    def __init__(self) -> None:
        self.nonce = ""
        self.claims: dict[str, Any] = {}
        self.sign: Callable[[dict[str, Any]], str | None] = self.signed
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.hangs = ""
        self.go_on = threading.Event()
        odd = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if path == odd.hangs:
                    odd.go_on.wait(20)
                    return
                status, headers, body = odd.answer(path)
                self.send_response(status)
                for name, value in {
                    "Content-Type": "application/json",
                    "Content-Length": str(len(body)),
                    **headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - as the base class calls it

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        return self.answers.get(path) or (200, {}, json.dumps(self.right_answer(path)).encode())

    def configuration(self, **changes: Any) -> dict[str, Any]:
        names = {
            "authorization_endpoint": "auth",
            "token_endpoint": "token",
            "userinfo_endpoint": "me",
            "jwks_uri": "keys",
        }
        return {"issuer": self.issuer, **{name: f"{self.issuer}/{path}" for name, path in names.items()}, **changes}

    def right_answer(self, path: str) -> Any:
        if path == "/keys":
            return {
                "keys": [
                    {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "k", "alg": "RS256"}
                ]
            }
        if path == "/me":
            return {"sub": "s"}
        if path == "/token":
            now = int(time.time())
            claims = {
                "iss": self.issuer,
                "aud": CLIENT_ID,
                "sub": "s",
                "iat": now,
                "exp": now + 60,
                "nonce": self.nonce,
            }
            claims = {name: value for name, value in {**claims, **self.claims}.items() if value is not None}
            tokens = {"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": self.sign(claims)}
            return {name: value for name, value in tokens.items() if value is not None}
        return self.configuration()

    @staticmethod
    def signed(claims: dict[str, Any]) -> str | None:
        return jwt.encode(claims, KEY, "RS256", {"kid": "k"})

    def set_answer(self, path: str, body: Any, status: int = 200, **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers[path] = (status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


@pytest.fixture
def odd(settings: Any) -> Iterator[Odd]:
    provider_module.forget_documents()
    odd = Odd()
    use_provider(settings, odd.issuer)
    yield odd
    odd.stop()
    provider_module.forget_documents()


def log_in(client: Client, odd: Odd, **more: str) -> Any:
    begun = client.get("/accounts/oidc/login/")
    if begun.status_code != 302:
        return begun
    asked = parse_qs(urlsplit(begun["Location"]).query)
    odd.nonce = asked["nonce"][0]
    return client.get("/accounts/oidc/callback/", {"code": "c", "state": asked["state"][0], **more})


def test_right_answers_let_in(odd: Odd, client: Client) -> None:
    assert log_in(client, odd)["Location"] == "/"
    assert client.get("/").status_code == 200


def test_the_provider_is_reached_by_the_environments_proxy(
    odd: Odd, client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd.issuer = "http://provider.test"
    use_provider(settings, odd.issuer)
    forget_proxies(monkeypatch)
    with proxying(odd.server.server_port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        assert log_in(client, odd)["Location"] == "/"
    asked = {line.split()[1].removeprefix("http://provider.test") for line in proxy.asked}
    assert {CONFIGURATION, "/token", "/keys"} <= asked


def claim(**claims: Any) -> Callable[[Odd], Any]:
    return lambda odd: odd.claims.update(claims)


def sign(how: Callable[[dict[str, Any]], str | None]) -> Callable[[Odd], Any]:
    return lambda odd: setattr(odd, "sign", how)


def answering(path: str, body: Any, status: int = 200, **headers: str) -> Callable[[Odd], Any]:
    return lambda odd: odd.set_answer(path, body, status, **headers)


CONFIGURATION = "/.well-known/openid-configuration"
ODD: dict[str, Callable[[Odd], Any]] = {
    "not signed": sign(lambda claims: jwt.encode(claims, None, "none")),
    "signed by our own secret": sign(lambda claims: jwt.encode(claims, CLIENT_SECRET * 2, "HS256", {"kid": "k"})),
    "signed by another key": sign(lambda claims: jwt.encode(claims, OTHER_KEY, "RS256", {"kid": "k"})),
    "signed by a key that nobody knows": sign(lambda claims: jwt.encode(claims, KEY, "RS256", {"kid": "other"})),
    "signed by no named key": sign(lambda claims: jwt.encode(claims, KEY, "RS256")),
    "signed otherwise than the key is for": sign(lambda claims: jwt.encode(claims, KEY, "PS256", {"kid": "k"})),
    "signed with a rule that must be understood": sign(
        lambda claims: jwt.encode(claims, KEY, "RS256", {"kid": "k", "crit": ["x"], "x": 1})
    ),
    "signed by a key that it brings along": sign(
        lambda claims: jwt.encode(
            claims, OTHER_KEY, "RS256", {"jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_KEY.public_key()))}
        )
    ),
    "signed by a key that it says the address of": sign(
        lambda claims: jwt.encode(claims, OTHER_KEY, "RS256", {"kid": "other", "jku": "https://elsewhere.example/keys"})
    ),
    "named by a key that is no name": sign(lambda claims: jwt.encode(claims, OTHER_KEY, "RS256", {"kid": ""})),
    "no ID token": sign(lambda claims: None),
    "an ID token that is none": sign(lambda claims: "a.b.c"),
    "another issuer's": claim(iss="https://elsewhere.example"),
    "another client's": claim(aud="other"),
    "for nobody": claim(aud=[]),
    "for what is no client": claim(aud={"a": CLIENT_ID}),
    "another's and ours, given to another": claim(aud=[CLIENT_ID, "other"], azp="other"),
    "of an issuer that is like ours": claim(iss="https://LOCALHOST/"),
    "of several issuers": claim(iss=["https://elsewhere.example"]),
    "from later": claim(iat=int(time.time()) + 3600),
    "without a beginning": claim(iat=None),
    "with an end that is no time": claim(exp="never"),
    "of several logins": claim(nonce=["other"]),
    "about somebody with a mark that turns round": lambda odd: (
        odd.claims.update(sub="s\u202e"),
        odd.set_answer("/me", {"sub": "s\u202e"}),
    ),
    "for several": claim(aud=[CLIENT_ID, "other"]),
    "given to another": claim(azp="other"),
    "expired": claim(exp=int(time.time()) - 3600, iat=int(time.time()) - 7200),
    "not yet": claim(nbf=int(time.time()) + 3600),
    "without an end": claim(exp=None),
    "of another login": claim(nonce="other"),
    "of no login": claim(nonce=None),
    "about nobody": claim(sub=None),
    "about a number": claim(sub=7),
    "about nothing": claim(sub=""),
    "about too much": lambda odd: (odd.claims.update(sub="s" * 300), odd.set_answer("/me", {"sub": "s" * 300})),
    "about what no table takes": lambda odd: (odd.claims.update(sub="s\x00"), odd.set_answer("/me", {"sub": "s\x00"})),
    "told of somebody else": answering("/me", {"sub": "another"}),
    "told of nobody": answering("/me", {}),
    "told a list": answering("/me", []),
    "told rubbish": answering("/me", b"<html>"),
    "told nothing": answering("/me", {}, 500),
    "told to go elsewhere": answering("/me", b"", 302, Location="https://elsewhere.example/"),
    "no tokens": answering("/token", {"error": "invalid_grant"}, 400),
    "tokens that are none": answering("/token", {"access_token": ["a"]}),
    "tokens elsewhere": answering("/token", b"", 307, Location="https://elsewhere.example/"),
    "tokens as a form": answering("/token", b"access_token=a", Content_Type="application/x-www-form-urlencoded"),
    "tokens without end": answering("/token", b" " * 2_000_000),
    "tokens in a well": answering("/token", b"[" * 100_000),
    "keys that are none": answering("/keys", {"keys": "k"}),
    "keys of another kind": answering(
        "/keys", {"keys": [7, {"kid": "k"}, {"kid": "k", "kty": "RSA"}, {"kid": "k", "kty": "x", "alg": "y"}]}
    ),
    "no keys": answering("/keys", {}, 404),
    "calls itself otherwise": lambda odd: odd.set_answer(CONFIGURATION, odd.configuration(issuer=f"{odd.issuer}/")),
    "leads to a file": lambda odd: odd.set_answer(
        CONFIGURATION, odd.configuration(token_endpoint="file:///etc/passwd")
    ),
    "leads nowhere": lambda odd: odd.set_answer(CONFIGURATION, odd.configuration(token_endpoint="http://[")),
    "leads to a number": lambda odd: odd.set_answer(CONFIGURATION, odd.configuration(authorization_endpoint=7)),
    "says nothing of itself": answering(CONFIGURATION, {}),
    "is not there": answering(CONFIGURATION, b"", 404),
    "has moved": answering(CONFIGURATION, b"", 301, Location="https://elsewhere.example/"),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_answer_lets_nobody_in(odd: Odd, client: Client, kind: str) -> None:
    ODD[kind](odd)
    answer = log_in(client, odd)
    assert answer.status_code in {403, 503}
    assert "<h1>Not logged in</h1>" in answer.content.decode()
    assert not User.objects.exists()
    assert client.get("/").status_code == 302


#: Claims that name somebody who already has an account here.
TAKEN: dict[str, dict[str, Any]] = {
    "their address": {"email": "ada@example.org", "email_verified": True},
    "their address, not confirmed": {"email": "ada@example.org", "email_verified": False},
    "their name": {"preferred_username": "ada"},
    "their name in capitals": {"preferred_username": "ADA"},
    "their name in wide letters": {"preferred_username": "ａｄａ"},
    "their name and more that is not seen": {"preferred_username": "ada\u200b\u2060"},
    "their name, and nothing before it": {"preferred_username": " \tada\n"},
    "their name as no text": {"preferred_username": ["ada"]},
    "their number": {"sub": "1", "preferred_username": "1"},
}


@pytest.mark.parametrize("kind", TAKEN)
def test_claims_give_nobody_another_users_account(odd: Odd, client: Client, kind: str) -> None:
    ada = User.objects.create_superuser("ada", "ada@example.org", "correct horse 17")
    odd.claims.update(TAKEN[kind])
    odd.set_answer("/me", {"sub": "s", **TAKEN[kind]})
    assert log_in(client, odd)["Location"] == "/"
    made = User.objects.exclude(pk=ada.pk).get()
    assert client.session["_auth_user_id"] == str(made.pk)
    assert not made.is_staff
    assert not made.is_superuser
    assert made.username.casefold() != "ada"


#: Values of the groups claim that contain none of the groups, although they look like it.
NO_GROUPS: dict[str, Any] = {
    "a list in a text": '["chiefs"]',
    "several in a text": "chiefs,all",
    "a list in a list": [["chiefs"]],
    "an object": {"chiefs": True},
    "objects": [{"name": "chiefs"}],
    "another case": ["Chiefs"],
    "spaces around": [" chiefs "],
    "a part of it": ["chief"],
    "a path": ["/chiefs"],
    "a number": 7,
    "nothing": None,
    "true": True,
}


@pytest.mark.parametrize("kind", NO_GROUPS)
def test_an_odd_groups_claim_makes_nobody_staff(odd: Odd, client: Client, settings: Any, kind: str) -> None:
    settings.OIDC_STAFF_GROUPS = ["chiefs"]
    settings.OIDC_GROUPS = {"chiefs": "Chiefs"}
    odd.claims["groups"] = NO_GROUPS[kind]
    assert log_in(client, odd)["Location"] == "/"
    made = User.objects.get()
    assert not made.is_staff
    assert not made.groups.exists()
    settings.OIDC_ALLOWED_GROUPS = ["chiefs"]
    assert log_in(Client(), odd).status_code == 403


def test_an_answer_that_says_it_is_another_provider_s_is_not_looked_at(odd: Odd, client: Client) -> None:
    assert log_in(client, odd, iss="https://elsewhere.example").status_code == 403
    assert log_in(client, odd, iss=odd.issuer).status_code == 302


@pytest.mark.parametrize("path", [CONFIGURATION, "/keys", "/token", "/me"])
def test_a_provider_that_does_not_answer_is_given_up(
    odd: Odd, client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(bounds, "_PATIENCE_S", (0.2, 0.2))
    odd.hangs = path
    assert log_in(client, odd).status_code == 503


def test_few_wait_for_it_at_a_time(odd: Odd, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_slots", threading.BoundedSemaphore(1))
    monkeypatch.setattr(bounds, "_WAIT_S", 0.01)
    with bounds._slots:
        assert log_in(client, odd).status_code == 503
    provider_module.forget_documents()
    assert log_in(client, odd).status_code == 302


def test_a_new_key_of_the_provider_is_found(odd: Odd, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_module, "_KEYS_AT_LEAST_S", 0.0)
    odd.set_answer("/keys", {"keys": []})
    assert log_in(client, odd).status_code == 403
    del odd.answers["/keys"]
    assert log_in(client, odd).status_code == 302


#: The provider's answer to a repeated check, and whether it ends the login.
ODD_RENEWALS: dict[str, tuple[Callable[[Odd], Any], bool]] = {
    "the token is good": (lambda odd: None, False),
    "the token is worth nothing": (answering("/me", {"error": "invalid_token"}, 401), True),
    "it is broken": (answering("/me", {}, 500), False),
    "it is busy": (answering("/me", {}, 429), False),
    "it says rubbish": (answering("/me", b"<html>"), False),
    "it speaks of somebody else": (answering("/me", {"sub": "another"}), False),
}


@pytest.mark.parametrize("case", ODD_RENEWALS)
def test_without_a_token_for_it_the_other_one_asks_again_as_long_as_it_lasts(
    odd: Odd, client: Client, case: str
) -> None:
    change, is_end = ODD_RENEWALS[case]
    log_in(client, odd)
    change(odd)
    row = ProviderLogin.objects.get()
    ProviderLogin.objects.update(next_check_at=row.confirmed_at)
    assert rechecks.check_due() is is_end
    assert (client.get("/").status_code == 302) is is_end


def test_a_login_ends_with_its_access_token(odd: Odd, client: Client) -> None:
    log_in(client, odd)
    row = ProviderLogin.objects.get()
    ProviderLogin.objects.update(next_check_at=row.confirmed_at, access_expires_at=row.confirmed_at)
    assert rechecks.check_due()
    assert client.get("/").status_code == 302


@pytest.mark.parametrize(
    ("claimed", "name"),
    [
        ({"preferred_username": "jörg.m"}, "jörg.m"),
        ({"preferred_username": "a b/c<d>\u202e"}, "a-b-c-d"),
        ({"preferred_username": "x" * 400}, "x" * 140),
        ({"preferred_username": "///"}, "user"),
        ({"preferred_username": 7}, "7"),
        ({"name": "Grace H"}, "Grace-H"),
        ({"preferred_username": "ROOT"}, "ROOT-2"),
        ({}, "user"),
    ],
)
def test_a_new_account_gets_a_free_username(odd: Odd, client: Client, claimed: dict[str, Any], name: str) -> None:
    User.objects.create_user("root")
    odd.claims.update(claimed)
    assert log_in(client, odd).status_code == 302
    assert User.objects.exclude(username="root").get().username == name
