"""Worker processes that can be killed: whatever the work does, the call ends, and the caller's process is free meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from agents import CancelToken
from agents.untrusted.pool import Pool, TooSlow, Unfinished
from tests.serving import ROOT

#: The CPU time that a call may use here; the time by the clock is much longer, because the machine is shared.
LIMITS = {"cpu_s": 0.5, "timeout_s": 20.0}


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(2, "tests.agents.untrusted.work")
    yield made
    made.close()


def works(pool: Pool) -> bool:
    return pool.run("work.echo", "as ever", **LIMITS) == "as ever"


@pytest.mark.parametrize(
    "value", [None, "words", "\ud800 alone", b"\x00\xff", [1, [2.5, {"a": None}]], "x" * 3_000_000], ids=type
)
def test_values_go_and_come_back(pool: Pool, value: object) -> None:
    assert pool.run("work.echo", value, **LIMITS) == value


@pytest.mark.parametrize(
    ("work", "arguments", "end"),
    [
        ("spin", [], TooSlow),
        ("backtrack", ["a" * 60 + "b"], TooSlow),
        ("crash", [], Unfinished),
        ("fail", [], Unfinished),
        ("use_memory", [], Unfinished),
        ("write", [], Unfinished),
        ("nosuch", [], Unfinished),
    ],
)
def test_work_that_does_not_end_well_ends_all_the_same(
    pool: Pool, work: str, arguments: list[str], end: type[Unfinished]
) -> None:
    with pytest.raises(Unfinished) as caught:
        pool.run(f"work.{work}", *arguments, **LIMITS)
    assert type(caught.value) is end
    assert works(pool)


def test_work_that_waits_is_ended_by_the_clock(pool: Pool) -> None:
    pool.preload()
    with pytest.raises(TooSlow):
        pool.run("work.sleep", cpu_s=0.2, timeout_s=0.5)
    assert works(pool)


def test_slow_work_costs_no_other_its_result(pool: Pool) -> None:
    texts = ["b", "a" * 60 + "b", "c", "a" * 60 + "c", "d"]
    results = pool.run_each("work.backtrack", [[text] for text in texts], **LIMITS)
    assert [type(result) for result in results] == [type(None), TooSlow, type(None), TooSlow, type(None)]


def test_a_caller_without_a_free_worker_is_told_so(pool: Pool) -> None:
    stop = CancelToken()
    busy = [
        threading.Thread(target=lambda: pool.run_each("work.sleep", [[]], cpu_s=60, timeout_s=60, stop=stop))
        for _ in range(2)
    ]
    for thread in busy:
        thread.start()
    while len(pool._workers) < 2 or pool._idle:
        time.sleep(0.01)
    with pytest.raises(Unfinished) as caught:
        pool.run("work.echo", 1, cpu_s=0.1, timeout_s=0.3)
    assert type(caught.value) is Unfinished
    stop.set("enough")
    for thread in busy:
        thread.join()
    assert works(pool)


def test_a_call_that_is_stopped_ends_at_once_and_its_worker_works_for_nobody_else(pool: Pool) -> None:
    stop = CancelToken()
    began = time.monotonic()
    threading.Timer(0.2, stop.set, ["enough"]).start()
    with pytest.raises(Unfinished):
        pool.run("work.spin", cpu_s=60, timeout_s=60, stop=stop)
    assert time.monotonic() - began < 10
    assert works(pool)


def test_a_worker_is_used_again_until_it_has_held_too_much(pool: Pool) -> None:
    first = pool.run("work.who", **LIMITS)
    assert pool.run("work.who", **LIMITS) == first
    assert pool.run("work.hold", 200 << 20, cpu_s=20, timeout_s=60) > 0
    assert pool.run("work.who", **LIMITS) != first


def test_a_worker_that_died_while_nobody_asked_is_replaced(pool: Pool) -> None:
    gone = psutil.Process(pool.run("work.who", **LIMITS))
    gone.kill()
    while gone.is_running() and gone.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert works(pool)


def test_a_worker_has_nothing_of_our_environment(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hush")
    assert "SECRET_KEY" not in pool.run("work.environment", **LIMITS)


def test_a_forked_child_has_workers_of_its_own(pool: Pool) -> None:
    ours = pool.run("work.who", **LIMITS)
    child = os.fork()
    if child == 0:
        os._exit(0 if pool.run("work.who", **LIMITS) != ours else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.run("work.who", **LIMITS) == ours


PARENT = """
import threading
from agents.untrusted.pool import Pool
pool = Pool(2, "tests.agents.untrusted.work")
print(pool.run("work.who", cpu_s=5, timeout_s=60))
threading.Thread(target=pool.run, args=("work.{work}", *{arguments}), kwargs=dict(cpu_s=600, timeout_s=600), daemon=True).start()
while pool._idle: pass
print("at work", flush=True)
input()
"""


@pytest.mark.parametrize(("work", "arguments"), [("sleep", []), ("spin", []), ("backtrack", ["a" * 90 + "b"])])
def test_workers_die_with_their_parent_whatever_they_are_at(work: str, arguments: list[str]) -> None:
    program = PARENT.format(work=work, arguments=arguments)
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        assert parent.stdout.readline() == "at work\n"
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        _, alive = psutil.wait_procs([worker], timeout=10)
        assert alive == []


def test_a_pool_that_nobody_asks_costs_nothing(pool: Pool) -> None:
    worker = psutil.Process(pool.run("work.who", **LIMITS))
    threads = threading.active_count()
    before = worker.cpu_times(), worker.num_ctx_switches().voluntary
    threading.Event().wait(1.0)
    after = worker.cpu_times(), worker.num_ctx_switches().voluntary
    assert after[0] == before[0]
    # It may have been about to become idle.
    assert after[1] - before[1] <= 1
    assert threading.active_count() <= threads
