"""The README's examples, unchanged, against the product."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from atif import Trajectory

from tests.serving import Browser, Server

README = Path(__file__).resolve().parents[3] / "README.md"


async def test_the_examples_save_a_trajectory_and_read_it_in(
    product: Server, bo: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = README.read_text("utf-8").split("\n## Files of sessions\n")[1]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert example is not None
    session = await bo.new_session(title="Tea")
    _, made = await bo.call("POST", "tokens/", {"name": "files", "scope": "manage"})
    monkeypatch.chdir(tmp_path)
    names = {"ADDRESS": product.url, "SESSION": session, "TOKEN": made["token"]}
    await asyncio.to_thread(exec, example[1], names)
    saved = json.loads((tmp_path / "session.atif.json").read_text("utf-8"))
    assert Trajectory.model_validate(saved).extra == {**saved["extra"], "title": "Tea"}
    command = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert command is not None
    call = command[1].replace("http://127.0.0.1:8000", product.url).replace("tk_…", made["token"])
    done = await asyncio.create_subprocess_exec("/bin/sh", "-c", call, cwd=tmp_path, stdout=asyncio.subprocess.PIPE)
    output, _ = await done.communicate()
    read_in = json.loads(output)
    assert (read_in["title"], read_in["imported"]) == ("Tea", True)
