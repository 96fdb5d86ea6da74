"""The `ask_…` tools, by which one agent hands a piece of work to another. The caller that starts the agent says how it is executed."""

from collections.abc import Callable

from agents.cancellation import CancelToken
from agents.json_types import JsonObject
from agents.specs import AgentSpec

#: The longest time that another agent may take, in seconds.
LONGEST_S = 3_600.0
PREFIX = "ask_"


class AskAgentTool:
    """Has another agent work on a message; its final answer is the tool's result."""

    timeout_s = LONGEST_S
    output_limit = 100_000
    # The other agent's own tools are checked when it calls them.
    reaches_outside = False

    def __init__(self, spec: AgentSpec, ask: Callable[[str, str, CancelToken], str]) -> None:
        """``ask`` is called with the agent's name, the message and the call's token. It blocks, and raises `ToolError`."""
        self.name = f"{PREFIX}{spec.name}"
        self.description = (
            f"Hands a piece of work on to another agent, “{spec.title}”, and returns its final answer."
            f" {spec.description} It knows nothing of this conversation, so the message has to say everything that it needs."
        )
        self.parameters: JsonObject = {
            "type": "object",
            "properties": {"message": {"type": "string", "description": "What the other agent is to do, in full."}},
            "required": ["message"],
        }
        self._agent = spec.name
        self._ask = ask

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Return the other agent's answer to ``arguments["message"]``."""
        return self._ask(self._agent, str(arguments["message"]), stop)
