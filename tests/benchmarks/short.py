"""Figures of short things: the server's CPU time for one request, one socket, one run."""

from typing import Any

from tests.benchmarks.client import TAG
from tests.benchmarks.figure import MS, Measured, Sizes, errors, problems_of, warm_up, worst
from tests.benchmarks.measuring import Row
from tests.benchmarks.stage import Outcome, Side, Stage

_CONVERSATION = 200
_STATIC = "/static/chat/favicon/done.svg"
#: The product's own part of a static file: the rest is that of the minimal application, where that alone exceeds the bound.
_STATIC_MS, _BESIDE_BARE_MS = 1.0, 0.3
_PLAIN = f"Tell me about tides [tag={TAG} tokens=5]"
_WITH_TOOL = f"What time is it? [tag={TAG} tokens=5 call=current_time:{{}}]"


def costs(stage: Stage, sizes: Sizes) -> Measured:
    """The server's CPU time for each of the short things, one at a time."""
    times = sizes.requests
    with stage.bare() as bare:
        # The first ones load what is loaded once.
        stage.run(bare, "get", times=times, pages={"/": "ok"})
        yardstick = stage.run(bare, "get", times=times, pages={"/": "ok"})
    least = yardstick.cpu_s / times * MS
    with stage.product() as product:
        session = stage.rows("long_session", _CONVERSATION)
        sessions = stage.rows("sessions", times + 2 * (sizes.turns // 5) + 2)
        warm_up(stage, product, sessions[:2], _PLAIN, _WITH_TOOL)
        seen = _Seen(stage, product, times)
        rows = [
            seen.request("/healthz", "/healthz", "ok", 0.7, least),
            seen.request("a static file", _STATIC, "svg", max(_STATIC_MS, least + _BESIDE_BARE_MS), least),
            seen.request("POST sessions/", "POST /api/sessions/", '"id"', 2.5, least),
            seen.request("GET sessions/", "/api/sessions/", '"last_seq"', 2.5, least),
            seen.request("the start page", "/", "</html>", 8.0, least),
            seen.request(f"a conversation of {_CONVERSATION} steps", f"/sessions/{session}/", "</html>", 12.0, least),
        ]
        opened = stage.run(product, "connect", sessions[2 : times + 2])
        seen.outcomes.append(opened)
        rows.append(Row("CPU of opening a socket", "ms", opened.cpu_s / times * MS, None, 1.5))
        half = sizes.turns // 5
        for name, message, start, bound in (
            ("one model call", _PLAIN, 0, 9.0),
            ("one tool round", _WITH_TOOL, half, 13.0),
        ):
            own = sessions[times + 2 + start :][:half]
            run = stage.run(product, "turns", own, message=message, times=5)
            seen.outcomes.append(run)
            rows.append(Row(f"CPU of a run of {name}", "ms", run.cpu_s / len(run.turns) * MS, None, bound))
    problems = problems_of(yardstick, *seen.outcomes)
    windows = [outcome.window for outcome in seen.outcomes]
    return Measured([*rows, errors("short things", problems)], worst(*windows), yardstick.window, problems)


class _Seen:
    """The jobs of this figure."""

    def __init__(self, stage: Stage, product: Side, times: int) -> None:
        self._stage, self._product, self._times = stage, product, times
        self.outcomes: list[Outcome] = []

    def request(self, name: str, path: str, expected: str, bound: float, least: float) -> Row:
        """The row of one kind of request."""
        pages: dict[str, Any] = {path: expected}
        # The first ones load what is loaded once.
        self._stage.run(self._product, "get", times=10, pages=pages)
        outcome = self._stage.run(self._product, "get", times=self._times, pages=pages)
        self.outcomes.append(outcome)
        return Row(f"CPU of {name}", "ms", outcome.cpu_s / self._times * MS, least, bound)
