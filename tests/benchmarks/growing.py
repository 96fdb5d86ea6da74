"""How costs grow with size: each cost at two sizes, and the growth."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.client import TAG
from tests.benchmarks.figure import MOST_GROWTH, MS, Measured, Sizes, added, errors, lost, problems_of, warm_up, worst
from tests.benchmarks.measuring import Row, growth_ratio, percentile
from tests.benchmarks.stage import Outcome, Side, Stage

_ASKED = 11
_RATE = 20
_WATCHED_RATE = 50
_TOKENS = 120
_RAMP_S = 2.0
#: Long answers: how many at once, and the milliseconds between tokens.
_STREAMS = 4
#: How many branches, comments and shares a session has.
_BESIDE = (20, 200)
#: How many sessions an account has, and how many agents there are.
_STORED = (1_000, 10_000)
_AGENTS = (6, 60)
_BUILT_IN = 3
_EVERY_MS = 2


@dataclass
class _Growing:
    """The product while it is measured at two sizes of everything."""

    stage: Stage
    product: Side
    sessions: Iterator[str]
    """New ones."""
    rows: list[Row] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def pop(self, count: int) -> list[str]:
        """This many new sessions."""
        return list(itertools.islice(self.sessions, count))

    def run(self, kind: str, sessions: Sequence[str], message: str, **job: Any) -> Outcome:
        """Run a job, and keep its result."""
        outcome = self.stage.run(self.product, kind, sessions, message=f"{message} [tag={TAG} {job.pop('how')}]", **job)
        self.outcomes.append(outcome)
        return outcome

    def compare(self, what: str, unit: str, costs: Mapping[int, float], *, is_whole: bool = False) -> None:
        """Two costs by size, and their growth. A cost is per unit of what grows, unless ``is_whole``: then it may grow proportionally."""
        (small, cheap), (large, dear) = costs.items()
        sizes = f"{small:,} → {large:,}"
        self.rows += [Row(what.replace("#", f"{size:,}"), unit, cost) for size, cost in costs.items()]
        growth = growth_ratio(cheap, dear, large / small if is_whole else 1.0)
        self.rows.append(Row(f"{what.replace('#', sizes)}: growth", "×", growth, None, MOST_GROWTH))


def growth(stage: Stage, sizes: Sizes) -> Measured:
    """Sessions, watchers, stored steps, earlier turns, length: no cost grows faster than proportionally."""
    sessions, watchers = (
        (sizes.most_sessions // 4, sizes.most_sessions),
        (sizes.most_watchers // 10, sizes.most_watchers),
    )
    steps, turns = (sizes.most_steps // 10, sizes.most_steps), (sizes.most_turns // 8, sizes.most_turns)
    stored = dict(zip(steps, stage.rows("growing", *steps), strict=True))
    talked = dict(zip(turns, stage.rows("talked", _ASKED, *turns), strict=True))
    surrounded = dict(zip(_BESIDE, stage.rows("surrounded", *_BESIDE), strict=True))
    fresh = iter(stage.rows("sessions", 2 + sum(sessions) + len(watchers) + 2 * _STREAMS))
    with stage.product() as product:
        growing = _Growing(stage, product, fresh)
        warm_up(stage, product, growing.pop(2), f"Tell me [tag={TAG}]")
        _sessions(growing, sessions)
        _watchers(growing, watchers, sizes.tokens)
        appended = {count: percentile(seconds, 0.5) * MS for count, (_, seconds) in stored.items()}
        growing.compare("# steps there: one more stored, median", "ms", appended)
        _first_tokens(growing, "# steps there", {count: [session] for count, (session, _) in stored.items()})
        _first_tokens(growing, "# turns before", talked)
        _pages(growing, surrounded, sizes.opens)
        _length(growing, sizes.most_tokens)
    _lists(growing, sizes.opens)
    problems = problems_of(*growing.outcomes)
    windows = [outcome.window for outcome in growing.outcomes]
    return Measured([*growing.rows, errors("growth", problems)], worst(*windows), problems=problems)


def _sessions(growing: _Growing, counts: Sequence[int]) -> None:
    costs = {}
    for count in counts:
        how = f"tokens={_TOKENS} every={1000 / _RATE:g} stamp"
        outcome = growing.run("load", growing.pop(count), "Tell me about tides", how=how, spread_s=_RAMP_S)
        costs[count] = _per_thousand_tokens(outcome, count * _TOKENS)
    growing.compare(f"# sessions × {_RATE}/s: server CPU per 1,000 tokens", "s", costs)


def _watchers(growing: _Growing, counts: Sequence[int], tokens: int) -> None:
    costs = {}
    for count in counts:
        how = f"tokens={tokens} every={1000 / _WATCHED_RATE:g} stamp"
        outcome = growing.run("watch", growing.pop(1) * count, "Tell me about tides", how=how)
        lost(outcome, count * tokens)
        costs[count] = outcome.cpu_s / outcome.frames * MS
    growing.compare(f"# watchers of {_WATCHED_RATE}/s: server CPU per 1,000 frames", "s", costs)


def _first_tokens(growing: _Growing, what: str, sessions: Mapping[int, Sequence[str]]) -> None:
    """In sessions with a history."""
    costs = {}
    for count, each in sessions.items():
        how = "tokens=5 every=20 stamp"
        outcome = growing.run("turns", each, "Tell me about tides", how=how, times=_ASKED // len(each))
        costs[count] = percentile((added(turn, outcome.notes) for turn in outcome.turns if not turn.problems), 0.5)
    growing.compare(f"{what}: first token, median", "ms", costs, is_whole=True)


def _pages(growing: _Growing, surrounded: Mapping[int, str], times: int) -> None:
    """Conversations with branches, comments and shares, opened."""
    pages = {count: f"/sessions/{session}/" for count, session in surrounded.items()}
    got = growing.stage.run(growing.product, "get", times=times, pages=dict.fromkeys(pages.values(), "</html>"))
    growing.outcomes.append(got)
    costs = {count: percentile(got.series[page], 0.5) for count, page in pages.items()}
    growing.compare("# branches, comments and shares: the page, median", "ms", costs, is_whole=True)


def _lists(growing: _Growing, times: int) -> None:
    """Lists on every page: sessions and agents, of which there are few and then many."""
    for what, counts, make, before, path in (
        ("# sessions stored: the API's list, median", _STORED, "past_sessions", 0, "/api/sessions/"),
        ("# agents: the start page, median", _AGENTS, "agents", _BUILT_IN, "/"),
    ):
        costs, there = {}, before
        with growing.stage.apart(make):
            for count in counts:
                growing.stage.rows(make, count - there)
                there = count
                with growing.stage.product() as product:
                    got = growing.stage.run(product, "get", times=2 * times, pages={path: ""})
                growing.outcomes.append(got)
                costs[count] = percentile(got.series[path], 0.5)
        growing.compare(what, "ms", costs, is_whole=True)


def _length(growing: _Growing, most_tokens: int) -> None:
    """As many tokens in short answers as in long ones."""
    costs = {}
    for times in (10, 1):
        tokens = most_tokens // times
        how = f"tokens={tokens} every={_EVERY_MS} stamp"
        outcome = growing.run("load", growing.pop(_STREAMS), "Tell me about tides", how=how, times=times)
        costs[tokens] = _per_thousand_tokens(outcome, _STREAMS * times * tokens)
    growing.compare("answers of # tokens: server CPU per 1,000 tokens", "s", costs)


def _per_thousand_tokens(outcome: Outcome, tokens: int) -> float:
    lost(outcome, tokens)  # an answer that lacks some is a problem of its turn
    return outcome.cpu_s / tokens * 1_000
