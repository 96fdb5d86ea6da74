"""What a tool is, what it may need from outside, and how it says that it failed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from agents.cancellation import CancelToken
from agents.tools.file_access import ReturnedFile, SessionFiles
from agents.tools.policy import HostPolicy, SessionPrivacy


class ToolError(Exception):
    """A tool could not do it. The text is a sentence that the model and people read as it stands."""


class WaitsForPeople(Exception):
    """What a tool has begun waits for people, and holds nothing meanwhile: the same call is made again when they have decided."""


class ToolText(str):
    """What a tool returns, where that is more than words."""

    __slots__ = ("files",)

    files: Sequence[ReturnedFile]

    def __new__(cls, text: str, files: Sequence[ReturnedFile]) -> Self:
        """The words, and the files beside them, which are not kept yet."""
        made = super().__new__(cls, text)
        made.files = files
        return made


class Tool(Protocol):
    """Something an agent can call. A class derived from it has the limits that it does not set itself.

    Limits of time and output are kept by whoever calls the tool; a tool that knows a harder way to keep them does so too. One that
    sends nothing outside, whatever it is given, says so by ``reaches_outside = False``; one that changes nothing outside, so that
    a call of it may be made once more, by ``has_side_effects = False``. What the operator sets for it, it declares as
    `agents.tools.declared.Setting` and `Secret`. Extensions' tools are made anew for each run, without arguments.
    """

    @property
    def name(self) -> str:
        """What the model calls it by."""
        ...

    @property
    def description(self) -> str:
        """What it does and when to use it, for the model."""
        ...

    @property
    def parameters(self) -> dict[str, Any]:
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

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        """Do it, blocking, in a thread of its own; ends soon after ``stop``. Raises `ToolError`.

        What it returns beside words are the ``files`` of a `ToolText`.
        """
        ...


def has_side_effects(tool: Tool) -> bool:
    """Whether a call may change something outside. Who doesn't say so of itself may."""
    return bool(getattr(tool, "has_side_effects", True))


@dataclass(frozen=True)
class Toolbox:
    """What tools need from outside, handed in by whoever starts the agent."""

    search_history: Callable[[str, int], list[dict[str, Any]]] | None = None
    """``(query, limit)`` → hits in the asking user's own sessions, each with ``session_title``, ``date``
    (text or `datetime.datetime`), ``step`` and ``excerpt``. Called in the tool's thread."""
    mcp_servers: Mapping[str, Any] = field(default_factory=dict)
    """MCP servers by name, in the form of Qwen-Agent's ``mcpServers``; all their tools are added."""
    extra: Sequence[Tool] = ()
    """Tools of the caller's own. One that bears a built-in tool's name takes its place."""
    privacy: SessionPrivacy | None = None
    """What is kept of the session, where it outlives the run."""
    hosts: HostPolicy = field(default_factory=HostPolicy)
    """The hosts that tools may ask."""
    is_asked_by_person: bool = True
    """Whether a person wrote the messages that the conversation's user says; else an agent did, which may have been talked into them."""
    files: SessionFiles | None = None
    """The session's files. Where it uses any, `read_file` and `search_file` are offered."""
