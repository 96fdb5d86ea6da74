"""The management commands that operators use."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from agents import ModelSettings
from agents.models.probing import server_facts
from agents.models.server_facts import forget_facts
from chat.catalog import model_facts
from chat.models import Act, Announcement, AuditEntry
from tests import programs
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser, Server, serving


@pytest.mark.django_db
@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_an_announcement_is_written_down(level: str) -> None:
    out = StringIO()
    call_command("announce", " Back at noon. 🙂 ", "--level", level, stdout=out)
    assert out.getvalue() == "Announced.\n"
    assert list(Announcement.objects.values_list("message", "level")) == [("Back at noon. 🙂", level)]
    call_command("announce", "--withdraw", stdout=out)
    assert not Announcement.objects.exists()
    assert list(AuditEntry.objects.order_by("id").values_list("action", flat=True)) == [Act.CREATE, Act.DELETE]
    for wrong in (["--withdraw"], ["--withdraw", "A text"], []):
        with pytest.raises(CommandError):
            call_command("announce", *wrong)


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["", "  ", "x" * 2001])
def test_an_invalid_announcement_is_refused_with_an_error(text: str) -> None:
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
    done = programs.run_program(
        ["manage.py", "check_llm"], {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **settings}
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        server.is_judging = False  # the command makes a request on purpose that nothing else makes
        yield server


def test_the_demo_model_is_checked_like_any_and_said_to_be_one() -> None:
    code, output, _ = check_llm()
    assert code == 0, output
    assert "built-in demo model" in output
    assert "answers: yes" in output
    assert "calls tools: yes, python" in output
    assert "streams: yes" in output
    assert "reports usage: no, estimated" in output
    assert "tokens a second" in output


def test_a_model_that_can_do_everything_is_fit(model_server: ModelServer) -> None:
    model_server.enqueue(
        Script(calls=[Call("python", {"code": "1234 * 5678"})]),
        Script("It is 7,006,652, as the tool has worked out.", every_s=0.06),
    )
    code, output, _ = check_llm(LLM_MODEL_SERVER=model_server.url, LLM_MODEL="stub", LLM_API_KEY="a secret key")
    assert code == 0, output
    assert f"Asking stub at {model_server.url.removesuffix('/v1')} …" in output, "a path may be a key"
    assert "wrong number" not in output
    assert "calls tools: yes, python" in output
    assert "streams: yes" in output
    assert "reports usage: yes" in output
    assert "a secret key" not in output


def test_a_model_that_calls_no_tools_is_told_to_be_unfit(model_server: ModelServer) -> None:
    model_server.enqueue(Script("Six millions."))
    code, output, failure = check_llm(LLM_MODEL_SERVER=model_server.url, LLM_MODEL="stub")
    assert code == 1
    assert "answers: yes" in output
    assert "wrong number" in output
    assert "calls tools: no" in output
    assert "LLM_TOOL_FORMAT=template" in output
    assert "cannot run an agent" in failure


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


def lacks_thoughts(body: dict[str, Any]) -> bool:
    return any("reasoning_content" not in message for message in body["messages"] if message.get("tool_calls"))


CALLING = Script(reasoning="Hm.", calls=[Call("python", {"code": "1234 * 5678"})])
ANSWERING = Script("It is 7,006,652.")
#: What a server refuses, its error, and the command's output.
TRAITS: dict[str, tuple[Callable[[dict[str, Any]], bool], Script, str]] = {
    "nothing": (lambda _: False, Script(), "requires alternating turns: no"),
    "tools": (
        lambda body: "tools" in body,
        Script(status=400, body='{"error": "m does not support tools"}'),
        "refuses tools: yes, so they go in the prompt",
    ),
    "user after user": (
        lambda body: [message["role"] for message in body["messages"]][:2] == ["user", "user"],
        Script(status=400, body='{"message": "Conversation roles must alternate user/assistant"}'),
        "requires alternating turns: yes, and requests always have them",
    ),
    "calls without thoughts": (
        lacks_thoughts,
        Script(status=400, body='{"error": {"message": "The `reasoning_content` must be passed back to the API."}}'),
        "requires its thoughts back: yes, and requests send them with its calls",
    ),
    "stream_options": (
        lambda body: "stream_options" in body,
        Script(status=422, body='{"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}'),
        "refuses optional parts: yes, stream_options, so these are left out",
    ),
}


def output_here(settings: Any, model_server: ModelServer) -> str:
    """The command's output, in this process, which is faster; it starts an event loop of its own."""
    forget_facts()
    settings.AGENT_MODEL = ModelSettings(model_server.url, "stub")
    out = StringIO()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call_command, "check_llm", stdout=out).result()
    return out.getvalue()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("refused", TRAITS)
def test_check_llm_reports_what_a_server_refuses(settings: Any, model_server: ModelServer, refused: str) -> None:
    refuses, refusal, expected = TRAITS[refused]

    def respond(body: dict[str, Any]) -> Script:
        if refuses(body):
            return refusal
        if "python tool" not in str(body["messages"]):
            return Script("Yes.")
        last = body["messages"][-1]["role"], "tool_response" in body["messages"][-1]["content"]
        dialect: Any = "native" if "tools" in body else "template"
        return ANSWERING if last[0] == "tool" or last[1] else replace(CALLING, dialect=dialect)

    model_server.respond = respond
    output = output_here(settings, model_server)
    assert f"  {expected}\n" in output
    assert "All processes use these findings" in output
    found = server_facts(settings.AGENT_MODEL).export()
    forget_facts()
    model_facts.load_facts()
    assert server_facts(settings.AGENT_MODEL).export() == found, "another process does not know it"
    others = [words for name, (_, _, words) in TRAITS.items() if name not in (refused, "nothing")]
    assert not [words for words in others if words in output]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("models", "words"),
    [
        (
            [{"id": "stub", "max_model_len": 4096}],
            "context: 4,096 tokens; LLM_MAX_INPUT_TOKENS is 58,000 and has to be",
        ),
        ([{"id": "stub", "context_length": 131072}], "context: 131,072 tokens"),
        ([{"id": "other"}, {"id": "stub", "meta": {"n_ctx": 8192}}], "context: 8,192 tokens; LLM_MAX_INPUT_TOKENS"),
        ([{"id": "a", "max_model_len": 1}, {"id": "b", "max_model_len": 2}], "context: unknown"),
        ([], "context: unknown"),
    ],
)
def test_how_much_a_server_reads_is_told(
    settings: Any, model_server: ModelServer, models: list[dict[str, Any]], words: str
) -> None:
    model_server.enqueue(CALLING, ANSWERING)
    model_server.models = models
    assert words in output_here(settings, model_server)


def test_check_llm_reports_a_redirect(settings: Any, model_server: ModelServer) -> None:
    headers = {"Location": "https://api.test/v2/chat/completions"}
    model_server.enqueue(Script(status=308, body="", headers=headers))
    with pytest.raises(CommandError, match=r"set LLM_MODEL_SERVER=https://api\.test/v2$"):
        output_here(settings, model_server)


def test_that_an_address_is_a_web_page_s_is_told(settings: Any, model_server: ModelServer) -> None:
    model_server.enqueue(Script(fault="bad_sse"))
    with pytest.raises(CommandError, match="is a web page, not a model server"):
        output_here(settings, model_server)


def test_a_port_that_is_none_is_told() -> None:
    done = programs.run_program(["manage.py", "serve", "--port", "70000"], os.environ)
    assert done.returncode == 1
    assert done.stderr.endswith("port 70000: a port is a number up to 65535.\n")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("http://localhost", "--host must be an address or a name of this machine, without scheme and port, such as"),
        ("no-such-name.invalid", "Cannot listen on no-such-name.invalid, port 8000: "),
        ("192.0.2.77", "Cannot listen on 192.0.2.77, port 8000: Cannot assign requested address."),
    ],
)
def test_a_host_that_is_not_here_is_told(host: str, words: str) -> None:
    done = programs.run_program(["manage.py", "serve", "--host", host], os.environ)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert words in done.stderr


@pytest.mark.parametrize(
    ("host", "prefix", "others"),
    [
        ("[::1]", "http://[::1]:", []),
        ("::", "http://localhost:", ["127.0.0.1", "[::1]"]),
        pytest.param("0.0.0.0", "http://localhost:", ["127.0.0.1"], marks=pytest.mark.long),
        pytest.param("localhost", "http://localhost:", ["127.0.0.1"], marks=pytest.mark.long),
        pytest.param("127.1", "http://127.0.0.1:", [], marks=pytest.mark.long),
    ],
)
async def test_users_can_log_in_at_each_address_that_serve_prints(
    tmp_path: Path, host: str, prefix: str, others: list[str]
) -> None:
    """The address that it prints, and the others that it answers to, are those of a page that logs in and opens a socket.

    A client is known by its address, whose failed logins are counted.
    """
    with serving(tmp_path, HOST=host) as server:
        assert server.url.startswith(prefix)
        for url in [server.url, *(f"http://{name}:{server.port}" for name in others)]:
            async with Browser.logged_in(url) as browser:
                session = await browser.new_session()
                async with browser.socket(session) as socket:
                    await socket.until_type("session")
                name = f"nobody at {url}"
                assert (await browser.try_to_log_in(name))[0] == 200
                with server.open_database() as file:
                    query = "SELECT ip_address FROM axes_accessattempt WHERE username = ?"
                    (address,) = file.execute(query, [name]).fetchone()
                # Of IPv6 the network counts, and `localhost` may be either.
                assert address == "127.0.0.1" if "127.0.0.1" in url else address in ("::", "127.0.0.1")
