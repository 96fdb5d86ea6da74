"""The running runs, and requests to the processes that execute them: read every second, so with raw SQL."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from chat.accounts.models import User
from chat.models import AT_WORK_SQL, RunStatus
from chat.runs import state as run_state
from chat.runtime.db_values import datetime_param, uuid_from_db, uuids_from_db

_RUNNING = f"""SELECT run.id, run.fence, run.status, person.username FROM chat_run run
    LEFT JOIN {User._meta.db_table} person ON person.id = run.cancelled_by_id
    WHERE run.owner = %s AND run.status IN ('running', 'cancelling')"""  # noqa: S608 - our own table


class OwnedRun(NamedTuple):
    """A live run of a process: its fence, and the sentence about who has requested its stop, or None."""

    fence: int
    stop_reason: str | None


def owned_by(process: str) -> dict[UUID, OwnedRun]:
    """A process's live runs."""
    with connection.cursor() as cursor:
        cursor.execute(_RUNNING, [process])
        return {
            uuid_from_db(run_id): OwnedRun(
                fence, run_state.stopped_by(name) if status == RunStatus.CANCELLING else None
            )
            for run_id, fence, status, name in cursor.fetchall()
        }


#: The steering words for a process's runs: for each run the newest, and the newest that interrupts it, with its user. Ordered by an
#: expression: for the order of the key itself, SQLite would read all words there have ever been, each second.
_WORDS = f"""SELECT word.run_id, word.id, word.interrupt, person.username FROM chat_steeringword word
    JOIN chat_run run ON run.id = word.run_id JOIN {User._meta.db_table} person ON person.id = word.user_id
    WHERE word.state = 'pending' AND run.owner = %s AND run.status = 'running' ORDER BY word.id + 0"""  # noqa: S608 - our own table


def words_for(process: str) -> list[tuple[UUID, int, str]]:
    """The unread steering words for a process's runs: run, number, and why to interrupt the run, empty if it is not to be."""
    with connection.cursor() as cursor:
        cursor.execute(_WORDS, [process])
        return [
            (uuid_from_db(run_id), number, run_state.interrupted_by(username) if interrupt else "")
            for run_id, number, interrupt, username in cursor.fetchall()
        ]


#: Roots come before the runs within them, which end together with them.
_LIVE_RUNS = f"SELECT id FROM chat_run WHERE {AT_WORK_SQL} {{silent}} ORDER BY depth"  # noqa: S608 - our own condition


def silent_since(since: datetime) -> list[UUID]:
    """The live runs whose owner has sent no heartbeat since then, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute(_LIVE_RUNS.format(silent="AND heartbeat_at < %s"), [datetime_param(since)])
        return uuids_from_db(run_id for (run_id,) in cursor.fetchall())


def all_live() -> list[UUID]:
    """All live runs, of all processes."""
    with connection.cursor() as cursor:
        cursor.execute(_LIVE_RUNS.format(silent=""))
        return uuids_from_db(run_id for (run_id,) in cursor.fetchall())
