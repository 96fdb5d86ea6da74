"""A run's budget: checked before each of its model calls."""

from typing import NamedTuple, Protocol

from agents.events import CallEnded
from agents.steps import BudgetUse


class Allowance(NamedTuple):
    """What the budget allows for the next model call."""

    refusal: str = ""
    """Why no call is allowed, for people; empty if one is."""
    is_last: bool = False
    """The call gets no tools, so that it answers from what the model has."""
    note: str = ""
    """A note for people, to be shown before the call."""


class Meter(Protocol):
    """Keeps the budget of one run."""

    def spend(self, call: CallEnded) -> BudgetUse | None:
        """Count a model call that has ended. Called on the run's event loop. Returns the use of the budget, if there is one."""
        ...

    def allow(self) -> Allowance:
        """What the next call may be. Called in the run's thread, after `spend` for all calls before it. Does no I/O."""
        ...


#: Added to the instructions in a run's last call.
LAST_CALL = (
    "The budget of this run is used up, so no tool can be called any more. "
    "Answer now from what you have, and say what is left open."
)
EXCEEDED_CODE = "budget_exceeded"
