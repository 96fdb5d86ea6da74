"""While processes of two versions are running: nothing is stored that the older one would misunderstand."""

import pytest
from django.db import connection
from django.utils import timezone

from chat.live import connections
from chat.models import RunStatus
from chat.runtime import clock, database
from chat.runtime.db_values import datetime_param
from chat.store import waiting_calls
from tests.chat.runs import test_waiting
from tests.chat.runs.test_waiting import HELD, QUESTION, ask, ended, model, result_of, steps_of, waits
from tests.faults.here import Here, here
from tests.model_server import Call, ModelServer, Script

__all__ = ["here", "model"]

pytestmark = test_waiting.pytestmark

#: The heartbeat of a process whose version does not know of runs that wait: recorded there.
_SIGN = "INSERT INTO chat_process (name, seen_at, noticed) VALUES (%s, %s, %s)"


def live_as_before(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_SIGN, [name, datetime_param(timezone.now()), ""])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        pytest.param(HELD, "is being brought to a new version", id="a call"),
        pytest.param(QUESTION, "Nobody can be asked", id="a question"),
    ],
)
async def test_no_run_waits_until_all_processes_know_what_that_is(
    here: Here, model: ModelServer, call: Call, words: str
) -> None:
    await database.write(connections.store_heartbeat, "new:1")
    await database.write(live_as_before, "old:1")
    for script in 2 * [Script(reasoning="Hm.", calls=[call]), Script("Done.")]:
        model.enqueue(script)
    first = await ask(here)
    assert (await ended(here, first)).status == RunStatus.COMPLETED
    result = result_of(await steps_of(first))
    assert result["ok"] is False
    assert words in result["content"]
    # It has ended, and the others have noticed.
    await database.write(connections.forget_process, "old:1")
    await waits(await ask(here))


async def test_a_killed_process_is_soon_forgotten(here: Here) -> None:
    await database.write(live_as_before, "old:1")
    assert not await database.read(waiting_calls.is_known_everywhere)
    await database.write(connections.forget_silent, "new:1", clock.now())
    assert await database.read(waiting_calls.is_known_everywhere)
