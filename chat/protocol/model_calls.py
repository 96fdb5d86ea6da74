"""Model calls of a run for the API: what each was sent, used and cost. Times are Unix seconds."""

from typing import NotRequired

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.json_types import JsonObject
from chat.protocol.frame_data import CostData


class SentMessageData(TypedDict):
    """A message that the model was sent, without its text."""

    role: str
    sha256: str
    """Of the message's JSON text."""
    tokens_estimated: int


class LeftOutData(TypedDict):
    """What of the conversation was left out, because it is longer than the model reads."""

    messages: int
    tokens_estimated: int


class CallUsageData(TypedDict):
    """Tokens of a call; zeros until it has ended."""

    input_tokens: int
    output_tokens: int
    cached_tokens: NotRequired[int]
    reasoning_tokens: NotRequired[int]
    estimated: bool
    """Whether the model's server has not reported them."""


class CallData(TypedDict):
    """A model call: a request and its result. ``duration_ms`` is null until it has ended."""

    iteration: int
    attempt: int
    """A request that the server refused is followed by a narrower one."""
    model: str
    provider: str
    """The model server's name."""
    agent_version: int | None
    parameters: JsonObject
    tools: list[str]
    messages: list[SentMessageData]
    left_out: LeftOutData | None
    started_at: float
    first_token_ms: int | None
    duration_ms: int | None
    finish_reason: str | None
    usage: CallUsageData
    cost: NotRequired[CostData]
    """Missing where it is not known."""
    error: NotRequired[str]
    """Why it has no answer, or only a partial one."""


class CallsData(TypedDict):
    """The model calls of a run in order."""

    calls: list[CallData]
    next: NotRequired[str | None]
    """The cursor of the next page, where pages were requested."""


class MessagesData(TypedDict):
    """The messages of a call in full, as they were sent."""

    messages: list[JsonObject]
