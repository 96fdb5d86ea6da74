"""The tools of extensions, by name; `agents.tools` looks them up here, besides the built-in ones."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agents.cancellation import CancelToken
from agents.json_types import JsonObject
from agents.tools.declared import Setting, hide_secrets, unset_in
from agents.tools.tool import Tool, ToolError, ToolText, has_side_effects

#: The names that models accept for a tool.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_LONGEST_CALL_S = 3_600


@dataclass(frozen=True, slots=True)
class ToolInfo:
    """A tool's properties, as pages and API list them."""

    name: str
    description: str
    parameters: JsonObject
    """The JSON schema of its arguments."""
    timeout_s: float
    output_limit: int
    has_side_effects: bool
    """Whether a call may change something outside, so that it must not be made twice."""
    reaches_outside: bool
    """Whether it may send what it is given outside this machine."""
    origin: str = ""
    """The module of the extension that provides it; empty for a built-in tool."""
    settings: tuple[Setting, ...] = ()
    """The settings that it needs from the operator."""

    @property
    def problem(self) -> str:
        """Why it can't be used now, as a sentence; empty if it can."""
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
    """A tool's properties. If it does not declare them, it counts as reaching outside and having side effects."""
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
    """Register a tool by its name; ``make`` creates one for each run. Raises `BadTool`."""
    _check(info)
    if other := _registry.entries.get(info.name):
        raise BadTool(f"has the name “{info.name}”, which a tool of {other.info.origin} has already")
    _registry.entries[info.name] = _Entry(info, make)


def extension_tools() -> list[ToolInfo]:
    """The registered tools of extensions."""
    return [entry.info for entry in _registry.entries.values()]


def make_tool(name: str) -> Tool:
    """Create the tool of that name for a run. Raises `LookupError` if no extension provides it, `ToolError` if it can't be used."""
    entry = _registry.entries[name]
    if entry.info.problem:
        raise ToolError(entry.info.problem)
    try:
        return ExtensionTool(entry.make(), entry.info)
    except ToolError:
        raise
    except Exception as error:
        message = f"The tool “{name}” can't be made ({type(error).__name__})."
        raise ToolError(message) from error


def forget_tools() -> None:
    """Unregister all tools of extensions. Used by tests."""
    _registry.entries.clear()


class ExtensionTool:
    """Wraps an extension's tool, to remove its secrets from its results and errors."""

    def __init__(self, tool: Tool, info: ToolInfo) -> None:
        self._tool = tool
        self._settings = info.settings
        self.name, self.description, self.parameters = info.name, info.description, info.parameters
        self.timeout_s, self.output_limit = info.timeout_s, info.output_limit
        self.has_side_effects, self.reaches_outside = info.has_side_effects, info.reaches_outside

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Call the tool. Raises `ToolError`."""
        try:
            result = self._tool.call(arguments, stop)
            text = hide_secrets(str(result), self._settings)
            return ToolText(text, result.files) if isinstance(result, ToolText) else text
        except ToolError as error:
            raise ToolError(hide_secrets(str(error), self._settings)) from error


def _check(info: Any) -> None:
    # Imported here: most installations have no extensions, and should not wait for it when they start.
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
