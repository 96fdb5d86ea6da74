"""The `search_history` tool: earlier conversations in the requesting user's own sessions."""

from collections.abc import Callable, Sequence
from datetime import date

from agents.cancellation import CancelToken
from agents.json_types import JsonObject
from agents.tools.tool import HistoryHit, ToolError

_MOST = 20

_PARAMETERS: JsonObject = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "description": "A few words to look for."},
        "limit": {
            "type": "integer",
            "minimum": 1,
            "maximum": _MOST,
            "description": "How many hits to return. Left out: 5.",
        },
    },
    "required": ["query"],
}


class SearchHistoryTool:
    """Finds earlier conversations by the search function that it is given, which decides what the user may see."""

    name = "search_history"
    description = (
        "Searches the user's own earlier sessions (questions, thoughts, tool calls and answers) and returns the best"
        " hits with session title, date, step and an excerpt. Use it when the user refers to something said before"
        " that is not in this conversation. Search for a few telling words, not for a whole sentence."
    )
    parameters = _PARAMETERS
    timeout_s = 10.0
    output_limit = 20_000
    reaches_outside = False
    has_side_effects = False

    def __init__(
        self, search: Callable[[str, int], Sequence[HistoryHit]] | None, on_found: Callable[[], None] = lambda: None
    ) -> None:
        self._search = search
        self._on_found = on_found

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Search for ``arguments["query"]``."""
        if self._search is None:
            raise ToolError("There is no history to search here.")
        query = str(arguments["query"]).strip()
        if not query:
            raise ToolError("Say what to look for: the query is empty.")
        hits = self._search(query, max(1, min(int(arguments.get("limit") or 5), _MOST)))
        if not hits:
            return f"Nothing was found for “{query}” in earlier sessions."
        # Marked first, so that the model never knows anything private before the session is marked.
        self._on_found()
        found = "1 hit" if len(hits) == 1 else f"{len(hits)} hits"
        return f"{found} for “{query}” in earlier sessions:\n\n" + "\n\n".join(
            f"{number}. {_describe(hit)}" for number, hit in enumerate(hits, start=1)
        )


def _describe(hit: HistoryHit) -> str:
    when = hit.get("date") or ""
    heading = [f"“{hit.get('session_title') or 'Untitled'}”"]
    if when:
        heading.append(when.isoformat()[:10] if isinstance(when, date) else str(when)[:10])
    if hit.get("step"):
        heading.append(f"step {hit['step']}")
    # One paragraph for each hit, without the line breaks of its excerpt.
    return f"{', '.join(heading)}\n   {' '.join(str(hit.get('excerpt') or '').split())}"
