"""What is implemented twice, in Python for pages and in JavaScript for live text, gives the same result."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from chat.rendering import decisions, rows, transcript, humanize
from chat import protocol
from chat.protocol.frame_data import SentAlongData
from chat.store.drafts import Draft
from chat.strip_markdown import strip_markdown
from scripts import bootstrap
from tests.chat import test_strip_markdown as strip_cases

HERE = Path(__file__).resolve().parent
CASES = json.loads((HERE / "delta_cases.json").read_text("utf-8"))

Ask = Callable[[str, Any], Any]


@contextlib.contextmanager
def scripts_in(language: str) -> Iterator[Ask]:
    """Call the scripts, in a Node that stays open for further calls; with the texts of a language, as a page provides them."""
    node = bootstrap.find_node(Path(sys.executable))
    catalogue = bootstrap.BASE_DIR / "static" / "chat" / "locale" / f"{language}.js"
    words = ["--import", catalogue.as_uri()] if catalogue.exists() else []
    with subprocess.Popen(
        [node, *words, str(HERE / "mirror.js")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as scripts:
        asking, answering = scripts.stdin, scripts.stdout
        assert asking is not None
        assert answering is not None

        def ask(question: str, given: Any = None) -> Any:
            asking.write(json.dumps({"question": question, "given": given}) + "\n")
            asking.flush()
            return json.loads(answering.readline())

        yield ask
        asking.close()


@pytest.fixture(scope="session")
def ask() -> Iterator[Ask]:
    """Call the scripts in English."""
    with scripts_in("en") as asked:
        yield asked


@pytest.fixture(scope="session", params=[code for code, _ in settings.LANGUAGES])
def ask_in_language(request: pytest.FixtureRequest) -> Iterator[tuple[str, Ask]]:
    """A language, and the scripts in that language."""
    with scripts_in(request.param) as asked:
        yield request.param, asked


TEXTS = [
    "",
    "short",
    "  spread \n over\tlines  ",
    "x" * 500,
    "天氣很好。" * 60,
    "👍🏽 with astral signs 😀" * 20,
    "word " * 200,
]
ARGUMENTS: list[Any] = [
    {},
    None,
    "not json {",
    ["a", 1],
    {"query": "kWh per van per night"},
    {"url": "https://northgrid.example/tariffs/2027"},
    {"url": "ftp://elsewhere"},
    {"code": "# monthly cost\nx = 1"},
    {"code": "\n\n  print(1)\n"},
    {"code": "#\nprint(1)"},
    {"code": "from datetime import (\n    date,\n    time,\n)\ndate(2031, 3, 1)"},
    {"code": "import json\nfrom datetime import date\ndate(2031, 3, 1)"},
    {"code": "import json"},
    {"code": ""},
    {"a": "b", "c": 3, "d": True, "e": [1]},
    {"deep": {"a": [1, {"b": None}]}, "n": 1.5},
    {"n": None, "s": "text"},
    {"code": "x = 1", "limits": {"time": 5}},
    {"code": 5, "zone": "Asia/Taipei"},
]
RESULTS = ["[" * 1_900, "[" * 999 + "]" * 999, '{"a":' * 300 + "1" + "}" * 300, "[NaN]", "[1e9]", f"[{'9' * 50}]", "[\x0b1]"]
RESULTS += ["", "plain words", "[1, 2, 3]", "[1]", '{"a": 1}', "{}", "[broken", "[" + "1," * 2000 + "1]", "  \n text"]


def test_marks_are_taken_off_alike(ask: Ask) -> None:
    texts = [text for text, _ in strip_cases.CASES]
    assert ask("strip", texts) == [strip_markdown(text) for text in texts]


@given(st.lists(st.sampled_from([*"ab1 *_~`[]()|<>#-:!\\\n天，", "**", "```", "](", "<br>", "&lt;"]), max_size=30).map("".join))
def test_any_are(ask: Ask, text: str) -> None:
    assert ask("strip", [text]) == [strip_markdown(text)]


def test_words_are_the_same(ask_in_language: tuple[str, Ask]) -> None:
    language, ask = ask_in_language
    with translation.override(language):
        compare_words(ask)


def compare_words(ask: Ask) -> None:
    times = [None, 0, 1, 49, 50, 412, 949, 950, 999, 1000, 9949, 30_204, 59_499, 59_500, 59_949, 59_950, 60_000]
    times += [72_000, 123_000, 3_599_499, 3_599_500, 3_600_000, 7_384_000]
    numbers = [0, 1, 2, 999, 1000, 1049, 1050, 8100, 999_499, 999_500, 999_949, 999_950, 1_000_000, 12_345_678]
    tools = [
        [],
        ["python"],
        ["python"] * 3,
        ["fetch_page", "fetch_page", "search_history", "current_time", "crm.export"],
    ]
    names = ["", "mei", "Mei-Hua Lin", "jonas.weber@example.com", "林美華", "a", "__", "𠮷太", "𠮷太.吉", "mei.𠮷"]
    expected: list[tuple[list[Any], Any]] = []
    for ms in times:
        expected += [(["duration", ms], humanize.duration(ms)), (["approxDuration", ms], humanize.approx_duration(ms))]
    expected += [(["clock", ms], humanize.clock(ms)) for ms in times if ms is not None]
    expected += [(["count", number], humanize.count(number)) for number in numbers]
    expected += [(["size", number], humanize.size(number)) for number in numbers]
    for name in ("steps", "tools", "failed"):
        expected += [([name, number], getattr(humanize, name)(number)) for number in numbers]
    alongs: list[SentAlongData] = [{"messages": n, "instructions": both} for n in (0, 1, 2) for both in (True, False)]
    expected += [(["sentAlong", along], humanize.sent_along(along)) for along in alongs]
    expected += [(["firstLine", text], humanize.first_line(text)) for text in TEXTS]
    expected += [(["markdownGist", text], humanize.markdown_gist(text)) for text in [*TEXTS, "**a** " * 400, "😀" * 1_200]]
    questions = [*TEXTS, "line\n" * 11, "line\n" * 12, "x" * 960, "x" * 961, "😀" * 481, "y" * 81 + "\n" * 10]
    # Whether such characters are visible; a further one is one entry.
    blanks = [
        "",
        " ",
        "\n\t",
        "\u00a0",
        "\u200b",
        "\u200d\u2060",
        "\ufeff",
        "\u00ad",
        "\u034f\ufe0f",
        "\u115f\u3164",
        "\u2800",
    ]
    blanks += ["\u202e \u2066", "\u180e", "\U000e0020", "\u0301"]
    assert [text for text in blanks if not protocol.is_blank(text)] == []
    assert [text for text in ("a", ".", " 題 ", "👍🏽", "\u200bx", "e\u0301", "7") if protocol.is_blank(text)] == []
    expected += [(["isBlank", text], protocol.is_blank(text)) for text in [*blanks, *TEXTS, "a\u200b", "."]]
    expected += [(["isLong", text], humanize.is_long(text)) for text in questions]
    expected += [(["summarizeResult", text], humanize.summarize_result(text)) for text in [*RESULTS, *TEXTS]]
    expected += [(["summarizeArguments", one], humanize.summarize_arguments(one)._asdict()) for one in ARGUMENTS]
    expected += [(["summarizeTools", some, 1], humanize.summarize_tools(some, 1)) for some in tools]
    expected += [(["summarizeTools", some], humanize.summarize_tools(some)) for some in tools]
    expected += [(["icon", name], humanize.icon(name)) for name in ("python", "fetch_page", "other")]
    expected += [(["initials", name], humanize.initials(name)) for name in names]
    expected += [(["tint", name], humanize.tint(name)) for name in names]
    expected += [(["cause", code], humanize.cause(code)) for code in [*protocol.ERROR_CODES, "unknown"]]
    expected += [(["waited", ms], humanize.waited(ms)) for ms in times]
    for name in ("", "queued", "running", "waiting", "cancelling", *protocol.ENDS):
        expected += [(["dot", name], humanize.dot(name)), (["status", name], humanize.status(name))]
        for more in (
            {"using": ["python"]},
            {"using": ["a", "b"]},
            {"growing": "thought"},
            {"growing": "final_answer"},
            {"growing": "response"},
            {"growing": "tool_use", "using": ["python"]},
            {"begun": False},
            {"by": "Jonas"},
            {"limit": 20},
            {"waits_for": "approval"},
            {"waits_for": "question"},
        ):
            expected.append((["status", name, more], humanize.status(name, **more)))  # type: ignore[arg-type] # one of each
    answers = ask("words", [call for call, _ in expected])
    drafts_sent = [(call, answer) for (call, _), answer in zip(expected, answers, strict=True)]
    assert drafts_sent == [(call, mine) for call, mine in expected]


def test_the_inside_of_a_call_is_the_same(ask: Ask) -> None:
    mine = [rows.arguments_row(one) for one in ARGUMENTS]
    assert ask("inside", ARGUMENTS) == json.loads(json.dumps(mine))


def frame(seq: int, kind: str, run: str = "r1", **data: Any) -> dict[str, Any]:
    return {"type": kind, "seq": seq, "id": f"e{seq}", "run_id": run, "data": data}


def start(**more: Any) -> tuple[str, dict[str, Any]]:
    drafts_sent = {"agent": "researcher", "message": "How much?", "user": "mei", "enable_reasoning": True, "timestamp": 1000.0}
    return "reasoning_start", drafts_sent | more


def step(kind: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "reasoning_step", {"type": kind, "content": "", "iteration": 1, "timestamp": 1001.5} | more


def complete(status: str = "completed", **more: Any) -> tuple[str, dict[str, Any]]:
    usage = {"input_tokens": 8100, "output_tokens": 1300, "estimated": False}
    return "reasoning_complete", {"status": status, "total_iterations": 2, "duration_ms": 4321, "usage": usage} | more


def thought(number: int, **more: Any) -> tuple[str, dict[str, Any]]:
    return step("thought", step=number, content="I need it.", duration_ms=900, **more)


def call(number: int, name: str = "python", iteration: int = 1, **more: Any) -> tuple[str, dict[str, Any]]:
    arguments = {"arguments": {"code": "1"}} | more
    return step("tool_use", step=number, tool_name=name, tool_call_id=f"c{number}", iteration=iteration, **arguments)


def result(of: int, ok: bool = True, name: str = "python", **more: Any) -> tuple[str, dict[str, Any]]:
    content = {"content": "1", "duration_ms": 300, "timestamp": 1002.0} | more
    return step("tool_result", step=of + 10, tool_name=name, tool_call_id=f"c{of}", ok=ok, **content)


def answer(number: int, **more: Any) -> tuple[str, dict[str, Any]]:
    return step("final_answer", step=number, content="One.", duration_ms=800, timestamp=1004.0, **more)


def request(of: int, **more: Any) -> tuple[str, dict[str, Any]]:
    drafts_sent = {"tool_call_id": f"c{of}", "tool_name": "python", "arguments": {"code": "1"}, "deadline": 5000.0, "unanswered": "deny"}
    return step("approval_request", **(drafts_sent | more))


def approval(of: int, decision: str = "allow", **more: Any) -> tuple[str, dict[str, Any]]:
    drafts_sent = {"tool_call_id": f"c{of}", "decision": decision, "user": "jonas", "scope": "once", "reason": ""}
    return step("approval", **(drafts_sent | more))


def question(of: int) -> tuple[str, dict[str, Any]]:
    fields = [
        {"name": "where", "label": "Where to?", "kind": "text", "required": True},
        {"name": "which", "label": "", "kind": "choices", "options": ["a", "b"], "required": False},
        {"name": "sure", "label": "Sure?", "kind": "yes_no", "required": True},
    ]
    return step("question", tool_call_id=f"c{of}", fields=fields, deadline=5000.0)


def replied(of: int, answers: dict[str, Any], user: str | None = "jonas") -> tuple[str, dict[str, Any]]:
    return step("answer", tool_call_id=f"c{of}", user=user, answers=answers)


FILE = {"id": "f1", "name": "red.png", "media_type": "image/png", "size": 73}


def within(drafts_sent: tuple[str, dict[str, Any]], run: str = "r2", **more: Any) -> tuple[str, dict[str, Any]]:
    """The same for a child run; its first event says which call has started it."""
    kind, data = drafts_sent
    return f"child_{kind.removeprefix('reasoning_')}", {"run": run, **data, **more}


def asked(by: str, call_id: str, depth: int = 1) -> dict[str, Any]:
    return {"parent": {"run_id": by, "tool_call_id": call_id, "depth": depth}, "agent": "developer"}


def word(text: str = "Be brief.", user: str = "mei") -> tuple[str, dict[str, Any]]:
    return step("steer", content=text, user=user, client_message_id="w")


#: The root has asked two, of which one asks a third; the second waits for a decision, and so does the third, two levels down.
WAITS_WITHIN = [
    start(),
    call(1, "ask_developer"),
    call(2, "ask_developer"),
    within(start(**asked("r1", "c1"))),
    within(call(3, "ask_user")),
    within(start(**asked("r1", "c2")), "r3"),
    within(call(4, "ask_writer"), "r3"),
    within(start(**asked("r3", "c4", 2)), "r4"),
    within(call(5), "r4"),
    within(question(3), timestamp=1003.0),
    within(request(5, timestamp=1004.0), "r4"),
]
STORIES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "one of two waits within": WAITS_WITHIN[:-1],
    "both wait within": WAITS_WITHIN,
    "one waits on within": [*WAITS_WITHIN, within(replied(3, {}))],
    "nobody waits within any more": [*WAITS_WITHIN, within(replied(3, {})), within(approval(5, timestamp=1007.5), "r4")],
    "what waits within is stopped": [
        *WAITS_WITHIN,
        within(complete("cancelled", timestamp=1008.0), "r4"),
        within(complete("cancelled", timestamp=1008.0), "r3"),
        within(complete("cancelled", timestamp=1008.0)),
        complete("cancelled", timestamp=1008.0),
    ],
    "one of two is decided": [start(), call(1), call(2), request(1), request(2), approval(1)],
    "steered": [
        start(),
        step("iteration_start"),
        call(1),
        result(1),
        step("iteration_start", iteration=2),
        word(),
        word(user=""),
        answer(3),
        complete(),
    ],
    "cut for a word": [
        start(),
        step("iteration_start"),
        thought(1),
        answer(2, partial=True),
        step("iteration_start", iteration=2),
        word(),
        answer(3),
        complete(),
    ],
    "runs within": [
        start(),
        call(1, "ask_developer", arguments={"message": "Add it up"}),
        call(2, "ask_developer", arguments={"message": "And this"}),
        within(start(**asked("r1", "c1"))),
        within(thought(1)),
        within(start(**asked("r1", "c2")), "r3"),
        within(call(2, "ask_writer")),
        within(start(**asked("r2", "c2", 2)), "r4"),
        within(("error", {"message": "No.", "code": "model_error", "id": "1"}), "r3"),
        within(complete("failed", code="model_error"), "r3"),
        result(2, False, "ask_developer"),
        within(answer(1), "r4"),
        within(complete(), "r4"),
        within(result(2, name="ask_writer")),
        within(answer(3)),
        within(complete()),
        result(1, name="ask_developer"),
        answer(3),
        complete(),
    ],
    "finished": [
        start(),
        step("start"),
        step("iteration_start"),
        thought(1),
        call(2),
        result(2),
        answer(4),
        complete(),
    ],
    "at work": [start(), step("iteration_start"), thought(1), call(2)],
    "parallel calls": [
        start(),
        call(1),
        call(2, "fetch_page"),
        result(2, name="fetch_page"),
        result(1, False),
        complete(),
    ],
    "calls in a row": [
        start(),
        call(1),
        result(1),
        call(2, iteration=2),
        result(2, iteration=2),
        answer(3),
        complete(),
    ],
    "failed": [
        start(),
        thought(1),
        step("error", error="No word for 120 s.", code="model_timeout"),
        ("error", {"message": "No word for 120 s.", "code": "model_timeout", "id": "7f3a9c1e22"}),
        complete("failed", code="model_timeout"),
    ],
    "failed, in parts": [
        start(),
        (
            "error",
            {
                "message": "The model server failed (500): 100 %(busy)s",
                "template": "%(what)s: %(reason)s",
                "values": {
                    "what": {"template": "The model server failed (%(status)d)", "values": {"status": 500}},
                    "reason": "100 %(busy)s",
                },
                "code": "model_error",
                "id": "7f3a9c1e22",
            },
        ),
        complete("failed", code="model_error"),
    ],
    "failed without an event": [start(), step("error", error="Refused.", code="model_auth"), complete("failed")],
    "told of by no model": [
        start(),
        step(
            "thought",
            step=1,
            duration_ms=0,
            content="In English. Seven of 10.",
            template="%(first)s %(next)s",
            values={
                "first": {"template": "In English."},
                "next": {"template": "%(n)s of %(limit)d.", "values": {"n": "Seven", "limit": 10}},
            },
        ),
        step("thought", step=2, duration_ms=0, content="Seven", template="%(n)d messages", values={"n": 7}),
        answer(3),
        complete(),
    ],
    "stopped": [
        start(),
        call(1),
        result(1, False),
        thought(2, partial=True),
        call(3, iteration=2),
        result(3, False, content="Stopped by jonas."),
        complete("cancelled", cancelled_by="jonas"),
    ],
    "stopped in the answer": [start(), call(1), result(1, False), answer(2, partial=True), complete("cancelled")],
    "removed from the queue": [
        start(),
        complete("cancelled", cancelled_by="mei", duration_ms=0, total_iterations=0, removed=True),
    ],
    "stopped at once": [start(), complete("cancelled", cancelled_by="mei", duration_ms=0, total_iterations=0)],
    "interrupted": [start(continues="r0"), thought(1, partial=True), complete("interrupted", usage=None)],
    "limit": [
        start(max_iterations=20),
        call(1),
        result(1),
        step("max_iterations_reached", max_iterations=20),
        complete("max_iterations"),
    ],
    "without reasoning": [
        start(enable_reasoning=False),
        ("response", {"content": "42"}),
        complete(usage={"input_tokens": 3, "output_tokens": 1, "estimated": True}),
    ],
    "long result": [start(), call(1), result(1, content="x" * 2000, truncated=True, content_length=48_213), complete()],
    "files": [
        start(files=[FILE]),
        call(1),
        result(1, files=[FILE]),
        complete(),
    ],
    "sent along": [start(sent_along={"messages": 3, "instructions": True}), answer(1), complete()],
    "result without its call": [result(7), answer(8), complete()],
    "waits for approval": [start(), call(1), request(1)],
    "waits for two of three": [start(), call(1), call(2), call(3), result(1), request(2), request(3), approval(2)],
    "waits beside a tool at work": [start(), call(1), call(2), request(2)],
    "allowed": [
        start(),
        call(1),
        request(1),
        approval(1, reason="It is fine."),
        result(1),
        answer(3),
        complete(waited_ms=61_000),
    ],
    "allowed with other arguments": [
        start(user=""),
        call(1, arguments={"code": "1", "n": 2, "gone": True}),
        request(1, unanswered="stop"),
        approval(1, arguments={"code": "2", "n": 2, "new": ["a"]}, scope="session"),
        result(1),
        complete(),
    ],
    "allowed beforehand": [start(), call(1), approval(1, user=None), result(1), complete()],
    "denied": [start(), call(1), request(1), approval(1, "deny"), result(1, False, content="Denied."), answer(2), complete()],
    "denied by the deadline": [
        start(),
        call(1),
        request(1),
        approval(1, "deny", user=None),
        result(1, False, content="Nobody decided."),
        complete(),
    ],
    "stopped by the deadline": [start(), call(1), request(1, unanswered="stop"), result(1, False), complete("cancelled", code="not_decided")],
    "stopped while it waits": [start(), call(1), request(1), result(1, False), complete("cancelled", cancelled_by="mei")],
    "asks": [start(), call(1, "ask_user"), question(1)],
    "asks and is answered": [
        start(),
        call(1, "ask_user"),
        question(1),
        replied(1, {"where": "Taipei", "which": ["a", "b"], "sure": True, "none": [], "n": 2.5, "other": {"a": 1}}),
        result(1, name="ask_user"),
        complete(waited_ms=900),
    ],
    "asks and is not answered": [
        start(),
        call(1, "ask_user"),
        question(1),
        replied(1, {}, None),
        result(1, False, name="ask_user", content="Nobody answered."),
        answer(2),
        complete(),
    ],
    "waits without reasoning": [start(enable_reasoning=False), request(1), question(2), approval(1), complete()],
    "decided out of sight": [approval(7), answer(8), complete()],
    "unparsed arguments": [start(), call(1, arguments="{broken"), result(1, False), answer(2), complete()],
}


@pytest.mark.parametrize("name", STORIES)
def test_runs_are_folded_the_same(ask_in_language: tuple[str, Ask], name: str) -> None:
    language, ask = ask_in_language
    with translation.override(language):
        compare_story(ask, name)


def compare_story(ask: Ask, name: str) -> None:
    frames: list[Any] = [frame(seq, kind, **data) for seq, (kind, data) in enumerate(STORIES[name], 1)]
    mine = [
        {
            "run": asdict(run),
            "counts": run.counts(),
            "bars": [bar or None for bar in [*run.bars(), run.answer_bar()]],
            "endline": rows.run_summary(run),
            "waits": run.waits_for,
            "calls": [card_of(run, item, call) for item in run.items for call in item.calls],
            "trouble": rows.failure_banner(run) if run.ended else None,
        }
        for run in transcript.fold(frames)
    ]
    assert ask("transcript", frames) == json.loads(json.dumps(mine))


def card_of(run: transcript.Run, item: transcript.Item, call: transcript.Call) -> dict[str, Any]:
    """What a call's card shows of it, and of the decision that it waits for."""
    request, decision = call.request, call.decision
    is_question = request is not None and request.fields is not None
    times = ("", "0:59")
    return {
        "state": rows.call_state(run, item, call),
        "asked": decisions.request_line(run.user, is_question),
        "byItself": None if request is None else [decisions.by_itself(request, time) for time in times],
        "text": "" if decision is None else decisions.decision_line(decision, is_question),
        "changes": [] if decision is None else decisions.argument_changes(call.arguments, decision.arguments),
        "answers": decisions.answer_pairs(request, decision),
    }


def add_delta(
    text: str | None, at: tuple[int, int] | None, delta: dict[str, Any]
) -> tuple[str | None, tuple[int, int] | None]:
    """The protocol's rule in Python, on UTF-16: insert the text at its offset; 0 begins again; older and misplaced pieces are ignored."""
    place = (delta["step"], delta["attempt"])
    if at is not None and place < at:
        return text, at
    if delta["offset"] == 0:
        return delta["text"], place
    if at != place or text is None:
        return text, at
    have, put = (part.encode("utf-16-le") for part in (text, delta["text"]))
    begin = 2 * delta["offset"]
    if begin > len(have):
        return text, at
    return (have[:begin] + put + have[begin + len(put) :]).decode("utf-16-le"), at


def built(deltas: list[dict[str, Any]]) -> str | None:
    text, at = None, None
    for delta in deltas:
        text, at = add_delta(text, at, delta)
    return text


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_growth_follows_the_shared_cases(case: dict[str, Any]) -> None:
    assert built(case["deltas"]) == case["text"]


letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@st.composite
def drafts_sent(draw: st.DrawFn) -> tuple[list[dict[str, Any]], str]:
    """What a server sends of texts in progress, with some of it lost, duplicated and late, and the whole of the last text at its end."""
    run = uuid4()
    deltas: list[dict[str, Any]] = []
    whole = ""
    for number in range(1, draw(st.integers(1, 3)) + 1):
        for attempt in range(1, draw(st.integers(1, 2)) + 1):
            draft = Draft(run, number, "thought", attempt, "")
            for piece in draw(st.lists(letters, min_size=1, max_size=5)):
                longer = Draft(run, number, "thought", attempt, draft.text + piece)
                deltas.append(dict(longer.frame(draft.length)["data"]))
                draft = longer
            whole = draft.text
            last = dict(draft.frame(0)["data"])
    received = [delta for delta in deltas for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2])))]
    for _ in range(draw(st.integers(0, 3))):
        if len(received) > 1:
            place = draw(st.integers(0, len(received) - 2))
            received[place], received[place + 1] = received[place + 1], received[place]
    return [*received, last], whole


@given(story=drafts_sent())
def test_growth_ends_right_whatever_was_lost(ask: Ask, story: tuple[list[dict[str, Any]], str]) -> None:
    deltas, whole = story
    assert built(deltas) == whole
    assert ask("growth", deltas) == whole


#: What the root of such a log waits for, whichever run within it waits.
WAITS = {
    "one of two waits within": "",
    "both wait within": "approval",
    "one waits on within": "",
    "nobody waits within any more": "",
    "what waits within is stopped": "",
    "one of two is decided": "approval",
}


@pytest.mark.parametrize("name", WAITS)
def test_a_root_waits_for_what_all_that_is_open_in_it_waits_for(name: str) -> None:
    frames: list[Any] = [frame(seq, kind, **data) for seq, (kind, data) in enumerate(STORIES[name], 1)]
    root = transcript.fold(frames)[0]
    assert root.waits_for == WAITS[name]
    assert rows.header(root)["status"] == ("waiting" if WAITS[name] else root.status)
