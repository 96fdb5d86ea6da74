"""The cost of serving with several processes instead of one."""

from tests.benchmarks.client import TAG
from tests.benchmarks.figure import Measured, Sizes, errors, lost, problems_of, warm_up, worst
from tests.benchmarks.measuring import Row
from tests.benchmarks.stage import Stage

_RATE = 50.0
#: The most that the CPU time for a token may be, as a multiple of that with one process.
_MOST = 1.1


def two_processes(stage: Stage, sizes: Sizes) -> Measured:
    """Sessions that stream on one process, on PostgreSQL and Redis; then as many on each of two."""
    count, tokens = sizes.sessions // 2, 2 * sizes.tokens
    message = f"Tell me about tides [tag={TAG} tokens={tokens} every={1000 / _RATE:g} stamp]"
    with stage.apart("two", has_redis=True):
        with stage.product() as product:
            sessions = stage.rows("sessions", 3 * count + 4)
            warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
            alone = stage.run(product, "load", sessions[4:][:count], message=message, spread_s=sizes.ramp_s)
        with stage.product() as first, stage.beside() as second:
            for side, own in ((first, sessions[:2]), (second, sessions[2:4])):
                warm_up(stage, side, own, f"Tell me [tag={TAG}]")
            both = stage.run(
                first,
                "load",
                sessions[4 + count :],
                message=message,
                spread_s=sizes.ramp_s,
                clients=2,
                beside=[second],
            )
    name = f"{count} sessions × {_RATE:g}/s on each of two processes"
    missing = lost(alone, count * tokens) + lost(both, 2 * count * tokens)
    problems = problems_of(alone, both)
    rows = [
        Row(f"{name}: CPU per 1,000 tokens", "s", both.cpu_s / (2 * count * tokens) * 1_000),
        Row(f"{name}: … beside one alone", "×", both.cpu_s / alone.cpu_s / 2, None, _MOST),
        Row(f"{name}: tokens lost", "", missing, None, 0.0),
        errors(name, problems),
    ]
    return Measured(rows, worst(alone.window, both.window), problems=problems)
