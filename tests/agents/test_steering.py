"""Messages to a run at work: read by its next model call, or at once, and sent to the model as the strictest servers require."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from agents import AgentRun, CancelToken, PartialStep, Step, Word, WordsWanted
from agents.history import READING, fit_to_budget, make_valid, word_message
from tests.agents.conftest import Echo, MakeAgent, Waiting
from tests.model_server import Call, ModelServer, Script

BECAUSE = "Interrupted by Mei."


class Gate(Echo):
    """Returns when the test has sent its message."""

    name = "gate"

    def __init__(self) -> None:
        self.open = threading.Semaphore(0)

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        self.open.acquire(timeout=10)
        return "open"


@dataclass
class Reader:
    """Reads a run to its end, sends messages to it when a condition holds, and delivers them when they are read, as a recorder does."""

    run: AgentRun
    planned: Sequence[tuple[Callable[[Any], bool], str, bool]]
    steps: list[dict[str, Any]] = field(default_factory=list)
    gate: Gate = field(default_factory=Gate)
    waiting: list[Word] = field(default_factory=list)
    number: int = 0

    async def read(self) -> list[dict[str, Any]]:
        async for event in self.run:
            if isinstance(event, Step):
                self.steps.append(dict(event.data))
            if isinstance(event, WordsWanted):
                words, self.waiting = self.waiting, []
                self.steps += [
                    {"type": "steer", "content": word.content, "iteration": event.iteration} for word in words
                ]
                await asyncio.sleep(0)  # a database is not immediate
                event.hand_over(words)
            before = self.number
            while self.number < len(self.planned) and self.planned[self.number][0](event):
                _, content, interrupt = self.planned[self.number]
                self.number += 1
                self.waiting.append(Word(self.number, content))
                self.run.steer(self.number, BECAUSE if interrupt else "")
            if self.number > before:
                self.gate.open.release()
        return self.steps


def kind(name: str, **fields: Any) -> Callable[[Any], bool]:
    """Whether an event is a step of this kind."""
    return lambda event: isinstance(event, Step) and event.data.items() >= {"type": name, **fields}.items()


def growing(name: str, text: str) -> Callable[[Any], bool]:
    """Whether an event is text in progress of this kind that contains this text."""
    return lambda event: isinstance(event, PartialStep) and event.type == name and text in event.text


ECHO = Call("echo", {"text": "a"})
GATE = Call("gate", {"text": "a"})
WAIT = Call("waiting", {"text": "a"})
SLOW = "Once upon a time there was a king. " * 40
PARTIAL = {"partial": True}
#: The model's answers, the messages and when they are sent, the steps that matter, and the roles of the last request after the system's.
CASES: dict[str, tuple[list[Script], list[tuple[Any, str, bool]], list[str], list[str]]] = {
    "while a tool works": (
        [Script(calls=[GATE]), Script("Yes.")],
        [(kind("tool_use"), "Be brief.", False)],
        ["tool_use", "tool_result", "iteration_end", "iteration_start", "steer", "final_answer"],
        ["user", "assistant", "tool", "assistant", "user"],
    ),
    "two at one call": (
        [Script(calls=[GATE]), Script("Yes.")],
        [(kind("tool_use"), "Be brief.", False), (kind("tool_use"), "Be kind.", False)],
        ["tool_use", "tool_result", "iteration_end", "iteration_start", "steer", "steer", "final_answer"],
        ["user", "assistant", "tool", "assistant", "user"],
    ),
    "one at each call": (
        [Script(calls=[GATE]), Script(calls=[GATE]), Script("Yes.")],
        [(kind("tool_use", iteration=1), "Be brief.", False), (kind("tool_use", iteration=2), "Be kind.", False)],
        ["tool_use", "tool_result", "iteration_end", "iteration_start", "steer"] * 2 + ["final_answer"],
        ["user", "assistant", "tool", "assistant", "user", "assistant", "tool", "assistant", "user"],
    ),
    "at once, in an answer": (
        [Script(SLOW, every_s=0.01), Script("Yes.")],
        [(growing("final_answer", "king"), "Stop the story.", True)],
        ["final_answer", "iteration_end", "iteration_start", "steer", "final_answer"],
        ["user", "assistant", "user"],
    ),
    "at once, in a thought": (
        [Script("Hm.", reasoning=SLOW, every_s=0.01), Script("Yes.")],
        [(growing("thought", "king"), "Stop the story.", True)],
        ["thought", "iteration_end", "iteration_start", "steer", "final_answer"],
        ["user", "assistant", "user"],
    ),
    "at once, in a tool": (
        [Script(calls=[WAIT, ECHO]), Script("Yes.")],
        [(kind("tool_result", tool_name="echo"), "Stop waiting.", True)],
        [
            "tool_use",
            "tool_use",
            "tool_result",
            "tool_result",
            "iteration_end",
            "iteration_start",
            "steer",
            "final_answer",
        ],
        ["user", "assistant", "tool", "tool", "assistant", "user"],
    ),
    "at once, in a call that is being written": (
        [Script(calls=[Call("echo", {"text": SLOW})], every_s=0.01), Script("Yes.")],
        [(growing("tool_use", "king"), "Not that.", True)],
        ["tool_use", "tool_result", "iteration_end", "iteration_start", "steer", "final_answer"],
        ["user", "assistant", "user"],
    ),
    "first for later, then at once": (
        [Script(SLOW, every_s=0.01), Script("Yes.")],
        [(growing("final_answer", "king"), "Be brief.", False), (growing("final_answer", "king"), "Now.", True)],
        ["final_answer", "iteration_end", "iteration_start", "steer", "steer", "final_answer"],
        ["user", "assistant", "user"],
    ),
    "too late": (
        [Script("Yes.")],
        [(kind("final_answer"), "Wait.", True)],
        ["final_answer"],
        ["user"],
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_word_is_read_by_the_next_model_call(
    server: ModelServer, make_agent: MakeAgent, waiting: Waiting, case: str
) -> None:
    scripts, words, expected, roles = CASES[case]
    server.enqueue(*scripts)
    gate = Gate()
    reader = Reader(make_agent(tools=[Echo(), waiting, gate]).start("?"), words, gate=gate)
    steps = await reader.read()
    assert reader.number == len(words)
    assert reader.run.outcome is not None
    assert reader.run.outcome.status == "completed"
    after_opening = [step["type"] for step in steps if step["type"] not in ("start", "complete")]
    assert after_opening == ["iteration_start", *expected, "iteration_end"]
    numbers = [step["step"] for step in steps if "step" in step]
    assert numbers == list(range(1, len(numbers) + 1))
    last = server.requests[-1].body["messages"][1:]
    assert [message["role"] for message in last] == roles
    read = [step["content"] for step in steps if step["type"] == "steer"]
    read_by_model = [message["content"] for message in last if message["role"] == "user"][1:]
    assert "\n\n".join(read_by_model) == "\n\n".join(read)
    assert len(read) + len(reader.waiting) == len(words)
    assert not any(message.keys() - {"role", "content", "tool_calls", "tool_call_id", "name"} for message in last)


async def test_an_answer_interrupted_by_a_message_is_kept_as_partial(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    server.enqueue(Script(SLOW, every_s=0.01), Script("Yes."))
    reader = Reader(make_agent().start("?"), [(growing("final_answer", "king"), "Stop.", True)])
    steps = await reader.read()
    piece, answer = (step for step in steps if step["type"] == "final_answer")
    assert piece["partial"] is True
    assert "partial" not in answer
    assert SLOW.startswith(piece["content"])
    assert server.requests[1].body["messages"][2] == {"role": "assistant", "content": piece["content"]}
    assert server.requests[0].closed_at is not None
    assert [message["role"] for message in reader.run.messages] == ["assistant", "user", "assistant"]


async def test_a_tool_that_is_stopped_for_a_word_says_so(
    server: ModelServer, make_agent: MakeAgent, waiting: Waiting
) -> None:
    server.enqueue(Script(calls=[WAIT]), Script("Yes."))
    run = make_agent().start("?")
    reader = Reader(run, [])
    reading = asyncio.create_task(reader.read())
    await asyncio.to_thread(waiting.began.wait, 10)
    reader.waiting.append(Word(1, "Stop."))
    run.steer(1, BECAUSE)
    (result,) = [step for step in await reading if step["type"] == "tool_result"]
    assert (result["ok"], result["content"]) == (False, BECAUSE)
    assert waiting.stopped_because == BECAUSE


async def test_words_that_come_late_or_twice_cut_nothing(server: ModelServer, make_agent: MakeAgent) -> None:
    """As messages between processes may be: one that was read already interrupts nothing."""
    server.enqueue(Script(calls=[GATE]), Script("A whole answer, slowly.", every_s=0.01))
    gate = Gate()
    run = make_agent(tools=[gate]).start("?")
    reader = Reader(run, [(kind("tool_use"), "Be brief.", False)], gate=gate)
    original = reader.planned[0][0]

    def again(event: Any) -> bool:
        if growing("final_answer", "whole")(event):
            run.steer(1, BECAUSE)
        return original(event)

    reader.planned = [(again, "Be brief.", False), (again, "", False)]
    steps = await reader.read()
    assert [step.get("partial") for step in steps if step["type"] == "final_answer"] == [None]


async def test_a_message_before_the_start_is_read_by_the_first_call(server: ModelServer, make_agent: MakeAgent) -> None:
    """However early that is: the agent has it from its start."""
    server.enqueue(Script("Yes."))
    run = make_agent().start("?", newest_word=1)
    steps = await Reader(run, [], waiting=[Word(1, "Be brief.")]).read()
    assert [step["content"] for step in steps if step["type"] == "steer"] == ["Be brief."]
    assert server.requests[0].body["messages"][-1]["content"] == "Be brief."


async def test_at_the_limit_of_model_calls_messages_stay_unread(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script(calls=[GATE]))
    gate = Gate()
    run = make_agent(tools=[gate]).start("?", max_iterations=1)
    reader = Reader(run, [(kind("tool_use"), "Be brief.", False)], gate=gate)
    steps = await reader.read()
    assert reader.run.outcome is not None
    assert reader.run.outcome.status == "max_iterations"
    assert [word.content for word in reader.waiting] == ["Be brief."]
    assert "steer" not in [step["type"] for step in steps]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_stop_while_words_are_being_read_ends_the_run(
    server: ModelServer, make_agent: MakeAgent, when: str
) -> None:
    server.enqueue(Script(calls=[GATE]), Script("No."))
    gate = Gate()
    run = make_agent(tools=[gate]).start("?")
    async for event in run:
        if kind("tool_use")(event):
            run.steer(1)
            gate.open.release()
        if isinstance(event, WordsWanted):
            if when == "after":
                event.hand_over([Word(1, "Be brief.")])
            run.cancel("Stopped by Mei.")
            event.hand_over([Word(1, "Be brief.")])
    assert run.outcome is not None
    assert run.outcome.status == "cancelled"
    assert len(server.requests) == 1


def test_a_conversation_that_is_cut_keeps_words() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "echo", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "name": "echo", "content": "x " * 200},
        word_message("Be brief."),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "name": "echo", "content": "y"},
    ]
    valid = make_valid(turns)
    kept, total, left_out = fit_to_budget(valid, 40)
    assert [(message["role"], message["content"]) for message in kept] == [
        ("user", "?"),
        ("assistant", READING),
        ("user", "Be brief."),
        ("assistant", ""),
        ("tool", "y"),
    ]
    assert make_valid(kept) == kept
    assert total == fit_to_budget(kept, 10**6)[1]
    assert left_out.messages == len(valid) - len(kept)
