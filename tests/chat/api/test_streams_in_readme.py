"""The README's examples of event streams and AG-UI, unchanged but for the address, the session and the token."""

import asyncio
import contextlib
import os
import re
import shutil
import signal

import pytest

from tests.serving import ROOT, Browser, Server

README = (ROOT / "README.md").read_text("utf-8")
#: The heading of an example, how it is run, and what it prints.
EXAMPLES = {
    "Event streams": (["/bin/sh", "-c"], "event: reasoning_complete"),
    "AG-UI": ([shutil.which("node") or "node", "--input-type=module", "-e"], "word11"),
}


@pytest.mark.parametrize("section", EXAMPLES)
async def test_an_example_works(product: Server, bo: Browser, section: str) -> None:
    command, expected = EXAMPLES[section]
    found = re.search(rf"\n## {section}\n.*?^```\w+\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    _, made = await bo.call("POST", "tokens/", {"name": section, "scope": "ask"})
    session_id = await bo.new_session()
    await bo.call("POST", f"sessions/{session_id}/messages/", {"message": "Say"})
    example = found[1].replace("http://127.0.0.1:8000", product.url).replace("tk_…", made["token"])
    example = example.replace("$SESSION", session_id)
    assert product.url in example
    assert made["token"] in example
    # In a process group of its own, to end what the shell has started.
    running = await asyncio.create_subprocess_exec(
        *command, example, cwd=ROOT, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert running.stdout is not None
    try:
        async with asyncio.timeout(20):
            # A stream continues until its client leaves.
            while expected not in (line := (await running.stdout.readline()).decode()):
                assert line, "it has ended"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    await running.wait()
