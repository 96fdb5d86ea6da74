"""Checks what tools that reach outside may send: to which hosts, and, once a session has read private data, to which addresses.

A call can carry private data in its address, or in any other argument; the name look-up alone would already send it. An attacker could
talk the model into that. So, once earlier conversations have been read, a tool that reaches outside only gets whole addresses that a
person wrote in this session, or that a page read in it linked to, in one normal form. The check comes before the tool runs.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from agents.addresses import BadAddress, addresses_in, normalize_address, split_address
from agents.cancellation import CancelToken
from agents.json_types import JsonObject
from agents.tools.policy import HostPolicy, SessionPrivacy
from agents.tools.tool import Tool, ToolError, has_side_effects

#: The tool whose results' addresses count as links of a page.
PAGE_READER = "fetch_page"
#: The most addresses that one page and one session may add: this bounds what an author can learn from the choice among them.
LINKS_PER_PAGE = 200
MOST_LINKS = 5_000
#: The most values besides addresses in a call, and the largest number among them.
_MOST_VALUES = 20
_LARGEST_NUMBER = 9_999


class Egress:
    """The checks of what a run's tools send outside. Thread-safe: the tools of a turn run at the same time."""

    def __init__(
        self,
        history: Sequence[Mapping[str, Any]] = (),
        privacy: SessionPrivacy | None = None,
        hosts: HostPolicy = HostPolicy(),  # noqa: B008 - frozen
    ) -> None:
        self._history = history
        self._privacy = privacy
        self._hosts = hosts
        self._lock = threading.Lock()
        self._is_marked = False
        self._links: dict[str, None] = {}

    def mark(self) -> None:
        """Mark the session as having read private data. Called before the data are returned."""
        if self._privacy is not None:
            self._privacy.mark()
        self._is_marked = True

    def guard(self, tool: Tool) -> Tool:
        """The tool, wrapped with this check if it reaches outside."""
        return GuardedTool(tool, self) if reaches_outside(tool) else tool

    def admit(self, tool: Tool, arguments: JsonObject, *, is_decided: bool = False) -> JsonObject:
        """The arguments as they may be passed to the tool. Raises `ToolError` with the reason if the call is not allowed.

        ``is_decided``: a person has allowed the call.
        """
        for text in _texts(arguments):
            self._check_host(text)
        if is_decided or not self._is_private():
            return arguments
        admitted: JsonObject = self._admitted(arguments, tool.parameters, _Budget())
        return admitted

    def add_page(self, text: str) -> None:
        """Allow the addresses that a page links to."""
        with self._lock:
            self._links |= dict.fromkeys(_first(addresses_in(text), LINKS_PER_PAGE))
            while len(self._links) > MOST_LINKS:
                del self._links[next(iter(self._links))]

    def add_words(self, words: Sequence[str]) -> None:
        """Allow the addresses in further words of a person."""
        with self._lock:
            self._history = [*self._history, *({"role": "user", "content": each} for each in words)]

    def check_host(self, host: str) -> None:
        """Raise `ToolError` for a host that the operator's lists exclude. To be called for redirects, too."""
        if not self._hosts.allows(host):
            raise ToolError(f"This installation does not read from “{host[:200]}”.")

    def _is_private(self) -> bool:
        return self._is_marked or (self._privacy is not None and self._privacy.is_marked())

    def _check_host(self, text: str) -> None:
        try:
            _, host, _ = split_address(text.strip())
        except BadAddress:
            return
        self.check_host(host)

    def _admitted(self, value: Any, schema: Any, budget: "_Budget") -> Any:
        """The value with each address in its normal form. Raises `ToolError` for a value that could carry private data."""
        schema = schema if isinstance(schema, Mapping) else {}
        budget.spend()
        if isinstance(value, dict):
            known = schema.get("properties") or {}
            if any(name not in known for name in value):
                raise ToolError(_REFUSAL)
            return {name: self._admitted(each, known[name], budget) for name, each in value.items()}
        if isinstance(value, list):
            return [self._admitted(each, schema.get("items"), budget) for each in value]
        if isinstance(value, str):
            return self._admitted_text(value, schema)
        if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) <= _LARGEST_NUMBER):
            return value
        raise ToolError(_REFUSAL)

    def _admitted_text(self, text: str, schema: Mapping[str, Any]) -> str:
        if (
            not text
            or text in (schema.get("enum") or ())
            or text == schema.get("const")
            or text == schema.get("default")
        ):
            return text
        try:
            address = normalize_address(text.strip())
        except BadAddress as error:
            raise ToolError(_REFUSAL) from error
        if not self._is_known(address):
            raise ToolError(_REFUSAL)
        return address

    def _is_known(self, address: str) -> bool:
        with self._lock:
            if address in self._links:
                return True
        return any(address in set(addresses) for addresses in self._known())

    def _known(self) -> Iterator[Iterable[str]]:
        """The allowed addresses, text by text; those at hand come first."""
        roles = {"user": _written, "tool": _linked}
        for message in self._history:
            find = roles.get(message["role"])
            if find is not None and (find is _written or message.get("name") == PAGE_READER):
                yield find(str(message["content"]))
        if self._privacy is not None:
            yield from map(_written, self._privacy.person_texts())
            yield from map(_linked, self._privacy.page_texts())


_REFUSAL = (
    "This was not done: earlier conversations have been read in this session, so tools that reach outside are given nothing but"
    " whole addresses that the person wrote here or that a page read here links to, exactly as they stand there. If it is to be done"
    " all the same, the person can write the full address in a message, or ask in a new session."
)


def _written(text: str) -> Iterable[str]:
    return addresses_in(text, bare=True)


def _linked(text: str) -> Iterable[str]:
    return _first(addresses_in(text), LINKS_PER_PAGE)


def _first(items: Iterable[str], most: int) -> Iterator[str]:
    seen: set[str] = set()
    for item in items:
        seen.add(item)
        yield item
        if len(seen) >= most:
            return


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


class _Budget:
    """Counts the values of a call: many small values together could carry private data, too."""

    def __init__(self) -> None:
        self._left = _MOST_VALUES

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ToolError(_REFUSAL)


def reaches_outside(tool: Tool) -> bool:
    """Whether a tool may send what it is given outside this machine; true for a tool that does not declare it."""
    return bool(getattr(tool, "reaches_outside", True))


class GuardedTool:
    """A tool that reaches outside, with the check before it."""

    def __init__(self, tool: Tool, egress: Egress) -> None:
        self._tool = tool
        self._egress = egress
        self.name, self.description, self.parameters = tool.name, tool.description, tool.parameters
        self.timeout_s, self.output_limit = tool.timeout_s, tool.output_limit
        self.has_side_effects = has_side_effects(tool)

    def is_private(self, arguments: JsonObject) -> bool:
        """Whether the call might send private data, so that a person has to allow it."""
        try:
            self._egress.admit(self._tool, arguments, is_decided=True)
        except ToolError:
            # The host is forbidden for everybody: no person can allow it.
            return False
        try:
            self._egress.admit(self._tool, arguments)
        except ToolError:
            return True
        return False

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Check the call, then make it. Raises `ToolError` before anything is sent."""
        admitted = self._egress.admit(self._tool, arguments, is_decided=stop.is_decided)
        result = self._tool.call(admitted, stop)
        if self._tool.name == PAGE_READER:
            self._egress.add_page(result)
        return result
