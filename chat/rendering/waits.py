"""Since when runs wait for people, by their events: for pages' clocks, and for the calls that have started such a run."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chat.rendering.transcript import Call, Run

_REQUESTS = ("approval_request", "question")


def wait_of(calls: Iterable["Call"]) -> str:
    """What a run waits for whose calls without a result are these, as `Run.waits_for`: empty where one of them is running."""
    unfinished = list(calls)
    # What is decided of a turn begins when all of it is.
    is_asked = any(call.waits for call in unfinished)
    kinds = {call.waits_for for call in unfinished if call.decision is None or not is_asked}
    if not kinds or "" in kinds:
        return ""
    return "question" if kinds == {"question"} else "approval"


def note_waiting(run: "Run", runs: Mapping[str, "Run"], data: Mapping[str, Any]) -> None:
    """After an event, note since when its run waits for people, or that it does no longer; the run around it may do so too."""
    if run.waits or data.get("type") in _REQUESTS:
        _note(run, runs, data.get("timestamp") or 0.0)


def _note(run: "Run", runs: Mapping[str, "Run"], at: float) -> None:
    what = run.waits_for
    is_open = bool(run.waits) and len(run.waits[-1]) == 1
    if what and not is_open:
        run.waits.append([at])
    elif is_open and not what:
        run.waits[-1].append(at)
    parent = runs.get(run.parent["run_id"]) if run.parent is not None else None
    if run.parent is None or parent is None:
        return
    call = parent.open_calls.latest(run.parent["tool_call_id"])
    if call is not None and call.within != what:
        call.within = what
        _note(parent, runs, at)
