"""The scripted model server itself."""

import contextlib
import gc
import json
import socket
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

from tests.model_server import Call, ModelServer, Script, by_words


def ask(url: str, message: str) -> list[dict[str, Any]]:
    """The chunks of the answer."""
    body = {"model": "m", "messages": [{"role": "user", "content": message}]}
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        events = answer.read().decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def text(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])


def test_it_answers_by_the_words_of_the_message_and_keeps_a_record() -> None:
    with ModelServer() as server:
        assert text(ask(server.url, "Count. [tokens=3]")) == "word0 word1 word2"
        (request,) = server.requests
        assert request.body["messages"][0]["content"] == "Count. [tokens=3]"
        assert request.sent == 3
        assert request.closed_at is None
        server.wait_for(lambda: request.finished_at is not None)


def test_enqueued_answers_come_first() -> None:
    with ModelServer() as server:
        server.enqueue(Script("a", usage={"prompt_tokens": 1, "completion_tokens": 2}))
        chunks = ask(server.url, "[tokens=1]")
        assert text(chunks) == "a"
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"] == {"prompt_tokens": 1, "completion_tokens": 2}
        assert text(ask(server.url, "[tokens=1]")) == "word0"


def test_it_leaves_no_connection_behind() -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "?"}]})
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}"
    with contextlib.ExitStack() as clients:
        for _ in range(10):
            with ModelServer() as server:
                address = (server.host, server.port)
                server.enqueue(Script("much " * 2_000_000, piece=1 << 20))
                deaf = clients.enter_context(socket.create_connection(address))
                deaf.sendall(request.encode())
                deaf.recv(1)  # and no more
                clients.enter_context(socket.create_connection(address))  # perhaps not even accepted
        gc.collect()  # which would warn of open connections, and warnings are errors


@pytest.mark.parametrize(
    ("words", "script"),
    [
        (
            "[tokens=1 every=50 first=2 reasoning=1 tags]",
            Script("word0", reasoning="idea0   ", thinking="tags", every_s=0.05, first_s=0.002, piece=8),
        ),
        ("[tokens=1 fault=reset after=7]", Script("word0", fault="reset", fault_after=7, piece=8)),
        ("[tokens=1 status=429]", Script("word0", status=429, piece=8)),
        (
            '[call=f:{"a": "b c"} call=g:{} template]',
            Script(calls=(Call("f", '{"a": "b c"}'), Call("g", "{}")), dialect="template", piece=8),
        ),
    ],
)
def test_words_become_a_script(words: str, script: Script) -> None:
    assert by_words({"messages": [{"role": "user", "content": f"Do it {words}"}]}) == script


def test_after_the_tools_it_answers_from_their_results() -> None:
    messages = [
        {"role": "user", "content": "[call=f:{}]"},
        {"role": "assistant", "content": ""},
        {"role": "tool", "content": "42"},
    ]
    assert by_words({"messages": messages}).content == "The tools said: 42"


def test_it_runs_as_a_process_that_tells_its_address_and_its_record() -> None:
    command = [sys.executable, "-m", "tests.model_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            ask(url, "Hello")
            with urllib.request.urlopen(f"{url.removesuffix('/v1')}/journal", timeout=10) as answer:
                (entry,) = json.load(answer)
            assert entry["body"]["messages"][0]["content"] == "Hello"
        finally:
            process.terminate()
