"""A run's budget: checked before each of its model calls."""

from typing import NamedTuple, Protocol

from agents.events import CallEnded
from agents.steps import BudgetUse


class Allowance(NamedTuple):
    """What the next model call may be."""

    refusal: str = ""
    """Why none may be made, for people; empty where one may."""
    is_last: bool = False
    """It is offered no tools, so that it answers from what there is."""
    note: str = ""
    """What people should know before it."""


class Meter(Protocol):
    """Keeps the budget of one run."""

    def spend(self, call: CallEnded) -> BudgetUse | None:
        """Count a model call that has ended; on the run's event loop. Returns the use of the budget, if there is one."""
        ...

    def allow(self) -> Allowance:
        """What the next call may be, from the agent's thread, after `spend` for all before it. Does no I/O."""
        ...


#: Added to the instructions in a run's last call.
LAST_CALL = (
    "The budget of this run is used up, so no tool can be called any more. "
    "Answer now from what you have, and say what is left open."
)
EXCEEDED_CODE = "budget_exceeded"
