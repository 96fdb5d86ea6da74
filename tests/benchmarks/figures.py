"""The figures: what is done to get each, and the bounds it has to keep."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from tests.benchmarks.client import TAG
from tests.benchmarks.measuring import Lateness, Row, Turn, Window, percentile
from tests.benchmarks.stage import Outcome, Side, Stage
from tests.benchmarks.stub import Note

#: Turns in one session: its history grows meanwhile, as in use.
_TURNS = 5
_LONG_SESSION = 2_000
_LARGE_RESULT = 1_000_000
_MS = 1_000.0
_FRAME_S = 1 / 60


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done for a figure."""

    turns: int = 50
    sessions: int = 100
    rate: float = 20.0
    """Tokens a second in each session."""
    tokens: int = 200
    """Tokens of each answer."""
    ramp_s: float = 5.0
    """Sessions begin evenly over so long; from then until the first answer ends, all stream at once."""
    open_sockets: int = 200
    connects: int = 200
    idle_sockets: int = 400
    opens: int = 11


@dataclass(slots=True)
class Measured:
    """A figure's rows, the windows in which they were measured, and what went wrong."""

    rows: list[Row]
    product: Window
    relay: Window | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def is_void(self) -> bool:
        """Whether it has to be measured again."""
        return self.product.is_void or (self.relay is not None and self.relay.is_void)


def first_token(stage: Stage, sizes: Sizes) -> Measured:
    """The time added to the model's own first token, for one user."""
    message = f"Tell me about tides [tag={TAG} tokens=5 every=20 stamp]"
    with_tool = f"What time is it? [tag={TAG} every=5 call=current_time:{{}}]"
    count = sizes.turns // _TURNS
    with stage.product() as product:
        sessions = stage.rows("sessions", 2 * count + 2)
        _warm_up(stage, product, sessions[:2], message, with_tool)
        plain = stage.run(product, "turns", sessions[2 : count + 2], message=message, times=_TURNS)
        after = stage.run(product, "turns", sessions[count + 2 :], message=with_tool, times=_TURNS)
    with stage.relay() as relay:
        stage.run(relay, "turns", ["warm"], message=message, times=_TURNS)
        bare = stage.run(relay, "turns", [str(i) for i in range(count)], message=message, times=_TURNS)
    problems = _problems(plain) + _problems(after)
    ours = [_added(turn, plain.notes) for turn in plain.turns if not turn.problems]
    theirs = [_added(turn, bare.notes) for turn in bare.turns]
    tool = [_added_after_tool(turn, after.notes) for turn in after.turns if not turn.problems]
    rows = [
        Row("first token, median", "ms", percentile(ours, 0.5), percentile(theirs, 0.5), 10.0),
        Row("first token, p95", "ms", percentile(ours, 0.95), percentile(theirs, 0.95), 25.0),
        Row("… and after a tool round, median", "ms", percentile(tool, 0.5)),
        Row("… and after a tool round, p95", "ms", percentile(tool, 0.95)),
        Row("first token: errors", "", float(len(problems)), None, 0.0),
    ]
    return Measured(rows, _worst(plain.window, after.window), bare.window, problems)


def _added(turn: Turn, notes: Mapping[str, Sequence[Note]]) -> float:
    """Milliseconds from sending the message to the first text, without those the model took."""
    (note,) = notes[turn.tag]
    if turn.first is None:  # it came with the finished answer only
        return math.inf
    return (turn.first - turn.sent - (note.first - note.at)) * _MS


def _added_after_tool(turn: Turn, notes: Mapping[str, Sequence[Note]]) -> float:
    """Milliseconds from sending the message to the first text after the tool's result, without those the model took."""
    asking, answering = notes[turn.tag]
    if turn.after_tool is None:
        return math.inf
    return (turn.after_tool - turn.sent - (asking.done - asking.at) - (answering.first - answering.at)) * _MS


def connect(stage: Stage, sizes: Sizes) -> Measured:
    """From opening a socket to its first frame, while others are open."""
    with stage.product() as product:
        sessions = stage.rows("sessions", sizes.open_sockets + sizes.connects + 2)
        _warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
        ours = stage.run(product, "connect", sessions[2:], held=sizes.open_sockets)
    with stage.relay() as relay:
        theirs = stage.run(relay, "connect", sessions[2:], held=sizes.open_sockets)
    rows = [
        Row(f"connect, {sizes.open_sockets} open, median", "ms", *_both(ours.seconds, theirs.seconds, 0.5)),
        Row(f"connect, {sizes.open_sockets} open, p99", "ms", *_both(ours.seconds, theirs.seconds, 0.99), 50.0),
    ]
    return Measured(rows, ours.window, theirs.window, ours.problems)


def load(stage: Stage, sizes: Sizes) -> Measured:
    """Many sessions streaming at once: nothing lost, nothing late, and what it costs."""
    message = f"Tell me about tides [tag={TAG} tokens={sizes.tokens} every={1000 / sizes.rate:g} stamp]"
    with stage.product() as product:
        sessions = stage.rows("sessions", sizes.sessions + 2)
        _warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
        ours = stage.run(product, "load", sessions[2:], message=message, spread_s=sizes.ramp_s)
    with stage.relay() as relay:
        theirs = stage.run(relay, "load", sessions[2:], message=message, spread_s=sizes.ramp_s)
    missing, wrong = lost(ours, sizes), _problems(ours)
    name = f"{sizes.sessions} sessions × {sizes.rate:g}/s"
    delays, bare = ([delay for turn in side.turns for delay in turn.delays] for side in (ours, theirs))
    thousands = sizes.sessions * sizes.tokens / 1_000
    rows = [
        Row(f"{name}: delay of a token, median", "ms", *_both(delays, bare, 0.5)),
        Row(f"{name}: delay of a token, p99", "ms", *_both(delays, bare, 0.99), 250.0),
        Row(f"{name}: tokens lost", "", missing, None, 0.0),
        Row(f"{name}: errors", "", float(len(wrong)), None, 0.0),
        Row(f"{name}: server CPU per 1,000 tokens", "s", ours.cpu_s / thousands, theirs.cpu_s / thousands),
    ]
    return Measured(rows, ours.window, theirs.window, wrong)


def lost(side: Outcome, sizes: Sizes) -> float:
    """Tokens that the stub sent, or should have sent, and that are not in the answers as they stand in the end."""
    kept = 0
    for turn in side.turns:
        sent = side.notes[turn.tag][0].text.split() if turn.tag in side.notes else []
        got = turn.answer.split()
        if got != sent:
            turn.problems.append(f"the answer differs from what the model sent: {len(got)} of {len(sent)} tokens")
        kept += min(len(set(got) & set(sent)), len(turn.delays))
    return float(sizes.sessions * sizes.tokens - kept)


def idle(stage: Stage, sizes: Sizes) -> Measured:
    """The server's memory for a socket on which nothing happens, each on a session of its own."""
    held = 100
    with stage.product() as product:
        sessions = stage.rows("sessions", held + sizes.idle_sockets + 2)
        _warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
        ours = stage.run(product, "idle", sessions[2:], held=held)
    with stage.relay() as relay:
        theirs = stage.run(relay, "idle", sessions[2:], held=held)
    rows = [Row("memory of an idle socket", "KiB", ours.bytes_each / 1024, theirs.bytes_each / 1024, 40.0)]
    return Measured(rows, ours.window, theirs.window, ours.problems)


def open_2000(stage: Stage, sizes: Sizes) -> Measured:
    """A session of 2,000 stored steps: every frame over the socket, and the page."""
    with stage.product() as product:
        sessions = [stage.rows("long_session", _LONG_SESSION)]
        frames = stage.run(product, "replay", sessions, times=sizes.opens, held=_LONG_SESSION)
        page = stage.run(product, "page", sessions, times=sizes.opens)
    rows = [
        Row("2,000 steps replayed over the socket, median", "ms", percentile(frames.seconds, 0.5) * _MS, None, 1_000.0),
        Row("2,000 steps: the page's HTML, the first time", "ms", page.seconds[0] * _MS, None, 1_000.0),
        Row("2,000 steps: the page's HTML, median", "ms", percentile(page.seconds[1:], 0.5) * _MS, None, 1_000.0),
        Row("2,000 steps: errors", "", float(len(frames.problems + page.problems)), None, 0.0),
    ]
    return Measured(rows, _worst(frames.window, page.window), problems=frames.problems + page.problems)


def page(stage: Stage, sizes: Sizes) -> Measured:
    """The page of a long session in a browser: opened, scrolled, and used while an answer grows."""
    with stage.product() as product:
        session, heavy = stage.rows("long_session", _LONG_SESSION), stage.rows("large_result", _LARGE_RESULT)
        grows = f"Tell me about tides [tag={TAG} tokens=1500 every=20]"
        outcomes = (
            stage.look(product, "opened", session, times=sizes.opens),
            stage.look(product, "scrolled", session),
            stage.look(product, "streaming", session, message=grows),
            stage.look(product, "large", heavy, held=_LARGE_RESULT),
        )
    series = {name: values for outcome in outcomes for name, values in outcome.series.items()}
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    plain = series["scrolling plain text"]
    rows = [Row("2,000 steps: first paint, median", "ms", percentile(series["first paint"], 0.5), None, 500.0)]
    for name in ("scrolling", "scrolling while it streams", "typing while it streams"):
        frames = series[name]
        rows += [
            Row(f"{name}: between frames, mean", "ms", fmean(frames), fmean(plain), 18.0),
            Row(f"{name}: between frames, p99", "ms", percentile(frames, 0.99), percentile(plain, 0.99), 34.0),
        ]
    rows += [
        Row("typing while it streams: from key to letter, p95", "ms", percentile(series["keys"], 0.95), None, 50.0),
        Row("a result of 1 MB opens: longest between frames", "ms", max(series["a megabyte"]), None, 250.0),
        Row("page: errors", "", float(len(problems)), None, 0.0),
    ]
    # The browser measures itself: it was late where even plain text did not get its frames.
    late = Lateness.of([max(0.0, between / _MS - _FRAME_S) for between in plain])
    return Measured(rows, Window(late, Lateness(0.0, 0.0)), problems=problems)


FIGURES: dict[str, Callable[[Stage, Sizes], Measured]] = {
    "first-token": first_token,
    "connect": connect,
    "load": load,
    "idle": idle,
    "open-2000": open_2000,
    "page": page,
}


def _warm_up(stage: Stage, side: Side, sessions: Sequence[str], *messages: str) -> None:
    """Let the server load what it loads at first use; it is not what is measured."""
    for message in messages:
        stage.run(side, "turns", sessions, message=message, times=3)


def _both(ours: Sequence[float], theirs: Sequence[float], share: float) -> tuple[float, float]:
    """A percentile of both sides, in milliseconds."""
    return percentile(ours, share) * _MS, percentile(theirs, share) * _MS


def _worst(*windows: Window) -> Window:
    return max(windows, key=lambda window: max(window.client.p99, window.stub.p99))


def _problems(side: Outcome) -> list[str]:
    return side.problems + [f"{turn.tag}: {problem}" for turn in side.turns for problem in turn.problems]
