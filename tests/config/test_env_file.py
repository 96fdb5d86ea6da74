"""The ``.env`` file as people write it: a mistake is one line that says what to do."""

from pathlib import Path

import pytest

from config.env_file import UnreadableFile, joined_lines, misspelt_names, read_file
from config.environment import EnvironmentRefused, read_environment

KNOWN = ["LLM_MODEL", "LLM_MODEL_SERVER", "LLM_API_KEY", "PORT", "HOST", "MAX_ITERATIONS", "DATABASE_URL", "REDIS_URL"]


@pytest.mark.parametrize(
    ("written", "values"),
    [
        (
            b"# words\nexport PORT=9000\nHOST=\"0.0.0.0\"  # all\nLLM_API_KEY='a#b$C'\nEMPTY\n",
            {"PORT": "9000", "HOST": "0.0.0.0", "LLM_API_KEY": "a#b$C"},
        ),
        (b"\xef\xbb\xbfPORT=9000\r\nHOST=::\r\n", {"PORT": "9000", "HOST": "::"}),
        ("LLM_MODEL=模型\n".encode(), {"LLM_MODEL": "模型"}),
        (b"", {}),
    ],
)
def test_the_lines_of_an_env_file_are_read(written: bytes, values: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(written)
    assert read_file(file) == values
    assert read_file(tmp_path / "missing") == {}


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        (
            "PORT=1\nLLM_MODEL=caf\u00e9\n".encode("latin-1"),
            ".env must be UTF-8 text; line 2 is not. Save it as UTF-8.",
        ),
        ("PORT=1\n".encode("utf-16"), ".env must be UTF-8 text, and looks like UTF-16. Save it as UTF-8."),
        ("PORT=1\n".encode("utf-16-le"), ".env must be UTF-8 text, and looks like UTF-16. Save it as UTF-8."),
        *[
            (f"HOST=::\n{line}\nDEBUG=true\n".encode(), ".env must be lines of NAME=value; line 2 is none.")
            for line in ("PORT: 1", "PORT 1", "set PORT=1", "$env:PORT=1", "PORT='1", 'PORT="1', "=1", "PORT\u200b=1")
        ],
        (None, ".env cannot be read (Is a directory)."),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(written: bytes | None, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    if written is None:
        file.mkdir()
    else:
        file.write_bytes(written)
    with pytest.raises(UnreadableFile) as refused:
        read_file(file)
    assert str(refused.value) == complaint
    with pytest.raises(EnvironmentRefused) as start:
        read_environment(tmp_path)
    assert start.value.problems == [complaint]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LLM_MODLE", "LLM_MODEL"),
        ("LLM_APIKEY", "LLM_API_KEY"),
        ("llm_model", "LLM_MODEL"),
        ("MAX_ITERATION", "MAX_ITERATIONS"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("REDIS_ULR", "REDIS_URL"),
        ("LLM_MODEL", None),
        ("COMPOSE_PROJECT_NAME", None),
        ("TZ", None),
    ],
)
def test_a_name_in_the_file_that_looks_like_a_setting(name: str, meant: str | None) -> None:
    expected = [] if meant is None else [f"{name} is no setting. Is {meant} meant?"]
    assert list(misspelt_names([name], [], KNOWN)) == expected


@pytest.mark.parametrize(
    ("name", "is_reported"),
    [("LLM_MODLE", True), ("MAX_ITERATION", True), ("REDIS_PORT", False), ("HOSTNAME", False), ("PORTS", False)],
)
def test_only_similar_names_in_the_environment_are_reported(name: str, is_reported: bool) -> None:
    assert bool(list(misspelt_names([], [name], KNOWN))) is is_reported


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("http://localhost:8000/v1 LLM_MODEL=Qwen/Qwen3-8B", ["LLM_MODEL"]),
        ("a\tHOST=::  PORT=1", ["HOST", "PORT"]),
        ("words with A=B in them", []),
        ("http://localhost/v1?LLM_MODEL=x", []),
    ],
)
def test_two_settings_on_one_line(value: str, names: list[str]) -> None:
    expected = [
        f"LLM_MODEL_SERVER has {name}= in its value. Write each setting on a line of its own." for name in names
    ]
    assert list(joined_lines({"LLM_MODEL_SERVER": value}, KNOWN)) == expected


def test_a_start_tells_of_every_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("LLM_MODLE=x\nLLM_MODEL_SERVER=http://localhost/v1 LLM_MODEL=x\n")
    monkeypatch.delenv("LLM_MODEL_SERVER")
    with pytest.raises(EnvironmentRefused) as start:
        read_environment(tmp_path)
    assert start.value.problems == [
        "LLM_MODLE is no setting. Is LLM_MODEL meant?",
        "LLM_MODEL_SERVER has LLM_MODEL= in its value. Write each setting on a line of its own.",
    ]
