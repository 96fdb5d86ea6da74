"""The tools that an MCP server offers, read within bounds: their declarations must leave room for the conversation."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from mcp import ClientSession, types

from agents.sentence import Sentence

MOST_TOOLS = 200
#: Characters that a tool's description keeps, and that the schema of its arguments may have.
DESCRIPTION_LIMIT = 4_000
SCHEMA_LIMIT = 30_000


@dataclass(frozen=True, slots=True)
class Offer:
    """A server's tools that models can be offered, and why not the others: text that continues after the server's name."""

    tools: Sequence[types.Tool] = ()
    left_out: Sequence[str] = ()


async def read_offer(session: ClientSession) -> Offer:
    """List a server's tools, up to a limit: a server may never end its list."""
    found: dict[str, types.Tool] = {}
    cursor: str | None = None
    while True:
        page = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
        for tool in page.tools:
            found.setdefault(tool.name, tool)
        cursor = page.next_cursor
        if not cursor or not page.tools or len(found) > MOST_TOOLS:
            return bounded_offer(list(found.values()))


def bounded_offer(tools: Sequence[types.Tool]) -> Offer:
    """As many of these tools as models can be offered."""
    left_out = []
    if len(tools) > MOST_TOOLS:
        left_out.append(Sentence("has more than %(limit)s tools, of which the first were taken", limit=MOST_TOOLS))
    kept = []
    for tool in tools[:MOST_TOOLS]:
        if len(json.dumps(tool.input_schema)) > SCHEMA_LIMIT:
            left_out.append(
                Sentence("has a tool “%(tool)s” whose arguments take too many words to describe", tool=tool.name[:80])
            )
        else:
            kept.append(tool.model_copy(update={"description": (tool.description or "")[:DESCRIPTION_LIMIT] or None}))
    return Offer(kept, left_out)
