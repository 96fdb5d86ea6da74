"""Measure the running product: ``make bench``, or ``python -m tests.benchmarks --only first-token``."""

import argparse
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import orjson

import tests.isolation  # noqa: F401 - the processes below inherit an environment without this machine's own settings
from tests.benchmarks.figures import FIGURES, Measured, Sizes
from tests.benchmarks.measuring import Row, Window, verdict
from tests.benchmarks.stage import Stage
from tests.serving import ROOT

#: How often a figure is measured before its being void stands.
ATTEMPTS = 3
#: … as long as the whole run stays below ten minutes.
NO_REPEAT_AFTER_S = 400.0
_HEAD = ("figure", "product", "relay", "ratio", "bound", "")


def main() -> int:
    """Measure, print, and say by the exit status whether every bound was kept."""
    options = _options()
    sizes = Sizes(sessions=options.sessions, rate=options.rate, tokens=options.tokens, ramp_s=options.ramp)
    # On the disk that holds the product's data: what a commit costs depends on it.
    data = ROOT / "var"
    data.mkdir(exist_ok=True)
    if options.profile:
        options.profile.mkdir(parents=True, exist_ok=True)
    done: dict[str, Measured] = {}
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=data) as folder,
        Stage(Path(folder), server=options.server, clients=options.clients, profiles=options.profile) as stage,
    ):
        for name in options.only or FIGURES:
            for attempt in range(1, ATTEMPTS + 1):
                done[name] = FIGURES[name](stage, sizes)
                spent = time.monotonic() - began
                print(_told(name, done[name], attempt, spent), file=sys.stderr)
                if not done[name].is_void or spent > NO_REPEAT_AFTER_S:
                    break
    print(orjson.dumps(_as_json(done, options)).decode() if options.json else _table(done))
    return int(
        any(verdict(row, measured.product) in {"void", "missed"} for measured in done.values() for row in measured.rows)
    )


def _options() -> argparse.Namespace:
    usual = Sizes()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure the running product.")
    parser.add_argument("--only", action="append", choices=list(FIGURES), help="measure this figure; may be repeated")
    parser.add_argument("--server", choices=("daphne", "uvicorn"), default="daphne")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--sessions", type=int, default=usual.sessions, help="load: sessions that stream at once")
    parser.add_argument("--rate", type=float, default=usual.rate, help="load: tokens a second in each")
    parser.add_argument("--tokens", type=int, default=usual.tokens, help="load: tokens of each answer")
    parser.add_argument("--ramp", type=float, default=usual.ramp_s, help="load: seconds over which the sessions begin")
    parser.add_argument("--clients", type=int, default=1, help="load: client processes")
    parser.add_argument(
        "--profile", type=Path, metavar="FOLDER", help="sample the product by py-spy into this folder; slows it"
    )
    return parser.parse_args()


def _told(name: str, measured: Measured, attempt: int, seconds: float) -> str:
    """A line about the figure's windows, and its problems."""
    sides = {"product": measured.product, "relay": measured.relay}
    windows = "; ".join(f"{side}: {_lateness(window)}" for side, window in sides.items() if window is not None)
    lines = [
        f"{name}, attempt {attempt}, after {seconds:.0f} s: lateness p50/p99 ms, {windows}{' — void' * measured.is_void}"
    ]
    return "\n".join([*lines, *(f"  {problem}" for problem in measured.problems[:20])])


def _lateness(window: Window) -> str:
    return ", ".join(
        f"{who} {late.p50 * 1000:.1f}/{late.p99 * 1000:.1f}"
        for who, late in (("client", window.client), ("stub", window.stub))
    )


def _table(done: dict[str, Measured]) -> str:
    """The table as Markdown, which is how it is recorded."""
    lines = [_HEAD]
    for measured in done.values():
        relay_is_void = measured.relay is not None and measured.relay.is_void
        for row in measured.rows:
            relay = "void" if relay_is_void and row.relay is not None else _number(row.relay, row.unit)
            ratio = "–" if relay_is_void or row.ratio is None else f"{row.ratio:.1f}"
            bound = "–" if row.bound is None else f"≤ {row.bound:g}"
            product = _number(row.product, row.unit)
            lines.append((row.name, product, relay, ratio, bound, verdict(row, measured.product)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    return "\n".join(
        [f"{_machine()}\n", shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]]
    )


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:.{3 if unit == 's' else 1 if unit else 0}f} {unit}".strip()


def _machine() -> str:
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]},"
        f" Python {platform.python_version()}"
    )


def _as_json(done: dict[str, Measured], options: argparse.Namespace) -> dict[str, object]:
    def told(row: Row, measured: Measured) -> dict[str, object]:
        return {**asdict(row), "ratio": row.ratio, "verdict": verdict(row, measured.product)}

    return {
        "machine": _machine(),
        "server": options.server,
        "figures": {
            name: {
                "rows": [told(row, measured) for row in measured.rows],
                "lateness": {"product": measured.product, "relay": measured.relay},
                "problems": measured.problems,
            }
            for name, measured in done.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
