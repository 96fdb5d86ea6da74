"""Turns a run's frames into the Responses API's object, whole or as a stream of events (Open Responses). Pure: no I/O."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import orjson

from agents.json_types import JsonObject
from chat.openai.failures import run_failure
from chat.openai.pieces import BETWEEN, Ended, Frame, Kind, Piece, PieceReader, Text, ToolCall, ToolResult
from chat.protocol.frame_data import Usage

#: The type of items for tools that ran here, not at the client. By the specification it carries a product's own prefix.
TOOL_CALL = "thinkaloud:tool_call"
DONE = b"data: [DONE]\n\n"
_STEMS: dict[Kind, str] = {"thought": "rs", "text": "msg"}
_CONTENT: dict[Kind, str] = {"thought": "reasoning_text", "text": "output_text"}

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed"]
Item = JsonObject


def response_id(run_id: str) -> str:
    """The id of a run's response."""
    return f"resp_{run_id}"


class InputDetails(TypedDict):
    """Details of the input tokens."""

    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(TypedDict):
    """Details of the output tokens."""

    reasoning_tokens: int


class ResponseUsage(TypedDict):
    """Tokens, by the names of responses."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


def usage_of(usage: Usage) -> ResponseUsage:
    """Tokens, by the names of responses."""
    sent, written = usage["input_tokens"], usage["output_tokens"]
    return {
        "input_tokens": sent,
        "input_tokens_details": {"cached_tokens": usage.get("cached_tokens", 0), "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens", 0)},
        "total_tokens": sent + written,
    }


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of a request that its response repeats."""

    run_id: str
    model: str
    created: int
    instructions: str | None = None
    previous: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    def resource(self, status: Status, output: list[Item], ended: Ended | None = None) -> JsonObject:
        """The response in one of its states."""
        failure = run_failure(ended) if ended is not None and ended.error else None
        return {
            "id": response_id(self.run_id),
            "object": "response",
            "created_at": self.created,
            "completed_at": self.created + ended.duration_ms // 1000 if ended and not ended.error else None,
            "status": status,
            "background": False,
            "error": None if failure is None else {"code": failure.code, "message": failure.message},
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": self.instructions,
            "max_output_tokens": None,
            "max_tool_calls": None,
            "model": self.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": self.previous,
            "prompt_cache_key": None,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": None,
            "service_tier": "default",
            "store": True,
            "temperature": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": 0,
            "top_p": 1.0,
            "truncation": "auto",
            "usage": None if ended is None else usage_of(ended.usage),
            "user": None,
            "metadata": self.metadata,
        }


def status_of(ended: Ended) -> Status:
    """The response's state for the end of its run."""
    if ended.error:
        return "failed"
    return "incomplete" if ended.is_cut else "completed"


@dataclass(slots=True)
class Output:
    """The output items of a run that were written so far."""

    run_id: str
    items: list[Item] = field(default_factory=list)
    ended: Ended | None = None
    #: The index of each part's and each call's item.
    _places: dict[int | str, int] = field(default_factory=dict)

    def add(self, piece: Piece) -> int:
        """Add a piece. Returns the index of its item."""
        match piece:
            case Text(part=part, kind=kind, text=text):
                if part not in self._places:
                    self._places[part] = len(self.items)
                    self.items.append(_text_item(f"{_STEMS[kind]}_{self.run_id}_{part}", kind))
                place = self._places[part]
                item = self.items[place]
                item["content"][0]["text"] += text
                if piece.is_whole:
                    item["status"] = "completed"
                return place
            case ToolCall(call_id=call_id):
                self._places[call_id] = len(self.items)
                self.items.append(_call_item(f"tool_{self.run_id}_{call_id}", piece))
            case ToolResult(call_id=call_id):
                place = self._places.get(call_id, len(self.items) - 1)
                self.items[place] |= {"status": "completed" if piece.ok else "failed", "output": piece.content}
                return place
            case Ended():
                self.ended = piece
        return len(self.items) - 1


def _text_item(item_id: str, kind: Kind) -> Item:
    if kind == "thought":
        content = {"type": "reasoning_text", "text": ""}
        return {"id": item_id, "type": "reasoning", "status": "in_progress", "summary": [], "content": [content]}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    return {"id": item_id, "type": "message", "role": "assistant", "status": "in_progress", "content": [part]}


def _call_item(item_id: str, call: ToolCall) -> Item:
    return {
        "id": item_id,
        "type": TOOL_CALL,
        "status": "in_progress",
        "call_id": call.call_id,
        "name": call.name,
        "arguments": call.arguments,
        "output": None,
    }


@dataclass(slots=True)
class ResponseStream:
    """The events of a run as the body of an event stream. Pass it the frames of the run's session in order; it returns bytes."""

    asked: Asked
    is_over: bool = False
    _output: Output = field(init=False)
    _reader: PieceReader = field(init=False)
    _number: int = 0
    #: For each part that is being written, the bytes around its pieces, except for their number and text.
    _around: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._output = Output(self.asked.run_id)
        self._reader = PieceReader(self.asked.run_id)

    @property
    def differing_answer(self) -> str:
        """The answer as it was sent to the client, if it differs from the stored one; else empty."""
        texts = [item["content"][0]["text"] for item in self._output.items if item["type"] == "message"]
        content = BETWEEN.join(texts)
        return content if content.strip() != self._reader.answer.strip() else ""

    def begin(self) -> bytes:
        """The first events."""
        begun = self.asked.resource("in_progress", [])
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def render(self, frame: Frame) -> bytes:
        """The events for a further frame; empty for most frames that carry no text."""
        return b"".join(event for piece in self._reader.read_frame(frame) for event in self._events(piece))

    def _events(self, piece: Piece) -> Iterator[bytes]:
        match piece:
            case Text():
                yield from self._text(piece)
            case ToolCall():
                place = self._output.add(piece)
                yield self._event("response.output_item.added", output_index=place, item=self._output.items[place])
            case ToolResult():
                place = self._output.add(piece)
                yield self._event("response.output_item.done", output_index=place, item=self._output.items[place])
            case Ended():
                self._output.add(piece)
                yield from self._end(piece)

    def _text(self, piece: Text) -> Iterator[bytes]:
        if piece.part not in self._around:
            place = self._output.add(Text(piece.part, piece.kind, ""))
            item = self._output.items[place]
            yield self._event("response.output_item.added", output_index=place, item={**item, "content": []})
            where = {"item_id": item["id"], "output_index": place, "content_index": 0}
            yield self._event("response.content_part.added", **where, part=item["content"][0])
            name = f"response.{_CONTENT[piece.kind]}.delta"
            head, tail = orjson.dumps({"type": name, **where})[:-1], b"}\n\n"
            more = b',"logprobs":[]' if piece.kind == "text" else b""
            self._around[piece.part] = (f"event: {name}\ndata: ".encode() + head + b',"sequence_number":', more + tail)
        place = self._output.add(piece)
        if piece.text:
            head, tail = self._around[piece.part]
            yield b'%b%d,"delta":%b%b' % (head, self._number, orjson.dumps(piece.text), tail)
            self._number += 1
        if piece.is_whole:
            yield from self._close(place, piece.kind)

    def _close(self, place: int, kind: Kind) -> Iterator[bytes]:
        item = self._output.items[place]
        where = {"item_id": item["id"], "output_index": place, "content_index": 0}
        (part,) = item["content"]
        more: JsonObject = {"logprobs": []} if kind == "text" else {}
        yield self._event(f"response.{_CONTENT[kind]}.done", **where, text=part["text"], **more)
        yield self._event("response.content_part.done", **where, part=part)
        yield self._event("response.output_item.done", output_index=place, item=item)

    def _end(self, ended: Ended) -> Iterator[bytes]:
        self.is_over = True
        status = status_of(ended)
        if ended.error:
            error = run_failure(ended).body()
            fields = {key: value for key, value in error.items() if key != "type"}
            yield self._event("error", **fields, error=error)
        whole = self.asked.resource(status, self._output.items, ended)
        yield self._event(f"response.{status}", response=whole) + DONE

    def _event(self, kind: str, **data: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        body = orjson.dumps({"type": kind, **data, "sequence_number": number})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)
