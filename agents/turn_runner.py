"""Runs the tool calls of a model's turns: those that may run at once. The others are refused, or wait for people."""

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
    """The result of a turn: outcomes by the calls' ids, and the calls that wait for people.

    ``is_held``: some calls wait, or something that they have begun does.
    """

    outcomes: dict[str, ToolOutcome] = field(default_factory=dict)
    held: Sequence[HeldCall] = ()
    is_held: bool = False


class TurnRunner:
    """Runs a run's turns, one after the other, in the run's thread. `cut` and `wake` may be called from the event loop.

    ``stop`` is the run's; a word in ``words`` can end a single turn.
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
        """Run a turn's calls, and block until none of them runs any more. ``surplus``: why calls are refused that are too many, by id."""
        end = TurnEnd()

        def add_outcome(call_id: str, outcome: ToolOutcome) -> None:
            end.outcomes[call_id] = outcome
            done(call_id, outcome)

        def refuse(refused: Mapping[str, str]) -> None:
            for call_id, message in refused.items():
                add_outcome(call_id, ToolOutcome(ok=False, content=message, duration_ms=0))

        refuse(surplus)
        self._turn_stop = stop = CancelToken()
        remove_callback = self._stop.add_callback(lambda: stop.set(self._stop.reason))
        if reason := self._words.cut_because:
            stop.set(reason)
        try:
            turn = sort_calls([job for job in jobs if job.id not in surplus], self._gate)
            refuse(turn.refused)
            self._turn = tools = ToolTurn(turn.ready, stop, add_outcome, progress, self._wait_stored)
            end.held = turn.held
            end.is_held = tools.run() or bool(turn.held)
        finally:
            self._turn_stop = self._turn = None
            remove_callback()
        return end

    def cut(self, reason: str) -> None:
        """End the current turn, if there is one, but not the run."""
        if (stop := self._turn_stop) is not None:
            stop.set(reason)

    def wake(self, call_id: str) -> None:
        """People have decided what a call waits for: make it again, if its turn still runs."""
        if (turn := self._turn) is not None:
            turn.wake(call_id)


def explain_surplus(surplus: int) -> str:
    """A sentence for the model: why some calls of its turn were not run."""
    return (
        f"A turn may hold {MOST_CALLS} calls, and this one held {MOST_CALLS + surplus:,}. "
        "This one and those behind it were not run: make those that are still needed in the next turn."
    )
