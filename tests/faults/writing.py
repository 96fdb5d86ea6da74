"""Processes that do nothing but append to logs: ``python -m tests.faults.writing make SESSIONS`` or ``… race PROCESSES COUNT RUN…``.

``make`` prints the ids of new runs, each at work in a session of its own. In a ``race`` every process appends to the runs in turn; all
begin at the same moment, and errors are printed.
"""

import multiprocessing
import sys
from multiprocessing.synchronize import Barrier
from uuid import UUID

import django
from django.db import Error

django.setup()

from chat.accounts.models import User  # noqa: E402 - Django's models want it set up
from chat.models import Run  # noqa: E402
from chat.store import step_log  # noqa: E402
from tests.chat import making  # noqa: E402


def make(sessions: int) -> None:
    """Make the runs."""
    user = User.objects.get(username="bo")
    for _ in range(sessions):
        print(making.run(making.session(user)).pk)  # noqa: T201 - how the test learns them


def race(processes: int, count: int, run_ids: list[UUID]) -> None:
    """Append to them in many processes, each a child that opens a connection of its own."""
    forked = multiprocessing.get_context("fork")
    together = forked.Barrier(processes)
    writers = [forked.Process(target=write, args=(together, count, run_ids)) for _ in range(processes)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        if writer.exitcode:
            print(f"failed: a process ended with {writer.exitcode}")  # noqa: T201


def write(together: Barrier, count: int, run_ids: list[UUID]) -> None:
    """Append one step after another."""
    runs = [Run.objects.get(pk=run_id) for run_id in run_ids]
    together.wait(30)
    for number in range(count):
        try:
            step_log.append(runs[number % len(runs)], [making.thought(f"{number} 天氣")])
        except Error as error:
            print(f"failed: {error}", flush=True)  # noqa: T201


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(int(sys.argv[2]))
    else:
        race(int(sys.argv[2]), int(sys.argv[3]), [UUID(run_id) for run_id in sys.argv[4:]])
