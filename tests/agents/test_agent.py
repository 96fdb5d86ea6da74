"""Agents by name, and the simple functions of the package."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from agents import AGENTS, DEFAULT_AGENT, AgentError, ModelSettings, Toolbox, ToolError, UnknownAgent, get_agent, tools
from agents.snapshots import StepSplitter
from tests.agents.conftest import MakeAgent, steps_of
from tests.model_server import Call, ModelServer, Script

ROOT = Path(__file__).parents[2]


def test_agents_are_found_by_name() -> None:
    assert set(AGENTS) == {"researcher", "developer", "writer"}
    assert get_agent().spec is AGENTS[DEFAULT_AGENT] is AGENTS["researcher"]
    assert get_agent("writer").spec.title == "Writer"
    with pytest.raises(UnknownAgent, match=r"no agent named “poet”\. There are: researcher, developer, writer"):
        get_agent("poet")


@pytest.mark.parametrize(
    "load",
    [
        "from agents import loading\nloading.load_driver()\n",
        "import agents\nagents.load_extensions(['tests.example_extension'], installed=False)\n",
    ],
    ids=["driver", "extension"],
)
def test_changes_of_qwen_agent_to_the_process_are_undone(load: str) -> None:
    script = f"import socket\nbefore = socket.getaddrinfo\n{load}assert socket.getaddrinfo is before"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


#: Counts words as Qwen-Agent's own code does, after it was imported by us, and prints when the real tokenizer was loaded.
COUNTS = """
from agents import loading, qwen_tokenizer
loading.load_driver()
assert not qwen_tokenizer._read.cache_info().currsize, "it was read at once"
from qwen_agent.llm.base import tokenizer
from qwen_agent.tools.simple_doc_parser import count_tokens
assert tokenizer.count_tokens("high tide") == count_tokens("high tide") == 2
assert len(tokenizer) > 150_000
from qwen_agent.utils import tokenization_qwen
assert tokenization_qwen.QWenTokenizer.__module__ == tokenization_qwen.__name__
"""


def test_qwen_s_tokenizer_is_read_when_somebody_counts_by_it() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", COUNTS], cwd=ROOT, check=True)


#: Lets Qwen-Agent's own code call a server, after it was imported by us; and makes a client in several threads at once.
ASKS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from agents import loading
loading.load_driver()
early = {"dashscope.common", "openai.resources", "openai.types.chat"} & set(sys.modules)
assert not early, f"imported at once: {early}"
import openai.types.chat
from qwen_agent.llm import get_chat_model
from qwen_agent.llm.base import ModelServiceError
import dashscope
with ThreadPoolExecutor(4) as threads:
    found = set(threads.map(lambda _: dashscope.Generation, range(4)))
assert [client.__module__ for client in found] == ["dashscope.aigc.generation"]
asked = {"model_type": "oai", "model": "m", "model_server": "http://127.0.0.1:9/v1", "api_key": "k"}
try:
    get_chat_model(asked).chat([{"role": "user", "content": "hi"}], stream=False)
except ModelServiceError as error:
    assert isinstance(error.exception, openai.APIConnectionError), error
else:
    raise AssertionError("nobody is there")
assert openai.types.CompletionUsage.__module__ == "openai.types.completion_usage"
"""


def test_qwen_s_clients_are_imported_when_somebody_asks_for_one() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", ASKS], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_has_words_and_tools_that_exist(name: str) -> None:
    spec = AGENTS[name]
    assert spec.name == name
    assert spec.title
    assert spec.description.endswith(".")
    assert spec.instructions
    assert set(tools.build_tools(spec.tools, Toolbox())) == set(spec.tools)


async def test_steps_come_as_a_stream_or_as_a_list(server: ModelServer, make_agent: MakeAgent) -> None:
    agent = make_agent()
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    streamed = [step async for step in agent.run_with_reasoning_stream("c", "some session", 5, history=history)]
    listed = await agent.run_with_reasoning("c", session_id="some session", history=history)
    timeless = [
        [{k: v for k, v in s.items() if k not in ("timestamp", "duration_ms")} for s in run]
        for run in (streamed, listed)
    ]
    assert timeless[0] == timeless[1]
    assert [step["type"] for step in listed] == [
        "start",
        "iteration_start",
        "final_answer",
        "iteration_end",
        "complete",
    ]
    assert [len(request.body["messages"]) for request in server.requests] == [4, 4]


async def test_the_final_messages_are_those_of_the_run(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script(calls=[Call("echo", {"text": "a"})]), Script("Yes."))
    messages = await make_agent().run_async("?")
    assert [message["role"] for message in messages] == ["assistant", "tool", "assistant"]
    assert messages[-1] == {"role": "assistant", "content": "Yes."}


async def test_a_failure_is_raised_after_its_step(server: ModelServer, make_agent: MakeAgent) -> None:
    server.respond = lambda _body: Script(status=429)
    agent, seen = make_agent(), []

    async def watch() -> None:
        async for step in agent.run_with_reasoning_stream("?"):
            seen.append(step["type"])  # noqa: PERF401 - a comprehension would lose them with the exception

    for call in (watch(), agent.run_async("?"), agent.run_with_reasoning("?")):
        with pytest.raises(AgentError) as caught:
            await call
        assert caught.value.code == "model_rate_limited"
    assert seen == ["start", "iteration_start", "error"]


async def test_leaving_the_stream_stops_the_run(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script("x", fault="hang"))
    stream = make_agent().run_with_reasoning_stream("?")
    async for step in stream:
        if step["type"] == "iteration_start":
            break
    await server.until(lambda: bool(server.requests))
    await stream.aclose()  # type: ignore[attr-defined] # an async generator
    await server.until(lambda: server.requests[0].closed_at is not None)


async def test_tools_that_cannot_be_had_fail_the_run_with_a_sentence(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object) -> None:
        raise ToolError("The cupboard is empty.")

    monkeypatch.setattr(tools, "build_tools", build)
    run = make_agent().start("?")
    steps = await steps_of(run)
    assert steps[-1] == {**steps[-1], "type": "error", "code": "tool_failed", "error": "The cupboard is empty."}


async def test_our_own_failure_is_told_by_number_alone(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def build(*_: object) -> None:
        raise KeyError("/secret/path")

    monkeypatch.setattr(tools, "build_tools", build)
    run = make_agent().start("?")
    steps = await steps_of(run)
    assert steps[-1]["code"] == "internal"
    number = steps[-1]["error"].removeprefix("Something went wrong on our side (error ").removesuffix(").")
    assert number in caplog.text
    assert "secret" not in str(steps)


async def test_no_fault_of_ours_leaves_a_run_at_work_for_ever(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError("a fault of ours")

    for method in ("begin", "update", "finish", "result", "complete"):
        run = make_agent().start('[call=echo:{"text": "a"}]')
        with monkeypatch.context() as patch:
            patch.setattr(StepSplitter, method, broken)
            steps = await asyncio.wait_for(steps_of(run), 10)
            assert run.outcome is not None
            assert (run.outcome.status, run.outcome.code) == ("failed", "internal"), method
            assert steps[-1]["type"] == "error"


async def test_there_has_to_be_something_to_answer_and_a_call_to_answer_it(make_agent: MakeAgent) -> None:
    with pytest.raises(ValueError, match="nothing to answer"):
        make_agent().start(None)
    with pytest.raises(ValueError, match="at least one model call"):
        make_agent().start("?", max_iterations=0)


def test_the_key_is_not_shown() -> None:
    assert "sesame" not in repr(get_agent(model=ModelSettings(api_key="sesame")))


def test_importing_the_package_does_not_import_qwen_agent_and_warming_is_quiet(tmp_path: Path) -> None:
    program = """
import sys, agents
assert not {"qwen_agent", "mcp", "openai", "django"} & set(sys.modules), "slow imports"
agents.preload()
assert "qwen_agent" in sys.modules
assert "django" not in sys.modules
import logging
logging.getLogger("qwen_agent_logger").info("noise")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
