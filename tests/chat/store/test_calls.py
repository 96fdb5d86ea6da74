"""The messages, results and costs of a run's model calls: stored by reference, read exactly as sent, deleted with the session."""

import base64
from decimal import Decimal
from hashlib import sha256
from typing import Any

import orjson
import pytest
from django.db import connection, transaction
from django.db.models.signals import post_init
from django.test.utils import CaptureQueriesContext

from agents import CallBegun, CallEnded, ModelRequest, Usage
from agents.events import LeftOut
from chat.accounts.models import User
from chat.models import Cost, DailyUsage, ModelCall, ModelContent, Run, Session
from chat.runs import erasure, recovery
from chat.store import call_reader, calls, files, selectors
from chat.store.calls import CallWriter, PricedCall
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)

Messages = list[dict[str, Any]]
SYSTEM = {"role": "system", "content": "You are you. " * 40}
TOOLS = [{"type": "function", "function": {"name": "echo", "parameters": {}}}]


@pytest.fixture
def ada() -> User:
    return making.user("ada")


@pytest.fixture
def session(ada: User) -> Session:
    return making.session(ada)


@pytest.fixture(params=["in rows of calls", "in a table of their own", "either way"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where contents are stored: short ones in the row of the call in which they are new, and long ones in a table of their own."""
    monkeypatch.setattr(
        calls, "_IN_ROW", {"in rows of calls": 10**6, "in a table of their own": -1, "either way": 60}[request.param]
    )
    return str(request.param)


def bodies() -> dict[str, str]:
    """The stored contents, by their digests; each is stored once."""
    apart = list(ModelContent.objects.values_list("sha256", "body"))
    lists = ModelCall.objects.exclude(contents=None).values_list("contents", flat=True)
    beside = [(digest, orjson.dumps(body).decode()) for each in lists for digest, *_, body in orjson.loads(each)]
    assert len({digest for digest, _ in [*apart, *beside]}) == len(apart) + len(beside)
    return dict([*apart, *beside])


def begun(messages: Messages, iteration: int = 1, attempt: int = 1, **more: Any) -> CallBegun:
    asked = {"model": "m", "messages": messages, "tools": TOOLS, "tool_names": ["echo"], "parameters": {"stream": True}}
    return CallBegun(iteration, attempt, 1_700_000_000.25, ModelRequest(**(asked | more)))


def ended(iteration: int = 1, attempt: int = 1, cost: Cost | None = None, **more: Any) -> PricedCall:
    fields: dict[str, Any] = {"first_token_ms": 7, "finish_reason": "stop", "usage": Usage(100, 10)}
    return PricedCall(CallEnded(iteration, attempt, 40, **(fields | more)), cost)


def write(writer: CallWriter, *events: CallBegun | PricedCall) -> None:
    """Store calls as the recorder does: within a transaction."""
    with transaction.atomic():
        writer.write(events)


def written(run: Run, *conversations: Messages) -> None:
    """A run with these calls, one after the other."""
    writer = CallWriter(run, provider="default")
    for number, messages in enumerate(conversations, 1):
        write(writer, begun(messages, number))
        write(writer, ended(number))


def user(words: str) -> dict[str, Any]:
    return {"role": "user", "content": words}


def assistant(words: str) -> dict[str, Any]:
    return {"role": "assistant", "content": words}


#: Conversations as consecutive calls send them.
COURSES: dict[str, list[Messages]] = {
    "growing": [[SYSTEM, user("1")], [SYSTEM, user("1"), assistant("2"), user("3")]],
    "the same again": [[SYSTEM, user("1")], [SYSTEM, user("1")]],
    "the oldest left out": [
        [SYSTEM, user("1"), assistant("2"), user("3"), assistant("4"), user("5")],
        [SYSTEM, user("3"), assistant("4"), user("5"), assistant("6"), user("7")],
    ],
    "nothing in common": [[SYSTEM, user("1")], [user("2")]],
    "the same words twice": [
        [SYSTEM, user("1"), assistant("1"), user("1")],
        [SYSTEM, user("1"), user("1"), assistant("1")],
    ],
    "a result shortened": [
        [SYSTEM, user("1"), assistant("long " * 900), user("2")],
        [SYSTEM, user("1"), assistant("long"), user("2")],
    ],
    "odd": [[{"role": "user", "content": "\x00 \ud83d\ude00 “a” \\u0000", "extra": {"b": [1, None, 2.5]}}]],
    "long": [[SYSTEM, *(user(str(n)) for n in range(turns))] for turns in range(1, 60)],
}
COURSES["odd"][0][0]["content"] = "\x00 😀 “a” \\u0000"


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("course", COURSES)
def test_stored_messages_are_read_as_they_were_sent(course: str, session: Session) -> None:
    conversations = COURSES[course]
    run = making.run(session)
    written(run, *conversations)
    digests = {sha256(orjson.dumps(each)).hexdigest() for messages in conversations for each in (*messages, TOOLS)}
    assert bodies().keys() == digests
    for number, messages in enumerate(conversations, 1):
        found = call_reader.full_call(run, number)
        assert found is not None
        assert (found.messages, found.tools) == (messages, TOOLS)
        assert [each["role"] for each in found.data["messages"]] == [each["role"] for each in messages]
    assert call_reader.full_call(run, len(conversations) + 1) is None
    assert call_reader.full_call(run, 0) is None


def test_a_call_is_told_as_the_protocol_says(session: Session) -> None:
    run = making.run(session)
    writer = CallWriter(run, provider="default")
    writer.version = 3
    write(writer, begun([SYSTEM, user("1")], left_out=LeftOut(4, 900), limit=8_000))
    (call,) = call_reader.calls_of(run)
    assert (call["duration_ms"], call["finish_reason"], "cost" in call, "error" in call) == (None, None, False, False)
    usage = Usage(100, 10, False, 64, 8)
    write(writer, ended(usage=usage, cost=Cost(Decimal("0.0123"), "USD")))
    (call,) = call_reader.calls_of(run)
    sent = call.pop("messages")  # type: ignore[misc]
    assert call == {
        "iteration": 1,
        "attempt": 1,
        "model": "m",
        "provider": "default",
        "agent_version": 3,
        "parameters": {"stream": True},
        "tools": ["echo"],
        "left_out": {"messages": 4, "tokens_estimated": 900},
        "started_at": 1_700_000_000.25,
        "first_token_ms": 7,
        "duration_ms": 40,
        "finish_reason": "stop",
        "usage": {
            "input_tokens": 100,
            "output_tokens": 10,
            "estimated": False,
            "cached_tokens": 64,
            "reasoning_tokens": 8,
        },
        "cost": {"amount": 0.0123, "currency": "USD"},
    }
    assert [(each["role"], len(each["sha256"]), each["tokens_estimated"] > 0) for each in sent] == [
        ("system", 64, True),
        ("user", 64, True),
    ]


def stored_size() -> int:
    """The number of characters that calls and their contents take."""
    rows = ModelCall.objects.values_list("messages", "parameters", "tool_names", "contents")
    return sum(len(text or "") for row in rows for text in row) + sum(
        len(body) for body in ModelContent.objects.values_list("body", flat=True)
    )


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("others", ["the same process", "another process each time"])
def test_stored_calls_grow_linearly_with_the_conversation(others: str, session: Session) -> None:
    """40 turns of one session, each with two calls that send the whole history."""
    sizes: list[int] = []
    messages: Messages = [SYSTEM]
    for turn in range(40):
        run = making.run(session)
        asked = [*messages, user(f"Question {turn}? " * 20)]
        called = [*asked, assistant(f"Thought {turn}. " * 20), user(f"Result {turn}. " * 20)]
        written(run, asked, called)
        bodies()
        if others == "another process each time":
            calls._last_calls.clear()
        messages = [*called, assistant(f"Answer {turn}. " * 20)]
        making.end(run)
        sizes.append(stored_size())
    first, second = sizes[19] - sizes[0], sizes[39] - sizes[20]
    assert second < 1.1 * first
    last = call_reader.full_call(run, 2)
    assert last is not None
    assert last.messages == messages[:-1]


def test_a_call_is_read_without_the_rows_of_those_before_it(session: Session) -> None:
    run = making.run(session)
    written(run, *COURSES["long"])
    read: list[ModelCall] = []

    def note(instance: ModelCall, **_: Any) -> None:
        read.append(instance)

    post_init.connect(note, sender=ModelCall)
    try:
        found = call_reader.full_call(run, len(COURSES["long"]))
    finally:
        post_init.disconnect(note, sender=ModelCall)
    assert found is not None
    assert found.messages == COURSES["long"][-1]
    assert len(read) == 1


def test_an_attempt_that_was_refused_stands_beside_the_next(session: Session) -> None:
    run = making.run(session)
    writer = CallWriter(run, provider="default")
    write(
        writer,
        begun([SYSTEM, user("1")]),
        ended(error="The server refused tools.", usage=Usage()),
        begun([user("1")], attempt=2, tools=[]),
        ended(attempt=2),
    )
    described = call_reader.calls_of(run)
    assert [(each["attempt"], each.get("error", "")) for each in described] == [
        (1, "The server refused tools."),
        (2, ""),
    ]
    first, second = call_reader.full_call(run, 1), call_reader.full_call(run, 2)
    assert first is not None
    assert second is not None
    assert (len(first.tools), len(second.tools), len(second.messages)) == (1, 0, 1)
    assert DailyUsage.objects.get().calls == 1  # a refused attempt costs nothing


@pytest.mark.usefixtures("kept")
def test_a_rolled_back_call_is_written_again_whole(session: Session) -> None:
    run = making.run(session)
    writer = CallWriter(run, provider="default")
    messages = [SYSTEM, user("1")]

    def taken_back() -> None:
        with transaction.atomic():
            writer.write([begun(messages)])
            raise ConnectionError

    with pytest.raises(ConnectionError):
        taken_back()
    write(writer, begun(messages), ended())
    # And what was committed although no answer arrived is not counted twice.
    write(writer, begun(messages), ended())
    write(writer, begun([*messages, assistant("2")], 2))
    assert [len(call["messages"]) for call in call_reader.calls_of(run)] == [2, 3]
    assert DailyUsage.objects.get().calls == 1


def test_sums_of_a_day_add_up_by_person_agent_model_and_currency(session: Session) -> None:
    writer = CallWriter(making.run(session), provider="default")
    known = Cost(Decimal("0.25"), "USD")
    for iteration, cost in enumerate([known, known, None], 1):
        write(writer, begun([user("1")], iteration), ended(iteration, cost=cost))
    rows = DailyUsage.objects.order_by("currency")
    assert [(row.currency, row.calls, row.input_tokens, row.output_tokens, row.cost) for row in rows] == [
        ("", 1, 100, 10, 0),
        ("USD", 2, 200, 20, Decimal("0.5")),
    ]
    assert {(row.user_id, row.agent_name, row.provider, row.model) for row in rows} == {
        (session.owner_id, "researcher", "default", "m")
    }


def test_a_run_that_is_interrupted_says_what_it_was_asking_and_what_it_had_used(session: Session) -> None:
    run = making.run(session)
    writer = CallWriter(run, provider="default")
    write(writer, begun([user("1")]), ended(cost=Cost(Decimal("0.5"), "USD")), begun([user("1"), assistant("2")], 2))
    assert recovery.interrupt_atomically(run.pk) is not None
    run.refresh_from_db()
    assert (run.input_tokens, run.output_tokens, run.usage_estimated, run.cost) == (100, 10, True, Decimal("0.5"))
    last = call_reader.calls_of(run)[-1]
    assert (last.get("error"), last["duration_ms"]) == (calls.INTERRUPTED, None)


@pytest.mark.usefixtures("kept")
def test_a_session_that_is_deleted_takes_its_calls_along(session: Session, ada: User) -> None:
    other = making.run(making.session(ada))
    for run in (making.run(session), other):
        written(run, [SYSTEM, user("1")], [SYSTEM, user("1"), assistant("2")])
    with transaction.atomic():
        erasure.hide_session(session.pk)
    assert not ModelCall.objects.filter(session=session).exists()
    assert not ModelContent.objects.filter(session=session).exists()
    assert [len(call["messages"]) for call in call_reader.calls_of(other)] == [2, 3]


def test_many_calls_are_removed_in_batches(session: Session) -> None:
    written(making.run(session), *COURSES["long"])
    with transaction.atomic():
        erasure.hide_session(session.pk)
    pace = erasure.Pace()
    pace.rows = 10
    while erasure.erase_batch(pace) is not None:
        pace.rows = 10
    assert not ModelCall.objects.exists()
    assert not ModelContent.objects.exists()
    assert not Session.everything.exists()


def test_a_further_call_asks_the_database_the_same_few_things(session: Session) -> None:
    run = making.run(session)
    writer = CallWriter(run, provider="default")
    messages: Messages = [SYSTEM]
    counts = []
    for iteration in range(1, 12):
        messages = [*messages, user(f"{iteration}")]
        with CaptureQueriesContext(
            connection,
        ) as asked:
            write(writer, begun(messages, iteration), ended(iteration))
        counts.append(len([each for each in asked if not each["sql"].startswith(("BEGIN", "COMMIT"))]))
    # The call with its new contents and its end, and the day's sum.
    assert counts == [2] * 11


def test_the_next_run_of_a_process_looks_for_nothing_that_it_has_written(session: Session) -> None:
    written(making.run(session), [SYSTEM, user("1")])
    making.end(Run.objects.get())
    run = making.run(session)
    with CaptureQueriesContext(connection) as asked:
        write(CallWriter(run, provider="default"), begun([SYSTEM, user("1"), assistant("2"), user("3")]))
    assert [each["sql"].split(None, 1)[0] for each in asked] == ["BEGIN", "INSERT", "COMMIT"]
    assert [len(call["messages"]) for call in call_reader.calls_of(run)] == [4]


@pytest.mark.parametrize("newest_here", [False, True])
def test_calls_continue_those_that_another_process_has_written(newest_here: bool, session: Session) -> None:
    """The runs of a session are executed by two processes in turns: neither takes its cache for the complete list."""
    first, second = ([SYSTEM, user("1")], [SYSTEM, user("1"), assistant("2"), user("3")])
    written(making.run(session), first)
    here = dict(calls._last_calls)
    making.end(Run.objects.get())
    calls._last_calls.clear()
    run = making.run(session)
    written(run, second)
    making.end(run)
    if not newest_here:
        calls._last_calls.clear()
        calls._last_calls.update(here)
    third = [*second, assistant("4"), user("5")]
    run = making.run(session)
    written(run, third)
    found = call_reader.full_call(run, 1)
    assert found is not None
    assert found.messages == third
    assert len(bodies()) == len(third) + 1


def test_a_process_of_the_version_before_goes_on_from_it_and_is_gone_on_from(session: Session) -> None:
    """It does not know of contents in rows: it stores them in the table again, and refers to earlier messages by their places."""
    run = making.run(session)
    written(run, [SYSTEM, user("1")])
    apart = [
        ModelContent.objects.create(
            session=session, sha256=sha256(body).hexdigest(), role=role, tokens=5, body=body.decode()
        )
        for role, body in (("assistant", orjson.dumps(assistant("2"))), ("tools", orjson.dumps(TOOLS)))
    ]
    (base,) = ModelCall.objects.all()
    fields = {
        name: getattr(base, name) for name in ("session", "run", "model", "parameters", "tool_names", "started_at")
    }
    messages = orjson.dumps([[0, 2], apart[0].pk]).decode()
    ModelCall.objects.create(
        **fields, tools=apart[1], iteration=2, attempt=1, base=base, depth=1, messages=messages, duration_ms=4
    )
    calls._last_calls.clear()
    run.fence += 1  # it has waited for a decision, and was resumed
    write(CallWriter(run, provider="default"), begun([SYSTEM, user("1"), assistant("2"), user("3")], 3))
    asked = [(found.messages, found.tools) for n in (1, 2, 3) if (found := call_reader.full_call(run, n)) is not None]
    third = [SYSTEM, user("1"), assistant("2"), user("3")]
    assert asked == [(third[:2], TOOLS), (third[:3], TOOLS), (third, TOOLS)]
    added = orjson.loads(ModelCall.objects.get(iteration=3).contents or "[]")
    assert [body for *_, body in added] == [user("3")]


def test_the_cache_of_sessions_is_limited(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_REMEMBERED", 2)
    sessions = [making.session(ada) for _ in range(3)]
    for each in sessions:
        written(making.run(each), [SYSTEM])
    assert list(calls._last_calls) == [each.pk for each in sessions[1:]]


def test_a_call_that_is_told_again_with_its_end_is_stored_once_and_ended(session: Session) -> None:
    """As when it is unknown whether its beginning was committed."""
    run = making.run(session)
    write(CallWriter(run, provider="default"), begun([user("1")]))
    for _ in range(2):
        write(CallWriter(run, provider="default"), begun([user("1")]), ended(cost=Cost(Decimal("0.5"), "EUR")))
    (call,) = ModelCall.objects.all()
    assert (call.duration_ms, call.finish_reason, call.input_tokens, call.cost) == (40, "stop", 100, Decimal("0.5"))
    (day,) = DailyUsage.objects.all()
    assert (day.calls, day.input_tokens, day.output_tokens, day.cost) == (1, 100, 10, Decimal("0.5"))


def test_the_session_says_how_full_the_context_is(session: Session) -> None:
    view = selectors.session_view(session.pk)
    assert view is not None
    assert view.context is None
    run = making.run(session)
    writer = CallWriter(run, provider="default")
    write(writer, begun([user("1")], limit=8_000), ended(), begun([user("1")], 2, limit=8_000))
    view = selectors.session_view(session.pk)
    assert view is not None
    assert view.context == {"used": 110, "limit": 8_000}
    # An agent that is asked by another one has its own context.
    Run.objects.update(parent=run)
    view = selectors.session_view(session.pk)
    assert view is not None
    assert view.context is None


def test_a_stored_call_contains_no_address_or_key(session: Session) -> None:
    run = making.run(session)
    written(run, [SYSTEM, user("1")])
    text = orjson.dumps(call_reader.calls_of(run)).decode()
    assert "http" not in text


PIXEL = base64.b64encode(b"\x89PNG of nothing").decode()


def seen(url: str, words: str = "What is this?") -> dict[str, Any]:
    """A question with a picture, as sent to a model that accepts pictures."""
    content = [{"type": "text", "text": words}, {"type": "image_url", "image_url": {"url": url}}]
    return {"role": "user", "content": content}


#: Messages, and whether their picture is stored once more: a file of the session need not be.
PICTURES: dict[str, tuple[dict[str, Any], bool]] = {
    "a file of the session": (seen(f"data:image/png;base64,{PIXEL}"), False),
    "a file of another session": (seen(f"data:image/png;base64,{base64.b64encode(b'another').decode()}"), True),
    "no file": (seen(f"data:image/png;base64,{base64.b64encode(b'nothing').decode()}"), True),
    "no base64": (seen("data:image/png;base64,%%%"), True),
    "written otherwise": (seen(f"data:image/png;base64,{PIXEL}===="), True),
    "an address elsewhere": (seen("https://example.org/a.png"), True),
    "words that look like one": (user('"session-file:x,data:image/png;base64" "data:image/png;base64,AAAA"'), True),
}


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.usefixtures("kept")
def test_a_picture_is_kept_once_and_told_as_it_was_sent(ada: User, session: Session, kind: str) -> None:
    message, is_kept_again = PICTURES[kind]
    content = base64.b64decode(PIXEL)
    for used_in, each in ((session, content), (making.session(ada), b"another")):
        digest = sha256(each).hexdigest()
        file = files.store_file(ada.pk, name="a.png", media_type="image/png", content=each, sha256=digest)
        files.attach(used_in.pk, ada.pk, [file.pk])
    run = making.run(session)
    # The same picture again is the same content, whatever is still stored of it.
    written(run, [SYSTEM, message], [SYSTEM, message, assistant("A pixel."), user("Sure?")])

    assert call_reader.sent_messages(run, call_reader.rows_of(run))[0] == [SYSTEM, message]
    full = call_reader.full_call(run, 2)
    assert full is not None
    assert full.messages[1] == message
    assert full.data["messages"][1]["sha256"] == sha256(orjson.dumps(message)).hexdigest()
    content_kept = bodies()[full.data["messages"][1]["sha256"]]
    assert (orjson.loads(content_kept) == message) is is_kept_again
    assert (PIXEL in content_kept) is (is_kept_again and PIXEL in str(message))
