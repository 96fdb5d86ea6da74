"""What may leave by a tool that reaches outside: to which hosts, and, once a session has read private things, to which addresses.

Whoever talks the model into a call with private words in its address, or in any other argument, is told them by the name look-up
alone. So, once earlier conversations have been read, a tool that reaches outside is given nothing but whole addresses that a person
wrote in this session or that a page read in it linked to, in the one spelling that they have. The check comes before the tool.
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
#: Addresses that one page adds, and that a session holds: what a page's author can learn from a choice among them is bounded.
LINKS_PER_PAGE = 200
MOST_LINKS = 5_000
#: Values besides addresses that a call may hold, and how large a number among them may be.
_MOST_VALUES = 20
_LARGEST_NUMBER = 9_999


class Egress:
    """What a run's tools may send outside. Thread-safe: the tools of a turn run at the same time."""

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
        """The session has found something private, which is handed out after this."""
        if self._privacy is not None:
            self._privacy.mark()
        self._is_marked = True

    def guard(self, tool: Tool) -> Tool:
        """The tool, behind this check where it reaches outside."""
        return GuardedTool(tool, self) if reaches_outside(tool) else tool

    def admit(self, tool: Tool, arguments: JsonObject, *, is_decided: bool = False) -> JsonObject:
        """The arguments as the tool may have them; raises `ToolError` with why it may not.

        ``is_decided``: a person has allowed the call.
        """
        for text in _texts(arguments):
            self._check_host(text)
        if is_decided or not self._is_private():
            return arguments
        admitted: JsonObject = self._admitted(arguments, tool.parameters, _Budget())
        return admitted

    def add_page(self, text: str) -> None:
        """A page was read: what it links to may be read too."""
        with self._lock:
            self._links |= dict.fromkeys(_first(addresses_in(text), LINKS_PER_PAGE))
            while len(self._links) > MOST_LINKS:
                del self._links[next(iter(self._links))]

    def add_words(self, words: Sequence[str]) -> None:
        """A person has said something more: addresses in it are theirs."""
        with self._lock:
            self._history = [*self._history, *({"role": "user", "content": each} for each in words)]

    def check_host(self, host: str) -> None:
        """Raise `ToolError` for a host that the operator's lists leave out; also for where a redirect leads."""
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
        """The value with each address in its one spelling; raises `ToolError` for what could carry words."""
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
        """The addresses of text after text, what is at hand first."""
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
    """How many values a call may still hold: many small ones together are words too."""

    def __init__(self) -> None:
        self._left = _MOST_VALUES

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ToolError(_REFUSAL)


def reaches_outside(tool: Tool) -> bool:
    """Whether what a tool is given may leave this machine. Who doesn't say so of itself does."""
    return bool(getattr(tool, "reaches_outside", True))


class GuardedTool:
    """A tool that reaches outside, behind the check."""

    def __init__(self, tool: Tool, egress: Egress) -> None:
        self._tool = tool
        self._egress = egress
        self.name, self.description, self.parameters = tool.name, tool.description, tool.parameters
        self.timeout_s, self.output_limit = tool.timeout_s, tool.output_limit
        self.has_side_effects = has_side_effects(tool)

    def is_private(self, arguments: JsonObject) -> bool:
        """Whether the call would tell what nobody outside knows, so that a person has to allow it."""
        try:
            self._egress.admit(self._tool, arguments, is_decided=True)
        except ToolError:
            # A host that is closed to all: no person opens it.
            return False
        try:
            self._egress.admit(self._tool, arguments)
        except ToolError:
            return True
        return False

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Call the tool with what may leave; raises `ToolError` before anything does."""
        admitted = self._egress.admit(self._tool, arguments, is_decided=stop.is_decided)
        result = self._tool.call(admitted, stop)
        if self._tool.name == PAGE_READER:
            self._egress.add_page(result)
        return result
