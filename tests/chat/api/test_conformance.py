"""The API behaves as its own document says: schemathesis makes valid and invalid requests from it, and checks the answers.

Each call is made with tokens of each scope: no request causes a 500, and no answer differs from its description.
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks

import config.urls  # noqa: F401 - a door describes its calls where its addresses are
from chat.api import docs
from chat.api.errors import status_of
from chat.models import Scope
from chat.protocol import ERROR_CODES
from tests.serving import PASSWORD, Server

DOCUMENT: dict[str, Any] = orjson.loads(orjson.dumps(docs.openapi_schema(), option=orjson.OPT_NON_STR_KEYS))
_METHODS = {"get", "post", "patch", "put", "delete"}
#: Every call in the document: its method, its path, and the scope that a token needs; None where tokens are not accepted.
OPERATIONS: dict[str, tuple[str, str, Scope | None]] = {
    f"{method.upper()} {path}": (
        method,
        path,
        next((Scope(way["TokenAuth"][0]) for way in call["security"] if "TokenAuth" in way), None),
    )
    for path, calls in DOCUMENT["paths"].items()
    for method, call in calls.items()
    if method in _METHODS
}
for _methods in DOCUMENT["paths"].values():
    for _call in _methods.values():
        # This module chooses the login: schemathesis would invent cookies and headers for it.
        del _call["security"]
#: A stream does not end: its first event is enough.
SCHEMA = schemathesis.openapi.from_dict(
    DOCUMENT, config=schemathesis.Config.from_dict({"max-stream-events": 1, "request-timeout": 5.0})
)
load_all_checks()
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
    ]
)
#: The statuses of errors under ``/api/``: those of the codes, and those of an address itself.
_REFUSED = {*map(status_of, ERROR_CODES), 401, 405} - {500}
#: Field names that random bodies rarely contain.
_REAL: dict[str, Any] = {"model": "researcher", "agent_name": "researcher", "stream": False, "user": "cy"}
_FEW = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
_MANY = settings(_FEW, max_examples=100)


@dataclass
class Door:
    """A user's tokens, by scope, and the user's objects, by the names of the parameters that refer to them."""

    url: str
    http: requests.Session
    tokens: dict[Scope, str]
    _stocks: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def opened(cls, server: Server) -> "Door":
        """Log in as the pages do, and make the tokens."""
        http = requests.Session()
        http.get(f"{server.url}/accounts/login/")
        form = {"username": "bo", "password": PASSWORD, "csrfmiddlewaretoken": http.cookies["csrftoken"]}
        http.post(f"{server.url}/accounts/login/", form, headers={"Referer": server.url})
        proof = {"X-CSRFToken": http.cookies["csrftoken"], "Referer": server.url}
        made = {
            scope: http.post(
                f"{server.url}/api/tokens/", json={"name": scope.value, "scope": scope.value}, headers=proof
            ).json()
            for scope in Scope
        }
        door = cls(server.url, requests.Session(), {scope: token["token"] for scope, token in made.items()})
        http.close()
        return door

    def of(self, operation: str) -> dict[str, str]:
        """An object for an operation, newly made where the operation may delete it."""
        key = operation if operation.startswith("DELETE") or operation.endswith("/leave/") else ""
        if key not in self._stocks:
            self._stocks[key] = self.stock()
        return self._stocks[key]

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of an answer to a client with all scopes."""
        headers = {"Authorization": f"Bearer {self.tokens[Scope.MANAGE]}"}
        answer = self.http.request(method, f"{self.url}/api/{path}", headers=headers, timeout=10, **options)
        assert answer.ok, answer.text
        return answer.json()

    def stock(self) -> dict[str, str]:
        """Make an object of each kind that an address can name."""
        session = self.call("POST", "sessions/", json={"title": "mine"})["id"]
        run = self.call("POST", f"sessions/{session}/messages/", json={"message": "Why?"})["run_id"]
        schedule = {"name": "daily", "agent_name": "researcher", "message": "Why?", "every_minutes": 60}
        cases = self.call("POST", "sets/", json={"name": "mine"})["id"]
        case = self.call("POST", f"sets/{cases}/cases/", json={"question": "Why?", "expected": ["word1"]})["id"]
        return {
            "set_id": cases,
            "case_id": str(case),
            "session_id": session,
            "run_id": run,
            "schedule_id": self.call("POST", "schedules/", json={**schedule, "time_zone": "UTC"})["id"],
            "share_id": self.call("POST", f"sessions/{session}/shares/", json={"user": "cy", "role": "watcher"})["id"],
            "file_id": self.call("POST", "files/", files={"file": ("a.txt", b"Tea")})["id"],
            "response_id": f"resp_{UUID(run).hex}",
            "agent": "researcher",
            "name": "researcher",
            "seq": "1",
            "number": "1",
        }


@pytest.fixture(scope="module")
def product(own_product: Server) -> Server:
    """One of this module's own, because it is sent many odd requests."""
    return own_product


@pytest.fixture(scope="module")
def door(product: Server) -> Door:
    return Door.opened(product)


def ask(door: Door, there_is: dict[str, str], operation: str, data: st.DataObject) -> None:
    """Make a request, valid or not, for objects that exist or not, and check the answer."""
    method, path, needed = OPERATIONS[operation]
    mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
    # Mostly objects that exist; otherwise nearly every answer would be 404.
    named = {name: value for name, value in there_is.items() if f"{{{name}}}" in path}
    case = data.draw(
        SCHEMA[path][method].as_strategy(
            mode, path_parameters=named if data.draw(st.sampled_from((True, True, False))) else None
        )
    )
    if isinstance(case.body, dict):
        for name in sorted(case.body.keys() & _REAL.keys()):
            case.body[name] = data.draw(st.sampled_from((case.body[name], _REAL[name])))
    scope = data.draw(st.sampled_from(list(Scope)))
    headers = {"Authorization": f"Bearer {door.tokens[scope]}"}
    answer = case.call(door.url, door.http, headers=headers)
    case.validate_response(answer, CHECKED)
    if needed is None or not scope.holds(needed):
        assert answer.status_code in {403, 404}, answer.text
    if path.startswith("/api/"):
        # "default", which describes all errors, leaves the status open.
        assert answer.status_code < 300 or answer.status_code in _REFUSED


@pytest.mark.parametrize("operation", OPERATIONS)
@_FEW
@given(data=st.data())
def test_an_answer_is_as_described(door: Door, operation: str, data: st.DataObject) -> None:
    ask(door, door.of(operation), operation, data)


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS)
@_MANY
@given(data=st.data())
def test_every_answer_is_as_described(door: Door, operation: str, data: st.DataObject) -> None:
    ask(door, door.of(operation), operation, data)
