"""The type of a figure, and functions with which figures are calculated."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.benchmarks.measuring import Lateness, Row, Turn, Window, middle, percentile
from tests.benchmarks.stage import Outcome, Side, Stage
from tests.benchmarks.stub import Note

MS = 1_000.0
#: Growth that is worse than linear by more than this is an error.
MOST_GROWTH = 1.3
#: The name of the window for what no client measures.
UNHURRIED = Window(Lateness(0.0, 0.0), Lateness(0.0, 0.0))


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of what is done for a figure."""

    turns: int = 50
    sessions: int = 100
    rate: float = 20.0
    """Tokens a second in each session."""
    tokens: int = 200
    """Tokens of each answer."""
    ramp_s: float = 5.0
    """Sessions begin evenly over so long; from then until the first answer ends, all stream at once."""
    heavy_sessions: int = 300
    open_sockets: int = 200
    connects: int = 200
    idle_sockets: int = 400
    still_sockets: int = 2_000
    opens: int = 11
    """How often something stored is opened."""
    watchers: int = 200
    replayed: int = 10_000
    """Stored events of the session that is replayed."""
    past_sessions: int = 10_000
    searched: int = 1_000_000
    """Steps that are searched, in each database."""
    waiting: int = 10_000
    """Runs that wait for people beside an idle process."""
    runs: int = 200_000
    """Runs that lie in each database while it is asked by the clock."""
    schedules: int = 1_000
    """Schedules that are due in one second."""
    starts: int = 5
    requests: int = 200
    """Requests of each kind, one after the other."""
    stock_turns: int = 20
    pairs: int = 10
    """How often the product is measured beside itself."""
    observed_sessions: int = 60
    most_sessions: int = 100
    """The larger of two loads; the other sizes below are the larger of two too."""
    most_watchers: int = 100
    most_steps: int = 5_000
    most_turns: int = 40
    most_tokens: int = 5_000


@dataclass(slots=True)
class Measured:
    """A figure's rows, the windows in which they were measured, and problems."""

    rows: list[Row]
    product: Window
    yardstick: Window | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def is_void(self) -> bool:
        """Whether it has to be measured again."""
        return self.product.is_void or (self.yardstick is not None and self.yardstick.is_void)


def median_of(times: Sequence[Measured]) -> Measured:
    """The median of several measurements of a figure; void if one of them was."""
    yardsticks = [each.yardstick for each in times if each.yardstick is not None]
    return Measured(
        [middle(rows) for rows in zip(*(each.rows for each in times), strict=True)],
        worst(*(each.product for each in times)),
        worst(*yardsticks) if yardsticks else None,
        [problem for each in times for problem in each.problems],
    )


def warm_up(stage: Stage, side: Side, sessions: Sequence[str], *messages: str) -> None:
    """Let the server load what it loads on first use, which is not to be measured."""
    for message in messages:
        problems = problems_of(stage.run(side, "turns", sessions, message=message, times=3))
        if problems:
            raise RuntimeError(f"The server is not fit to be measured: {problems}")


def added(turn: Turn, notes: Mapping[str, Sequence[Note]]) -> float:
    """Milliseconds from sending the message to the first text, minus those of the model."""
    (note,) = notes[turn.tag]
    if turn.first is None:  # it came with the finished answer only
        return math.inf
    return (turn.first - turn.sent - (note.first - note.at)) * MS


def added_after_tool(turn: Turn, notes: Mapping[str, Sequence[Note]]) -> float:
    """Milliseconds from sending the message to the first text after the tool's result, minus those of the model."""
    asking, answering = notes[turn.tag]
    if turn.after_tool is None:
        return math.inf
    return (turn.after_tool - turn.sent - (asking.done - asking.at) - (answering.first - answering.at)) * MS


def lost(side: Outcome, expected: int) -> float:
    """Tokens that the stub sent, or should have sent, and that are missing in the final answers."""
    kept = 0
    for turn in side.turns:
        sent = side.notes[turn.tag][0].text.split() if turn.tag in side.notes else []
        got = turn.answer.split()
        if got != sent:
            turn.problems.append(f"the answer differs from what the model sent: {len(got)} of {len(sent)} tokens")
        kept += min(len(set(got) & set(sent)), len(turn.delays))
    return float(expected - kept)


def delays(side: Outcome) -> list[float]:
    """How late each token was, of all turns."""
    return [delay for turn in side.turns for delay in turn.delays]


def both(ours: Sequence[float], theirs: Sequence[float], share: float) -> tuple[float, float]:
    """A percentile of the product and the reference, in milliseconds."""
    return percentile(ours, share) * MS, percentile(theirs, share) * MS


def worst(*windows: Window) -> Window:
    """The window in which client or stub was latest."""
    return max(windows, key=lambda window: max(window.client.p99, window.stub.p99))


def problems_of(*sides: Outcome) -> list[str]:
    """The problems of the clients and of the turns."""
    return [
        problem
        for side in sides
        for problem in [*side.problems, *(f"{turn.tag}: {each}" for turn in side.turns for each in turn.problems)]
    ]


def errors(name: str, problems: Sequence[str]) -> Row:
    """The row with the number of problems."""
    return Row(f"{name}: errors", "", float(len(problems)), None, 0.0)
