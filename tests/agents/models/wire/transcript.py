"""How the tables of this folder are written and read: what a model server sends, byte for byte, and the expected steps.

A further case is one line in one of the tables: a name, the bytes, and the steps and the end.
"""

import json
from collections.abc import Iterable
from typing import Any, ClassVar

from agents.cancellation import CancelToken
from agents.errors import ModelError
from agents.models import openai_stream
from agents.models.chunks import ServerError
from agents.models.completion_reader import CompletionReader
from agents.models.ends import check_end
from agents.models.reply import Reply
from agents.snapshots import StepSplitter

Table = dict[str, tuple[bytes, list[str]]]
"""By name: the body, and what comes of it, as `result_of` writes it."""


def body(*chunks: dict[str, Any] | str, done: bool = True, end: str = "\n\n") -> bytes:
    """An event stream of chunks; a text is inserted as it is."""
    events = [chunk if isinstance(chunk, str) else f"data: {_json(chunk)}{end}" for chunk in chunks]
    return ("".join(events) + (f"data: [DONE]{end}" if done else "")).encode("utf-8", "surrogatepass")


def chunk_of(content: Any = None, **delta: Any) -> dict[str, Any]:
    """A chunk with this delta."""
    return {"choices": [{"delta": delta if content is None else {"content": content, **delta}}]}


def ends(reason: Any = "stop", content: str | None = None, **choice: Any) -> dict[str, Any]:
    """A chunk with this finish reason."""
    return {"choices": [{"delta": {"content": content} if content else {}, "finish_reason": reason, **choice}]}


def call(
    arguments: Any = None,
    *,
    name: str | None = None,
    id: str | None = None,  # noqa: A002
    index: int | None = 0,
) -> dict[str, Any]:
    """A chunk with a piece of a tool call; fields that are ``None`` are left out."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    result_of = {key: value for key, value in (("index", index), ("id", id)) if value is not None}
    return chunk_of(tool_calls=[{**result_of, "function": function}])


def answers(text: str, *, piece: int = 7) -> bytes:
    """A stream with this content, split into pieces."""
    return body(*(chunk_of(text[i : i + piece]) for i in range(0, len(text), piece)), ends())


def whole(message: dict[str, Any], reason: str | None = "stop", **more: Any) -> bytes:
    """An answer that is not streamed."""
    choice = {"message": message} | ({"finish_reason": reason} if reason else {})
    return _json({"choices": [choice], **more}).encode()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Python:
    """A tool, of which only the name and the parameters matter here."""

    name = "python"
    description = "Runs a program."
    parameters: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "code": {"type": "string"},
            "times": {"type": "integer"},
            "quick": {"type": "boolean"},
            "names": {"type": "array"},
        },
    }
    timeout_s = 5.0
    output_limit = 100

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        return "42"


class Look(Python):
    """Another one."""

    name = "look"


def result_of(pieces: Iterable[bytes], *, asks_for_text_calls: bool = False) -> list[str]:
    """The result of a body that arrives in these pieces: its steps, and its end unless that is a success."""
    reply = Reply()
    reply.tools = {tool.name: tool.parameters for tool in (Python, Look)}
    reply.asks_for_text_calls = asks_for_text_calls
    reader = CompletionReader(reply)
    error: Exception | None = None
    try:
        try:
            for piece in pieces:
                reader.feed(piece)
            reader.close()
        finally:
            reply.settle()
        if reply.finish_reason is None:
            raise openai_stream._cut_off()
        check_end(reply)
    except (ModelError, ServerError, ValueError) as caught:
        error = caught if isinstance(caught, ModelError) else openai_stream._in_words(caught, "http://h/v1", "", 1)
    steps, _ = StepSplitter().finish(reply.parts, partial=error is not None, note=reply.end_note)
    return [*map(shown, (step.data for step in steps)), *([f"fails: {error}"] if error else [])]


def shown(data: dict[str, Any]) -> str:
    """A step in the form of the tables."""
    if data["type"] == "tool_use":
        arguments = data["arguments"]
        return f"call: {data['tool_name']} {arguments if isinstance(arguments, str) else _json(arguments)}"
    kind = "thought" if data["type"] == "thought" else "answer"
    return f"{kind}{' so far' if data.get('partial') else ''}: {data['content']}"
