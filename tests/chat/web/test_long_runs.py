"""Runs of very many steps on their own pages: the size of a page is bounded, and the pages together have all steps."""

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from chat.models import ModelCall, Run, RunStatus
from chat.rendering import transcript
from chat.runs import events as run_events
from chat.runs.state import End
from chat.store.step_log import Entry
from chat.web.runs import RUN_STEPS
from tests.agents.untrusted.linear import assert_linear
from tests.chat import making
from tests.chat.exports.stock import begun, child_of, ended
from tests.chat.making import step
from tests.chat.web.test_model_calls import asked
from tests.chat.web.test_pages import stored_run

pytestmark = pytest.mark.django_db

#: The most bytes of a run's page.
MOST = 1_000_000


def use(n: int, iteration: int, name: str = "python") -> Entry:
    code = "print('tea')\n" * 20
    return step("tool_use", step=n, iteration=iteration, tool_call_id=f"c{n}", tool_name=name, arguments={"code": code})


def result(n: int, iteration: int, name: str = "python") -> Entry:
    stored_run = {"step": n, "iteration": iteration, "tool_call_id": f"c{n}", "tool_name": name}
    return step("tool_result", "y" * 1_900, **stored_run)


def turn_by_turn(ada: Any, count: int) -> Run:
    """This many model calls, each with a thought and a tool call."""
    entries = []
    for n in range(1, count + 1):
        thought = step("thought", "I look at it. " * 20, step=n, iteration=n)
        entries += [step("iteration_start", iteration=n), thought, use(n, n), result(n, n)]
    run = asked(stored_run(ada, *entries))
    first = ModelCall.objects.get(run=run)
    copied = {field.attname: getattr(first, field.attname) for field in ModelCall._meta.concrete_fields}
    ModelCall.objects.bulk_create(ModelCall(**copied | {"id": None, "iteration": n}) for n in range(2, count + 1))
    return run


def at_once(ada: Any, count: int) -> Run:
    """One model call with this many tool calls, as other programs' trajectories may have."""
    numbers = range(1, count + 1)
    return stored_run(ada, *(use(n, 1) for n in numbers), *(result(n, 1) for n in numbers))


def by_another_agent(ada: Any, count: int) -> Run:
    """One call, and a child run with this many steps."""
    root = making.run(making.session(ada))
    begun(root)
    making.append(root, use(1, 1, "ask_writer"))
    child = child_of(root, "c1", "Write it.")
    making.append(child, run_events.started(child, model="stub-model"))
    making.append(child, *(entry for n in range(1, count + 1) for entry in (use(n, n), result(n, n))))
    making.append(child, run_events.completed(child, End(RunStatus.COMPLETED)))
    making.end(child)
    making.append(root, result(1, 1, "ask_writer"))
    ended(root)
    return root


LONG: dict[str, Callable[[Any, int], Run]] = {made.__name__: made for made in (turn_by_turn, at_once, by_another_agent)}


@pytest.mark.parametrize("kind", LONG)
def test_a_page_of_a_long_run_is_no_longer_and_asks_no_more(kind: str, client: Client) -> None:
    ada = making.user("ada")
    client.force_login(ada)
    asked_of = []
    for count in (RUN_STEPS, 3 * RUN_STEPS):
        address = reverse("run", args=[LONG[kind](ada, count).pk])
        client.get(address)
        with CaptureQueriesContext(connection) as statements:
            answer = client.get(address)
        assert answer.status_code == 200
        assert len(answer.content) < MOST
        assert len(_calls_on(answer)) <= RUN_STEPS
        # Queries that are cached for a second, like that of the agents, may be in either.
        asked_of.append(sum("chat_step" in each["sql"] or "chat_modelcall" in each["sql"] for each in statements))
    assert asked_of[0] == asked_of[1]


@pytest.mark.parametrize("kind", ["turn_by_turn", "at_once"])
def test_pages_of_a_long_run_have_each_call_once_and_in_order(kind: str, client: Client) -> None:
    ada = making.user("ada")
    client.force_login(ada)
    count = 2 * RUN_STEPS + 17
    pages = list(_pages(client, reverse("run", args=[LONG[kind](ada, count).pk])))
    assert len(pages) > 2
    texts = [str(call["seq"]) for page in pages for row in page.context["step_rows"] for call in _calls_of(row)]
    assert len(texts) == count
    assert texts == sorted(set(texts), key=int)
    if kind == "at_once":
        assert "Calls 51 to 100 of 217 at once" in pages[0].content.decode()
    else:
        # Beside each iteration is the link to its model call, on every page.
        links = [link for page in pages for link in re.findall(r"/calls/(\d+)/", page.content.decode())]
        assert links == [str(n) for n in range(1, count + 1)]


def test_a_page_of_a_child_run_has_all_its_steps(client: Client) -> None:
    ada = making.user("ada")
    client.force_login(ada)
    root = by_another_agent(ada, RUN_STEPS + 1)
    child = reverse("run", args=[Run.objects.get(parent=root).pk])
    assert (
        f'<a href="{child}">All steps of this agent</a>' in client.get(reverse("run", args=[root.pk])).content.decode()
    )
    assert sum(len(_calls_on(page)) for page in _pages(client, child)) == RUN_STEPS + 1


def _pages(client: Client, address: str) -> Iterator[Any]:
    page, number = client.get(address), 1
    yield page
    while page.context["steps"].has_next():
        number += 1
        page = client.get(f"{address}?steps={number}")
        yield page


def _calls_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    return row["calls"] if row["kind"] == "calls" else [row["call"]] if row["kind"] == "call" else []


def _calls_on(page: Any) -> list[dict[str, Any]]:
    return [call for row in page.context["step_rows"] for call in _calls_of(row)]


class CountedId(str):
    """An id that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedId.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.mark.parametrize("order", [1, -1])
def test_results_find_their_calls_without_looking_through_all(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CountedId, "compared", 0)
    numbers = range(1, 501)
    run = transcript.Run("r")
    entries = [*(use(n, 1) for n in numbers), *(result(n, 1) for n in numbers[::order])]
    for seq, entry in enumerate(entries, 1):
        data = cast(dict[str, Any], entry.data)
        frame = {"seq": seq, "id": "", "run_id": "r", "data": data | {"tool_call_id": CountedId(data["tool_call_id"])}}
        transcript.apply(run, cast(Any, {"type": entry.event, **frame}))
    assert [call.result.seq for call in run.calls if call.result] == list(range(501, 1001))[::order]
    assert CountedId.compared < 4 * len(numbers)


def _waits(n: int) -> list[dict[str, Any]]:
    """What the steps of a request for a decision about a call, and of the decision, contain."""
    begun = {"iteration": n, "timestamp": 1.0, "tool_call_id": f"c{n}"}
    request = {
        "type": "approval_request",
        "tool_name": "python",
        "arguments": {},
        "deadline": None,
        "unanswered": "deny",
    }
    decision = {"type": "approval", "decision": "allow", "user": "ada", "scope": "once", "reason": ""}
    return [begun | request, begun | decision]


@pytest.mark.parametrize("waits", [lambda n: n == 1, lambda _: True], ids=["at its first call", "at each call"])
def test_a_run_that_has_waited_is_folded_in_linear_time(waits: Callable[[int], bool]) -> None:
    def fold(text: str) -> None:
        steps = [
            data
            for n in range(1, len(text) + 1)
            for data in (use(n, n).data, *(_waits(n) if waits(n) else []), result(n, n).data)
        ]
        frames = ({"type": "reasoning_step", "seq": n, "run_id": "r", "data": data} for n, data in enumerate(steps))
        (run,) = transcript.fold(cast(Any, frames))
        assert [call.decision is not None for call in run.calls] == [waits(n) for n in range(1, len(text) + 1)]
        assert len(run.waits) == sum(map(waits, range(1, len(text) + 1)))

    assert_linear(fold, "." * 4_000)


def test_model_calls_of_a_long_run_are_paged_in_the_admin(client: Client) -> None:
    """Beside the steps, which have their own pages: paging one of them keeps the other's page."""
    count = 3 * RUN_STEPS + 1
    run = turn_by_turn(making.user("ada"), count)
    client.force_login(making.staff("chat.view_run", "chat.view_session"))
    address: str | None = f"{reverse('admin:chat_run_change', args=[run.pk])}?after=200"
    shown: list[int] = []
    while address is not None:
        with CaptureQueriesContext(connection) as statements:
            page = client.get(address).content.decode()
        assert len(page) < MOST
        assert len(statements) < 40
        assert "?after=" in page
        shown += map(int, re.findall(r"/calls/(\d+)/", page))
        following = re.search(r'<a href="(\?[^"]*calls=\d+)#calls" rel="next"', page)
        address = following and address.partition("?")[0] + following[1].replace("&amp;", "&")
        assert address is None or "after=200" in address
    assert shown == list(range(1, count + 1))
    for odd in ("0", "-1", "9" * 40, "x", "\0"):
        assert client.get(reverse("admin:chat_run_change", args=[run.pk]), {"calls": odd}).status_code == 200
