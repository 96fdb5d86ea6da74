"""Agents that others have written for Qwen-Agent: whatever they do, their steps are those of any other run."""

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

import agents
from agents import ModelSettings, PartialStep, Step
from agents.tools import runner
from tests.agents.conftest import kinds, steps_of
from tests.agents.others import start
from tests.model_server import Call, ModelServer, Script


@pytest.fixture(autouse=True)
def _no_extensions() -> Iterator[None]:
    yield
    agents.load_extensions([], installed=False)


async def test_an_agent_that_calls_tools_by_our_model(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_KEY", "sesame-open")
    agents.load_extensions(["tests.example_extension"])
    server.enqueue(
        Script("Let me see.", reasoning="Hm.", calls=[Call("roll_dice", {"times": 1}), Call("current_time", {})]),
        Script("Four."),
    )
    model = ModelSettings(server=server.url, model="scripted")
    run = agents.get_agent("poet", model=model).start("Roll.")
    steps = await steps_of(run)
    assert [(step["type"], step["iteration"]) for step in steps] == [
        ("start", 0),
        ("iteration_start", 1),
        ("thought", 1),
        ("thought", 1),
        ("tool_use", 1),
        ("tool_use", 1),
        ("tool_result", 1),
        ("tool_result", 1),
        ("iteration_end", 1),
        ("iteration_start", 2),
        ("final_answer", 2),
        ("iteration_end", 2),
        ("complete", 2),
    ]
    assert [step["content"] for step in steps if step["type"] in ("thought", "final_answer")] == [
        "Hm.",
        "Let me see.",
        "Four.\n\nThe poet",
    ]
    assert [step["step"] for step in steps if "step" in step] == list(range(1, 8))
    assert [step["ok"] for step in steps if step["type"] == "tool_result"] == [True, True]
    assert run.outcome is not None
    assert run.outcome.status == "completed"
    asked = [request.body for request in server.requests]
    assert [message["role"] for message in asked[0]["messages"]] == ["system", "user"]
    assert asked[0]["messages"][0]["content"].startswith("You are a poet.")
    assert [message["role"] for message in asked[1]["messages"]] == ["system", "user", "assistant", "tool", "tool"]
    assert sorted(tool["function"]["name"] for tool in asked[0]["tools"]) == ["current_time", "roll_dice"]


#: What an agent does, and the resulting steps: type, content or arguments, iteration.
AGENTS = {
    "yields alone, growing": (
        """
        class A(Agent):
            def _run(self, messages, **kwargs):
                yield [say("", reasoning_content="Hm.")]
                yield [say("Wel", reasoning_content="Hm.")]
                yield [say("Well.", reasoning_content="Hm.")]
        """,
        [("thought", "Hm.", 1), ("final_answer", "Well.", 1)],
    ),
    "thinks in tags": (
        """
        class A(Agent):
            def _run(self, messages, **kwargs):
                yield [say("<think>Hm.")]
                yield [say("<think>Hm.</think>Well.")]
        """,
        [("thought", "Hm.", 1), ("final_answer", "Well.", 1)],
    ),
    "says several things, of which the last is its answer": (
        """
        class A(Agent):
            def _run(self, messages, **kwargs):
                yield [say("One.")]
                yield [say("One."), say("Two.")]
        """,
        [("thought", "One.", 1), ("final_answer", "Two.", 1)],
    ),
    "writes over what it said": (
        """
        class A(Agent):
            def _run(self, messages, **kwargs):
                yield [say("A first try that is long", reasoning_content="Hm.")]
                yield [say("Better.")]
        """,
        [("thought", "Hm.", 1), ("final_answer", "Better.", 1)],
    ),
    "reports tools that it has called itself": (
        """
        class A(Agent):
            def _run(self, messages, **kwargs):
                said = [say("Let me see."), call("look", '{"at": "it"}')]
                yield said
                said.append(result("look", "seen"))
                yield said
                yield [*said, say("Seen.")]
        """,
        [
            ("thought", "Let me see.", 1),
            ("tool_use", {"at": "it"}, 1),
            ("tool_result", "seen", 1),
            ("final_answer", "Seen.", 2),
        ],
    ),
    "does not say what came of its calls": (
        """
        class A(Agent):
            def _run(self, messages, **kwargs):
                yield [call("look"), say("Do")]
                yield [call("look"), say("Done."), call("close")]
        """,
        [
            ("tool_use", {}, 1),
            ("tool_result", "The agent did not say what came of this call.", 1),
            ("thought", "Done.", 2),
            ("tool_use", {}, 2),
            ("tool_result", "The agent did not say what came of this call.", 2),
        ],
    ),
    "reports a result without its call": (
        """
        class A(Agent):
            def _run(self, messages, **kwargs):
                yield [say("Hm."), result("look", "seen")]
                yield [say("Hm."), result("look", "seen"), say("Seen.")]
        """,
        [("thought", "Hm.", 1), ("tool_use", {}, 1), ("tool_result", "seen", 1), ("final_answer", "Seen.", 2)],
    ),
    "calls tools without saying so": (
        """
        class A(Agent):
            def __init__(self): super().__init__([RollDice()])
            def _run(self, messages, **kwargs):
                rolled = self._call_tool("roll_dice", '{"times": 1}')
                again = self._call_tool("roll_dice", '{"times": 2}')
                yield [say(f"{len(rolled)} {len(again)}")]
        """,
        [
            ("tool_use", {"times": 1}, 1),
            ("tool_result", '{\n    "rolled": [\n        4\n    ]\n}', 1),
            ("tool_use", {"times": 2}, 1),
            ("tool_result", '{\n    "rolled": [\n        4,\n        4\n    ]\n}', 1),
            ("final_answer", "35 46", 2),
        ],
    ),
    "writes all that it says into one message": (
        """
        class A(Agent):
            def __init__(self): super().__init__([RollDice()])
            def _run(self, messages, **kwargs):
                text = "I roll."
                yield [say(text)]
                text += self._call_tool("roll_dice", '{"times": 0}')[-1:]
                yield [say(text + "Rolled.")]
        """,
        [
            ("thought", "I roll.", 1),
            ("tool_use", {"times": 0}, 1),
            ("tool_result", '{\n    "rolled": []\n}', 1),
            ("final_answer", "}Rolled.", 2),
        ],
    ),
    "calls a tool that fails, and one that there isn't": (
        """
        class A(Agent):
            def __init__(self): super().__init__([RollDice()])
            def _run(self, messages, **kwargs):
                self._call_tool("roll_dice", {"times": "many"})
                self._call_tool("roll_dice", "no object")
                yield [say(self._call_tool("gone"))]
        """,
        [
            ("tool_use", {"times": "many"}, 1),
            ("tool_result", "The argument “times” has to be of type integer. Nothing was run.", 1),
            ("tool_use", "no object", 1),
            ("tool_result", "The tool failed unexpectedly (JSONDecodeError).", 1),
            ("tool_use", {}, 1),
            ("tool_result", "Tool gone does not exists.", 1),
            ("final_answer", "Tool gone does not exists.", 2),
        ],
    ),
    "asks the model for itself": (
        """
        class A(Agent):
            def __init__(self, llm): super().__init__(llm=llm)
            def _run(self, messages, **kwargs):
                plan = self.llm.chat([{"role": "user", "content": "Plan."}], stream=False)
                *_, rest = self._call_llm(messages)
                yield [say(f"{plan[-1]['content']} and {rest[-1].content}")]
        """,
        [("final_answer", "one and two", 1)],
    ),
    "is an assistant, whose files are none": ("class A(Assistant): pass", [("final_answer", "one", 1)]),
}


@pytest.mark.parametrize("case", AGENTS)
async def test_anything_that_an_agent_yields_becomes_steps(case: str, server: ModelServer) -> None:
    source, expected = AGENTS[case]
    server.enqueue(Script("one"), Script("two"))
    run = start(server, source)
    steps = await steps_of(run)
    shown = [
        (step["type"], step["arguments"] if step["type"] == "tool_use" else step["content"], step["iteration"])
        for step in steps
        if "step" in step
    ]
    assert shown == expected
    assert [step["step"] for step in steps if "step" in step] == list(range(1, len(expected) + 1))
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.error) == ("completed", "")


#: What goes wrong with an agent, and the run's end: its status, code, and the steps before it.
FAILING = {
    "raises": (
        """
        class A(Agent):
            def _run(self, messages, **kwargs):
                yield [say("Half a")]
                raise KeyError("secret")
        """,
        ("failed", "internal", ["final_answer"]),
    ),
    "exits": (
        """
        class A(Agent):
            def _run(self, messages, **kwargs):
                raise SystemExit
                yield
        """,
        ("failed", "internal", []),
    ),
    "says nothing": (
        """
        class A(Agent):
            def _run(self, messages, **kwargs):
                yield []
        """,
        ("failed", "internal", []),
    ),
    "can't be made": (
        """
        class A(Agent):
            def __init__(self): raise OSError("no disk")
            def _run(self, messages, **kwargs): yield []
        """,
        ("failed", "internal", []),
    ),
    "yields what is no message": (
        """
        class A(Agent):
            def _run(self, messages, **kwargs): yield ["text"]
        """,
        ("failed", "internal", []),
    ),
    "babbles": (
        """
        class A(Agent):
            def _run(self, messages, **kwargs): yield [say("x" * 2_000_001)]
        """,
        ("failed", "model_error", []),
    ),
    "asks without end": (
        """
        class A(Agent):
            def __init__(self, llm): super().__init__(llm=llm)
            def _run(self, messages, **kwargs):
                while True: list(self._call_llm(messages))
                yield
        """,
        ("max_iterations", "", []),
    ),
    "calls without end": (
        """
        class A(Agent):
            def _run(self, messages, **kwargs):
                said = []
                while True:
                    said += [call("look"), result("look", "seen")]
                    yield said
        """,
        ("max_iterations", "", ["tool_use", "tool_result"] * 3),
    ),
}


@pytest.mark.parametrize("case", FAILING)
async def test_an_agent_that_goes_wrong_ends_its_own_run(case: str, server: ModelServer) -> None:
    source, (status, code, steps) = FAILING[case]
    server.enqueue(*[Script("So.")] * 3)
    run = start(server, source, max_iterations=3)
    found = await steps_of(run)
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.code, kinds(found)) == (status, code, steps)
    assert "secret" not in str(found)


WAITING = """
        class Wait(RollDice):
            name = "wait"
            parameters = []
            def call(self, params, **_):
                released.wait(30)
                return "waited"
        class A(FnCallAgent):
            def __init__(self, llm): super().__init__([Wait()], llm)
"""
#: Where an agent is when it is stopped: what it does, whether it is there yet, and the resulting steps.
STOPPED = {
    "while it says something": (
        """
            def _run(self, messages, **kwargs):
                yield [say("", reasoning_content="Hm."), say("Half a")]
                released.wait(30)
                yield [say("", reasoning_content="Hm."), say("Half a sentence")]
        """,
        lambda event: isinstance(event, PartialStep) and "Half" in event.text,
        [("thought", "Hm.", None), ("final_answer", "Half a", True)],
    ),
    "before it has said anything": (
        """
            def _run(self, messages, **kwargs):
                released.wait(30)
                yield [say("Late.")]
        """,
        lambda event: isinstance(event, Step) and event.type == "iteration_start",
        [],
    ),
    "while it asks the model": (
        "",
        lambda event: isinstance(event, PartialStep) and "time" in event.text,
        [("final_answer", "Once upon a", True)],
    ),
    "while a tool works": (
        """
            def _run(self, messages, **kwargs):
                self._call_tool("wait", "{}")
                yield [say("Late.")]
        """,
        lambda event: isinstance(event, Step) and event.type == "tool_use",
        [("tool_use", "", None), ("tool_result", "Stopped by Mei.", None)],
    ),
}


@pytest.mark.parametrize("case", STOPPED)
async def test_an_agent_is_stopped_wherever_it_is(
    case: str, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "ABANDON_S", 0.2)
    source, add_connection, expected = STOPPED[case]
    server.enqueue(Script("Once upon a time " * 200, every_s=0.01))
    released = threading.Event()
    run = start(server, WAITING + source, released=released)
    steps: list[dict[str, Any]] = []
    stopped_at = 0.0
    async for event in run:
        if not stopped_at and add_connection(event):
            stopped_at = time.monotonic()
            run.cancel("Stopped by Mei.")
        if isinstance(event, Step):
            steps.append(event.data)
    assert 0 < time.monotonic() - stopped_at < 1
    released.set()
    assert run.outcome is not None
    assert run.outcome.status == "cancelled"
    shown = [(step["type"], step["content"], step.get("partial")) for step in steps if "step" in step]
    assert [(kind, partial) for kind, _, partial in shown] == [(kind, partial) for kind, _, partial in expected]
    assert all(text.startswith(beginning) for (_, text, _), (_, beginning, _) in zip(shown, expected, strict=True))
    if case == "while it asks the model":
        await server.until(lambda: server.requests[0].closed_at is not None)


async def test_text_in_progress_passes_through_an_agent(server: ModelServer) -> None:
    server.enqueue(Script("One two three four five six seven eight.", reasoning="Hm, so.", every_s=0.06))
    run = start(server, "class A(FnCallAgent):\n    def __init__(self, llm): super().__init__(llm=llm)\n")
    texts: dict[str, list[str]] = {}
    async for event in run:
        if isinstance(event, PartialStep):
            texts.setdefault(event.type, []).append(event.text)
    assert texts.keys() == {"thought", "final_answer"}
    assert len(texts["final_answer"]) > 3
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts["final_answer"]))


async def test_an_agent_is_told_what_was_said_before_and_its_tokens_count(server: ModelServer) -> None:
    server.enqueue(Script("Again."))
    history = [{"role": "user", "content": "First?"}, {"role": "assistant", "content": "First."}]
    run = start(
        server,
        "class A(FnCallAgent):\n    def __init__(self, llm): super().__init__(llm=llm, system_message='Be A.')\n",
        history=history,
    )
    await steps_of(run)
    (request,) = server.requests
    assert [message["content"] for message in request.body["messages"]] == ["Be A.", "First?", "First.", "Go."]
    assert run.messages == [{"role": "assistant", "content": "Again."}]
    assert run.outcome is not None
    assert run.outcome.usage.input_tokens > 0
    assert not run.outcome.usage.estimated


async def test_an_agent_asks_no_tool_with_private_words(server: ModelServer) -> None:
    """Once earlier conversations were read, its tools are not given arguments that could carry their words out, like all tools."""
    source = """
    class Send(RollDice):
        name = "send"
        parameters = [{"name": "text", "type": "string", "required": True}]
        def call(self, params, **_): return "sent"
    class A(Agent):
        def __init__(self): super().__init__([Send()])
        def _run(self, messages, **kwargs): yield [say(self._call_tool("send", '{"text": "private words"}'))]
    """

    class Marked:
        def is_marked(self) -> bool:
            return True

        def mark(self) -> None: ...

        def person_texts(self) -> list[str]:
            return []

        page_texts = person_texts

    run = start(server, source, privacy=Marked())
    results = [step for step in await steps_of(run) if step["type"] == "tool_result"]
    assert [(step["ok"], step["content"][:18]) for step in results] == [(False, "This was not done:")]
