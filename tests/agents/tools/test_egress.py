"""Once a session has read private data, only addresses can be fetched that a user wrote or a page linked to."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from agents.tools import CancelToken, Egress, HostPolicy, Tool, Toolbox, ToolError, build_tools
from agents.tools.egress import LINKS_PER_PAGE

WROTE = "Compare https://example.org/report?year=2026 with https://bücher.example/a and https://192.0.2.7:8080/x. Also docs.example.net."
HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": WROTE},
    {"role": "assistant", "content": "I could read https://composed.test/by-the-model"},
    {
        "role": "tool",
        "name": "fetch_page",
        "content": "Address: https://read.test/\n\nnext (https://read.test/next?page=2)",
    },
    {"role": "tool", "name": "search_history", "content": "1 hit: https://earlier.test/secret"},
    {"role": "tool", "name": "python", "content": "https://printed.test/by-code"},
]


class Outside:
    """A tool that sends its arguments somewhere, as an MCP server's may."""

    name = "far-open"
    description = "Opens a page far away."
    timeout_s = 1.0
    output_limit = 10_000

    def __init__(self, name: str = "far-open", result: str = "opened") -> None:
        self.name = name
        self.result = result
        self.given: list[dict[str, Any]] = []
        text = {"type": "string"}
        self.parameters: dict[str, Any] = {
            "type": "object",
            "properties": {
                "url": text,
                "mode": {"enum": ["fast", "slow"]},
                "pages": {"type": "array", "items": text},
                "options": {"type": "object", "properties": {"referrer": text}},
                "depth": {"type": "integer"},
                "raw": {"type": "boolean"},
            },
        }

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        self.given.append(arguments)
        return self.result


class Inside(Outside):
    reaches_outside = False


class Record:
    """A session's record in memory."""

    def __init__(self, marked: bool = False, wrote: Iterable[str] = (), read: Iterable[str] = ()) -> None:
        self.marked = marked
        self.wrote, self.read = list(wrote), list(read)

    def is_marked(self) -> bool:
        return self.marked

    def mark(self) -> None:
        self.marked = True

    def person_texts(self) -> Iterable[str]:
        return self.wrote

    def page_texts(self) -> Iterable[str]:
        return self.read


def private(history: list[dict[str, Any]] = HISTORY) -> Egress:
    egress = Egress(history, Record())
    egress.mark()
    return egress


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ToolError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://example.org/report?year=2026", "https://example.org/report?year=2026"),
        ("HTTPS://EXAMPLE.org:443/report?year=2026#words", "https://example.org/report?year=2026"),
        ("https://bücher.example/a", "https://xn--bcher-kva.example/a"),
        ("https://xn--bcher-kva.example./a", "https://xn--bcher-kva.example/a"),
        ("https://192.0.2.7:8080/x", "https://192.0.2.7:8080/x"),
        ("https://docs.example.net", "https://docs.example.net/"),
        ("https://read.test/", "https://read.test/"),
        ("https://read.test/next?page=2", "https://read.test/next?page=2"),
    ],
)
def test_a_written_or_linked_address_is_fetched_in_its_one_spelling(url: str, asked: str) -> None:
    tool = Outside()
    assert private().guard(tool).call({"url": url}, CancelToken()) == "opened"
    assert tool.given == [{"url": asked}]


#: Ways to send words out in an address.
TRICKS = [
    "https://evil.test/?q=words",
    "https://words.evil.test/",
    "https://words.example.org/report?year=2026",
    "https://words@example.org/report?year=2026",
    "https://example.org:words@evil.test/report?year=2026",
    "https://example.org/report?year=2026&q=words",
    "https://example.org/report?year=2026%20words",
    "https://example.org/report?YEAR=2026",
    "https://example.org/report",
    "https://example.org/words/../report?year=2026",
    "https://example.org/%2e/report?year=2026",
    "https://example.org/./report?year=2026",
    "https://example.org//report?year=2026",
    "https://example.org/%72eport?year=2026",
    "https://example.org:8443/report?year=2026",
    "http://example.org/report?year=2026",
    "https://example.org.evil.test/report?year=2026",
    "https://example.org\\@evil.test/report?year=2026",
    "https://xn--bcher-words.example/a",
    "https://bücher。example.evil.test/a",
    "https://bu\u0308cher.example/a/words",
    "https://3221225991:8080/x",
    "https://0300.0.2.7:8080/x",
    "https://composed.test/by-the-model",
    "https://earlier.test/secret",
    "https://printed.test/by-code",
    "https://read.test/next?page=3",
    "mailto:words@evil.test",
    "words",
    "https://example.org/report?year=2026 words",
    "https://example.org/report?year=2026\nX: words",
]


@pytest.mark.parametrize("url", TRICKS)
@pytest.mark.parametrize(
    "arguments",
    [
        lambda url: {"url": url},
        lambda url: {"pages": ["https://read.test/", url]},
        lambda url: {"options": {"referrer": url}},
        lambda url: {url: "fast"},
    ],
    ids=["argument", "list", "object", "name"],
)
def test_an_address_from_elsewhere_does_not_reach_the_tool(
    url: str, arguments: Callable[[str], dict[str, Any]]
) -> None:
    tool = Outside()
    guarded = private().guard(tool)
    words = refusal(lambda: guarded.call(arguments(url), CancelToken()))
    assert "the person can write the full address in a message" in words
    assert tool.given == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"depth": 12345678901234567890},
        {"depth": 0.123456789},
        {"mode": "words"},
        {"pages": [True, False] * 30},
        {"options": {"words": True}},
        {"options": [[[["words"]]]]},
    ],
)
def test_words_are_not_carried_by_other_values_either(arguments: dict[str, Any]) -> None:
    tool = Outside()
    refusal(lambda: private().guard(tool).call(arguments, CancelToken()))
    assert tool.given == []


def test_values_without_words_are_allowed() -> None:
    tool, arguments = Outside(), {"url": "https://read.test/", "mode": "fast", "raw": True, "depth": 2}
    private().guard(tool).call(arguments, CancelToken())
    private().guard(tool).call({}, CancelToken())
    assert tool.given == [arguments, {}]


def test_before_anything_private_is_read_every_address_passes() -> None:
    tool = Outside()
    Egress(HISTORY, Record()).guard(tool).call({"url": "https://evil.test/?q=words"}, CancelToken())
    assert tool.given == [{"url": "https://evil.test/?q=words"}]


def test_a_tool_that_stays_inside_is_given_anything() -> None:
    tool = Inside()
    private().guard(tool).call({"url": "words"}, CancelToken())
    assert tool.given == [{"url": "words"}]


def test_a_tool_that_says_nothing_of_itself_reaches_outside() -> None:
    tool: Tool = Outside()
    assert private().guard(tool) is not tool


def test_links_of_a_page_read_meanwhile_may_be_followed_and_no_others() -> None:
    egress = private([{"role": "user", "content": "Read https://example.org/."}])
    page = egress.guard(Outside("fetch_page", "Address: https://example.org/\n\nmore (https://linked.test/a)"))
    other = egress.guard(Outside("far-open", "see https://said-by-a-server.test/"))
    page.call({"url": "https://example.org/"}, CancelToken())
    page.call({"url": "https://linked.test/a"}, CancelToken())
    other.call({"url": "https://linked.test/a"}, CancelToken())
    refusal(lambda: page.call({"url": "https://said-by-a-server.test/"}, CancelToken()))


def test_a_page_adds_a_bounded_number_of_links() -> None:
    egress = private([{"role": "user", "content": "Read https://example.org/."}])
    many = "\n".join(f"https://evil.test/{number}" for number in range(LINKS_PER_PAGE * 2))
    page = egress.guard(Outside("fetch_page", many))
    page.call({"url": "https://example.org/"}, CancelToken())
    page.call({"url": "https://evil.test/0"}, CancelToken())
    refusal(lambda: page.call({"url": f"https://evil.test/{LINKS_PER_PAGE * 2 - 1}"}, CancelToken()))


def test_the_mark_and_the_addresses_of_earlier_runs_come_from_the_record() -> None:
    record = Record(marked=True, wrote=["https://wrote.test/"], read=["(https://linked.test/)"])
    page = Egress((), record).guard(Outside("fetch_page"))
    page.call({"url": "https://wrote.test/"}, CancelToken())
    page.call({"url": "https://linked.test/"}, CancelToken())
    refusal(lambda: page.call({"url": "https://evil.test/"}, CancelToken()))


def test_a_search_that_finds_something_marks_the_session_before_it_is_told() -> None:
    record, hits = Record(), [{"excerpt": "the code word"}]
    toolbox = Toolbox(search_history=lambda query, limit: hits, privacy=record)
    search = build_tools(["search_history"], toolbox)["search_history"]
    search.call({"query": "code"}, CancelToken())
    assert record.marked
    record.marked, hits[:] = False, []
    search.call({"query": "code"}, CancelToken())
    assert not record.marked, "nothing was found, so nothing private is known"


def test_private_data_are_not_returned_if_the_mark_cannot_be_stored() -> None:
    class Unavailable(Record):
        def mark(self) -> None:
            raise ToolError("The database is away.")

    toolbox = Toolbox(search_history=lambda query, limit: [{"excerpt": "the code word"}], privacy=Unavailable())
    assert (
        refusal(lambda: build_tools(["search_history"], toolbox)["search_history"].call({"query": "x"}, CancelToken()))
        == "The database is away."
    )


def looked_up(*hosts: str) -> Callable[[str, int], list[str]]:
    def resolve(host: str, port: int) -> list[str]:
        raise AssertionError(f"{host} was looked up")

    return resolve


@pytest.mark.parametrize("url", [url for url in TRICKS if url.startswith("http")])
def test_not_even_the_name_is_looked_up(url: str) -> None:
    from agents.tools.fetch_page import FetchPageTool  # noqa: PLC0415 - beside what it is about

    guarded = private().guard(FetchPageTool(resolve=looked_up()))
    assert "This was not done" in refusal(lambda: guarded.call({"url": url}, CancelToken()))


# -- the operator's lists -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "denied", "url", "may"),
    [
        ((), (), "https://a.test/", True),
        ((), ("a.test",), "https://a.test/", False),
        ((), ("a.test",), "https://A.TEST./x", False),
        ((), ("a.test",), "https://b.a.test/", True),
        ((), ("*.a.test",), "https://b.a.test/", False),
        ((), ("*.a.test",), "https://a.test/", True),
        ((), ("a.test",), "https://nota.test/", True),
        (("a.test",), (), "https://a.test/", True),
        (("a.test",), (), "https://b.test/", False),
        (("*.a.test",), ("b.a.test",), "https://b.a.test/", False),
        (("*.a.test",), ("b.a.test",), "https://c.a.test/", True),
        ((), ("xn--bcher-kva.test",), "https://bücher.test/", False),
        (("192.0.2.1",), (), "https://192.0.2.1/", True),
        ((), ("192.0.2.1",), "https://[::ffff:192.0.2.1]/", False),
        ((), ("192.0.2.1",), "https://[0:0:0:0:0:FFFF:c000:201]/", False),
        ((), ("192.0.2.1",), "https://[64:ff9b::192.0.2.1]/", False),
        ((), ("2606:4700::1111",), "https://[2606:4700:0:0::1111]/", False),
        (("192.0.2.1",), (), "https://[::ffff:192.0.2.1]/", False),
    ],
)
def test_the_operators_lists_hold_for_whatever_is_an_address(
    allowed: tuple[str, ...], denied: tuple[str, ...], url: str, may: bool
) -> None:
    tool = Outside()
    guarded = Egress((), None, HostPolicy(allowed, denied)).guard(tool)
    for arguments in ({"url": url}, {"pages": [url]}):
        if may:
            guarded.call(arguments, CancelToken())
        else:
            assert "This installation does not read from" in refusal(lambda: guarded.call(arguments, CancelToken()))  # noqa: B023
    assert bool(tool.given) is may
