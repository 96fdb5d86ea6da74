"""Files over HTTP exactly as documented: uploaded, described, sent with a message, read by an agent; and what is refused."""

import hashlib
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tests import documents
from tests.model_server import ModelServer
from tests.serving import Browser, Server

NOTES = "Tea: 3 euros\nMilk: 1 euro\n茶葉在櫃子裡\n"


async def send(
    browser: Browser, name: str = "notes.txt", content: bytes = NOTES.encode(), **fields: str
) -> tuple[int, Any]:
    return await browser.send_file(name, content, **fields)


async def sent(browser: Browser, name: str = "notes.txt", content: bytes = NOTES.encode(), **fields: str) -> str:
    status, file = await send(browser, name, content, **fields)
    assert status == 201, file
    return str(file["id"])


async def asked(browser: Browser, session_id: str, message: str, **payload: Any) -> list[dict[str, Any]]:
    """The events of a run, from the message to its end."""
    last_seq = (await browser.call("GET", f"sessions/{session_id}/"))[1]["last_seq"]
    async with browser.socket(session_id, f"?last_seq={last_seq}") as socket:
        await socket.send("chat", message=message, **payload)
        await socket.until_type("reasoning_complete")
        return [event for event in socket.stored() if event["seq"] > last_seq]


def last_message(model: ModelServer) -> Any:
    """The model's last user message."""
    return [message for message in model.requests[-1].body["messages"] if message["role"] == "user"][-1]["content"]


def calling(tool: str, **arguments: Any) -> str:
    return f"Look [call={tool}:{json.dumps(arguments)}]"


async def test_a_file_is_sent_and_looked_at(bo: Browser) -> None:
    status, file = await send(bo, "../étude 一.txt")
    assert status == 201
    assert file == {
        "id": file["id"],
        "name": "étude 一.txt",
        "media_type": "text/plain",
        "size": len(NOTES.encode()),
        "sha256": hashlib.sha256(NOTES.encode()).hexdigest(),
    }
    async with bo.http.get(f"/api/files/{file['id']}/") as answer:
        assert (answer.status, await answer.read()) == (200, NOTES.encode())
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%A9tude%20%E4%B8%80.txt"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert "script" not in answer.headers["Content-Security-Policy"]
    async with bo.http.get(f"/api/files/{file['id']}/text/") as answer:
        assert (answer.status, await answer.text()) == (200, NOTES.rstrip("\n"))


async def test_a_file_of_many_chunks_comes_back_as_it_was(bo: Browser) -> None:
    content = b"".join(b"%07d\n" % number for number in range(200_000))
    file_id = await sent(bo, "long.txt", content)
    async with bo.http.get(f"/api/files/{file_id}/") as answer:
        assert await answer.read() == content


async def test_pictures_are_shown_and_have_no_text(bo: Browser) -> None:
    file_id = await sent(bo, "red.png", documents.picture())
    async with bo.http.get(f"/api/files/{file_id}/") as answer:
        assert answer.headers["Content-Disposition"].startswith("inline")
        assert answer.headers["Content-Type"] == "image/png"
    async with bo.http.get(f"/api/files/{file_id}/text/") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (415, "unsupported_media")


REFUSED: dict[str, tuple[str, Callable[[], bytes], int, str]] = {
    "empty": ("a.txt", lambda: b"", 415, "unsupported_media"),
    "a program": ("a.txt", lambda: bytes(range(256)), 415, "unsupported_media"),
    "not what it says": ("a.pdf", lambda: b"hello", 415, "unsupported_media"),
    "too large": ("a.txt", lambda: b"x" * 20_000_001, 413, "too_large"),
    "too large to be read at all": ("a.txt", lambda: b"x" * 21_000_000, 413, "too_large"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused(bo: Browser, case: str) -> None:
    name, make, status, code = REFUSED[case]
    answered, refused = await send(bo, name, make())
    assert (answered, refused["error"]["code"]) == (status, code)


async def test_a_body_that_is_no_form_with_one_file_is_refused(bo: Browser) -> None:
    headers = {"X-CSRFToken": bo.cookie("csrftoken"), "Referer": f"{bo.url}/"}
    two = aiohttp.FormData()
    for name in ("a.txt", "b.txt"):
        two.add_field("file", b"x", filename=name)
    bodies: list[dict[str, Any]] = [{"json": {}}, {"data": {"file": "no file"}}, {"data": two}, {"data": b""}]
    for body in bodies:
        async with bo.http.post("/api/files/", headers=headers, **body) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (400, "bad_frame")
    form = aiohttp.FormData()
    form.add_field("file", b"x", filename="a.txt")
    async with bo.http.post("/api/files/", data=form, headers={"Referer": f"{bo.url}/"}) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "not_allowed"), "it may be forged"


async def test_a_message_carries_files_and_an_agent_reads_and_searches_them(bo: Browser, model: ModelServer) -> None:
    session_id = await bo.new_session()
    notes = await sent(bo)
    two = await sent(bo, "two.pdf", documents.pdf("the first", "the okapi"))
    events = await asked(bo, session_id, calling("read_file", file="notes.txt", from_line=2), files=[notes, two])
    expected = [
        {"id": notes, "name": "notes.txt", "media_type": "text/plain", "size": len(NOTES.encode())},
        {
            "id": two,
            "name": "two.pdf",
            "media_type": "application/pdf",
            "size": len(documents.pdf("the first", "the okapi")),
        },
    ]
    assert events[0]["data"]["files"] == expected
    asked_first = next(m for m in model.requests[-1].body["messages"] if m["role"] == "user")
    assert "“notes.txt”, text/plain" in asked_first["content"]
    assert "“two.pdf”, application/pdf" in asked_first["content"]
    results = [event["data"] for event in events if event["data"].get("type") == "tool_result"]
    assert [(result["ok"], result["content"]) for result in results] == [
        (True, "“notes.txt”, page 1 of 1, lines 2–3:\n2\tMilk: 1 euro\n3\t茶葉在櫃子裡")
    ]
    # A later turn has them too, and its message lists them again.
    found = await asked(bo, session_id, calling("search_file", query="OKAPI"))
    results = [event["data"]["content"] for event in found if event["data"].get("type") == "tool_result"]
    assert results[-1] == "1 line for “OKAPI”:\n“two.pdf”, page 2, line 1: the okapi"
    assert "“two.pdf”" in str(model.requests[-1].body["messages"])
    found = await asked(bo, session_id, calling("search_file", query="茶葉"))
    results = [event["data"]["content"] for event in found if event["data"].get("type") == "tool_result"]
    assert results[-1].endswith("“notes.txt”, page 1, line 3: 茶葉在櫃子裡")


#: A file of each type that has text, and where in it the word okapi is: page and line.
KINDS: dict[str, tuple[bytes, int, int]] = {
    "two.pdf": (documents.pdf("the first", "the okapi"), 2, 1),
    "letter.docx": (documents.word("Dear Bo,", "here is", "the okapi"), 1, 3),
    "talk.pptx": (documents.slides("Hello", "the okapi", "Bye"), 2, 1),
    "costs.xlsx": (documents.sheet([["tea", 3], ["the okapi", 1.5]]), 1, 3),
    "notes.md": (b"# Notes\n\nthe okapi\n", 1, 3),
    "animals.csv": (b"animal,legs\nthe okapi,4\n", 1, 2),
    "plain.txt": (b"the first\nthe okapi\n", 1, 2),
}


async def test_each_kind_is_cited_by_page_and_line(bo: Browser) -> None:
    session_id = await bo.new_session()
    ids = [await sent(bo, name, content) for name, (content, _, _) in KINDS.items()]

    async def called(message: str, **payload: Any) -> tuple[bool, str]:
        events = await asked(bo, session_id, message, **payload)
        (result,) = [event["data"] for event in events if event["data"].get("type") == "tool_result"]
        return result["ok"], result["content"]

    ok, found = await called(calling("search_file", query="okapi"), files=ids)
    lines = [line.partition(": ")[0] for line in found.splitlines()[1:]]
    assert ok
    assert sorted(lines) == sorted(f"“{name}”, page {page}, line {line}" for name, (_, page, line) in KINDS.items())
    for name, (_, page, line) in KINDS.items():
        ok, read = await called(calling("read_file", file=name, page=page, from_line=line, to_line=line))
        assert ok, read
        head, shown, *_ = read.splitlines()
        assert head.startswith(f"“{name}”, page {page} of "), head
        assert head.endswith(f"lines {line}–{line}:"), head
        assert shown.startswith(f"{line}\t"), shown
        assert "the okapi" in shown


async def test_a_bomb_in_offices_clothes_costs_a_sentence(bo: Browser) -> None:
    """It has the type that it claims; only when its text is read it is found to be too large, and nothing else happens."""
    session_id = await bo.new_session()
    bomb = await sent(bo, "bomb.docx", documents.bomb())
    async with bo.http.get(f"/api/files/{bomb}/text/") as answer:
        refused = await answer.json()
    assert (answer.status, refused["error"]["code"]) == (415, "unsupported_media")
    assert "larger than a file may be" in refused["error"]["message"]
    for tool in (calling("read_file", file="bomb.docx"), calling("search_file", query="okapi")):
        events = await asked(bo, session_id, tool, files=[bomb])
        (result,) = [event["data"] for event in events if event["data"].get("type") == "tool_result"]
        assert "larger than a file may be" in result["content"]
        assert events[-1]["data"]["status"] == "completed"


async def test_without_files_no_tool_for_them_is_offered(bo: Browser, model: ModelServer) -> None:
    session_id = await bo.new_session()
    await asked(bo, session_id, "Hello [tokens=2]")
    offered = {tool["function"]["name"] for tool in model.requests[-1].body["tools"]}
    assert not offered & {"read_file", "search_file"}
    await sent(bo, session_id=session_id)
    await asked(bo, session_id, "Hello [tokens=2]")
    offered = {tool["function"]["name"] for tool in model.requests[-1].body["tools"]}
    assert offered >= {"read_file", "search_file"}


async def test_a_file_is_for_those_who_may_see_its_session(product: Server, bo: Browser) -> None:
    session_id = await bo.new_session()
    file_id = await sent(bo)
    async with Browser.logged_in(product.url, "cy") as other, Browser.logged_in(product.url, "ada") as staff:
        for browser in (other, staff):
            for path in (f"files/{file_id}/", f"files/{file_id}/text/", f"files/{uuid4()}/", "files/x/"):
                assert (await browser.call("GET", path))[0] == 404
        theirs = await other.new_session()
        status, refused = await other.call("POST", f"sessions/{theirs}/messages/", {"message": "x", "files": [file_id]})
        assert (status, refused["error"]["code"]) == (404, "not_found")
        assert (await send(other, session_id=session_id))[0] == 404
        assert (await send(staff, session_id=session_id))[0] == 403
        await asked(bo, session_id, "Look [tokens=2]", files=[file_id])
        assert (await other.call("GET", f"files/{file_id}/"))[0] == 404
        async with staff.http.get(f"/api/files/{file_id}/") as answer:
            assert answer.status == 200, "who sees the session sees its files"


async def test_the_files_are_part_of_what_a_message_is(bo: Browser) -> None:
    session_id = await bo.new_session()
    one, two = await sent(bo), await sent(bo)
    address = f"sessions/{session_id}/messages/"
    message = {"message": "Look [tokens=2]", "client_message_id": "m1"}
    first = await bo.call("POST", address, {**message, "files": [one, two, one]})
    assert first[0] == 202
    again = await bo.call("POST", address, {**message, "files": [one, two]})
    assert again[1]["run_id"] == first[1]["run_id"]
    for files in ([], [two, one], [one]):
        status, refused = await bo.call("POST", address, {**message, "files": files})
        assert (status, refused["error"]["code"]) == (409, "conflict")


BAD_FILES: list[tuple[Any, int, str]] = [
    ([str(uuid4())], 404, "not_found"),
    (["x"], 404, "not_found"),
    (["\0"], 404, "not_found"),
    ([1], 400, "bad_frame"),
    ("x", 400, "bad_frame"),
    ([str(uuid4())] * 21, 413, "too_many_files"),
]


@pytest.mark.parametrize(("files", "status", "code"), BAD_FILES)
async def test_files_that_no_message_can_have(bo: Browser, files: Any, status: int, code: str) -> None:
    session_id = await bo.new_session()
    answered = await bo.call("POST", f"sessions/{session_id}/messages/", {"message": "x", "files": files})
    assert (answered[0], answered[1]["error"]["code"]) == (status, code)
    assert (await bo.call("GET", f"sessions/{session_id}/events/"))[1]["last_seq"] == 0


async def test_a_deleted_session_takes_its_files_along(bo: Browser) -> None:
    session_id, kept = await bo.new_session(), await bo.new_session()
    gone, shared = await sent(bo, session_id=session_id), await sent(bo, session_id=session_id)
    await asked(bo, kept, "Look [tokens=2]", files=[shared])
    assert (await bo.call("DELETE", f"sessions/{session_id}/"))[0] == 204
    assert (await bo.call("GET", f"files/{gone}/"))[0] == 404
    async with bo.http.get(f"/api/files/{shared}/") as answer:
        assert answer.status == 200, "another session uses it"


async def test_a_model_that_sees_nothing_is_told_so(bo: Browser, model: ModelServer) -> None:
    session_id = await bo.new_session()
    await asked(bo, session_id, "Look [tokens=2]", files=[await sent(bo, "red.png", documents.picture())])
    assert last_message(model).endswith("“red.png”, image/png, 0.1 kB, a picture that you cannot see.")
