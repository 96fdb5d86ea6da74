"""The documents of the socket and of the API are made from the types, and every reference in them resolves."""

import functools
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from django.test import Client as Visitor

from agents.steps import StepData
from chat import protocol
from chat.api import docs
from chat.protocol.commands import PAYLOADS
from chat.protocol.frames import StoredFrame, UnstoredFrame
from tests.chat import making

#: Made once: the tests only read them.
DOCUMENTS = {"OpenAPI": functools.cache(docs.openapi_schema), "AsyncAPI": functools.cache(docs.socket_schema)}
FRAMES = [*get_args(StoredFrame), *get_args(UnstoredFrame)]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_reference_leads_somewhere(name: str) -> None:
    document = DOCUMENTS[name]()
    found = set(references(document))
    assert found
    for reference in found:
        at: Any = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in at, reference
            at = at[part]


def test_the_socket_takes_every_command_and_sends_every_frame() -> None:
    document = docs.socket_schema()
    commands, sent = (
        {each["$ref"].rpartition("/")[2] for each in document["operations"][name]["messages"]}
        for name in ("takeCommand", "sendFrame")
    )
    assert commands == {f"{word}Command" for word in PAYLOADS}
    assert sent == {kind.__name__ for kind in FRAMES}


@pytest.mark.parametrize("kind", [*FRAMES, *get_args(StepData)], ids=lambda kind: kind.__name__)
def test_each_frame_and_step_is_described_in_both(kind: type) -> None:
    for document in DOCUMENTS.values():
        described = document()["components"]["schemas"][kind.__name__]
        assert set(described["properties"]) == set(kind.__annotations__) | set(kind.__required_keys__)  # type: ignore[attr-defined]
        assert described["description"]


def test_the_documents_of_api_and_socket_describe_the_same_events() -> None:
    schemas = docs.openapi_schema()["components"]["schemas"]
    names = {each.rpartition("/")[2] for each in references(schemas["EventsOut"])}
    assert {kind.__name__ for kind in get_args(StoredFrame)} < names


@pytest.mark.django_db
def test_the_page_shows_all_of_it(client: Visitor) -> None:
    client.force_login(making.user())
    page = client.get("/api/docs").content.decode()
    words = [*protocol.COMMANDS, *protocol.STORED, *protocol.UNSTORED, *protocol.ERROR_CODES, *protocol.CLOSES]
    assert [word for word in words if f"<code>{word}</code>" not in page] == []
    for kind in (*FRAMES, *get_args(StepData)):
        assert f'<section id="{kind.__name__}">' in page


def test_the_status_of_every_code_is_told() -> None:
    document = docs.openapi_schema()
    statuses = document["components"]["schemas"]["Error"]["x-statuses"]
    assert set(statuses) == set(protocol.ERROR_CODES)
    for path in ("/v1/chat/completions", "/v1/responses"):
        error = document["paths"][path]["post"]["responses"][400]["content"]["application/json"]["schema"]
        assert error["x-statuses"]["unsupported_parameter"] == 400
