"""What another door costs beside the socket, in the same process and on the same answers."""

from tests.benchmarks.client import TAG
from tests.benchmarks.figure import MS, Measured, Sizes, delays, errors, lost, problems_of, warm_up, worst
from tests.benchmarks.measuring import Row, percentile
from tests.benchmarks.stage import Stage

_RATE = 50.0
#: The server's CPU for a token may be so many times what it is over sockets.
_MOST = 1.2


def doors(stage: Stage, sizes: Sizes) -> Measured:
    """Many sessions streaming at once, over sockets and then over `/v1`."""
    count, tokens = sizes.sessions, 2 * sizes.tokens
    message = f"Tell me about tides [tag={TAG} tokens={tokens} every={1000 / _RATE:g} stamp]"
    token = stage.rows("token")
    with stage.product() as product:
        sessions = stage.rows("sessions", 2 * count + 4)
        warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
        stage.run(product, "completions", sessions[2:4], message=f"Tell me [tag={TAG}]", token=token)
        sockets = stage.run(product, "load", sessions[4 : 4 + count], message=message, spread_s=sizes.ramp_s)
        v1 = stage.run(
            product, "completions", sessions[4 + count :], message=message, spread_s=sizes.ramp_s, token=token
        )
    name = f"/v1: {count} streams × {_RATE:g}/s"
    wrong = problems_of(v1)
    rows = [
        Row(f"{name}: server CPU per token, beside a socket's", "×", v1.cpu_s / sockets.cpu_s, None, _MOST),
        Row(f"{name}: delay of a token, median", "ms", percentile(delays(v1), 0.5) * MS),
        Row(f"{name}: delay of a token, p99", "ms", percentile(delays(v1), 0.99) * MS, None, 250.0),
        Row(f"{name}: tokens lost", "", lost(v1, count * tokens), None, 0.0),
        errors(name, wrong),
    ]
    return Measured(rows, worst(v1.window, sockets.window), None, wrong + problems_of(sockets))
