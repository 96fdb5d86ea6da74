"""Texts and numbers that PostgreSQL cannot store, in every field of every request: SQLite accepts most of them."""

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from tests.chat.api.test_odd_requests import Client
from tests.model_server import ModelServer
from tests.serving import Browser, Server

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("nothing_failed")]

_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"

#: The values for each field in turn. A further one is one more line.
ODD: dict[str, Any] = {
    "NUL": "a\x00b",
    "half a pair": "a\ud800b",
    "the other half": "\udc00",
    "no character": "\ufffe\uffff\U0010ffff",
    "all controls": "".join(map(chr, range(1, 32))) + "\x7f\x85\u2028\u202e",
    "overlong": "é" * 90_000,
    "a number out of range": 2**63,
    "a number below it": -(2**63) - 1,
    "a number that has no end": 10**400,
    "deep": json.loads("[" * 200 + "]" * 200),
    "an odd key": {"a\x00b": "\ud800"},
}
#: The requests: the method, the address and a body that is accepted as it is. A further one is one more line.
DOORS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a session": ("POST", "sessions/", {"title": "a", "agent_name": "researcher", "enable_reasoning": True}),
    "a title": ("PATCH", "sessions/{session}/", {"title": "a", "agent_name": "researcher", "archived": False}),
    "a message": ("POST", "sessions/{session}/messages/", {"message": "a", "client_message_id": "{new}", "files": []}),
    "a word": ("POST", "sessions/{session}/steer/", {"message": "a", "client_message_id": "{new}", "interrupt": False}),
    "a word back": ("POST", "sessions/{session}/unsteer/", {"client_message_id": "{new}"}),
    "a branch": ("POST", "sessions/{session}/branch/", {"after_seq": 0, "message": "a", "files": []}),
    "a share": ("POST", "sessions/{session}/shares/", {"user": "cy", "role": "watcher", "expires_at": None}),
    "a group's share": ("POST", "sessions/{session}/shares/", {"group": "a", "role": "watcher"}),
    "an offer": ("POST", "sessions/{session}/owner/", {"user": "cy"}),
    "a comment": ("POST", "sessions/{session}/comments/", {"seq": 1, "text": "a"}),
    "a verdict": ("PUT", "runs/{run}/verdict/", {"verdict": "good", "reason": "a"}),
    "going on": ("POST", "runs/{run}/continue/", {"client_message_id": "{new}"}),
    "a stop": ("POST", "runs/{run}/cancel/", {"all": False}),
    "a decision": (
        "POST",
        "runs/{run}/approve/",
        {"tool_call_id": "a", "decision": "allow", "reason": "a", "scope": "a"},
    ),
    "an answer": ("POST", "runs/{run}/answer/", {"tool_call_id": "a", "answers": {"a": "b"}}),
    "a set": ("POST", "sets/", {"name": "a"}),
    "a set's name": ("PATCH", "sets/{set}/", {"name": "a"}),
    "a case": (
        "POST",
        "sets/{set}/cases/",
        {"question": "a", "expected": "b", "notes": "c", "rule": None, "files": []},
    ),
    "a case of a run": ("POST", "runs/{run}/case/", {"question": "a", "set_name": "b", "notes": "c"}),
    "a set's run": ("POST", "sets/{set}/runs/", {"agent_name": "researcher", "version": None}),
    "a set's share": ("POST", "sets/{set}/shares/", {"user": "cy", "role": "watcher"}),
    "a schedule": (
        "POST",
        "schedules/",
        {"name": "a", "message": "b", "agent_name": "researcher", "every_minutes": 60, "pause_after": 3},
    ),
    "a schedule by cron": ("POST", "schedules/", {"message": "b", "cron": "0 0 * * *", "time_zone": "Asia/Taipei"}),
    "a schedule at a time": ("POST", "schedules/", {"message": "b", "at": "2099-01-01T00:00", "time_zone": "UTC"}),
    "a token": ("POST", "tokens/", {"name": "a", "scope": "ask", "expires_at": None}),
    "AG-UI": (
        "POST",
        "agui/researcher/",
        {
            "threadId": "t",
            "runId": "r",
            "messages": [{"role": "user", "content": "a"}],
            "tools": [],
            "state": {},
            "context": [],
        },
    ),
    "AG-UI's message": (
        "POST",
        "agui/researcher/",
        {"threadId": "t", "runId": "r", "messages": {"each": {"id": "1", "role": "user", "content": "a"}}},
    ),
    "OpenAI's completions": (
        "POST",
        "/v1/chat/completions",
        {"model": "researcher", "user": "u", "metadata": {}, "messages": [{"role": "user", "content": "a"}]},
    ),
    "OpenAI's message": (
        "POST",
        "/v1/chat/completions",
        {"model": "researcher", "messages": {"each": {"role": "user", "content": "a", "name": "n"}}},
    ),
    "OpenAI's responses": (
        "POST",
        "/v1/responses",
        {"model": "researcher", "input": "a", "instructions": "b", "previous_response_id": "c", "metadata": {}},
    ),
    "a trajectory": (
        "POST",
        "sessions/import/",
        {
            "schema_version": "ATIF-v1.5",
            "session_id": "s",
            "agent": {"name": "a", "version": "1"},
            "steps": [{"step_id": 1, "source": "user", "message": "hello"}],
            "notes": "n",
        },
    ),
    "a trajectory's step": (
        "POST",
        "sessions/import/",
        {
            "schema_version": "ATIF-v1.5",
            "session_id": "s",
            "agent": {"name": "a", "version": "1"},
            "steps": {
                "each": {
                    "step_id": 1,
                    "source": "agent",
                    "message": "hello",
                    "reasoning_content": "r",
                    "model_name": "m",
                }
            },
        },
    ),
}
#: Addresses of the API.
ADDRESSES = [
    *(f"sessions/?{name}=" for name in ("q", "status", "agent", "archived", "shared", "cursor")),
    *("search/?q=", "search/?limit=", "search/?q=a&limit=", "notifications/?after=", "waiting/?cursor="),
    *("schedules/?cursor=", "sets/?shared=", "sessions/{session}/events/?after=", "sessions/{session}/events/?limit="),
    *("sessions/{session}/comments/?seq=", "sessions/{session}/comments/?cursor=", "sessions/{session}/events/"),
    *("sessions/{session}/export/?format=", "runs/{run}/export/?format=", "runs/{run}/calls/", "sets/{set}/runs/"),
    *("sessions/", "runs/", "files/", "shares/", "comments/", "schedules/", "sets/"),
    *("/?q=", "/sessions/?q=", "/sessions/?agent=", "/sessions/?cursor=", "/s/", "/compare/?a=", "/compare/?left="),
    *("/schedules/?cursor=", "/waiting/?cursor=", "/sets/?cursor=", "/accounts/login/?next=", "/static/"),
    *("/waiting/?after=2026-01-01~", "/waiting/?after=", "/sessions/?shared=true&q=", "/sessions/?shared=true&agent="),
    *("/sessions/{session}/?at=", "/sessions/{session}/?before=", "/runs/{run}/?events=", "/runs/{run}/?steps="),
    *("/sets/{set}/?page=", "/sets/{set}/?runs=", "/schedules/new/?session=", "/schedules/new/?set=", "/?agent="),
    *("sessions/?shared=true&q=", "sessions/?archived=true&q=", "/compare/?a={run}&b=", "/runs/{run}/decide/?call="),
    *("/v1/responses/", "/v1/models/", "/runs/{run}/calls/", "/sessions/{session}/?focus="),
]
#: Addresses of the admin.
STAFF = [
    *(f"/admin/chat/{name}/?q=" for name in ("run", "session", "schedule", "event", "agent", "apitoken", "auditentry")),
    *(f"/admin/chat/{name}/?p=" for name in ("run", "session", "schedule")),
    *("/admin/chat/run/?status=", "/admin/chat/run/?agent=", "/admin/chat/run/?owner=", "/admin/chat/run/?error="),
    *(
        "/admin/chat/run/?tool=",
        "/admin/chat/run/?verdict=",
        "/admin/chat/run/?created_at__gte=",
        "/admin/chat/run/?model=",
    ),
    *("/admin/chat/session/?owner__id__exact=", "/admin/chat/usage/?by=", "/admin/chat/usage/?days="),
    *("/admin/accounts/user/?q=", "/admin/accounts/user/", "/admin/chat/run/", "/admin/chat/session/"),
    *("/admin/chat/auditentry/?before=", "/admin/chat/auditentry/?actor=", "/admin/chat/auditentry/?subject="),
    *("/admin/chat/auditentry/?action=", "/admin/chat/auditentry/?session=", "/admin/axes/accessattempt/?q="),
]
IN_ADDRESSES = ["%00", "a%00b", "%ED%A0%80", "%FF", "%EF%BF%BF", "9" * 30, "-9223372036854775809", "1e400", "%E9" * 900]
FORMS: dict[str, tuple[str, dict[str, str]]] = {
    "logging in": ("/accounts/login/", {"username": "bo", "password": "b", "next": "/"}),
    "logging in as staff": ("/admin/login/", {"username": "bo", "password": "b"}),
    "signing up": (
        "/accounts/signup/",
        {"username": "new", "email": "a@b.example", "password1": "c", "password2": "c"},
    ),
    "oneself": ("/accounts/", {"first_name": "a", "last_name": "b", "email": "a@b.example"}),
    "a session's first question": (
        "/sessions/new/",
        {"message": "a", "agent_name": "researcher", "form_key": "b", "user": "bo"},
    ),
    "a schedule": (
        "/schedules/new/",
        {
            "name": "a",
            "message": "b",
            "agent_name": "researcher",
            "when": "cron",
            "cron": "0 0 * * *",
            "time_zone": "UTC",
            "missed": "one",
            "overlap": "skip",
            "pause_after": "3",
            "set_id": "",
            "session_id": "",
        },
    ),
    "a schedule's preview": (
        "/schedules/preview/",
        {"when": "cron", "cron": "0 0 * * *", "time_zone": "UTC", "at": "x", "every_minutes": "1"},
    ),
    "a share": ("/sessions/{session}/share/", {"user": "cy", "kind": "user", "role": "watcher", "days": "1"}),
    "a group's share": ("/sessions/{session}/share/", {"kind": "group", "group": "g"}),
    "a share's change": ("/sessions/{session}/share/", {"share": "{set}", "role": "driver"}),
    "an offer": ("/sessions/{session}/share/", {"owner": "cy"}),
    "a branch": ("/runs/{run}/branch/", {"message": "a", "agent_name": "researcher", "form_key": "b"}),
    "a decision": ("/runs/{run}/decide/", {"call": "a", "decision": "allow", "reason": "c"}),
    "what is allowed": ("/sessions/{session}/allowed/", {"approval": "1"}),
    "a set": ("/sets/", {"name": "a"}),
    "a set's name": ("/sets/{set}/rename/", {"name": "a"}),
    "a set's share": ("/sets/{set}/share/", {"user": "cy", "kind": "user", "role": "watcher", "days": "1"}),
    "a set's share with a group": ("/sets/{set}/share/", {"kind": "group", "group": "g"}),
    "a set's run": ("/sets/{set}/run/", {"agent_name": "researcher", "version": "1"}),
    "a case": ("/sets/{set}/cases/new/", {"question": "a", "expected": "b", "rule": "", "notes": "c", "kept": "d"}),
    "a case of a run": (
        "/runs/{run}/case/",
        {"set_id": "{set}", "set_name": "b", "question": "b", "expected": "c", "notes": "c", "rule": ""},
    ),
    "a token": ("/accounts/tokens/", {"name": "a", "scope": "ask", "days": "90"}),
    "a webhook": ("/accounts/webhooks/", {"url": "https://a.example/"}),
    "a way of reading": ("/accounts/reading/", {"on": "1", "next": "/"}),
}
#: Texts that only forms can contain; bytes are sent as they are.
IN_FORMS = [
    "a\x00b",
    "\ufffe\uffff",
    "9" * 5_000,
    "-9223372036854775809",
    "1e400",
    "é" * 90_000,
    b"\xed\xa0\x80",
    b"\xff",
]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, tables: str, model: ModelServer) -> Iterator[Server]:
    """The product as a process, on PostgreSQL."""
    limits = {"MAX_MESSAGES_PER_MINUTE": "0", "MAX_ACTIVE_RUNS_PER_USER": "0", "ALLOW_SIGNUP": "1"}
    llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key"}
    server = Server(tmp_path_factory.mktemp("data"), DATABASE_URL=tables, **llm, **limits)
    server.prepare("ada", "bo", "cy")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def nothing_failed(product: Server) -> Iterator[None]:
    """Whatever the answers were, the product has logged no error."""
    before = len(product.output)
    yield
    output = "".join(product.output[before:])
    assert "Traceback" not in output, output


class Odd(Client):
    """The user bo, with a session that has a run, and a set."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.there = {"session": self.session_id}
        asked = self._made("sessions/{session}/messages/", {"message": "hello [tokens=2]"})
        self.there["run"] = asked["run_id"]
        ends_at = time.monotonic() + 60
        while self._read("runs/{run}/")["status"] in ("queued", "running"):
            assert time.monotonic() < ends_at, "its run has not ended"
            time.sleep(0.05)
        self.there["set"] = self._made("sets/", {"name": "a"})["id"]

    def named(self, text: str) -> str:
        """Replace names in a text by ids of existing objects."""
        for name, found in self.there.items():
            text = text.replace(f"{{{name}}}", found)
        return text

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, bytes]:
        """Send a request; an address without a leading slash is one of the API. Returns status and body."""
        path = self.named(path)
        status, _, content = self.send(method, path if path.startswith("/") else f"/api/{path}", body, kind)
        return status, content

    def _made(self, path: str, body: dict[str, Any]) -> Any:
        status, content = self.ask("POST", path, json.dumps(body).encode(), _JSON)
        assert status in (200, 201, 202), content
        return json.loads(content)

    def _read(self, path: str) -> Any:
        return json.loads(self.ask("GET", path)[1])


@pytest.fixture(scope="module")
def client(product: Server) -> Odd:
    return Odd(product)


def _with(body: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """The body with that value in a field; of what is under "each", a list of the one with that."""
    name, _, inner = field.partition(".")
    lists = {key: [held["each"]] for key, held in body.items() if isinstance(held, dict) and "each" in held}
    return {**body, **lists, **({name: [{**body[name]["each"], inner: value}]} if inner else {name: value})}


def _fields(body: dict[str, Any]) -> Iterator[str]:
    for name, value in body.items():
        if isinstance(value, dict) and "each" in value:
            yield from (f"{name}.{inner}" for inner in value["each"])
        yield name


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("door", DOORS)
def test_a_field_is_refused_or_stored(client: Odd, door: str, odd: str) -> None:
    method, path, body = DOORS[door]
    failed = {}
    for field in _fields(body):
        sent = json.dumps(_with(body, field, ODD[odd])).replace("{new}", str(uuid4()))
        status, content = client.ask(method, path, sent.encode(), _JSON)
        if status >= 500:
            failed[field] = (status, content[:300])
    assert not failed


@pytest.mark.parametrize("odd", IN_ADDRESSES)
@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_refused_or_found(client: Odd, address: str, odd: str) -> None:
    status, content = client.ask("GET", address + odd)
    assert status < 500, content[:500]


@pytest.fixture(scope="module")
def operator(product: Server) -> Client:
    """Somebody with all rights, logged in."""
    return Client(product, "ada")


@pytest.mark.parametrize("address", STAFF)
def test_an_address_of_the_admin_is_refused_or_found(operator: Client, address: str) -> None:
    for odd in IN_ADDRESSES:
        status, _, content = operator.send("GET", address + odd)
        assert status < 500, (odd[:20], content[:500])


#: What is sent on a socket: a command, and a payload that is accepted as it is.
COMMANDS: dict[str, dict[str, Any]] = {
    "chat": {"message": "a", "agent_name": "researcher", "client_message_id": "{new}", "files": []},
    "cancel": {"run_id": "{run}", "all": False},
    "continue": {"run_id": "{run}", "client_message_id": "{new}"},
    "steer": {"message": "a", "client_message_id": "{new}", "interrupt": False},
    "unsteer": {"client_message_id": "{new}"},
    "resume": {"last_seq": 1, "last_id": "{new}"},
    "approve": {"run_id": "{run}", "tool_call_id": "a", "decision": "allow", "reason": "a", "arguments": {}},
    "answer": {"run_id": "{run}", "tool_call_id": "a", "answers": {}},
    "ack": {"seq": 1},
}


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_is_refused_or_done(client: Odd, bo: Browser, command: str) -> None:
    session_id = await bo.new_session()
    for field in COMMANDS[command]:
        for odd in ODD.values():
            payload = client.named(json.dumps({**COMMANDS[command], field: odd})).replace("{new}", str(uuid4()))
            async with bo.socket(session_id) as socket:
                await socket.connection.send(f'{{"type": "{command}", "payload": {payload}}}')
                await socket.send("ping")
                await socket.until_type("pong")


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_refused_or_taken(client: Odd, form: str) -> None:
    path, fields = FORMS[form]
    failed = {}
    for field in fields:
        for odd in IN_FORMS:
            filled = {name: client.named(value) for name, value in fields.items()}
            status, content = client.ask("POST", path, urlencode({**filled, field: odd}).encode(), _FORM)
            if status >= 500:
                failed[field, odd[:20]] = (status, content[:300])
    assert not failed


@pytest.mark.parametrize(
    "name", ["a%00b.txt", "a\x00b.txt", "\ud800.txt", "é" * 5_000 + ".txt", "\u202etxt.exe", "/../a", ""]
)
@pytest.mark.parametrize(
    "content", [b"a\x00b", b"\xed\xa0\x80", b"%PDF-1.4\x00", b"PK\x03\x04\x00", b"\x89PNG\r\n\x1a\n\x00"]
)
def test_a_file_is_refused_or_kept(client: Odd, name: str, content: bytes) -> None:
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"'.encode("utf-8", "surrogatepass")
    body = b"--x\r\n" + head + b"\r\n\r\n" + content + b"\r\n--x--\r\n"
    status, answer = client.ask("POST", "files/", body, "multipart/form-data; boundary=x")
    assert status < 500, answer[:300]
    if status < 300:
        assert client.ask("GET", f"files/{json.loads(answer)['id']}/text/")[0] < 500


def test_afterwards_everything_can_be_read(client: Odd) -> None:
    for path in (
        "sessions/",
        "sets/",
        "schedules/",
        "tokens/",
        "waiting/",
        "sessions/{session}/events/",
        "search/?q=a",
    ):
        assert client.ask("GET", path)[0] == 200, path
    for path in (
        "/",
        "/sessions/",
        "/sets/",
        "/schedules/",
        "/accounts/tokens/",
        "/sessions/{session}/",
        "/data/archive/",
    ):
        assert client.ask("GET", path)[0] == 200, path
