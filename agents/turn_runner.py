"""Runs the tool calls of a model's turns: those that may run at once, whatever keeps the others back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agents.approval import Gate
from agents.cancellation import CancelToken
from agents.holding import HeldCall, sort_calls
from agents.models.reply import MOST_CALLS
from agents.tools.runner import Job, ToolOutcome, ToolTurn, WaitStored
from agents.words import WordInbox


@dataclass(slots=True)
class TurnEnd:
    """How far a turn has come: what its calls came to, and which wait for people, or have begun something that does."""

    outcomes: dict[str, ToolOutcome] = field(default_factory=dict)
    held: Sequence[HeldCall] = ()
    is_held: bool = False


class TurnRunner:
    """Runs a run's turns, one after the other, in the agent's thread; what changes one under way may be called from the loop.

    ``stop`` is the run's, and a word in ``words`` may end a turn alone.
    """

    def __init__(self, stop: CancelToken, gate: Gate, words: WordInbox, wait_stored: WaitStored) -> None:
        self._stop = stop
        self._wait_stored = wait_stored
        self._gate = gate
        self._words = words
        self._turn_stop: CancelToken | None = None
        self._turn: ToolTurn | None = None

    def run(
        self,
        jobs: Sequence[Job],
        surplus: Mapping[str, str],
        done: Callable[[str, ToolOutcome], None],
        progress: Callable[[str, str], None],
    ) -> TurnEnd:
        """Run a turn's calls, and wait until none of them runs any more. ``surplus``: those that it may not hold, and why."""
        end = TurnEnd()

        def tell(call_id: str, outcome: ToolOutcome) -> None:
            end.outcomes[call_id] = outcome
            done(call_id, outcome)

        def refuse(refused: Mapping[str, str]) -> None:
            for call_id, words in refused.items():
                tell(call_id, ToolOutcome(ok=False, content=words, duration_ms=0))

        refuse(surplus)
        self._turn_stop = stop = CancelToken()
        remove_callback = self._stop.add_callback(lambda: stop.set(self._stop.reason))
        if reason := self._words.cut_because:
            stop.set(reason)
        try:
            turn = sort_calls([job for job in jobs if job.id not in surplus], self._gate)
            refuse(turn.refused)
            self._turn = tools = ToolTurn(turn.ready, stop, tell, progress, self._wait_stored)
            end.held = turn.held
            end.is_held = tools.run() or bool(turn.held)
        finally:
            self._turn_stop = self._turn = None
            remove_callback()
        return end

    def cut(self, reason: str) -> None:
        """End the turn under way, if there is one, and not the run."""
        if (stop := self._turn_stop) is not None:
            stop.set(reason)

    def wake(self, call_id: str) -> None:
        """People have decided about what a call waits for: it goes on, if its turn is still at work."""
        if (turn := self._turn) is not None:
            turn.wake(call_id)


def explain_surplus(surplus: int) -> str:
    """Tell the model why so many calls of its turn were not run."""
    return (
        f"A turn may hold {MOST_CALLS} calls, and this one held {MOST_CALLS + surplus:,}. "
        "This one and those behind it were not run: make those that are still needed in the next turn."
    )
