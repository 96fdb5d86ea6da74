"""The interface of tools, what they are given from outside, and how they fail."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, Self, TypedDict

from agents.cancellation import CancelToken
from agents.json_types import JsonObject
from agents.tools.file_access import ReturnedFile, SessionFiles
from agents.tools.policy import HostPolicy, SessionPrivacy


class HistoryHit(TypedDict, total=False):
    """A step of an earlier session that matches a search."""

    session_id: str
    session_title: str
    date: datetime | str
    """When it was stored; a text begins with the date."""
    step: int | None
    type: str
    excerpt: str


class ToolError(Exception):
    """A tool could not do it. The message is a sentence that is shown to the model and to people unchanged."""


class WaitsForPeople(Exception):
    """What a tool has begun waits for people, and holds nothing meanwhile: the same call is made again when they have decided."""


class ToolText(str):
    """A tool's result with files beside its text."""

    __slots__ = ("files",)

    files: Sequence[ReturnedFile]

    def __new__(cls, text: str, files: Sequence[ReturnedFile]) -> Self:
        """The text, and the files, which are not stored yet."""
        made = super().__new__(cls, text)
        made.files = files
        return made


class Tool(Protocol):
    """Something an agent can call. A class derived from it has the limits that it does not set itself.

    The caller enforces limits of time and output; a tool that has a stricter way enforces them too. One that
    sends nothing outside, whatever its arguments, has ``reaches_outside = False``; one that changes nothing outside, so that
    a call of it may be made once more, by ``has_side_effects = False``. What the operator sets for it, it declares as
    `agents.tools.declared.Setting` and `Secret`. An extension's tool is made for each run, without arguments.
    """

    @property
    def name(self) -> str:
        """The name that the model calls it by."""
        ...

    @property
    def description(self) -> str:
        """What it does and when to use it, for the model."""
        ...

    @property
    def parameters(self) -> JsonObject:
        """JSON schema of the arguments: an object."""
        ...

    @property
    def timeout_s(self) -> float:
        """Longest time that a call may take."""
        return 60.0

    @property
    def output_limit(self) -> int:
        """Longest result in characters."""
        return 50_000

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Execute the call, blocking, in a thread of its own; ends soon after ``stop``. Raises `ToolError`.

        Files are returned by a `ToolText`.
        """
        ...


def has_side_effects(tool: Tool) -> bool:
    """Whether a call may change something outside; true for a tool that does not say so."""
    return bool(getattr(tool, "has_side_effects", True))


@dataclass(frozen=True)
class Toolbox:
    """What the caller of an agent gives its tools."""

    search_history: Callable[[str, int], Sequence[HistoryHit]] | None = None
    """``(query, limit)`` → hits in the requesting user's own sessions. Called in the tool's thread."""
    mcp_servers: Mapping[str, Any] = field(default_factory=dict)
    """MCP servers by name, in the form of Qwen-Agent's ``mcpServers``; all their tools are added."""
    extra: Sequence[Tool] = ()
    """Tools of the caller's own. One that bears a built-in tool's name takes its place."""
    privacy: SessionPrivacy | None = None
    """The session's record of private things, where it outlives the run."""
    hosts: HostPolicy = field(default_factory=HostPolicy)
    """The hosts that tools may request."""
    is_asked_by_person: bool = True
    """Whether a person wrote the user's messages in the conversation; else an agent did, which may have been misled into them."""
    files: SessionFiles | None = None
    """The session's files. Where it uses any, `read_file` and `search_file` are offered."""
