"""What is known about model servers, by server and model, so that parts that they refuse are sent only once."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.json_types import JsonObject

#: What may have been changed on the server is tried again after this many seconds.
LASTS_S = 600.0


@dataclass(slots=True)
class ServerFacts:
    """What one server accepts in requests for one model. Empty: everything."""

    left_out: set[str] = field(default_factory=set)
    """The names of parts of a request that it refuses."""
    filled_in: str = ""
    """The field that it requires in each of an assistant's messages, with or without text."""
    most_tools: int = 0
    """How many tools it accepts in a request, until `tools_limited_until`; 0: any number."""
    tools_limited_until: float = math.inf
    refuses_tools_until: float = 0.0
    input_limit: int = 0
    """The largest number of tokens in a request, by our estimate; 0: as configured."""
    limited_until: float = 0.0
    limits_tools: bool = False
    """Whether the limit applies to tools as well: the server has named it, or has answered with fewer tools."""
    clock: Callable[[], float] = time.monotonic

    @property
    def refuses_tools(self) -> bool:
        """Whether it has recently refused the API's ``tools``, and answered without them."""
        return self.clock() < self.refuses_tools_until

    def record_tools_refused(self) -> None:
        """Called when it has answered a request without tools that it had refused with them."""
        self.refuses_tools_until = self.clock() + LASTS_S

    @property
    def tools_limit(self) -> int:
        """How many tools it accepts in a request at present; 0: any number."""
        return self.most_tools if self.clock() < self.tools_limited_until else 0

    def record_fewer_tools(self, most: int, *, is_reported: bool) -> None:
        """Call this when it has answered a request with only so many tools. ``is_reported``: it had said before that it accepts no more."""
        self.most_tools, self.tools_limited_until = most, math.inf if is_reported else self.clock() + LASTS_S

    def record_limit(self, tokens: int, *, limits_tools: bool) -> None:
        """Called when it has answered a request that was cut to this many tokens."""
        self.input_limit, self.limited_until, self.limits_tools = tokens, self.clock() + LASTS_S, limits_tools

    def export(self) -> JsonObject:
        """The current facts as JSON, for other processes to `adopt`."""
        known: JsonObject = {"left_out": sorted(self.left_out), "filled_in": self.filled_in}
        known["most_tools"], known["tools_limit_is_told"] = self.tools_limit, math.isinf(self.tools_limited_until)
        known["refuses_tools"] = self.refuses_tools
        known["input_limit"] = self.input_limit if self.clock() < self.limited_until else 0
        known["limits_tools"] = self.limits_tools
        return known

    def adopt(self, known: Mapping[str, Any], lasts_s: float) -> None:
        """Use facts that another process has learned; those that may change are valid for ``lasts_s`` seconds."""
        until = self.clock() + lasts_s
        self.left_out.update(str(name) for name in known.get("left_out", ()))
        self.filled_in = self.filled_in or str(known.get("filled_in", ""))
        if (most := int(known.get("most_tools", 0))) and not self.tools_limit:
            self.most_tools, self.tools_limited_until = (
                most,
                math.inf if known.get("tools_limit_is_told", True) else until,
            )
        if known.get("refuses_tools"):
            self.refuses_tools_until = max(self.refuses_tools_until, until)
        if limit := int(known.get("input_limit", 0)):
            self.input_limit, self.limited_until = limit, max(self.limited_until, until)
            self.limits_tools = bool(known.get("limits_tools"))

    def limit(self, configured: int) -> int:
        """The largest number of tokens in a request at present."""
        return min(configured, self.input_limit) if self.clock() < self.limited_until else configured

    def limit_with_tools(self, configured: int) -> int:
        """The number of tokens of which tools may take a share: a guess that has only shortened a conversation costs nobody a tool."""
        return self.limit(configured) if self.limits_tools else configured


_facts: dict[tuple[str, str], ServerFacts] = {}


def facts_of(server: str, model: str) -> ServerFacts:
    """The facts about a server, by its address, and a model; a mutable object, shared by all callers."""
    return _facts.setdefault((server, model), ServerFacts())


def forget_facts() -> None:
    """Forget all facts."""
    _facts.clear()
