"""An agent as Qwen-Agent has them, unchanged except for what it declares."""

from collections.abc import Iterator
from typing import Any

from qwen_agent.agents import FnCallAgent
from qwen_agent.llm.schema import ASSISTANT, Message

from tests.example_extension.roll_dice import RollDice


class Poet(FnCallAgent):  # type: ignore[misc] # Qwen-Agent has no types
    """Answers, and signs its texts."""

    tools = ("current_time",)

    def __init__(self, llm: Any = None, function_list: Any = None) -> None:
        super().__init__([*(function_list or []), RollDice()], llm, "You are a poet.")

    def _run(self, messages: list[Message], **kwargs: Any) -> Iterator[list[Message]]:
        replies: list[Message] = []
        for replies in super()._run(messages, **kwargs):
            yield replies
        yield [*replies[:-1], Message(ASSISTANT, f"{replies[-1].content}\n\nThe poet")]
