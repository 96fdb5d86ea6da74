"""A conversation made fit for a model: no call without its result, and no longer than the model can read."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from agents.text import clean, estimate_tokens

ChatMessage = dict[str, Any]
"""A message in OpenAI's shape."""

NO_RESULT = "This call was interrupted before it had a result."
_SHORTENED = "\n[… shortened to fit the model's memory]"
_SHORT = 600
"""Characters that a shortened tool result keeps."""


def sound(history: Sequence[Mapping[str, Any]]) -> list[ChatMessage]:
    """The history with every tool call answered and every result asked for.

    A call left dangling by a stop or a crash gets a result that says so; a result without its call, as a cut may
    leave behind, is dropped. Results are put right behind their call's message.
    """
    messages: list[ChatMessage] = []
    waiting: dict[str, str] = {}

    def close() -> None:
        for call_id, name in waiting.items():
            messages.append({"role": "tool", "tool_call_id": call_id, "name": name, "content": NO_RESULT})
        waiting.clear()

    for given in history:
        message = dict(given)
        message["content"] = clean(_text(message.get("content")))
        if message["role"] == "tool":
            name = waiting.pop(str(message.get("tool_call_id", "")), None)
            if name is None:
                continue
            message["name"] = name
        else:
            close()
            calls = message.get("tool_calls") or ()
            waiting |= {str(call["id"]): str(call["function"]["name"]) for call in calls}
        messages.append(message)
    close()
    return messages


def fit(messages: list[ChatMessage], budget: int) -> tuple[list[ChatMessage], int]:
    """The messages that fit into ``budget`` tokens, and what they cost, both estimated.

    Left out are whole turns, the oldest first: a turn goes from a user's message to before the next. The
    system's message and the newest turn stay; if they alone are too long, the newest turn's older results are shortened.
    """
    costs = [cost(message) for message in messages]
    total = sum(costs)
    if total <= budget:
        return messages, total
    head = 1 if messages and messages[0]["role"] == "system" else 0
    starts = [i for i in range(head, len(messages)) if i == head or messages[i]["role"] == "user"]
    keep_from = head
    for start, following in pairwise(starts):
        if total <= budget:
            break
        total -= sum(costs[start:following])
        keep_from = following
    kept = messages[:head] + messages[keep_from:]
    for index, message in enumerate(kept):
        if total <= budget:
            break
        if message["role"] == "tool" and len(message["content"]) > _SHORT + len(_SHORTENED):
            before = cost(message)
            kept[index] = {**message, "content": message["content"][:_SHORT] + _SHORTENED}
            total -= before - cost(kept[index])
    return kept, total


def cost(message: ChatMessage) -> int:
    """Tokens a message takes, estimated."""
    calls = message.get("tool_calls") or ()
    words = estimate_tokens(message["content"] or "")
    return (
        4 + words + sum(8 + estimate_tokens(call["function"]["name"] + call["function"]["arguments"]) for call in calls)
    )


def _text(content: Any) -> str:
    """Content as text, also where it comes in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return "" if content is None else str(content)
