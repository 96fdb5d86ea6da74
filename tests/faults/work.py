"""Work for the product: what the model answers, and a client that sends messages while something breaks."""

from typing import Any

from tests.faults.oracle import Oracle, Refused
from tests.model_server import Call, Respond, Script

THOUGHT = "First the time, 天氣 🙂, then the rest of it. "
ANSWER = "It is done, as far as it could be done: every part of it, one after the other. "


def rounds(count: int, *, every_s: float = 0.002) -> Respond:
    """A model that thinks, calls the clock this many times, and answers: five events for each call and six more."""

    def respond(body: dict[str, Any]) -> Script:
        messages = body["messages"]
        asked = max(i for i, message in enumerate(messages) if message["role"] == "user")
        done = sum(message["role"] == "tool" for message in messages[asked:])
        if done >= count:
            return Script(content=ANSWER, every_s=every_s)
        return Script(reasoning=THOUGHT, calls=[Call("current_time", {})], every_s=every_s)

    return respond


async def keep_busy(client: Oracle, events: int, *, timeout_s: float = 240.0, message: str = "Go on and on") -> None:
    """Send messages, and continue interrupted runs, until the session has this many events."""
    while client.state.seq < events:
        run_id = await client.ask(message)
        while await client.ended(run_id, timeout_s) != "completed" and client.state.seq < events:
            try:
                run_id = await client.go_on(run_id)
            except Refused:
                break
