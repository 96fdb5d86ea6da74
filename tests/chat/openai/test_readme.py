"""The README's examples, unchanged but for the address and the token."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.chat.openai.conftest import Door
from tests.serving import ROOT

README = (ROOT / "README.md").read_text("utf-8")
SECTION = README.split("\n## OpenAI's clients\n", 1)[1].split("\n## ", 1)[0]
EXAMPLES = re.findall(r"^```(\w+)\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
COMMANDS = {"python": [sys.executable, "-c"], "sh": ["/bin/sh", "-c"]}


def test_there_is_one_for_each_shape() -> None:
    assert [language for language, _ in EXAMPLES] == ["python", "sh", "python"]


@pytest.mark.parametrize(
    ("language", "example"), EXAMPLES, ids=[f"{number} {language}" for number, (language, _) in enumerate(EXAMPLES, 1)]
)
async def test_an_example_works(door: Door, tmp_path: Path, language: str, example: str) -> None:
    example = example.replace("http://127.0.0.1:8000/v1", door.url).replace("tk_…", door.token)
    assert door.url in example
    assert door.token in example
    done = await asyncio.create_subprocess_exec(
        *COMMANDS[language], example, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, wrong = await done.communicate()
    assert done.returncode == 0, wrong.decode()
    assert "word1" in output.decode()
