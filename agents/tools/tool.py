"""The interface of tools: what they are given, and how they report errors."""

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
    """When it was stored; a string begins with the date."""
    step: int | None
    type: str
    excerpt: str


class ToolError(Exception):
    """A tool failed. The message is a sentence that is shown to the model and to people unchanged."""


class WaitsForPeople(Exception):
    """Something that the tool has begun waits for people. The call uses nothing meanwhile, and is made again when they have decided."""


class ToolText(str):
    """A tool's result with files besides its text."""

    __slots__ = ("files",)

    files: Sequence[ReturnedFile]

    def __new__(cls, text: str, files: Sequence[ReturnedFile]) -> Self:
        """The text, and the files, which are not stored yet."""
        made = super().__new__(cls, text)
        made.files = files
        return made


class Tool(Protocol):
    """Something that an agent can call. A class derived from it has default limits.

    The caller enforces limits of time and output; a tool may enforce stricter ones itself. A tool that
    sends nothing outside, whatever its arguments, sets ``reaches_outside = False``; one that changes nothing outside, so that
    a call may be repeated, ``has_side_effects = False``. Settings of the operator are declared as
    `agents.tools.declared.Setting` and `Secret`. An extension's tool is created for each run, without arguments.
    """

    @property
    def name(self) -> str:
        """The name by which the model calls it."""
        ...

    @property
    def description(self) -> str:
        """What it does and when to use it, for the model."""
        ...

    @property
    def parameters(self) -> JsonObject:
        """The JSON schema of its arguments: an object."""
        ...

    @property
    def timeout_s(self) -> float:
        """The longest time that a call may take."""
        return 60.0

    @property
    def output_limit(self) -> int:
        """The longest result, in characters."""
        return 50_000

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Make the call. Blocks, in a thread of its own; has to end soon after ``stop`` is set. Raises `ToolError`.

        To return files with the text, return a `ToolText`.
        """
        ...


def has_side_effects(tool: Tool) -> bool:
    """Whether a call may change something outside; true for a tool that does not declare it."""
    return bool(getattr(tool, "has_side_effects", True))


@dataclass(frozen=True)
class Toolbox:
    """What the caller of an agent passes to its tools."""

    search_history: Callable[[str, int], Sequence[HistoryHit]] | None = None
    """``(query, limit)`` → hits in the requesting user's own sessions. Called in the tool's thread."""
    mcp_servers: Mapping[str, Any] = field(default_factory=dict)
    """MCP servers by name, in the form of Qwen-Agent's ``mcpServers``; all their tools are added."""
    extra: Sequence[Tool] = ()
    """Further tools of the caller. One with the name of a built-in tool replaces it."""
    privacy: SessionPrivacy | None = None
    """Records that the session has read private data, if the session outlives the run."""
    hosts: HostPolicy = field(default_factory=HostPolicy)
    """The hosts to which tools may send requests."""
    is_asked_by_person: bool = True
    """Whether a person wrote the user's messages in the conversation. If an agent did, it may have been misled into them."""
    files: SessionFiles | None = None
    """The session's files. If it uses any, `read_file` and `search_file` are offered."""
