"""The checks are checked: every rule of the invariants is broken once, and the violation must be reported."""

import asyncio
import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults import invariants
from tests.faults.bystander import Bystander
from tests.faults.invariants import MB
from tests.faults.oracle import Frame, Oracle, State
from tests.faults.world import StoredEvent, StoredRun, World

SESSION, RUN, OTHER = "a session", "a run", "another run"
CASES = json.loads((Path(__file__).parents[1] / "static" / "delta_cases.json").read_text("utf-8"))


def frame(seq: int, kind: str, run_id: str = RUN, **data: Any) -> Frame:
    return {"type": kind, "seq": seq, "id": f"event {seq}", "run_id": run_id, "data": data}


def log() -> list[Frame]:
    thought = {"type": "thought", "step": 1, "content": "Let me see."}
    answer = {"type": "final_answer", "step": 2, "content": "So it is."}
    return [
        frame(1, "reasoning_start", message="Why?"),
        frame(2, "reasoning_step", **thought),
        frame(3, "reasoning_step", **answer),
        frame(4, "reasoning_complete", status="completed"),
    ]


def delta(text: str, *, step: int = 1, offset: int = 0, attempt: int = 1) -> Frame:
    data = {"step": step, "type": "thought", "attempt": attempt, "offset": offset, "text": text}
    return {"type": "reasoning_delta", "run_id": RUN, "data": data}


def joined(last_seq: int = 0, **more: Any) -> Frame:
    data = {"session_id": SESSION, "last_seq": last_seq, "run": None, "queue": [], **more}
    return {"type": "session", "data": data}


async def played(*frames: Frame, connections: int = 1) -> Oracle:
    """A client that has received these frames, on one connection or on several."""
    client = Oracle(list, "", SESSION, acknowledges=False)
    for _ in range(connections):
        client._joined = False
        for one in frames:
            await client._handle(one)
    return client


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_it_puts_growth_together_as_pages_do(case: Any) -> None:
    broken: list[str] = []
    state = State(broken.append)
    state.apply(frame(1, "reasoning_start", message="Why?"))
    for data in case["deltas"]:
        state.apply({"type": "reasoning_delta", "run_id": RUN, "data": data})
    partial = state.runs[RUN].partial
    assert (partial.text if partial else None) == case["text"]
    assert not broken


async def test_a_life_without_faults_breaks_no_rule() -> None:
    start, thought, answer, end = log()
    client = await played(joined(), start, delta("Let "), delta("me", offset=4), thought, answer, end)
    assert not client.violations
    assert client.state.shown() == (await played(joined(4), *log())).state.shown()


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([log()[0]], "before session"),
        ([joined(), log()[0], log()[0]], "came twice"),
        ([joined(), log()[0], log()[2]], "came after 1"),
        (
            [joined(), log()[0], frame(2, "reasoning_step", type="thought", step=2, content="")],
            "step 2 came after step 0",
        ),
        ([joined(), *log(), frame(5, "reasoning_step", type="start")], "after its run's end"),
        ([joined(), frame(1, "reasoning_step", type="start")], "a run began with"),
        ([joined(), log()[0], delta("Something else"), log()[1]], "shown as it grew"),
        ([joined(4), log()[0], delta("Let")], "before the replay had ended"),
        ([joined(session_id="another")], "was told of session another"),
        ([joined(4), *log(), joined(2)], "without a reset"),
        ([joined(), *log(), {"type": "pong", "data": {"last_seq": 3}}], "the head was told as 3"),
        ([joined(), frame(1, "presence")], "has a number"),
    ],
)
async def test_a_client_complains_of_what_it_must_not_be_told(frames: list[Frame], complaint: str) -> None:
    client = await played(*frames)
    assert complaint in "".join(client.violations)


async def test_a_message_that_becomes_two_runs_is_noticed() -> None:
    accepted = [
        {"type": "accepted", "data": {"client_message_id": "m", "run_id": run, "queued": 0}} for run in (RUN, OTHER)
    ]
    client = await played(joined(), *accepted)
    assert "one message became the runs" in client.violations[0]


def stored() -> list[StoredEvent]:
    return [StoredEvent(f["seq"], f["id"], f["run_id"], f["type"], f["data"]) for f in log()]


def a_run(**more: Any) -> StoredRun:
    return replace(StoredRun(RUN, 1, "completed", "m", 1, 1, "process", ""), **more)


def check_log(change: Callable[[list[StoredEvent]], Any], *runs: StoredRun) -> str:
    events = stored()
    change(events)
    return "\n".join([*invariants.in_order(events, 4), *invariants.lifecycles(events, runs or [a_run()])])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda events: events.pop(1), "missing [2]"),
        (lambda events: events.insert(1, events[1]), "1 twice"),
        (lambda events: events.pop(), "missing"),
        (lambda events: events.append(replace(events[1], seq=5)), "after its run's end"),
        (lambda events: events.insert(1, events[0]), "begins its run again"),
        (lambda events: events.pop(0), "before its run has begun"),
        (
            lambda events: (
                events.insert(1, replace(events[0], run_id=OTHER)) or events.insert(2, replace(events[2], run_id=OTHER))
            ),
            "another run is at work",
        ),
    ],
)
def test_a_broken_log_is_noticed(change: Callable[[list[StoredEvent]], Any], complaint: str) -> None:
    assert check_log(lambda _: None) == ""
    assert complaint in check_log(change)


@pytest.mark.parametrize(
    ("run", "complaint"),
    [(a_run(status="running"), "for ever"), (a_run(status="failed"), "its last event says completed")],
)
def test_a_run_that_ended_otherwise_or_never_is_noticed(run: StoredRun, complaint: str) -> None:
    assert complaint in check_log(lambda _: None, run)


async def test_a_client_that_has_something_else_is_noticed() -> None:
    client = await played(joined(), *log())
    fresh = await played(joined(4), *log())
    assert not [*invariants.has_all(client, stored()), *invariants.same_as(fresh, [client])]
    assert [*invariants.has_all(client, stored()[:-1])]
    assert [*invariants.has_all(client, [*stored()[:-1], replace(stored()[-1], id="another")])]
    assert [*invariants.nothing_lost(client, stored()[:-1])]
    assert [*invariants.nothing_lost(client, [replace(event, data={}) for event in stored()])]
    assert [*invariants.nobody_elses([client], [a_run(id=OTHER)])]
    fresh.state.queue = [{"run_id": OTHER}]
    assert [*invariants.same_as(fresh, [client])]


async def test_a_message_with_two_runs_or_none_is_noticed() -> None:
    client = await played(joined())
    client.accepted["m"] = RUN
    assert not [*invariants.one_run_a_message([client], [a_run()])]
    assert [*invariants.one_run_a_message([client], [a_run(), a_run(id=OTHER)])]
    assert [*invariants.one_run_a_message([client], [a_run(id=OTHER)])]


def test_memory_beyond_all_windows_is_noticed() -> None:
    bound = 3 * invariants.WINDOW_BYTES + invariants.SPARE_BYTES
    assert not [*invariants.bounded_memory(bound, 3)]
    assert [*invariants.bounded_memory(bound + 1, 3)]


async def test_memory_that_a_process_takes_is_counted(shared: World) -> None:
    """The highest memory that a real process has used counts, not what it uses at the end."""
    (server,) = shared.servers
    assert await asyncio.to_thread(server.loaded.wait, 60)
    server.rest()
    assert server.most_taken < MB
    server._at_rest -= invariants.SPARE_BYTES + 2 * invariants.WINDOW_BYTES
    with pytest.raises(AssertionError, match="52 MB were used for 1 sockets"):
        await invariants.check_costs(server, 1)
    server.rest()


def test_a_wait_of_others_is_noticed() -> None:
    calm = [0.001] * 98 + [0.1, 3.0]
    assert not [*invariants.nobody_waits(calm, [0.01] * 99 + [9.0])]
    assert not [*invariants.nobody_waits(calm, [2 * 0.1 + invariants.POLL_S])]
    assert [*invariants.nobody_waits(calm, [0.01] * 98 + [1.21, 1.21])]


async def test_a_bystander_who_is_kept_waiting_is_noticed(shared: World) -> None:
    """A process that is blocked: the bystander reports it, also for pings that are only answered afterwards."""
    async with shared.browser() as browser, Bystander.beside(browser) as others:
        await invariants.check_costs(shared.servers[0], 1, others)
        process = shared.servers[0].process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        with pytest.raises(AssertionError, match="somebody else waited 1"):
            await invariants.check_costs(shared.servers[0], 1, others)


@pytest.mark.parametrize(
    "line", ["Traceback (most recent call last):", "Task exception was never retrieved", "x: database is locked"]
)
def test_an_alarm_in_a_log_is_noticed_and_may_be_allowed(line: str) -> None:
    assert [*invariants.quiet_logs(["all is well\n", f"{line}\n"])]
    assert not [*invariants.quiet_logs(["all is well\n", f"{line}\n"], may=line[:9])]
