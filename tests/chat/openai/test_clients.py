"""Unmodified clients from npm against the product; one process of Node for all of them."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import bootstrap
from tests.chat.openai.conftest import Door
from tests.serving import ROOT

ANSWER = "The tools said: 42"
IDEAS = "".join(f"idea{i:<3} " for i in range(4)).strip()
REASONING = f'{IDEAS}\n\n→ python {{"code":"6*7"}}\n\n← python 42\n\n{IDEAS}'


@pytest.fixture
async def read_by_clients(door: Door) -> dict[str, Any]:
    """What each client has read."""
    node = bootstrap.find_node(Path(sys.executable))
    script = ROOT / "tests" / "chat" / "openai" / "clients.js"
    done = await asyncio.create_subprocess_exec(
        node, str(script), door.url, door.token, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, wrong = await done.communicate()
    assert done.returncode == 0, wrong.decode()
    made: dict[str, Any] = json.loads(output)
    return made


def trimmed(thoughts: str) -> str:
    """The text without spaces at its end: a thought's are removed when it ends, but may have been sent before."""
    return re.sub(r" +(?=\n\n|\Z)", "", thoughts)


async def test_the_clients_of_npm(read_by_clients: dict[str, Any], door: Door) -> None:
    theirs = read_by_clients["openai"]
    assert {"researcher", "developer", "writer"} <= set(theirs["models"])
    assert (await door.browser.call("GET", f"sessions/{theirs['session']}/"))[0] == 200
    assert (theirs["whole"]["content"], theirs["whole"]["reasoning_content"]) == (ANSWER, REASONING)
    streamed = theirs["streamed"]
    assert (streamed["content"], trimmed(streamed["reasoning"])) == (ANSWER, REASONING)
    assert theirs["streamed"]["finish"] == "stop"
    assert theirs["streamed"]["usage"]["total_tokens"] > 0
    assert theirs["response"]["text"] == ANSWER
    assert theirs["response"]["types"] == ["reasoning", "thinkaloud:tool_call", "reasoning", "message"]
    assert theirs["events"][-1] == "response.completed"
    assert theirs["failed"]["code"] in {"model_error", "model_cut_off"}
    assert (theirs["unknown"]["status"], theirs["unknown"]["code"]) == (404, "model_not_found")
    sdk = read_by_clients["ai"]
    for which in ("whole", "streamed"):
        assert (sdk[which]["text"], trimmed(sdk[which]["reasoning"])) == (ANSWER, REASONING)
        assert sdk[which]["finish"] == "stop"
        assert sdk[which]["usage"] > 0
    assert sdk["errors"]
    assert sdk["unknown"]["status"] == 404
