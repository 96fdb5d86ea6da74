"""Histories made valid for a model."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.events import LeftOut
from agents.history import NO_RESULT, fit_to_budget, make_valid, message_tokens, repair_tool_calls
from tests.agents.untrusted.linear import assert_linear


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str, *calls: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {"id": call, "type": "function", "function": {"name": f"tool_{call}", "arguments": "{}"}} for call in calls
        ]
    return message


def result(call: str, text: str = "r") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "name": f"tool_{call}", "content": text}


def test_a_sound_history_stays_as_it_is() -> None:
    history = [user("a"), assistant("", "1", "2"), result("2"), result("1"), assistant("b"), user("c")]
    assert repair_tool_calls(history) == history


def test_a_call_without_a_result_gets_one_that_says_so() -> None:
    assert repair_tool_calls([user("a"), assistant("x", "1", "2"), result("2"), user("b")]) == [
        user("a"),
        assistant("x", "1", "2"),
        result("2"),
        result("1", NO_RESULT),
        user("b"),
    ]
    assert repair_tool_calls([user("a"), assistant("", "1")])[-1] == result("1", NO_RESULT)


def test_a_result_without_a_call_is_dropped() -> None:
    assert repair_tool_calls([result("1"), user("a"), assistant("b"), result("2")]) == [user("a"), assistant("b")]


def test_contents_are_text() -> None:
    given_: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "a\x00"}, {"type": "image_url"}]},
        {"role": "assistant", "content": None},
    ]
    assert [message["content"] for message in repair_tool_calls(given_)] == ["a\ufffd", ""]


@pytest.mark.parametrize(
    "name",
    [lambda at: "call_1", lambda at: f"{'x' * 300}{at // 2}", lambda at: chr(0x4E00 + at)],
    ids=["same", "long", "invalid"],
)
def test_a_history_is_made_valid_in_linear_time(name: Callable[[int], str]) -> None:
    """Also where all its calls have the same id, or names that have to be replaced by the same one."""

    def make(text: str) -> None:
        calls = [name(at) for at in range(len(text))]
        valid = make_valid(
            repair_tool_calls([each for call in calls for each in (user("q"), assistant("a", call), result(call))])
        )
        assert len({message["tool_call_id"] for message in valid if message["role"] == "tool"}) == len(calls)

    assert_linear(make, "." * 16_000)


def _one_turn(count: int, results: Callable[[int], str]) -> list[dict[str, Any]]:
    asking = assistant("a", *(f"c{at}" for at in range(count)))
    return [user("q"), asking, *(result(results(at)) for at in range(count))]


@pytest.mark.parametrize(
    ("many", "length"),
    [
        (lambda count: _one_turn(count, lambda at: f"c{count - 1 - at}"), 8_000),
        (lambda count: _one_turn(count, lambda at: "unknown"), 8_000),
        (lambda count: [user("q"), *(assistant("a" * 500) for _ in range(count))], 8_000),
        (lambda count: [{"role": "system", "content": "a" * 500} for _ in range(count)], 16_000),
    ],
    ids=["results in reverse", "results of no call", "texts after one another", "instructions after one another"],
)
def test_a_client_s_history_is_made_valid_in_linear_time(
    many: Callable[[int], list[dict[str, Any]]], length: int
) -> None:
    assert_linear(lambda text: make_valid(repair_tool_calls(many(len(text)))), "." * length)


TURN = st.lists(st.integers(0, 400), max_size=3).map(
    lambda sizes: [
        user("q" * 80),
        *(m for i, n in enumerate(sizes) for m in (assistant("", str(i)), result(str(i), "r" * n))),
        assistant("a" * 40),
    ]
)


def renumbered(turn: list[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    """The turn with ids that no other turn has."""
    found: list[dict[str, Any]] = json.loads(re.sub(r'("(?:tool_call_id|id)": ")', rf"\g<1>{prefix}", json.dumps(turn)))
    return found


@given(st.lists(TURN, min_size=1, max_size=6), st.integers(0, 1_500))
def test_the_newest_turns_that_fit_are_kept_whole(turns: list[list[dict[str, Any]]], budget: int) -> None:
    system = {"role": "system", "content": "You are you."}
    turns = [renumbered(turn, f"turn{number}_") for number, turn in enumerate(turns)]
    messages = [system, *(message for turn in turns for message in turn)]
    kept, total, left_out = fit_to_budget(messages, budget)
    assert kept[0] == system
    assert total == sum(map(message_tokens, kept))
    assert left_out == LeftOut(len(messages) - len(kept), sum(map(message_tokens, messages)) - total)
    number_kept = sum(m["role"] == "user" for m in kept)
    assert repair_tool_calls(kept) == kept
    if sum(map(message_tokens, [system, *turns[-1]])) > budget:  # its results are too short to be cut
        assert number_kept == 1
        assert kept[1] == turns[-1][0]
        assert kept[2:] == turns[-1][-(len(kept) - 2) :]
        assert len(kept) == 3 or total <= budget or len(turns[-1]) == 2
        return
    assert len(kept) == 1 + sum(map(len, turns[len(turns) - number_kept :]))
    if sum(map(message_tokens, messages)) <= budget:
        assert kept == messages
    elif number_kept < len(turns):  # one more turn would have been too much
        more = [system, *(message for turn in turns[len(turns) - number_kept - 1 :] for message in turn)]
        assert sum(map(message_tokens, more)) > budget


def test_a_newest_turn_too_long_by_itself_has_its_older_results_shortened() -> None:
    turn = [user("q"), assistant("", "1"), result("1", "r" * 40_000), assistant("", "2"), result("2", "天" * 400)]
    kept, total, left_out = fit_to_budget(turn, 2_000)
    assert total <= 2_000
    assert kept[2]["content"].startswith("r" * 600)
    assert "shortened" in kept[2]["content"]
    assert (left_out.messages, left_out.tokens) == (0, sum(map(message_tokens, turn)) - total)
    assert kept[4] == turn[4]
