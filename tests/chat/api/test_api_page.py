"""The page of the API: each call has an example in curl and one in Python, which work without changes."""

import asyncio
import json
import re
import shlex
import shutil
import sys
from html import unescape
from typing import Any

import pytest

from tests.serving import Browser

EXAMPLE = re.compile(r"<pre[^>]*><code>(.*?)</code></pre>", re.DOTALL)
#: Calls that are really made, by method and address. The bodies of the others are invented, and need data that exist.
MADE = {
    ("GET", "/api/agents/"),
    ("GET", "/api/sessions/"),
    ("GET", "/api/sessions/{session_id}/"),
    ("GET", "/api/sessions/{session_id}/events/"),
    ("GET", "/api/waiting/"),
    ("GET", "/api/tokens/"),
    ("GET", "/v1/models"),
    ("POST", "/api/sessions/"),
    ("POST", "/api/sessions/{session_id}/messages/"),
    ("PATCH", "/api/sessions/{session_id}/"),
}


async def output_of(*command: str, token: str) -> Any:
    """The output of a program, as JSON."""
    done = await asyncio.create_subprocess_exec(
        *command,
        env={"THINKALOUD_TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, wrong = await done.communicate()
    assert done.returncode == 0, wrong.decode()
    return json.loads(output)


def call_of(line: str) -> tuple[str, str]:
    """The method and the address in an example with curl."""
    words = shlex.split(line.replace("\\\n", " "))
    assert words[:2] == ["curl", "-X"]
    return words[2], words[3]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
async def test_each_call_has_examples_that_work(bo: Browser) -> None:
    session_id = await bo.new_session()
    _, token = await bo.call("POST", "tokens/", {"name": "examples", "scope": "manage"})
    async with bo.http.get("/api/docs") as answer:
        examples = [unescape(text) for text in EXAMPLE.findall(await answer.text())]
    in_shell = [text for text in examples if text.startswith("curl ")]
    in_python = [text for text in examples if text.startswith("import json")]
    _, document = await bo.call("GET", "openapi.json")
    described = {(method.upper(), path) for path, calls in document["paths"].items() for method in calls}
    assert {(method, url.removeprefix(bo.url)) for method, url in map(call_of, in_shell)} == described
    assert len(in_shell) == len(in_python) == len(described)
    for line, program in zip(in_shell, in_python, strict=True):
        compile(program, "an example", "exec")
        method, url = call_of(line)
        assert f'Request("{url}", headers=headers, method="{method}"' in program
        if (method, url.removeprefix(bo.url)) in MADE:
            ways = (["/bin/sh", "-c", line], [sys.executable, "-c", program])
            outputs = [
                await output_of(*way[:-1], way[-1].replace("{session_id}", session_id), token=token["token"])
                for way in ways
            ]
            assert all("error" not in each for each in outputs), outputs
            assert outputs[0].keys() == outputs[1].keys()
            assert method != "GET" or "/tokens/" in url or outputs[0] == outputs[1]
    assert described >= MADE
