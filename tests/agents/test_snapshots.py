"""Where steps begin and end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agents.events import PartialStep, Step
from agents.models.reply import Reply
from agents.snapshots import NAMELESS, StepSplitter
from agents.steps import CONTENT_LIMIT
from tests.agents.untrusted.linear import assert_linear

# A message is a list of (kind, text): what the model writes, in order.
Parts = list[tuple[str, str]]

WORDS = st.text(st.sampled_from("ab \n天😀<"), max_size=8)
PARTS = st.lists(
    st.one_of(
        st.tuples(st.just("reasoning"), WORDS),
        st.tuples(st.just("content"), WORDS),
        st.tuples(st.just("call"), st.sampled_from(["", "{}", '{"a": 1}', "{oops"])),
    ),
    max_size=7,
)


def counter() -> Callable[[], float]:
    return lambda: 0.0


@dataclass
class Watched:
    """What a run has yielded for some messages, in order."""

    events: list[Step | PartialStep]

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [event.data for event in self.events if isinstance(event, Step)]


def watch(messages: Sequence[Parts], looks: Sequence[bool], piece: int) -> Watched:
    """Write the messages piece by piece, and look after pieces where ``looks`` says so (repeated as needed); answer every call."""
    splitter = StepSplitter(clock=counter(), now=counter())
    events: list[Step | PartialStep] = [*splitter.open("?")]
    ticks = 0

    def look(reply: Reply) -> None:
        nonlocal ticks
        ticks += 1
        if looks and looks[ticks % len(looks)]:
            events.extend(splitter.update(reply.parts))

    for number, parts in enumerate(messages):
        if number:
            events += splitter.begin()
        reply = Reply(calls_in_text=False, clock=counter())
        for what, text in parts:
            pieces = [text[i : i + piece] for i in range(0, len(text), piece)]
            if what == "call":
                reply.add_call("f")
                look(reply)
            for each in pieces:
                if what == "call":
                    reply.extend_call(each)
                elif what == "reasoning":
                    reply.add_reasoning(each)
                else:
                    reply.add_content(each)
                look(reply)
        reply.finish("stop")
        steps, calls = splitter.finish(reply.parts)
        events += steps
        events += [splitter.result(call.id, ok=True, content="r", duration_ms=0) for call in reversed(calls)]
    events += [*splitter.end_iteration(), splitter.complete()]
    return Watched(events)


@given(st.lists(PARTS, min_size=1, max_size=3), st.lists(st.booleans(), max_size=5), st.integers(1, 9))
def test_the_steps_do_not_depend_on_when_the_reply_is_looked_at(
    messages: list[Parts], looks: list[bool], piece: int
) -> None:
    assert watch(messages, looks, piece).steps == watch(messages, [], 1_000).steps


@given(st.lists(PARTS, min_size=1, max_size=3), st.lists(st.booleans(), min_size=1, max_size=5), st.integers(1, 9))
def test_growth_extends_what_was_shown_and_ends_in_its_step(
    messages: list[Parts], looks: list[bool], piece: int
) -> None:
    partials: dict[int, PartialStep] = {}
    finished: set[int] = set()
    for event in watch(messages, looks, piece).events:
        if isinstance(event, PartialStep):
            assert event.step not in finished
            before = partials.get(event.step)
            if before is not None:
                assert event.attempt >= before.attempt
                if event.attempt == before.attempt:
                    assert event.type == before.type
                    assert event.text.startswith(before.text)
            partials[event.step] = event
        elif number := event.data.get("step"):
            assert number == len(finished) + 1
            finished.add(number)
    assert set(partials) <= finished


@given(st.lists(PARTS, min_size=1, max_size=3), st.lists(st.booleans(), max_size=3), st.integers(1, 9))
def test_no_text_is_lost_or_doubled(messages: list[Parts], looks: list[bool], piece: int) -> None:
    def squeezed(texts: list[str]) -> str:
        return "".join("".join(texts).split())

    steps = watch(messages, looks, piece).steps
    for index, parts in enumerate(messages, 1):
        of_reply = [step for step in steps if step["iteration"] == index]
        answers = [step for step in of_reply if step["type"] == "final_answer"]
        calls = [step for step in of_reply if step["type"] == "tool_use"]
        texts = [step["content"] for step in of_reply if step["type"] in ("thought", "final_answer")]
        assert sorted(squeezed(texts)) == sorted(squeezed([text for what, text in parts if what != "call"]))
        assert len(calls) == len([what for what, _ in parts if what == "call"])
        content = squeezed([text for what, text in parts if what == "content"])
        assert [squeezed([step["content"]]) for step in answers] == ([content] if content and not calls else [])


def steps_of(parts: Parts) -> list[tuple[str, str]]:
    return [(step["type"], step["content"]) for step in watch([parts], [True], 2).steps if "step" in step]


def test_text_before_a_call_is_a_thought_and_else_the_answer() -> None:
    assert steps_of([("reasoning", "hm"), ("content", "Let me see."), ("call", "{}")]) == [
        ("thought", "hm"),
        ("thought", "Let me see."),
        ("tool_use", ""),
        ("tool_result", "r"),
    ]
    assert steps_of([("reasoning", "hm"), ("content", "It is so.")]) == [
        ("thought", "hm"),
        ("final_answer", "It is so."),
    ]


def test_an_answer_that_is_interrupted_by_thoughts_is_stored_once_and_last() -> None:
    assert steps_of([("content", "It is"), ("reasoning", "or not?"), ("content", " so.")]) == [
        ("thought", "or not?"),
        ("final_answer", "It is so."),
    ]


def test_a_thought_is_finished_as_soon_as_something_else_begins() -> None:
    splitter, reply = StepSplitter(), Reply()
    reply.add_reasoning("hm")
    assert [type(event) for event in splitter.update(reply.parts)] == [PartialStep]
    assert splitter.update(reply.parts) == []
    reply.add_content("Y")
    step, partial = splitter.update(reply.parts)
    assert isinstance(step, Step)
    assert step.data["content"] == "hm"
    assert partial == PartialStep(2, "final_answer", "Y")
    reply.add_call("f", '{"x')
    step, partial = splitter.update(reply.parts)
    assert isinstance(step, Step)
    assert (step.type, step.data["content"]) == ("thought", "Y")
    assert partial == PartialStep(3, "tool_use", '{"x', tool_name="f")


def test_an_answer_that_turns_out_to_be_a_thought_begins_anew() -> None:
    splitter, reply = StepSplitter(), Reply()
    reply.add_content("Hm, let me")
    assert splitter.update(reply.parts) == [PartialStep(1, "final_answer", "Hm, let me")]
    reply.add_content(" see.</think>")
    assert splitter.update(reply.parts) == [PartialStep(1, "thought", "Hm, let me see.", attempt=2)]
    reply.add_content("Yes")
    step, partial = splitter.update(reply.parts)
    assert isinstance(step, Step)
    assert (step.type, step.data["step"], step.data["content"]) == ("thought", 1, "Hm, let me see.")
    assert partial == PartialStep(2, "final_answer", "Yes")


def test_a_reply_that_breaks_off_leaves_partial_steps() -> None:
    def broken(*parts: tuple[str, str]) -> list[dict[str, Any]]:
        reply = Reply()
        for what, text in parts:
            {
                "reasoning": reply.add_reasoning,
                "content": reply.add_content,
                "call": lambda text: reply.add_call("f", text),
            }[what](text)
        steps, _ = StepSplitter(clock=counter(), now=counter()).finish(reply.parts, partial=True)
        return [{key: step.data[key] for key in ("type", "content", "partial") if key in step.data} for step in steps]

    assert broken() == []
    assert broken(("reasoning", "hm")) == [{"type": "thought", "content": "hm", "partial": True}]
    assert broken(("reasoning", "hm"), ("content", "It")) == [
        {"type": "thought", "content": "hm"},
        {"type": "final_answer", "content": "It", "partial": True},
    ]
    assert broken(("content", "I look."), ("call", '{"a')) == [
        {"type": "thought", "content": "I look."},
        {"type": "tool_use", "content": ""},
    ]


def test_ids_are_given_in_linear_time() -> None:
    """Also where the model has used those that would be next."""

    def number(text: str) -> None:
        count = len(text)
        splitter = StepSplitter(taken_ids=[f"call_{at}" for at in range(count, 2 * count)])
        _, calls = splitter.call([("python", "{}")] * count)
        assert len({call.id for call in calls}) == count

    assert_linear(number, "." * 8_000)


def test_text_between_many_thoughts_takes_linear_time() -> None:
    def read(text: str) -> None:
        splitter, reply, shown = StepSplitter(), Reply(), 0
        splitter.begin()
        for at, letter in enumerate(text):
            reply.add_content(letter)
            if at % 8 == 0:
                shown += len(splitter.update(reply.parts))
            reply.add_reasoning("b")
        reply.finish("stop")
        steps, _ = splitter.finish(reply.parts)
        assert steps[-1].data["content"] == text
        assert shown > len(text) // 2

    assert_linear(read, "a" * 24_000)


def test_calls_have_ids_unique_in_the_run_and_arguments_as_object_or_text() -> None:
    splitter = StepSplitter(["old"], clock=counter(), now=counter())
    reply = Reply()
    for id_, name, arguments in [
        ("x", "f", '{"a": 1}'),
        ("x", "f", "{oops"),
        ("", "g", ""),
        ("old", "", "[1]"),
        ("y", "f", '{"n": NaN}'),
    ]:
        reply.add_call(name, arguments, id_)
    steps, calls = splitter.finish(reply.parts)
    fields = [(step.data["tool_call_id"], step.data["tool_name"], step.data["arguments"]) for step in steps]
    assert fields[0] == ("x", "f", {"a": 1})
    assert [name for _, name, _ in fields] == ["f", "f", "g", NAMELESS, "f"]
    assert [arguments for _, _, arguments in fields] == [{"a": 1}, "{oops", {}, "[1]", '{"n": NaN}']
    assert len({call.id for call in calls} | {"old"}) == 6
    assert [call.id for call in calls] == [id_ for id_, _, _ in fields]


def test_texts_inside_arguments_are_storable() -> None:
    reply = Reply()
    reply.add_call("f", r'{"a\u0000": ["\ud83d", "\ud83d\ude00"]}')
    (step,), _ = StepSplitter().finish(reply.parts)
    assert step.data["arguments"] == {"a\ufffd": ["\ufffd", "😀"]}


def test_a_result_is_whole_up_to_the_limit_and_never_cut_in_a_character() -> None:
    def result(content: str) -> Step:
        splitter, reply = StepSplitter(), Reply()
        reply.add_call("f", "{}", "x")
        splitter.finish(reply.parts)
        return splitter.result("x", ok=True, content=content, duration_ms=1)

    short = result("天" * CONTENT_LIMIT)
    assert (short.data["truncated"], short.data["content_length"], short.full_content) == (False, CONTENT_LIMIT, None)
    long = result("a" + "😀" * CONTENT_LIMIT)
    assert long.data["content"] == "a" + "😀" * (CONTENT_LIMIT // 2 - 1)
    assert (long.data["truncated"], long.data["content_length"]) == (True, 2 * CONTENT_LIMIT + 1)
    assert long.full_content == "a" + "😀" * CONTENT_LIMIT


def test_every_step_has_the_fields_of_the_wire() -> None:
    steps = watch([[("reasoning", "hm"), ("call", '{"a": 1}')], [("content", "Yes.")]], [True], 3).steps
    common = {"type", "content", "iteration", "timestamp"}
    further = {
        "start": {"message"},
        "iteration_start": set(),
        "iteration_end": set(),
        "thought": {"step", "duration_ms"},
        "tool_use": {"step", "tool_name", "tool_call_id", "arguments"},
        "tool_result": {"step", "tool_name", "tool_call_id", "ok", "duration_ms", "truncated", "content_length"},
        "final_answer": {"step", "duration_ms"},
        "complete": {"total_iterations"},
    }
    assert {step["type"] for step in steps} == set(further)
    for step in steps:
        assert set(step) == common | further[step["type"]]
    assert [step["iteration"] for step in steps] == [0, 1, 1, 1, 1, 1, 2, 2, 2, 2]
    assert [step["step"] for step in steps if "step" in step] == [1, 2, 3, 4]
