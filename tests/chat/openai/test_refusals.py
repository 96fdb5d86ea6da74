"""Who is let in, and the errors for others: in the format of OpenAI's API, and never a 500."""

import asyncio
import http.client
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.openai.description import PATHS
from tests.chat.openai.conftest import Door, make_token
from tests.serving import Browser, Server

CALLS = {
    f"{method.upper()} {path}": (method.upper(), path, call)
    for path, ways in PATHS.items()
    for method, call in ways.items()
}
ASK = json.dumps({"model": "researcher", "messages": [{"role": "user", "content": "Hello"}]}).encode()


def send(
    server: Server, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Send a request; the answer's status, its JSON (or text) and its headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    data = json.loads(content) if answer.headers["Content-Type"].startswith("application/json") else content.decode()
    return answer.status, data, {name.lower(): value for name, value in answer.headers.items()}


def assert_error(answer: Any) -> None:
    error = answer["error"]
    assert error.keys() == {"message", "type", "param", "code", "id"}
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)


@pytest.mark.parametrize("call", CALLS)
async def test_tokens_alone_open_it(product: Server, door: Door, call: str) -> None:
    method, path, _ = CALLS[call]
    path = path.replace("{", "").replace("}", "")
    cookies = "; ".join(f"{name}={value}" for name, value in door.browser.cookies.items())
    proof = {"X-CSRFToken": door.browser.cookie("csrftoken"), "Cookie": cookies}
    for headers in ({}, proof, {"Authorization": "Bearer nonsense"}, {"Authorization": "Bearer tk_" + "0" * 49}):
        status, answer, _ = send(product, method, path, ASK if method == "POST" else b"", headers)
        assert status == 401
        assert_error(answer)
        assert answer["error"]["type"] == "authentication_error"


async def test_a_token_that_reads_does_not_ask(product: Server, door: Door) -> None:
    token = await make_token(door.browser, "read")
    headers = {"Authorization": f"Bearer {token}"}
    assert send(product, "GET", "/v1/models", headers=headers)[0] == 200
    for path in ("/v1/chat/completions", "/v1/responses"):
        status, answer, _ = send(product, "POST", path, ASK, headers)
        assert (status, answer["error"]["type"], answer["error"]["code"]) == (403, "permission_error", "not_allowed")


async def test_anothers_response_is_not_there(product: Server, door: Door) -> None:
    mine = await door.client.responses.create(model="researcher", input="Hello")
    async with Browser.logged_in(product.url, "cy") as cy:
        headers = {"Authorization": f"Bearer {await make_token(cy, 'manage')}"}
    assert send(product, "GET", f"/v1/responses/{mine.id}", headers=headers)[0] == 404
    body = json.dumps({"model": "researcher", "input": "Hello", "previous_response_id": mine.id}).encode()
    status, answer, _ = send(product, "POST", "/v1/responses", body, headers)
    assert (status, answer["error"]["code"]) == (404, "not_found")


#: Addresses and methods that do not exist: the status.
ELSEWHERE = {
    ("GET", "/v1/"): 404,
    ("GET", "/v1/nothing"): 404,
    ("POST", "/v1/embeddings"): 404,
    ("GET", "/v1/models/a/b"): 404,
    ("GET", "/v1/models/%00"): 404,
    ("DELETE", "/v1/models"): 405,
    ("GET", "/v1/chat/completions"): 405,
    ("DELETE", "/v1/responses/x"): 405,
    ("OPTIONS", "/v1/models"): 405,
}


@pytest.mark.parametrize("call", ELSEWHERE)
async def test_an_unknown_address_or_method_is_refused(product: Server, door: Door, call: tuple[str, str]) -> None:
    status, answer, headers = send(product, *call, headers=door.headers)
    assert status == ELSEWHERE[call]
    assert_error(answer)
    assert headers["x-should-retry"] == "false"


async def test_a_body_that_is_too_large(product: Server, door: Door) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", product.port, timeout=30)
    connection.putrequest("POST", "/v1/chat/completions")
    for name, value in {**door.headers, "Content-Length": str(10**9)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    data = json.loads(answer.read())
    assert (answer.status, data["error"]["code"]) == (413, "too_large")
    assert_error(data)


#: Bodies whose content type is not JSON: the type, the body, and the status.
OTHER_TYPES = {
    "none": ("", ASK, 200),
    "a form, as curl says without being told": ("application/x-www-form-urlencoded", ASK, 200),
    "text": ("text/plain", ASK, 200),
    "a form that is none": ("multipart/form-data; boundary=x", b"--y\r\n", 400),
    "a form": ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n--x--\r\n", 400),
    "another charset": ("application/json; charset=utf-16", ASK, 200),
    "nonsense": ("/", b"\xff", 400),
}


@pytest.mark.parametrize("name", OTHER_TYPES)
async def test_the_type_of_a_body(product: Server, door: Door, name: str) -> None:
    kind, body, expected = OTHER_TYPES[name]
    status, answer, _ = send(product, "POST", "/v1/chat/completions", body, {**door.headers, "Content-Type": kind})
    assert status == expected, answer
    if status != 200:
        assert_error(answer)


@pytest.mark.parametrize("words", ["x" * 40_000, "", " \u200b "], ids=["long", "empty", "blank"])
async def test_a_message_that_is_none(product: Server, door: Door, words: str) -> None:
    body = json.dumps({"model": "researcher", "messages": [{"role": "user", "content": words}]}).encode()
    status, answer, _ = send(product, "POST", "/v1/chat/completions", body, door.headers)
    assert (status, answer["error"]["code"]) in {(413, "too_large"), (400, "empty_message")}
    assert_error(answer)


@pytest.mark.parametrize("key", ["", " ", "x" * 65, "é"])
async def test_a_key_that_is_none(product: Server, door: Door, key: str) -> None:
    headers = {**door.headers, "Idempotency-Key": key}
    status, answer, _ = send(product, "POST", "/v1/chat/completions", ASK, headers)
    assert (status, answer["error"]["param"]) == (400, "Idempotency-Key")


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.lists(st.text(max_size=5), max_size=3)
TEXTS = st.text(max_size=20) | st.sampled_from(["..", "%00", "x" * 300, "resp_", "'; --"])


@pytest.fixture(scope="module")
def bearer(product: Server) -> str:
    """A token with the scope to ask, for all examples."""

    async def make() -> str:
        async with Browser.logged_in(product.url, "bo") as browser:
            return await make_token(browser, "ask")

    return asyncio.run(make())


@pytest.mark.parametrize("call", CALLS)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_clients_fault_is_never_ours(product: Server, bearer: str, call: str, data: st.DataObject) -> None:
    method, path, described = CALLS[call]
    for parameter in described.get("parameters", ()):
        if parameter["in"] == "path":
            value = data.draw(TEXTS).encode("utf-8", "replace")
            path = path.replace(f"{{{parameter['name']}}}", quote(value, safe=""))
    body = b""
    if "requestBody" in described:
        fields = described["requestBody"]["content"]["application/json"]["schema"]["properties"]
        body = json.dumps(data.draw(st.dictionaries(st.sampled_from(list(fields)), VALUES, max_size=5))).encode()
        body = data.draw(st.just(body) | st.binary(max_size=40))
    status, answer, _ = send(product, method, path, body, {"Authorization": f"Bearer {bearer}"})
    assert status == 200 or status in described["responses"]
    assert status < 500
    if status != 200:
        assert_error(answer)
    assert "Traceback" not in "".join(product.output)
