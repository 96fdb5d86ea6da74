"""What tests share by the process they run in: nothing of one is there for the next.

What the product only remembers, to ask its tables less often, is forgotten before each test: the tables were emptied or rolled back
meanwhile, and may give the same keys again. What is at work after a test is ended. A test that leaves something open fails itself, and
not one after it. A further one of each kind is a line.
"""

import asyncio
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

#: By the names of their modules, which are looked at where a test has imported them: what is open until somebody closes it.
HELD = [
    "agents.specs._extensions",
    "chat.live.connections.open_here",
    "chat.live.registry.open_feeds",
    "chat.live.registry.open_sockets",
    "chat.store.drafts.cells",
    "chat.store.drafts.watchers",
    "chat.web.own_data._being_sent",
]
#: What is at work, and what stands for it.
AT_WORK = [
    "chat.runtime.background.tasks",
    "chat.live.presence.presence._closed",
    "chat.live.presence.presence._opened",
    "chat.live.presence.presence._unsure",
    "chat.runs.registry.running",
    "chat.runs.registry.starting_writes",
]
#: What is remembered of rows, of servers and of what was told already.
REMEMBERED = [
    "agents.models.server_facts._facts",
    "chat.protocol.group_messages._reported",
    "chat.rendering.fragments._kept",
    "chat.runs.notes.recent_changes",
    "chat.runs.registry.early_stops",
    "chat.runtime.db_values._unreadable",
    "chat.security.account_acts._noted_lockouts",
    "chat.security.audit._noted",
    "chat.security.logins._known",
    "chat.security.oidc.provider._kept",
    "chat.security.origins.noticed",
    "chat.security.tokens._attempts._full_at",
    "chat.security.tokens._ended",
    "chat.security.tokens._noted",
    "chat.security.tokens._seen",
    "chat.store.calls._last_calls",
    "chat.store.drafts.unsaved",
    "chat.web.conversation._kept",
    "config.static_files._contents",
]
#: A task that was cancelled may take as long to end.
_ENDS_WITHIN_S = 5.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """Begin without what earlier tests have had."""
    for _, memory in _found(REMEMBERED):
        memory.clear()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """When all of a test's fixtures are done with, look at what is left: it is told, and taken from the next one's way."""
    result = yield
    _end_work()
    left = [f"{name}: {list(held)[:3]}" for name, held in _found(HELD) if held]
    if logging.root.manager.disable:
        left.append("the log is switched off")
        logging.disable(logging.NOTSET)
    for _, accepting in _found(["chat.runs.registry.accepting"]):
        if not accepting.is_set():
            left.append("runs are not taken up")
            accepting.set()
    for _, held in _found(HELD):
        held.clear()
    if left:
        pytest.fail(f"The test leaves open in this process: {'; '.join(left)}")
    return result


def _end_work() -> None:
    """End what is at work, and what waits on a loop that has ended: nobody would be told of it."""
    for task in list(next((tasks for _, tasks in _found(AT_WORK[:1])), ())):
        loop = task.get_loop()
        if not loop.is_running() and not loop.is_closed():
            task.cancel()
            loop.run_until_complete(asyncio.wait([task], timeout=_ENDS_WITHIN_S))
    for _, work in _found(AT_WORK):
        work.clear()


def _found(names: list[str]) -> Iterator[tuple[str, Any]]:
    """Those of the named that are there, in modules that were imported."""
    for name in names:
        parts = name.split(".")
        known = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in sys.modules), 0)
        value: Any = sys.modules.get(".".join(parts[:known]))
        for part in parts[known:]:
            value = getattr(value, part, None)
        if value is not None:
            yield name, value
