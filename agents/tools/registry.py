"""The tools that extensions provide, by name; `agents.tools` looks them up here, beside the built-in ones."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agents.cancellation import CancelToken
from agents.json_types import JsonObject
from agents.tools.declared import Setting, hide_secrets, unset_in
from agents.tools.tool import Tool, ToolError, ToolText, has_side_effects

#: What models accept as a tool's name.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_LONGEST_CALL_S = 3_600


@dataclass(frozen=True, slots=True)
class ToolInfo:
    """A tool as pages and programs list it."""

    name: str
    description: str
    parameters: JsonObject
    """JSON schema of the arguments."""
    timeout_s: float
    output_limit: int
    has_side_effects: bool
    """Whether a call changes something outside, so that it must not be made twice."""
    reaches_outside: bool
    """Whether what it is given may leave this machine."""
    origin: str = ""
    """The module of the extension that brought it; empty: it is built in."""
    settings: tuple[Setting, ...] = ()
    """What the operator sets for it."""

    @property
    def problem(self) -> str:
        """Why it can't be used now, as a sentence; empty where it can."""
        unset = unset_in(self.settings)
        return f"The tool “{self.name}” needs {' and '.join(unset)}, which is not set." if unset else ""


@dataclass(frozen=True, slots=True)
class _Entry:
    info: ToolInfo
    make: Callable[[], Tool]


@dataclass(slots=True)
class _Registry:
    entries: dict[str, _Entry] = field(default_factory=dict)


_registry = _Registry()


class BadTool(ValueError):
    """An extension's tool cannot be registered. The message says why, and continues after its class's name."""


def info_of(tool: Tool, origin: str = "", settings: tuple[Setting, ...] = ()) -> ToolInfo:
    """A tool's properties. One that does not declare them reaches outside and has side effects."""
    return ToolInfo(
        tool.name,
        tool.description,
        tool.parameters,
        tool.timeout_s,
        tool.output_limit,
        has_side_effects(tool),
        bool(getattr(tool, "reaches_outside", True)),
        origin,
        settings,
    )


def register_tool(info: ToolInfo, make: Callable[[], Tool]) -> None:
    """Register a tool by its name; ``make`` makes one for a run. Raises `BadTool`."""
    _check(info)
    if other := _registry.entries.get(info.name):
        raise BadTool(f"has the name “{info.name}”, which a tool of {other.info.origin} has already")
    _registry.entries[info.name] = _Entry(info, make)


def extension_tools() -> list[ToolInfo]:
    """The tools that extensions have brought."""
    return [entry.info for entry in _registry.entries.values()]


def make_tool(name: str) -> Tool:
    """The tool of that name for a run. Raises `LookupError` where no extension has brought it, `ToolError` where it can't be used."""
    entry = _registry.entries[name]
    if entry.info.problem:
        raise ToolError(entry.info.problem)
    try:
        return ExtensionTool(entry.make(), entry.info)
    except ToolError:
        raise
    except Exception as error:
        words = f"The tool “{name}” can't be made ({type(error).__name__})."
        raise ToolError(words) from error


def forget_tools() -> None:
    """Leave none but the built-in ones."""
    _registry.entries.clear()


class ExtensionTool:
    """An extension's tool, whose results and errors are searched for its own secrets."""

    def __init__(self, tool: Tool, info: ToolInfo) -> None:
        self._tool = tool
        self._settings = info.settings
        self.name, self.description, self.parameters = info.name, info.description, info.parameters
        self.timeout_s, self.output_limit = info.timeout_s, info.output_limit
        self.has_side_effects, self.reaches_outside = info.has_side_effects, info.reaches_outside

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Call it. Raises `ToolError`."""
        try:
            result = self._tool.call(arguments, stop)
            words = hide_secrets(str(result), self._settings)
            return ToolText(words, result.files) if isinstance(result, ToolText) else words
        except ToolError as error:
            raise ToolError(hide_secrets(str(error), self._settings)) from error


def _check(info: Any) -> None:
    # Here, because few have extensions, and nobody's start need wait for it.
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415

    if not isinstance(info.name, str) or not _NAME.fullmatch(info.name):
        raise BadTool(f"has the name “{str(info.name)[:80]}”; names are letters, digits, _ and -, at most 64")
    if not isinstance(info.description, str) or not info.description.strip():
        raise BadTool("has no description, by which models know what it is for")
    if not isinstance(info.parameters, dict) or info.parameters.get("type") != "object":
        raise BadTool("has parameters that are no JSON schema of an object")
    try:
        Draft202012Validator.check_schema(info.parameters)
    except SchemaError as error:
        raise BadTool(f"has parameters that are no JSON schema ({_first_line(error.message)})") from None
    for name, value, most in (
        ("timeout_s", info.timeout_s, _LONGEST_CALL_S),
        ("output_limit", info.output_limit, 10**7),
    ):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            raise BadTool(f"has a {name} of {str(value)[:80]}; it is a number above 0 and at most {most:,}")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:200]
