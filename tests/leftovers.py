"""State of the test process that must not be left from one test to the next.

Caches of database rows are cleared before each test: the tables were emptied or rolled back meanwhile, and may use the same keys again.
Work that is left after a test is ended. A test that leaves something open fails itself, and not one after it. A further one of each kind is
a line.
"""

import asyncio
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

#: State that is open until somebody closes it, by module; checked only if a test has imported the module.
HELD = [
    "agents.specs._extensions",
    "chat.live.connections.open_here",
    "chat.live.registry.open_feeds",
    "chat.live.registry.open_sockets",
    "chat.store.drafts.cells",
    "chat.store.drafts.watchers",
    "chat.web.own_data._being_sent",
]
#: Work in progress, and the state that belongs to it.
AT_WORK = [
    "chat.runtime.background.tasks",
    "chat.live.presence.presence._closed",
    "chat.live.presence.presence._opened",
    "chat.live.presence.presence._unsure",
    "chat.runs.registry.running",
    "chat.runs.registry.starting_writes",
]
#: Caches of rows, of what servers support, and of what was already logged.
REMEMBERED = [
    "agents.models.openai_compatible._tools_of",
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
#: The time in seconds that a cancelled task may take to end.
_ENDS_WITHIN_S = 5.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """Clear the caches of earlier tests."""
    for _, cache in _found(REMEMBERED):
        cache.clear()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """When all fixtures of a test have ended, check what is left: report it, and remove it."""
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
    """End tasks that are left, also those of a loop that has ended, which would never be reported."""
    for task in list(next((tasks for _, tasks in _found(AT_WORK[:1])), ())):
        loop = task.get_loop()
        if not loop.is_running() and not loop.is_closed():
            task.cancel()
            loop.run_until_complete(asyncio.wait([task], timeout=_ENDS_WITHIN_S))
    for _, work in _found(AT_WORK):
        work.clear()


def _found(names: list[str]) -> Iterator[tuple[str, Any]]:
    """Those of the named objects that exist, in modules that were imported."""
    for name in names:
        parts = name.split(".")
        known = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in sys.modules), 0)
        value: Any = sys.modules.get(".".join(parts[:known]))
        for part in parts[known:]:
            value = getattr(value, part, None)
        if value is not None:
            yield name, value
