"""Figures of stored data: replayed, listed, searched."""

from collections.abc import Iterator, Mapping
from urllib.parse import quote

from tests.benchmarks.client import TAG
from tests.benchmarks.figure import MS, UNHURRIED, Measured, Sizes, errors, warm_up, worst
from tests.benchmarks.measuring import Row, Window, percentile
from tests.benchmarks.stage import Stage
from tests.benchmarks.texts import CHINESE, COMMON, PAIR, RARE, SELDOM_TOGETHER

_LONG_SESSION = 2_000
_BRANCHED = 10_000
_CALLS = 200
_BEHIND = 5
_RETURNS = 50
_SESSIONS_OF_A_PAGE = 40
#: How often a search is repeated until no client was late: loading everything again for that would take minutes.
_ATTEMPTS = 2
_ANYTHING = f"Tell me [tag={TAG}]"
_SEARCHES = {
    "a rare word": RARE,
    "a common word": COMMON,
    "two words": PAIR,
    "two common words that seldom meet": " ".join(SELDOM_TOGETHER),
    "two Chinese characters": CHINESE,
}


def open_2000(stage: Stage, sizes: Sizes) -> Measured:
    """A session of 2,000 stored steps: every frame over the socket, and the page."""
    with stage.product() as product:
        session = stage.rows("long_session", _LONG_SESSION)
        frames = stage.run(product, "replay", [session], times=sizes.opens, held=_LONG_SESSION)
        page = stage.run(product, "get", times=sizes.opens, pages={f"/sessions/{session}/": "</html>"})
    problems = frames.problems + page.problems
    ((first, *others),) = page.series.values()
    rows = [
        Row("2,000 steps replayed over the socket, median", "ms", percentile(frames.seconds, 0.5) * MS, None, 1_000.0),
        Row("2,000 steps: the page's HTML, the first time", "ms", first, None, 1_000.0),
        Row("2,000 steps: the page's HTML, median", "ms", percentile(others, 0.5), None, 1_000.0),
        errors("2,000 steps", problems),
    ]
    return Measured(rows, worst(frames.window, page.window), problems=problems)


def run_page(stage: Stage, sizes: Sizes) -> Measured:
    """The page of a run of 200 model calls, and that of the last call's messages; the reference is a run of one call."""
    with stage.product() as product:
        many, one = stage.rows("runs_of_calls", _CALLS, 1)
        pages = [f"/runs/{many}/", f"/runs/{many}/calls/{_CALLS}/", f"/runs/{one}/", f"/runs/{one}/calls/1/"]
        seen = stage.run(product, "get", times=2 * sizes.opens, pages=dict.fromkeys(pages, "</html>"))
    run, call, of_one, call_of_one = (percentile(seen.series[page], 0.5) for page in pages)
    name = f"a run of {_CALLS} model calls"
    rows = [
        Row(f"{name}: its page, median", "ms", run, of_one, 300.0),
        Row(f"{name}: what the last one saw, median", "ms", call, call_of_one, 300.0),
        errors(name, seen.problems),
    ]
    return Measured(rows, seen.window, problems=seen.problems)


def replay(stage: Stage, sizes: Sizes) -> Measured:
    """A very long session: all of it over one socket, and the few events that a reconnecting client has missed."""
    count = sizes.replayed
    with stage.product() as product:
        session = [stage.rows("long_session", count)]
        whole = stage.run(product, "replay", session, times=sizes.opens, held=count)
        rest = stage.run(product, "replay", session, times=_RETURNS, held=count, after=count - _BEHIND)
    problems = whole.problems + rest.problems
    seconds = percentile(whole.seconds, 0.5)
    name = f"{count:,} steps"
    rows = [
        Row(f"{name} replayed over the socket, median", "ms", seconds * MS, None, count / 10),
        Row(f"{name}: replayed a second", "/s", count / seconds),
        Row(f"{name}: back when {_BEHIND} behind, median", "ms", percentile(rest.seconds, 0.5) * MS, None, 50.0),
        Row(f"{name}: back when {_BEHIND} behind, p95", "ms", percentile(rest.seconds, 0.95) * MS, None, 50.0),
        errors(f"{name} replayed", problems),
    ]
    return Measured(rows, worst(whole.window, rest.window), problems=problems)


def branch(stage: Stage, sizes: Sizes) -> Measured:
    """A branch of a very long session: the time until it exists, and how long other writes wait meanwhile."""
    rows: list[Row] = []
    for name, elsewhere in (("SQLite", stage.apart("branch")), ("PostgreSQL", stage.apart("postgresql", served=True))):
        with elsewhere:
            took = stage.rows("branched", _BRANCHED)
        what = f"a branch behind {_BRANCHED:,} steps on {name}"
        rows += [
            Row(f"{what}: until it is there", "ms", took["whole"] * MS, None, 20_000.0),
            Row(f"{what}: another's write meanwhile, median", "ms", percentile(took["writes"], 0.5) * MS, None, 50.0),
            Row(f"{what}: another's write meanwhile, longest", "ms", max(took["writes"]) * MS, None, 300.0),
        ]
    # There is no client here that could be late.
    return Measured(rows, UNHURRIED)


def history(stage: Stage, sizes: Sizes) -> Measured:
    """The lists of a user with very many sessions."""
    with stage.apart("history"):
        session = stage.rows("past_sessions", sizes.past_sessions)
        last = -(-sizes.past_sessions // _SESSIONS_OF_A_PAGE)
        pages = {
            "the page's HTML": ("/sessions/", "sess-li"),
            "the last page's HTML": (f"/sessions/?page={last}", "sess-li"),
            "the API's list": ("/api/sessions/", '"last_seq"'),
            "the API's list of one status": ("/api/sessions/?status=failed", '"last_seq"'),
        }
        with stage.product() as product:
            warm_up(stage, product, [session], _ANYTHING)
            got = stage.run(product, "get", times=sizes.opens, pages=dict(pages.values()))
    name = f"{sizes.past_sessions:,} sessions"
    rows = [
        Row(f"{name}: {what}, median", "ms", percentile(got.series[path], 0.5), None, 150.0)
        for what, (path, _) in pages.items()
    ]
    return Measured([*rows, errors(name, got.problems)], got.window, problems=got.problems)


def search(stage: Stage, sizes: Sizes) -> Measured:
    """Searches in very many steps of one account, in both databases."""
    rows: list[Row] = []
    problems: list[str] = []
    windows: list[Window] = []
    for name, elsewhere in (("SQLite", stage.apart("search")), ("PostgreSQL", stage.apart("postgresql", served=True))):
        with elsewhere:
            session = stage.rows("searched", sizes.searched)
            with stage.product() as product:
                warm_up(stage, product, [session], _ANYTHING)
                addresses = dict(_addresses())
                # What shows that there is a hit, in JSON and in HTML.
                pages = {each: '"session_id"' if "/api/" in each else "<mark>" for each in addresses.values()}
                got = stage.run(product, "get", times=1, pages=pages)
                for _ in range(_ATTEMPTS):
                    got = stage.run(product, "get", times=sizes.opens, pages=pages)
                    if not got.window.is_void:
                        break
        rows += _found(f"{sizes.searched:,} steps on {name}", addresses, got.series)
        problems += [f"{name}: {problem}" for problem in got.problems]
        windows.append(got.window)
    return Measured([*rows, errors("search", problems)], worst(*windows), problems=problems)


def _addresses() -> Iterator[tuple[str, str]]:
    """What is searched for, and the address of the search."""
    for what, words in _SEARCHES.items():
        yield what, f"/api/search/?q={quote(words)}"
    yield "the page of a common word", f"/sessions/?q={quote(COMMON)}"


def _found(name: str, addresses: Mapping[str, str], series: Mapping[str, list[float]]) -> Iterator[Row]:
    for what, address in addresses.items():
        yield Row(f"{name}: {what}, median", "ms", percentile(series[address], 0.5), None, 300.0)
        yield Row(f"{name}: {what}, worst", "ms", max(series[address]), None, 300.0)


def clock(stage: Stage, sizes: Sizes) -> Measured:
    """The periodic queries of every process with very many stored runs; in comparison with reading one row by its key."""
    rows: list[Row] = []
    for name, elsewhere in (("SQLite", stage.apart("clock")), ("PostgreSQL", stage.apart("postgresql", served=True))):
        with elsewhere:
            took = stage.rows("by_the_clock", sizes.runs)
        rows += [
            Row(f"{sizes.runs:,} runs on {name}: {what}", "ms", ms, took["one"], 5.0)
            for what, ms in took["lists"].items()
        ]
    # There is no client here that could be late.
    return Measured(rows, UNHURRIED)


def staff(stage: Stage, sizes: Sizes) -> Measured:
    """The staff's pages in the admin with very many stored steps, in both databases; within one process."""
    rows: list[Row] = []
    for name, elsewhere in (("SQLite", stage.apart("staff")), ("PostgreSQL", stage.apart("postgresql", served=True))):
        with elsewhere:
            took = stage.rows("staff_pages", sizes.runs)
        rows += [Row(f"{sizes.runs * 5:,} steps on {name}: {what}", "ms", ms, None, 300.0) for what, ms in took.items()]
    # There is no client here that could be late.
    return Measured(rows, UNHURRIED)
