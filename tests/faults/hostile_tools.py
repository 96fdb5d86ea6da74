"""An MCP server on stdio whose tools misbehave: a program without dependencies. It writes its process ids to the file it is given."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

TOOLS = {
    "hang": "Never answers, and reads nothing any more.",
    "deaf": "Never answers, and ignores every signal that can be ignored.",
    "fork": "Leaves two children behind that ignore SIGTERM, and never answers.",
    "escape": "Leaves a child behind in a session of its own, whose parent is gone, and never answers.",
    "which": "Says which of the servers this is.",
    "flood": "Answers with so many megabytes of text.",
    "babble": "Writes so many megabytes that are no answer, and then answers.",
}
ANYTHING = {"type": "object", "properties": {"megabytes": {"type": "integer"}}}


def answer(request: dict[str, Any]) -> Any:
    """The answer to a request; some requests are never answered."""
    match request["method"]:
        case "initialize":
            version = request["params"]["protocolVersion"]
            return {
                "protocolVersion": version,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "x", "version": "1"},
            }
        case "tools/list":
            return {"tools": [{"name": n, "description": d, "inputSchema": ANYTHING} for n, d in TOOLS.items()]}
        case "tools/call":
            return call(request["params"]["name"], request["params"].get("arguments", {}))
    return {}


def call(name: str, arguments: dict[str, Any]) -> Any:
    """Misbehave."""
    megabytes = arguments.get("megabytes", 1)
    match name:
        case "hang":
            time.sleep(3_600)
        case "deaf":
            ignore_signals()
            time.sleep(3_600)
        case "fork":
            ignore_signals()
            for _ in range(2):
                if os.fork() == 0:
                    note()
                    time.sleep(3_600)
            time.sleep(3_600)
        case "escape":
            escape()
        case "babble":
            for _ in range(megabytes):
                sys.stdout.write("x" * 999_999 + "\n")
    text = "x" * 1_000_000 * megabytes if name == "flood" else sys.argv[2] if name == "which" else "done"
    return {"content": [{"type": "text", "text": text}]}


def escape() -> None:
    """Leave a child process behind in a session of its own."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ignore_signals()
            note()
            time.sleep(3_600)
        os._exit(0)
    time.sleep(3_600)


def ignore_signals() -> None:
    """Ignore the signals that ask a process to end."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def note() -> None:
    """Write down the id of this process."""
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{os.getpid()}\n")


note()
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answer(asked)}) + "\n")
        sys.stdout.flush()
