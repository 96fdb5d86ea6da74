"""The configuration of MCP servers, in the formats of the programs that use them.

Each format is an object of servers by name, under one of a few keys; the fields of a server differ from program to
program. All are converted to `ServerConfig`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from agents.addresses import mask_address
from agents.json_types import JsonObject

Transport = Literal["stdio", "streamable-http", "sse", "http-or-sse"]

#: The key of the object of servers: in Claude's, Cursor's and Gemini's files; in VS Code's; in its settings; in Zed's; in opencode's.
_HOLDERS = ("mcpServers", "servers", "mcp", "context_servers")
#: The same field under the names of different programs; the first is ours.
_NAMES = {
    "command": ("command", "cmd"),
    "args": ("args", "arguments"),
    "env": ("env", "environment", "envs"),
    "cwd": ("cwd", "workingDirectory"),
    "url": ("url", "httpUrl", "http_url", "serverUrl", "server_url", "uri", "endpoint"),
    "type": ("type", "transport", "transportType", "transport_type"),
    "headers": ("headers", "http_headers", "requestHeaders"),
    "timeout": ("timeout", "tool_timeout_sec", "toolTimeout"),
    "sse_read_timeout": ("sse_read_timeout", "sseReadTimeout"),
    "disabled": ("disabled",),
    "enabled": ("enabled",),
    "harmless": ("harmless",),
    "only": ("includeTools", "enabled_tools", "tools"),
    "without": ("excludeTools", "disabledTools", "disabled_tools"),
}
_TRANSPORTS: dict[str, Transport] = {
    "stdio": "stdio",
    "local": "stdio",
    "sse": "sse",
    "http": "streamable-http",
    "streamable": "streamable-http",
    "streamablehttp": "streamable-http",
    "remote": "http-or-sse",
}
#: No call takes more seconds than this, so a larger number means milliseconds.
_LONGEST_S = 3_600
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_WHOLE_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_INPUT = re.compile(r"\$\{input:[^}]*\}")

#: Booleans as JSON has them, and as people write them within quotes.
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")

CALL_S = 60.0
SILENCE_S = 300.0


class BadConfig(ValueError):
    """A server's entry cannot be used. The message continues after "its configuration", and contains no value of it."""


#: Ports and similar values, which many files write as numbers.
_Word = Annotated[str, Field(coerce_numbers_to_str=True)]


@dataclass(frozen=True, slots=True)
class Withheld:
    """Replaces a server's entry that must not be used; ``why`` continues after "its configuration"."""

    why: str


class _Entry(BaseModel):
    command: str | list[str] = ""
    args: list[_Word] = []
    env: dict[str, _Word] = {}
    cwd: str | None = None
    url: str = ""
    type: str = ""
    headers: dict[str, str] = {}
    timeout: float = CALL_S
    sse_read_timeout: float = SILENCE_S
    disabled: bool = False
    enabled: bool = True
    harmless: bool | list[str] = False
    only: list[str] | None = None
    without: list[str] = []


class ServerConfig(BaseModel):
    """How to reach a server, and what it may do."""

    transport: Transport
    command: str = ""
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str = ""
    headers: dict[str, str] = {}
    call_s: float = CALL_S
    """The longest time, in seconds, that a call may take without progress from the server."""
    silence_s: float = SILENCE_S
    harmless: bool | list[str] = False
    """The tools (or True for all) that send nothing outside, as declared by the operator."""
    only: list[str] | None = None
    without: list[str] = []
    follows_redirects: bool = True
    """Whether redirects to the same origin are followed; others never are."""
    public_only: bool = False
    """Whether the address must not be in a private network."""

    @property
    def place(self) -> str:
        """How the server is reached, for people: the program's name or the host, without anything that may be secret."""
        if self.transport == "stdio":
            return f"program {os.path.basename(self.command)}"  # noqa: PTH119 - of whatever machine's path
        return f"{self.transport} at {mask_address(self.url)}"

    def offers(self, tool: str) -> bool:
        """Whether the configuration allows this tool of the server."""
        return tool not in self.without and (self.only is None or tool in self.only)

    def calls_harmless(self, tool: str) -> bool:
        """Whether the operator has declared that this tool sends nothing outside."""
        return self.harmless if isinstance(self.harmless, bool) else tool in self.harmless


def server_entries(configured: Mapping[str, Any]) -> JsonObject:
    """The servers' entries by name, from any program's configuration file, without disabled ones."""
    for holder in _HOLDERS:
        inside = configured.get(holder)
        if isinstance(inside, Mapping) and not _is_entry(inside):
            return server_entries(inside) if holder == "mcp" else _switched_on(inside)
    return _switched_on(configured)


def _is_entry(value: Mapping[str, Any]) -> bool:
    """Whether this is a server's entry rather than an object of servers: a server may be named "servers"."""
    return any(isinstance(value.get(name), str | list) for field in ("command", "url") for name in _NAMES[field])


def _switched_on(servers: Mapping[str, Any]) -> JsonObject:
    return {name: entry for name, entry in servers.items() if not _is_switched_off(entry)}


def _is_switched_off(entry: Any) -> bool:
    if not isinstance(entry, Mapping):
        return False
    disabled, enabled = (str(entry.get(name)).lower() for name in ("disabled", "enabled"))
    return disabled in _YES or enabled in _NO


def read_config(given: Any) -> ServerConfig:
    """The configuration of an entry. A `ServerConfig` is returned unchanged. Raises `BadConfig`."""
    if isinstance(given, ServerConfig):
        return given
    if isinstance(given, Withheld):
        raise BadConfig(given.why)
    if not isinstance(given, Mapping):
        raise BadConfig("can't be used")
    fields = _renamed(given)
    try:
        entry = _Entry.model_validate(_expanded(fields))
    except ValidationError as error:
        # Only the field is named: its value may be a secret.
        raise BadConfig(f"can't be used ({'.'.join(map(str, error.errors()[0]['loc']))})") from None
    if entry.command:
        command, *more = [entry.command] if isinstance(entry.command, str) else entry.command
    else:
        command, more = "", []
    return ServerConfig(
        transport=_transport(entry, command, gemini="httpUrl" in given),
        command=command,
        args=[*more, *entry.args],
        env=entry.env,
        cwd=entry.cwd,
        url=entry.url,
        headers=entry.headers,
        call_s=entry.timeout / 1000
        if entry.timeout > _LONGEST_S or ("httpUrl" in given and entry.timeout >= 1000)
        else entry.timeout,
        silence_s=entry.sse_read_timeout,
        harmless=entry.harmless,
        only=entry.only,
        without=entry.without,
    )


def _renamed(given: Mapping[str, Any]) -> JsonObject:
    found: JsonObject = {}
    # Zed puts the program, its arguments and its environment into an object.
    if isinstance(given.get("command"), Mapping):
        program = given["command"]
        given = {**given, **program, "command": program.get("path") or program.get("command") or ""}
    for ours, names in _NAMES.items():
        for name in names:
            if name in given and given[name] is not None:
                found[ours] = given[name]
                break
    # "tools" may also be an object of settings: it names tools only if it is a list.
    if "only" in found and (not isinstance(found["only"], list) or "*" in found["only"]):
        del found["only"]
    return found


def _transport(entry: _Entry, command: str, *, gemini: bool) -> Transport:
    named = entry.type.lower().replace("-", "").replace("_", "")
    if named and named not in _TRANSPORTS:
        raise BadConfig("names a type of transport that isn't known; there are stdio, streamable-http and sse")
    if command:
        return "stdio"
    if not entry.url:
        raise BadConfig("names neither a command nor a url")
    if mask_address(entry.url).partition("://")[0] not in ("http", "https"):
        raise BadConfig("names a url that starts with neither http:// nor https://")
    if gemini:
        return "streamable-http"
    transport = _TRANSPORTS.get(named, "http-or-sse")
    return "http-or-sse" if transport == "stdio" else transport


def _expanded(value: Any) -> Any:
    """The value with a whole ``$NAME``, and ``${NAME}``, ``${env:NAME}`` and ``${NAME:-default}``, replaced from the environment."""
    if isinstance(value, str):
        if _INPUT.search(value):
            raise BadConfig("has an ${input:…}, which a server cannot ask anybody for; write ${env:NAME} instead")
        if whole := _WHOLE_VARIABLE.fullmatch(value):
            return os.environ.get(whole[1], value)
        return _VARIABLE.sub(_variable, value)
    if isinstance(value, Mapping):
        return {name: _expanded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_expanded(each) for each in value]
    return value


def _variable(match: re.Match[str]) -> str:
    name, default = match.groups()
    found = os.environ.get(name)
    if found:
        return found
    if default is None:
        raise BadConfig(f"needs the environment variable {name}, which is not set")
    return str(default)
