"""Measure the running product: ``make bench``, or ``python -m tests.benchmarks --only first-token``."""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import orjson

import tests.isolation  # noqa: F401 - the processes below inherit an environment without this machine's own settings
from tests.benchmarks.figure import Measured, Sizes, median_of
from tests.benchmarks.figures import FIGURES
from tests.benchmarks.measuring import Row, Window, verdict
from tests.benchmarks.stage import Stage
from tests.serving import ROOT

#: How many times a figure is measured before a void result stands.
ATTEMPTS = 3
#: How long all the repetitions may take, for each of `--runs`: the whole stays below ten minutes.
REPEATS_S = 70.0
_DIGITS = {"": 0, "/s": 0, "×": 2, "s": 3}
_HEAD = ("figure", "product", "yardstick", "ratio", "bound", "")


def main() -> int:
    """Measure and print; the exit status says whether every bound was kept."""
    options = _options()
    usual = Sizes(sessions=options.sessions, rate=options.rate, tokens=options.tokens, ramp_s=options.ramp)
    sizes = replace(usual, **dict(options.size))
    # On the disk with the product's data, because the cost of a commit depends on the disk.
    data = ROOT / "var"
    data.mkdir(exist_ok=True)
    if options.profile:
        options.profile.mkdir(parents=True, exist_ok=True)
    done: dict[str, Measured] = {}
    began, left = time.monotonic(), REPEATS_S * options.runs
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=data) as folder,
        Stage(Path(folder), clients=options.clients, profiles=options.profile) as stage,
    ):
        for name in options.only or FIGURES:
            times = []
            for number in range(1, options.runs + 1):
                title = f"{name}, run {number} of {options.runs}" if options.runs > 1 else name
                measured, left = _measured(
                    partial(FIGURES[name], stage, sizes), partial(_print_figure, title, began), left
                )
                times.append(measured)
            done[name] = median_of(times)
    print(orjson.dumps(_as_json(done, options)).decode() if options.json else _table(done))
    return int(
        any(verdict(row, measured.product) in {"void", "missed"} for measured in done.values() for row in measured.rows)
    )


def _measured(
    measure: Callable[[], Measured], report: Callable[[Measured, int, float], None], left: float
) -> tuple[Measured, float]:
    """A figure, measured again while it is void and there is time left; and the time that is left then."""
    attempt = 0
    while True:
        attempt += 1
        began = time.monotonic()
        measured = measure()
        took = time.monotonic() - began
        report(measured, attempt, took)
        if attempt > 1:
            left -= took
        if not measured.is_void or attempt == ATTEMPTS or took > left:
            return measured, left


def _options() -> argparse.Namespace:
    usual = Sizes()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure the running product.")
    parser.add_argument("--only", action="append", choices=list(FIGURES), help="measure this figure; may be repeated")
    parser.add_argument("--runs", type=_count, default=1, help="measure each figure so often, and print the medians")
    parser.add_argument(
        "--size",
        action="append",
        type=_size,
        default=[],
        metavar="NAME=NUMBER",
        help=f"another size than usual, of: {', '.join(asdict(usual))}; may be repeated",
    )
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


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def _size(text: str) -> tuple[str, float]:
    """The name of a size and its value, in the type of that size."""
    name, _, number = text.partition("=")
    usual = asdict(Sizes())
    if name not in usual:
        raise argparse.ArgumentTypeError(f"there is no size {name!r}")
    return name, type(usual[name])(number)


def _print_figure(title: str, began: float, measured: Measured, attempt: int, took: float) -> None:
    """Print a line about the figure's windows, and its problems."""
    sides = {"product": measured.product, "yardstick": measured.yardstick}
    windows = "; ".join(f"{side}: {_lateness(window)}" for side, window in sides.items() if window is not None)
    times = f"took {took:.0f} s, {time.monotonic() - began:.0f} s in all"
    line = f"{title}, attempt {attempt}: {times}; lateness p50/p99 ms, {windows}{' — void' * measured.is_void}"
    problems = [f"  {problem}" for problem in measured.problems[:20]]
    print("\n".join([line, *problems]), file=sys.stderr, flush=True)


def _lateness(window: Window) -> str:
    return ", ".join(
        f"{who} {late.p50 * 1000:.1f}/{late.p99 * 1000:.1f}"
        for who, late in (("client", window.client), ("stub", window.stub))
    )


def _table(done: dict[str, Measured]) -> str:
    """The table as Markdown, for recording."""
    lines = [_HEAD]
    for measured in done.values():
        no_yardstick = measured.yardstick is not None and measured.yardstick.is_void
        for row in measured.rows:
            yardstick = "void" if no_yardstick and row.yardstick is not None else _number(row.yardstick, row.unit)
            ratio = "–" if no_yardstick or row.ratio is None else f"{row.ratio:.1f}"
            bound = "–" if row.bound is None else f"≤ {row.bound:g}"
            product = _number(row.product, row.unit)
            lines.append((row.name, product, yardstick, ratio, bound, verdict(row, measured.product)))
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
    return f"{value:.{_DIGITS.get(unit, 1)}f} {unit}".strip()


def _machine() -> str:
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]},"
        f" Python {platform.python_version()}"
    )


def _as_json(done: dict[str, Measured], options: argparse.Namespace) -> dict[str, object]:
    def as_object(row: Row, measured: Measured) -> dict[str, object]:
        return {**asdict(row), "ratio": row.ratio, "verdict": verdict(row, measured.product)}

    return {
        "machine": _machine(),
        "runs": options.runs,
        "figures": {
            name: {
                "rows": [as_object(row, measured) for row in measured.rows],
                "lateness": {"product": measured.product, "yardstick": measured.yardstick},
                "problems": measured.problems,
            }
            for name, measured in done.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
