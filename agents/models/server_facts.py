"""What model servers have shown of themselves, by server and model, so that what they refuse is asked of them once."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: What may have been changed on the server meanwhile is tried again after so many seconds.
LASTS_S = 600.0


@dataclass(slots=True)
class ServerFacts:
    """What one server takes of requests for one model. Empty: everything."""

    left_out: set[str] = field(default_factory=set)
    """Parts of a request, by name, that it refuses."""
    filled_in: str = ""
    """The field that it wants in each of an assistant's messages, with or without words."""
    refuses_tools_until: float = 0.0
    input_limit: int = 0
    """Tokens a request may hold, as we estimate them; 0: whatever is configured."""
    limited_until: float = 0.0
    clock: Callable[[], float] = time.monotonic

    @property
    def refuses_tools(self) -> bool:
        """Whether it has refused the API's ``tools`` lately, and done without them."""
        return self.clock() < self.refuses_tools_until

    def note_tools_refused(self) -> None:
        """It has answered a request without tools that it had refused with them."""
        self.refuses_tools_until = self.clock() + LASTS_S

    def note_limit(self, tokens: int) -> None:
        """It has answered a request that was cut to so many tokens."""
        self.input_limit, self.limited_until = tokens, self.clock() + LASTS_S

    def limit(self, configured: int) -> int:
        """Tokens a request may hold now."""
        return min(configured, self.input_limit) if self.clock() < self.limited_until else configured


_facts: dict[tuple[str, str], ServerFacts] = {}


def facts_of(server: str, model: str) -> ServerFacts:
    """What is known of a server, by its address, and a model; to be changed by who learns more."""
    return _facts.setdefault((server, model), ServerFacts())


def forget_facts() -> None:
    """Know nothing of any server."""
    _facts.clear()
