"""The commands that operators type."""

import os
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from chat.models import Announcement
from tests.model_server import Call, ModelServer, Script
from tests.serving import ROOT, Browser, Server


@pytest.mark.django_db
@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_an_announcement_is_written_down(level: str) -> None:
    out = StringIO()
    call_command("announce", " Back at noon. 🙂 ", "--level", level, stdout=out)
    assert out.getvalue() == "Announced.\n"
    assert list(Announcement.objects.values_list("message", "level")) == [("Back at noon. 🙂", level)]


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["", "  ", "x" * 2001])
def test_what_cannot_be_announced_is_refused_in_words(text: str) -> None:
    with pytest.raises(CommandError, match="cannot be announced"):
        call_command("announce", text)
    assert not Announcement.objects.exists()


async def test_an_announcement_reaches_every_open_socket(product: Server, bo: Browser) -> None:
    async with bo.socket(await bo.new_session()) as socket:
        await socket.receive()
        product.manage("announce", "Back at noon.", "--level", "warning")
        frame = await socket.until_type("announcement", timeout_s=2.0)
        assert frame["data"] == {"message": "Back at noon.", "level": "warning"}


def check_llm(**settings: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "manage.py", "check_llm"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


def test_the_demo_model_is_checked_like_any_and_said_to_be_one() -> None:
    code, told, _ = check_llm()
    assert code == 0, told
    assert "built-in demo model" in told
    assert "answers: yes" in told
    assert "calls tools: yes, python" in told
    assert "streams: yes" in told
    assert "reports usage: no, estimated" in told
    assert "tokens a second" in told


def test_a_model_that_can_do_everything_is_fit(model_server: ModelServer) -> None:
    model_server.enqueue(
        Script(calls=[Call("python", {"code": "1234 * 5678"})]),
        Script("It is 7,006,652, as the tool has worked out.", every_s=0.06),
    )
    code, told, _ = check_llm(LLM_MODEL_SERVER=model_server.url, LLM_MODEL="stub", LLM_API_KEY="a secret key")
    assert code == 0, told
    assert f"Asking stub at {model_server.url.removesuffix('/v1')} …" in told, "a path may be a key"
    assert "wrong number" not in told
    assert "calls tools: yes, python" in told
    assert "streams: yes" in told
    assert "reports usage: yes" in told
    assert "a secret key" not in told


def test_a_model_that_calls_no_tools_is_told_to_be_unfit(model_server: ModelServer) -> None:
    model_server.enqueue(Script("Six millions."))
    code, told, failure = check_llm(LLM_MODEL_SERVER=model_server.url, LLM_MODEL="stub")
    assert code == 1
    assert "answers: yes" in told
    assert "wrong number" in told
    assert "calls tools: no" in told
    assert "LLM_TOOL_FORMAT=template" in told
    assert "cannot carry an agent" in failure


def test_a_model_that_refuses_is_told_in_words(model_server: ModelServer) -> None:
    model_server.enqueue(Script(status=401))
    exit_code, _, failure = check_llm(LLM_MODEL_SERVER=model_server.url, LLM_MODEL="stub")
    assert exit_code == 1
    assert "It does not answer (model_auth)." in failure
    assert "Traceback" not in failure


def test_a_model_that_is_not_there_is_told_in_words() -> None:
    code, _, failure = check_llm(LLM_MODEL_SERVER="http://127.0.0.1:9/v1", LLM_MODEL="stub")
    assert code == 1
    assert "It does not answer (model_unreachable)." in failure
