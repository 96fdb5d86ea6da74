"""Odd numbers, texts and bodies in every call that the API's own document names: an error of the client never causes a 500."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import config.urls  # noqa: F401 - a door describes its calls where its addresses are
from chat.api import docs
from tests.serving import PASSWORD, Server

#: Values that code may not expect. A further one is one more line.
ODD_VALUES = [
    "",
    "0",
    "-0",
    "-1",
    "1.5",
    "1e5",
    "1e400",
    "-1e400",
    "nan",
    "inf",
    "-inf",
    "99999999999999999999",
    "9223372036854775808",
    "1099511627774.9999",
    "253402300799",
    "253402300800",
    "9999-12-31T23:59:59-10:00",
    "0001-01-01T00:00:00+10:00",
    "99999999999999999-00000000000000000000000000000000",
    "9" * 5000,
    "true",
    "null",
    "[]",
    "{}",
    "\x00",
    "\u0663",
    "\u202e",
    "é" * 300,
    "'; --",
    "../..",
    "%00",
    str(UUID(int=0)),
    str(UUID(int=2**128 - 1)),
]
TYPES = [
    "application/json",
    "application/json; charset=utf-7",
    "application/json; charset=x",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=" + "x" * 300,
    "multipart/form-data; boundary=é",
    "application/x-www-form-urlencoded",
    "text/plain",
    "/",
    "",
]
BODIES = [
    b"",
    b"{",
    b"[]",
    b"\xff\xfe",
    b"null",
    b"7",
    b"--x\r\n",
    b"a=b&" * 2000,
    b"{" * 5000,
    b'{"a":' * 5000,
    b"\x00" * 100,
]
METHODS = {"get", "post", "patch", "put", "delete"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every call that the document names."""
    for path, calls in docs.openapi_schema()["paths"].items():
        for method, call in calls.items():
            if method in METHODS:
                yield method.upper(), path, call


OPERATIONS = {f"{method} {path}": (method, path, call) for method, path, call in operations()}


class Client:
    """A logged-in client over plain HTTP, which can send what no library would."""

    def __init__(self, server: Server, username: str = "bo") -> None:
        self._server = server
        self._cookies: dict[str, str] = {}
        self.send("GET", "/accounts/login/")
        form = {"username": username, "password": PASSWORD, "csrfmiddlewaretoken": self._cookies["csrftoken"]}
        kind = "application/x-www-form-urlencoded"
        assert self.send("POST", "/accounts/login/", urlencode(form).encode(), kind)[0] == 302
        _, _, made = self.send("POST", "/api/sessions/", b"{}", "application/json")
        self.session_id = str(json.loads(made)["id"])
        wanted = json.dumps({"name": "odd", "scope": "manage"}).encode()
        self._token = str(json.loads(self.send("POST", "/api/tokens/", wanted, "application/json")[2])["token"])

    def send(
        self, method: str, path: str, body: bytes = b"", kind: str = "", *, proven: bool = True
    ) -> tuple[int, str, bytes]:
        """Send a request; returns status, type and body of the answer. ``proven``: with the CSRF token of a page."""
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=30)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        headers |= {"Content-Length": str(len(body))}
        if path.startswith("/v1/"):
            headers["Authorization"] = f"Bearer {self._token}"
        if proven:
            headers["X-CSRFToken"] = self._cookies.get("csrftoken", "")
        if kind:
            headers["Content-Type"] = kind
        connection.request(method, path, body, {name: value.encode() for name, value in headers.items()})  # type: ignore[misc]
        answer = connection.getresponse()
        # A stream does not end: its first piece is enough.
        streams = answer.headers.get_content_type() == "text/event-stream"
        content = answer.read1(65_536) if streams else answer.read()
        for cookie in answer.headers.get_all("Set-Cookie") or ():
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        connection.close()
        return answer.status, answer.headers.get("Content-Type", ""), content

    def send_two(self, first: tuple[str, str], second: tuple[str, str]) -> list[tuple[int, int, int]]:
        """Send two requests on one connection; returns each answer's status, its ``Content-Length``, and the bytes that arrived."""
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=30)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        answers = []
        for method, path in (first, second):
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            answers.append((answer.status, int(answer.headers.get("Content-Length") or 0), len(answer.read())))
        connection.close()
        return answers


@pytest.fixture(scope="module")
def product(own_product: Server) -> Server:
    """One of this module's own, because it is sent many odd requests."""
    return own_product


@pytest.fixture(scope="module")
def client(product: Server) -> Client:
    return Client(product)


ANY = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.sampled_from(ODD_VALUES))
JSON = st.recursive(
    ANY, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
TEXTS = st.sampled_from(ODD_VALUES) | st.text(max_size=30) | st.integers().map(str) | st.floats().map(str)


def body_fields(call: dict[str, Any]) -> list[str]:
    schema = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return list(schema.get("properties", {}))


def bodies(call: dict[str, Any]) -> st.SearchStrategy[tuple[bytes, str]]:
    """Bodies with the call's own fields and odd values in them, and invalid bodies."""
    known = st.dictionaries(st.sampled_from(body_fields(call) or ["x"]), JSON, max_size=5)
    own = known.map(lambda fields: json.dumps(fields).encode())
    return st.tuples(own, st.just("application/json")) | st.tuples(
        st.sampled_from(BODIES) | own, st.sampled_from(TYPES)
    )


@pytest.mark.parametrize("operation", OPERATIONS)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_clients_fault_is_never_ours(client: Client, product: Server, operation: str, data: st.DataObject) -> None:
    method, path, call = OPERATIONS[operation]
    query = {}
    for parameter in call.get("parameters", []):
        name = parameter["name"]
        if parameter["in"] == "query":
            if data.draw(st.booleans()):
                query[name] = data.draw(TEXTS)
            continue
        # Mostly objects that exist; otherwise nearly every answer would be 404.
        real = client.session_id if name == "session_id" and method != "DELETE" else str(UUID(int=0))
        value = data.draw(st.just(real) | st.just(real) | TEXTS)
        path = path.replace(f"{{{name}}}", quote(value.encode("utf-8", "replace"), safe=""))
    address = f"{path}?{urlencode({key: value.encode('utf-8', 'replace') for key, value in query.items()})}"
    body, kind = data.draw(bodies(call)) if "requestBody" in call or data.draw(st.booleans()) else (b"", "")
    status, answered_as, content = client.send(method, address, body, kind)
    assert status < 500, (status, content)
    if status >= 400 and answered_as.startswith("application/json"):
        shape = {"code", "message", "type", "param"} if path.startswith("/v1/") else {"code", "message", "id"}
        assert shape <= json.loads(content)["error"].keys()
    assert "Traceback" not in "".join(product.output)


@pytest.mark.parametrize("value", ODD_VALUES)
@pytest.mark.parametrize(
    "path",
    ["notifications/?after=", "sessions/?cursor=", "sessions/?q=", "sessions/?status=", "search/?q=", "search/?limit="],
)
def test_odd_values_are_refused_or_taken(client: Client, path: str, value: str) -> None:
    status, _, content = client.send("GET", f"/api/{path}{quote(value)}")
    assert status in {200, 400}, content


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("path", ["sessions/", "schedules/", "runs/x/cancel/"])
def test_odd_bodies_are_refused(client: Client, path: str, kind: str) -> None:
    status, _, content = client.send("POST", f"/api/{path}", b"\xff", kind)
    assert status in {400, 404}, content


def part(head: str, body: bytes = b"x") -> bytes:
    return b"--x\r\n" + head.encode() + b"\r\n\r\n" + body + b"\r\n"


_NAME = 'Content-Disposition: form-data; name="{}"'
_FILE = _NAME + '; filename="a.txt"\r\nContent-Type: text/plain'
_FIELDS = ("username", "password", "csrfmiddlewaretoken", "name", "message", "id")
_OPEN = "multipart/form-data; boundary=x"
#: Forms that no browser sends: the type, and the body. A further one is one more line.
FORMS: dict[str, tuple[str, bytes]] = {
    "no boundary": ("multipart/form-data", part(_NAME.format("username"))),
    "an empty boundary": ("multipart/form-data; boundary=", part(_NAME.format("username"))),
    "a boundary of white space": ('multipart/form-data; boundary=" "', part(_NAME.format("username"))),
    "a boundary that is too long": (f"multipart/form-data; boundary={'x' * 5_000}", b"--" + b"x" * 5_000),
    "a boundary in quotes": ('multipart/form-data; boundary="x', part(_NAME.format("username")) + b"--x--\r\n"),
    "a boundary with odd letters": ("multipart/form-data; boundary=\u00e9\u00ff", b"--\xe9\xff\r\n"),
    "a boundary as RFC 2231 has it": ("multipart/form-data; boundary*=utf-8''%FF%00", b"--\xff\x00\r\n"),
    "two boundaries": ("multipart/form-data; boundary=x; boundary=y", part(_NAME.format("username"))),
    "another boundary": (_OPEN, b"--y\r\n\r\n"),
    "nothing": (_OPEN, b""),
    "the end alone": (_OPEN, b"--x--\r\n"),
    "the end first": (_OPEN, b"--x--\r\n" + part(_NAME.format("username"))),
    "cut in a head": (_OPEN, b"--x\r\nContent-Disposition: form-data; na"),
    "cut in a body": (_OPEN, part(_NAME.format("username"))[:-3]),
    "cut in a file": (_OPEN, part(_FILE.format("username"))[:-3]),
    "no head": (_OPEN, b"--x\r\n\r\nx\r\n--x--\r\n"),
    "a head of rubbish": (_OPEN, part("\x00\xff: \x7f")),
    "a head that is huge": (_OPEN, part(f"X-A: {'x' * 50_000}\r\n" + _NAME.format("username"))),
    "no name": (_OPEN, part("Content-Disposition: form-data")),
    "an empty name": (_OPEN, part(_NAME.format(""))),
    "a name of NUL": (_OPEN, part(_NAME.format("\x00"))),
    "a name as RFC 2231 has it": (_OPEN, part("Content-Disposition: form-data; name*=utf-9''%FF")),
    "a name that is long": (_OPEN, part(_NAME.format("x" * 20_000))),
    "no disposition of a form": (_OPEN, part('Content-Disposition: attachment; name="username"')),
    "a charset that isn't there": (f"{_OPEN}; charset=x", part(_NAME.format("username"), b"\xff")),
    "a charset that is none of text": (f"{_OPEN}; charset=base64", part(_NAME.format("username"), b"\xff")),
    "a charset of NUL": (f"{_OPEN}; charset=\x01", part(_NAME.format("username"), b"\xff")),
    "a form's charset": ("application/x-www-form-urlencoded; charset=utf-16", b"username=x"),
    "a form's charset that isn't there": ("application/x-www-form-urlencoded; charset=x", b"username=%ff"),
    "a form of rubbish": ("application/x-www-form-urlencoded", b"%ff=%00&%&=&&username=%00&username"),
    "a form of very many fields": ("application/x-www-form-urlencoded", b"a=1&" * 12_000),
    "no text": (_OPEN, b"".join(part(_NAME.format(name), b"\xff\xfe\x00") for name in _FIELDS) + b"--x--\r\n"),
    "files instead of texts": (_OPEN, b"".join(part(_FILE.format(name)) for name in _FIELDS) + b"--x--\r\n"),
    "files without a name": (_OPEN, part(_NAME.format("username") + '; filename=""') + b"--x--\r\n"),
    "a file's name of rubbish": (_OPEN, part(_NAME.format("a") + '; filename="../\x00\u202e"') + b"--x--\r\n"),
    "a file's length that is none": (_OPEN, part(_FILE.format("a") + "\r\nContent-Length: x") + b"--x--\r\n"),
    "a file's charset that isn't there": (_OPEN, part(_FILE.format("a") + "; charset=x") + b"--x--\r\n"),
    "base64": (_OPEN, part(_NAME.format("username") + "\r\nContent-Transfer-Encoding: base64", b"eA==") + b"--x--\r\n"),
    "no base64": (
        _OPEN,
        part(_NAME.format("username") + "\r\nContent-Transfer-Encoding: base64", b"\xff=!") + b"--x--\r\n",
    ),
    "a file of no base64": (
        _OPEN,
        part(_FILE.format("a") + "\r\nContent-Transfer-Encoding: base64", b"\xff=!") + b"--x--\r\n",
    ),
    "base64, and cut": (_OPEN, part(_FILE.format("a") + "\r\nContent-Transfer-Encoding: base64", b"eA")[:-2]),
    "a form in a form": (
        _OPEN,
        part(_NAME.format("a") + "\r\nContent-Type: multipart/mixed; boundary=y", b"--y\r\n\r\n--y--"),
    ),
    "very many parts": (_OPEN, part(_NAME.format("a")) * 1_200 + b"--x--\r\n"),
    "very many files": (_OPEN, part(_FILE.format("a")) * 700 + b"--x--\r\n"),
    "ten thousand parts": (_OPEN, b"--x\r\n\r\n\r\n" * 6_000),
    "boundaries alone": (_OPEN, b"--x" * 20_000),
    "lines alone": (_OPEN, b"\r\n" * 30_000),
    "another multipart": ("multipart/mixed; boundary=x", part(_NAME.format("username"))),
    "a type in capitals": ("MULTIPART/FORM-DATA; BOUNDARY=x", part(_NAME.format("username"))),
    "a type with a lot behind it": (f"{_OPEN}{'; a=b' * 2_000}", part(_NAME.format("username"))),
}
FORM_PATHS = [
    *("/accounts/login/", "/accounts/signup/", "/admin/login/", "/admin/chat/run/act/stop/"),
    *(
        "/admin/chat/announcement/add/",
        "/admin/accounts/user/add/",
        "/schedules/new/",
        "/schedules/preview/",
        "/nothing/",
    ),
    *("/api/sessions/", "/api/schedules/", "/api/nothing/", "/healthz", "/"),
]


@pytest.fixture(scope="module")
def operator(product: Server) -> Client:
    """Somebody with all rights, logged in."""
    return Client(product, "ada")


@pytest.mark.parametrize("path", FORM_PATHS)
@pytest.mark.parametrize("form", FORMS)
def test_a_form_that_cannot_be_read_is_the_clients_fault(
    client: Client, operator: Client, product: Server, path: str, form: str
) -> None:
    kind, body = FORMS[form]
    who = operator if path.startswith("/admin/") else client
    for proven in (True, False):
        status, _, content = who.send("POST", path, body, kind, proven=proven)
        assert status < 500, (status, content[:500])


@pytest.mark.parametrize("path", ["/api/docs", "/", "/sessions/"])
def test_an_answer_to_head_has_no_body(client: Client, path: str) -> None:
    (status, length, came), after = client.send_two(("HEAD", path), ("GET", "/healthz"))
    assert (status, came) == (200, 0)
    # An unexpected body that is longer than one packet would be read as the next answer.
    assert length > 0
    assert after[0] == 200
