"""The cost of OpenAI's API in comparison with sockets, in the same process and for the same answers."""

from itertools import islice

from tests.benchmarks.client import TAG
from tests.benchmarks.figure import MS, Measured, Sizes, delays, errors, lost, problems_of, warm_up, worst
from tests.benchmarks.measuring import Row, percentile
from tests.benchmarks.stage import Outcome, Stage

_RATE = 50.0
#: The most that the server's CPU time for a token may be, as a multiple of that over sockets.
_MOST = 1.2
_SHORT = 20


def doors(stage: Stage, sizes: Sizes) -> Measured:
    """Many sessions streaming at once, over sockets and then over `/v1`."""
    count, tokens = sizes.sessions, 2 * sizes.tokens
    token = stage.rows("token")

    def asked(tokens: int) -> str:
        return f"Tell me about tides [tag={TAG} tokens={tokens} every={1000 / _RATE:g} stamp]"

    with stage.product() as product:
        sessions = stage.rows("sessions", 4 * count + 4)
        warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
        stage.run(product, "completions", sessions[2:4], message=f"Tell me [tag={TAG}]", token=token)
        rest = iter(sessions[4:])

        def answers(kind: str, tokens: int) -> Outcome:
            """As many sessions as are to stream at once, each with an answer of this many tokens."""
            own = list(islice(rest, count))
            return stage.run(product, kind, own, message=asked(tokens), spread_s=sizes.ramp_s, token=token)

        # Both including their opening: a stream is opened by the request itself, and a short answer consists mostly of that.
        sockets, v1 = answers("openings", tokens), answers("completions", tokens)
        short = [answers(kind, _SHORT) for kind in ("openings", "completions")]
    name = f"/v1: {count} streams × {_RATE:g}/s"
    wrong = problems_of(v1)
    further = [whole.cpu_s - begun.cpu_s for whole, begun in zip((sockets, v1), short, strict=True)]
    rows = [
        Row(f"{name}: server CPU per token, beside a socket's", "×", v1.cpu_s / sockets.cpu_s, None, _MOST),
        Row(f"{name}: … of each token after the first {_SHORT}", "×", further[1] / further[0]),
        Row(f"{name}: … of an answer of {_SHORT}", "ms", short[1].cpu_s * MS / count, short[0].cpu_s * MS / count),
        Row(f"{name}: delay of a token, median", "ms", percentile(delays(v1), 0.5) * MS),
        Row(f"{name}: delay of a token, p99", "ms", percentile(delays(v1), 0.99) * MS, None, 250.0),
        Row(f"{name}: tokens lost", "", lost(v1, count * tokens), None, 0.0),
        errors(name, wrong),
    ]
    return Measured(rows, worst(v1.window, sockets.window), None, wrong + problems_of(sockets))
