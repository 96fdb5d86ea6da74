"""The figures of streaming answers, and the list of all figures: how each is measured, and its bounds."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import psutil

from tests.benchmarks import bursts
from tests.benchmarks.client import TAG
from tests.benchmarks.decided import decided
from tests.benchmarks.doors import doors
from tests.benchmarks.figure import (
    MS,
    UNHURRIED,
    Measured,
    Sizes,
    added,
    added_after_tool,
    both,
    delays,
    errors,
    lost,
    problems_of,
    warm_up,
    worst,
)
from tests.benchmarks.growing import growth
from tests.benchmarks.kept_calls import kept_calls
from tests.benchmarks.measuring import Lateness, Row, Window, percentile
from tests.benchmarks.observed import observed
from tests.benchmarks.processes import two_processes
from tests.benchmarks.shares import cpu_shares
from tests.benchmarks.short import costs
from tests.benchmarks.stage import Outcome, Side, Stage
from tests.benchmarks.stored import branch, clock, history, open_2000, replay, run_page, search, staff

#: Turns in one session: its history grows meanwhile, as in use.
_TURNS = 5
_PLAIN = f"Tell me about tides [tag={TAG} tokens=5 every=20 stamp]"
_WITH_TOOL = f"What time is it? [tag={TAG} every=5 call=current_time:{{}}]"
_LONG_SESSION = 2_000
_LARGE_RESULT = 1_000_000
_WATCHED_RATE = 50.0
_HEAVY_RATE, _HEAVY_TOKENS = 50.0, 400
#: The server's CPU time for 1,000 tokens; the ratio to the relay's, which sends a frame for every token, does not depend on the machine.
_HEAVY_CPU_S = 0.055
#: The bounds for few and for very many sessions: how many, the delay of a token at p99, and CPU.
_FEW, _FEW_MS, _FEW_CPU_S = 25, 40.0, 0.10
_MOST, _MOST_MS, _MOST_CPU_S = 400, 100.0, 0.045
_AT_START_MB = 200.0
_FRAME_S = 1 / 60


def first_token(stage: Stage, sizes: Sizes) -> Measured:
    """The time that is added to the model's own first token, for one user."""
    count = sizes.turns // _TURNS
    with stage.product() as product:
        plain, after = _asked(stage, product, stage.rows("sessions", 2 * count + 2), _WITH_TOOL)
    with stage.relay() as relay:
        stage.run(relay, "turns", ["warm"], message=_PLAIN, times=_TURNS)
        bare = stage.run(relay, "turns", [str(i) for i in range(count)], message=_PLAIN, times=_TURNS)
    problems = problems_of(plain, after)
    ours, theirs = _firsts(plain), [added(turn, bare.notes) for turn in bare.turns]
    tool = _firsts_after_tool(after)
    rows = [
        Row("first token, median", "ms", percentile(ours, 0.5), percentile(theirs, 0.5), 6.0),
        Row("first token, p95", "ms", percentile(ours, 0.95), percentile(theirs, 0.95), 25.0),
        Row("… and after a tool round, median", "ms", percentile(tool, 0.5), None, 18.0),
        Row("… and after a tool round, p95", "ms", percentile(tool, 0.95)),
        errors("first token", problems),
    ]
    return Measured(rows, worst(plain.window, after.window), bare.window, problems)


def stock(stage: Stage, sizes: Sizes) -> Measured:
    """The same in comparison with Qwen-Agent's own loop, unchanged."""
    count = sizes.stock_turns // _TURNS
    with stage.product() as product:
        ours, ours_after = _asked(stage, product, stage.rows("sessions", 2 * count + 2), _WITH_TOOL)
    with stage.stock() as loop:
        # Qwen-Agent's way of calling tools is a template in the text.
        asking = _WITH_TOOL.replace(" call=", " template call=")
        theirs, theirs_after = _asked(stage, loop, [str(i) for i in range(2 * count + 2)], asking)
    problems = problems_of(ours, ours_after, theirs, theirs_after)
    plain, tool = (_firsts(ours), _firsts(theirs)), (_firsts_after_tool(ours_after), _firsts_after_tool(theirs_after))
    rows = [
        Row(
            f"beside the stock loop: {name}, {word}",
            "ms",
            percentile(values[0], share),
            percentile(values[1], share),
        )
        for name, values in (("first token", plain), ("after a tool round", tool))
        for word, share in (("median", 0.5), ("p95", 0.95))
    ]
    return Measured(
        [*rows, errors("beside the stock loop", problems)],
        worst(ours.window, ours_after.window),
        worst(theirs.window, theirs_after.window),
        problems,
    )


def _asked(stage: Stage, side: Side, sessions: Sequence[str], with_tool: str) -> tuple[Outcome, Outcome]:
    """Warm up in two of the sessions, then send plain messages in half of the others, and messages that need a tool in the other half."""
    half = len(sessions) // 2 + 1
    warm_up(stage, side, sessions[:2], _PLAIN, with_tool)
    return (
        stage.run(side, "turns", sessions[2:half], message=_PLAIN, times=_TURNS),
        stage.run(side, "turns", sessions[half:], message=with_tool, times=_TURNS),
    )


def _firsts(side: Outcome) -> list[float]:
    return [added(turn, side.notes) for turn in side.turns if not turn.problems]


def _firsts_after_tool(side: Outcome) -> list[float]:
    return [added_after_tool(turn, side.notes) for turn in side.turns if not turn.problems]


def connect(stage: Stage, sizes: Sizes) -> Measured:
    """From opening a socket to its first frame, while others are open."""
    with stage.product() as product:
        sessions = stage.rows("sessions", sizes.open_sockets + sizes.connects + 2)
        warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
        ours = stage.run(product, "connect", sessions[2:], held=sizes.open_sockets)
    with stage.relay() as relay:
        theirs = stage.run(relay, "connect", sessions[2:], held=sizes.open_sockets)
    rows = [
        Row(f"connect, {sizes.open_sockets} open, median", "ms", *both(ours.seconds, theirs.seconds, 0.5)),
        Row(f"connect, {sizes.open_sockets} open, p99", "ms", *both(ours.seconds, theirs.seconds, 0.99), 30.0),
    ]
    return Measured(rows, ours.window, theirs.window, ours.problems)


def load(stage: Stage, sizes: Sizes) -> Measured:
    """Many sessions streaming at once: nothing lost, nothing late, and the CPU time."""
    return _load(stage, sizes.sessions, sizes.rate, sizes.tokens, sizes.ramp_s)


def heavy_load(stage: Stage, sizes: Sizes) -> Measured:
    """As many sessions, and as fast, as one process must be able to serve."""
    return _load(
        stage, sizes.heavy_sessions, _HEAVY_RATE, _HEAVY_TOKENS, sizes.ramp_s, clients=2, most_cpu_s=_HEAVY_CPU_S
    )


def few_sessions(stage: Stage, sizes: Sizes) -> Measured:
    """So few sessions that nearly every token may be sent separately."""
    return _load(stage, _FEW, _HEAVY_RATE, _HEAVY_TOKENS, sizes.ramp_s, most_ms=_FEW_MS, most_cpu_s=_FEW_CPU_S)


def most_sessions(stage: Stage, sizes: Sizes) -> Measured:
    """As many sessions as one process can serve at all."""
    bounds = {"most_ms": _MOST_MS, "most_cpu_s": _MOST_CPU_S}
    return _load(stage, _MOST, _HEAVY_RATE, _HEAVY_TOKENS, sizes.ramp_s, clients=2, **bounds)


def _load(
    stage: Stage,
    count: int,
    rate: float,
    tokens: int,
    ramp_s: float,
    *,
    clients: int = 1,
    most_ms: float = 250.0,
    most_cpu_s: float | None = None,
) -> Measured:
    message = f"Tell me about tides [tag={TAG} tokens={tokens} every={1000 / rate:g} stamp]"
    work: dict[str, Any] = {"message": message, "spread_s": ramp_s, "clients": clients}
    with stage.product() as product:
        sessions = stage.rows("sessions", count + 2)
        warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
        ours = stage.run(product, "load", sessions[2:], **work)
    with stage.relay() as relay:
        theirs = stage.run(relay, "load", sessions[2:], **work)
    name = f"{count} sessions × {rate:g}/s"
    thousands = count * tokens / 1_000
    cpu = Row(f"{name}: server CPU per 1,000 tokens", "s", ours.cpu_s / thousands, theirs.cpu_s / thousands, most_cpu_s)
    return _streamed(name, ours, theirs, count * tokens, most_ms, cpu)


def watchers(stage: Stage, sizes: Sizes) -> Measured:
    """One answer that many sockets of its session receive."""
    count = sizes.watchers
    message = f"Tell me about tides [tag={TAG} tokens={sizes.tokens} every={1000 / _WATCHED_RATE:g} stamp]"
    with stage.product() as product:
        *first, session = stage.rows("sessions", 3)
        warm_up(stage, product, first, f"Tell me [tag={TAG}]")
        ours = stage.run(product, "watch", [session] * count, message=message, clients=2)
    with stage.relay() as relay:
        theirs = stage.run(relay, "watch", [session] * count, message=message, clients=2)
    name = f"{count} watchers of {_WATCHED_RATE:g}/s"
    thousands = count * sizes.tokens / 1_000
    cpu = Row(f"{name}: server CPU per 1,000 tokens sent", "s", ours.cpu_s / thousands, theirs.cpu_s / thousands)
    return _streamed(name, ours, theirs, count * sizes.tokens, 25.0, cpu)


def commented(stage: Stage, sizes: Sizes) -> Measured:
    """The same, while somebody comments: each comment is sent to every socket."""
    count, times = sizes.watchers, 10
    message = f"Tell me about tides [tag={TAG} tokens={sizes.tokens} every={1000 / _WATCHED_RATE:g} stamp]"
    with stage.product() as product:
        *first, session = stage.rows("sessions", 3)
        warm_up(stage, product, first, f"Tell me [tag={TAG}]")
        ours = stage.run(product, "watch", [session] * count, message=message, times=times)
    with stage.relay() as relay:
        theirs = stage.run(relay, "watch", [session] * count, message=message)
    name = f"{count} watchers of {_WATCHED_RATE:g}/s, {times} comments"
    took = percentile(ours.series["comments"], 0.5)
    return _streamed(name, ours, theirs, count * sizes.tokens, 100.0, Row(f"{name}: a comment, median", "ms", took))


def _streamed(name: str, ours: Outcome, theirs: Outcome, tokens: int, most_ms: float, cpu: Row) -> Measured:
    """The rows of answers in which every token is stamped."""
    missing, wrong = lost(ours, tokens), problems_of(ours)
    rows = [
        Row(f"{name}: delay of a token, median", "ms", *both(delays(ours), delays(theirs), 0.5)),
        Row(f"{name}: delay of a token, p99", "ms", *both(delays(ours), delays(theirs), 0.99), most_ms),
        Row(f"{name}: tokens lost", "", missing, None, 0.0),
        errors(name, wrong),
        cpu,
    ]
    # A relay that loses tokens would not be a valid reference.
    return Measured(rows, ours.window, theirs.window, wrong + [f"relay: {each}" for each in problems_of(theirs)])


def idle(stage: Stage, sizes: Sizes) -> Measured:
    """The server's memory for an idle socket, each on a session of its own."""
    held = 100
    with stage.product() as product:
        sessions = stage.rows("sessions", held + sizes.idle_sockets + 2)
        warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
        ours = stage.run(product, "idle", sessions[2:], held=held)
    with stage.relay() as relay:
        theirs = stage.run(relay, "idle", sessions[2:], held=held)
    rows = [Row("memory of an idle socket", "KiB", ours.bytes_each / 1024, theirs.bytes_each / 1024, 22.0)]
    return Measured(rows, ours.window, theirs.window, ours.problems)


def resident(stage: Stage, _sizes: Sizes) -> Measured:
    """The server's memory once it has loaded all that runs need, before the first message."""
    with stage.product() as product:
        stage.wait_loaded()
        resident_mb = psutil.Process(product.pid).memory_info().rss / 1e6
    return Measured([Row("memory at the start, agents loaded", "MB", resident_mb, None, _AT_START_MB)], UNHURRIED)


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
        errors("page", problems),
    ]
    # The browser measures itself: it was late if even plain text did not get its frames.
    late = Lateness.of([max(0.0, between / MS - _FRAME_S) for between in plain])
    return Measured(rows, Window(late, Lateness(0.0, 0.0)), problems=problems)


FIGURES: dict[str, Callable[[Stage, Sizes], Measured]] = {
    "first-token": first_token,
    "stock": stock,
    "connect": connect,
    "costs": costs,
    "load": load,
    "few-sessions": few_sessions,
    "heavy-load": heavy_load,
    "most-sessions": most_sessions,
    "two-processes": two_processes,
    "shares": cpu_shares,
    "observed": observed,
    "kept-calls": kept_calls,
    "watchers": watchers,
    "commented": commented,
    "doors": doors,
    "decided": decided,
    "resident": resident,
    "idle": idle,
    "still": bursts.still,
    "back": bursts.back,
    "due": bursts.due,
    "later-start": bursts.later_start,
    "open-2000": open_2000,
    "run-page": run_page,
    "replay": replay,
    "branch": branch,
    "history": history,
    "search": search,
    "clock": clock,
    "staff": staff,
    "growth": growth,
    "page": page,
}
