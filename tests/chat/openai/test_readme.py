"""The README's examples, as they stand there but for the address and the token."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.chat.openai.conftest import Door
from tests.serving import ROOT

README = (ROOT / "README.md").read_text("utf-8")
SECTION = README.split("\n## OpenAI's clients\n", 1)[1].split("\n## ", 1)[0]
EXAMPLES = dict(re.findall(r"^```(\w+)\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize(("language", "command"), [("python", [sys.executable, "-c"]), ("sh", ["/bin/sh", "-c"])])
async def test_an_example_works(door: Door, tmp_path: Path, language: str, command: list[str]) -> None:
    example = EXAMPLES[language].replace("http://127.0.0.1:8000/v1", door.url).replace("tk_…", door.token)
    assert door.url in example
    assert door.token in example
    done = await asyncio.create_subprocess_exec(
        *command, example, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, wrong = await done.communicate()
    assert done.returncode == 0, wrong.decode()
    assert "word1" in said.decode()
