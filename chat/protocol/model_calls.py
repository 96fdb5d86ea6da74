"""Model calls of a run for the API: what each was sent, used and cost. Times are Unix seconds."""

from typing import NotRequired

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.json_types import JsonObject
from chat.protocol.frame_data import CostData


class SentMessageData(TypedDict):
    """A message that was sent to the model, without its text."""

    role: str
    sha256: str
    """The digest of the message's JSON text."""
    tokens_estimated: int


class LeftOutData(TypedDict):
    """How much of the conversation was left out because it was longer than the model's context."""

    messages: int
    tokens_estimated: int


class CallUsageData(TypedDict):
    """Tokens of a call; zero until it has ended."""

    input_tokens: int
    output_tokens: int
    cached_tokens: NotRequired[int]
    reasoning_tokens: NotRequired[int]
    estimated: bool
    """Whether they are estimated, because the model's server did not report them."""


class CallData(TypedDict):
    """A model call: a request and its result. ``duration_ms`` is null until it has ended."""

    iteration: int
    attempt: int
    """Numbers the requests of a call: a refused one is followed by an adapted one."""
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
    """Missing if it is not known."""
    error: NotRequired[str]
    """Why it has no answer, or only a partial one."""


class CallsData(TypedDict):
    """The model calls of a run in order."""

    calls: list[CallData]
    next: NotRequired[str | None]
    """The cursor of the next page, if pages were requested."""


class MessagesData(TypedDict):
    """The messages of a call in full, as they were sent."""

    messages: list[JsonObject]
