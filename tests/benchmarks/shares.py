"""Where the server's CPU time goes under the heavy load: samples of its stacks, counted by part of the product."""

import re
from collections import Counter
from collections.abc import Iterable

from tests.benchmarks.client import TAG
from tests.benchmarks.figure import Measured, Sizes, problems_of, warm_up
from tests.benchmarks.measuring import Row
from tests.benchmarks.stage import Stage

#: Parts of the product and their files; the innermost frame in any of these files decides.
_PARTS = (
    ("the model's answer read and parsed", r"agents/models/|httptools/"),
    ("the agent's steps and Qwen-Agent's loop", r"agents/|qwen_agent/"),
    (
        "frames encoded and sent",
        r"chat/(consumers|protocol|serving/(daphne|frames|backpressure))\.py|daphne/|autobahn/|twisted/",
    ),
    ("recording, drafts, feeds, groups", r"chat/|channels/"),
)
_DATABASE = "database threads"
_LOOP = "event loop and the rest"
# Frames below this are the same in every stack: the server's own start.
_BOTTOM = "_run_once (asyncio"
_RATE, _TOKENS = 50.0, 400


def part_of(stack: str) -> str:
    """The part of the product in which a collapsed stack, outermost frame first, was sampled."""
    if "_Pool._work (chat/runtime/database.py" in stack:
        return _DATABASE
    frames = stack.split(_BOTTOM, 1)[-1].split(";")
    for frame in reversed(frames):
        for name, files in _PARTS:
            if re.search(files, frame):
                return name
    return _LOOP


def counted(lines: Iterable[str]) -> dict[str, float]:
    """The share of each part, in percent, from py-spy's collapsed stacks: ``frame;frame;… count``."""
    samples: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        samples[part_of(stack)] += int(count)
    names = [name for name, _ in _PARTS]
    return {name: 100 * samples[name] / samples.total() for name in (*names, _DATABASE, _LOOP)}


def cpu_shares(stage: Stage, sizes: Sizes) -> Measured:
    """Each part's share of the time in which the interpreter runs, while sessions stream as in `heavy-load`."""
    message = f"Tell me about tides [tag={TAG} tokens={_TOKENS} every={1000 / _RATE:g} stamp]"
    with stage.product() as product:
        sessions = stage.rows("sessions", sizes.heavy_sessions + 2)
        warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
        with stage.sampling() as stacks:
            ours = stage.run(product, "load", sessions[2:], message=message, spread_s=sizes.ramp_s, clients=2)
            shares = counted(stacks())
    name = f"{sizes.heavy_sessions} sessions × {_RATE:g}/s: share of the time"
    return Measured(
        [Row(f"{name}, {part}", "%", share) for part, share in shares.items()], ours.window, None, problems_of(ours)
    )
