"""Turns a run's frames into OpenAI's chat completions, whole or in chunks. Pure: no I/O."""

from dataclasses import dataclass, field
from typing import Literal, NotRequired, TypedDict

import orjson

from chat.openai.failures import run_failure
from chat.openai.pieces import BETWEEN, AnswerParts, Ended, Frame, Piece, PieceReader, Text, tool_words
from chat.protocol.frame_data import Usage

DONE = b"data: [DONE]\n\n"


class PromptDetails(TypedDict):
    """Details of the input tokens."""

    cached_tokens: int


class CompletionDetails(TypedDict):
    """Details of the output tokens."""

    reasoning_tokens: int


class CompletionUsage(TypedDict):
    """Tokens, by the names of chat completions."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class CompletionMessage(TypedDict):
    """The answer."""

    role: Literal["assistant"]
    content: str
    refusal: None
    reasoning_content: NotRequired[str]
    """The thoughts; a field that many servers use."""


class Choice(TypedDict):
    """An answer; there is only one."""

    index: int
    message: CompletionMessage
    logprobs: None
    finish_reason: str


class Completion(TypedDict):
    """An answer that is sent as a whole."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage


class _Envelope(TypedDict):
    """The fields of every chunk."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str


def usage_of(usage: Usage) -> CompletionUsage:
    """Tokens, by the names of chat completions."""
    sent, written = usage["input_tokens"], usage["output_tokens"]
    return {
        "prompt_tokens": sent,
        "completion_tokens": written,
        "total_tokens": sent + written,
        "prompt_tokens_details": {"cached_tokens": usage.get("cached_tokens", 0)},
        "completion_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens", 0)},
    }


def build_completion(run_id: str, model: str, created: int, parts: AnswerParts) -> Completion:
    """The answer of a run that has completed."""
    assert parts.ended is not None  # noqa: S101 - the caller has waited for it
    message: CompletionMessage = {"role": "assistant", "content": BETWEEN.join(parts.content), "refusal": None}
    if parts.reasoning:
        message["reasoning_content"] = BETWEEN.join(parts.reasoning)
    choice: Choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(parts.ended)}
    return {
        "id": f"chatcmpl-{run_id}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": usage_of(parts.ended.usage),
    }


def _reason(ended: Ended) -> str:
    return "length" if ended.is_cut else "stop"


@dataclass(slots=True)
class CompletionStream:
    """The chunks of a run as the body of an event stream. Pass it the frames of the run's session in order; it returns bytes."""

    run_id: str
    model: str
    created: int
    with_usage: bool = False
    """Whether the client wants a last chunk with the token usage."""
    is_over: bool = False
    _reader: PieceReader = field(init=False)
    _head: bytes = field(init=False)
    _tail: bytes = field(init=False)
    _content: str = ""
    #: For each field, the part that was sent last.
    _parts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reader = PieceReader(self.run_id)
        head = orjson.dumps(self._envelope())[:-1]
        # The bytes around a token's text are the same for every token.
        self._head = b"data: " + head + b',"choices":[{"index":0,"delta":{"'
        self._tail = (
            b'},"logprobs":null,"finish_reason":null}]' + (b',"usage":null}' if self.with_usage else b"}") + b"\n\n"
        )

    @property
    def differing_answer(self) -> str:
        """The answer as it was sent to the client, if it differs from the stored one; else empty."""
        return self._content if self._content.strip() != self._reader.answer.strip() else ""

    def begin(self) -> bytes:
        """The first chunk."""
        return self._head + b'role":"assistant","content":""' + self._tail

    def render(self, frame: Frame) -> bytes:
        """The chunks for a further frame; empty for most frames that carry no text."""
        return b"".join([self._chunk(piece) for piece in self._reader.read_frame(frame)])

    def _chunk(self, piece: Piece) -> bytes:
        match piece:
            case Text(is_whole=True):
                return b""
            case Text(part=part, kind="text", text=text):
                text = self._parted("content", part, text)
                self._content += text
                return self._delta(b'content":', text)
            case Text(part=part, text=text):
                return self._delta(b'reasoning_content":', self._parted("reasoning", part, text))
            case Ended():
                return self._end(piece)
            case _:
                return self._delta(b'reasoning_content":', self._parted("reasoning", -1, tool_words(piece)))

    def _parted(self, name: str, part: int, text: str) -> str:
        """The text, separated from the part that was sent before it in the same field."""
        before = self._parts.get(name)
        self._parts[name] = part
        return text if before is None or (before == part and part > 0) else BETWEEN + text

    def _delta(self, name: bytes, text: str) -> bytes:
        return self._head + name + orjson.dumps(text) + self._tail

    def _end(self, ended: Ended) -> bytes:
        self.is_over = True
        if ended.error:
            return b"data: " + orjson.dumps({"error": run_failure(ended).body()}) + b"\n\n" + DONE
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": _reason(ended)}
        last = {**self._envelope(), "choices": [choice]}
        if not self.with_usage:
            return b"data: " + orjson.dumps(last) + b"\n\n" + DONE
        used = {**self._envelope(), "choices": [], "usage": usage_of(ended.usage)}
        return b"".join(b"data: " + orjson.dumps(each) + b"\n\n" for each in ({**last, "usage": None}, used)) + DONE

    def _envelope(self) -> _Envelope:
        return {
            "id": f"chatcmpl-{self.run_id}",
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        }
