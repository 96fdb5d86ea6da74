"""Sessions imported from other programs' trajectories. They can be read like any other, but not continued."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import cast

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from agents.json_types import JsonObject
from agents.sentence import Sentence
from agents.untrusted.pool import Pool, TooSlow, Unfinished
from agents.untrusted.trajectories import PlannedRun
from chat.accounts.models import User
from chat.models import AGENT_NAME_LENGTH, Act, Door, ImportedDocument, Origin, Run, RunStatus, Session
from chat.protocol import ENDS, BadFrame, ErrorCode
from chat.protocol.frames import EventData, StoredType
from chat.runs import state as run_state
from chat.runs.admission import Refused
from chat.runs.sessions import title_from
from chat.security import audit
from chat.store import step_log
from chat.store.step_log import Entry

#: The largest document, in bytes. The number and depth of its parts are limited when it is parsed.
MOST_BYTES = 20 * 1024 * 1024
#: The most time that parsing one may take, in seconds of CPU and of the clock.
_READ_CPU_S, _READ_S = 15.0, 40.0

_readers = Pool(1, "agents.untrusted.trajectories")


@dataclass(frozen=True, slots=True)
class Planned:
    """A document that was parsed, and the session that it becomes."""

    title: str
    agent_name: str
    document: str
    runs: list[PlannedRun]


def plan_import(body: bytes) -> Planned:
    """Parse an ATIF document, in a process that can be killed, without using the database. Blocks. Raises `BadFrame`, `Refused`."""
    now = timezone.now().timestamp()
    try:
        read = _readers.run("trajectories.read_trajectory", body, now, list(ENDS), cpu_s=_READ_CPU_S, timeout_s=_READ_S)
    except TooSlow:
        raise BadFrame("too_large", Sentence("Reading this document takes longer than it may.")) from None
    except Unfinished as why:
        if "MemoryError" in why.args:
            raise BadFrame("too_large", Sentence("Reading this document takes more memory than it may.")) from None
        raise Refused("storage", Sentence("The document could not be read just now. Please try again.")) from why
    if problem := read.get("problem"):
        raise _refusal(*problem)
    runs = [PlannedRun.unpacked(run) for run in read["runs"]]
    return Planned(title_from(read["title"]), read["agent"][:AGENT_NAME_LENGTH], read["document"], runs)


def _refusal(code: ErrorCode, message: str, parts: JsonObject) -> BadFrame:
    """A refusal of the parsing process, with its message as a sentence that can be translated."""
    return BadFrame(code, Sentence(parts["template"], **parts.get("values", {})) if parts else message)


def check_import_limit(user: User) -> None:
    """Refuse an import of a user who has imported as many documents within a minute as questions are allowed. Raises `Refused`."""
    lately = Session.everything.filter(owner=user, imported_at__gt=timezone.now() - timedelta(minutes=1))
    if 0 < settings.MAX_MESSAGES_PER_MINUTE <= lately.count():
        raise Refused("rate_limited", Sentence("Too many documents in a minute. Please wait a moment."))


@transaction.atomic
def store_import(user: User, planned: Planned) -> Session:
    """Store the session, in one transaction."""
    session = Session.objects.create(
        owner=user,
        title=planned.title,
        agent_name=planned.agent_name,
        status=RunStatus(planned.runs[-1].status) if planned.runs else "",
        imported_at=timezone.now(),
    )
    audit.record_action(user.pk, Act.IMPORT, Door.API, session_id=session.pk, subject_id=user.pk)
    ImportedDocument.objects.create(session=session, document=planned.document)
    for number, run in enumerate(planned.runs, 1):
        _store_run(session, run, number)
    session.refresh_from_db()
    return session


def _store_run(
    session: Session, planned: PlannedRun, number: int, parent: Run | None = None, call_id: str = ""
) -> None:
    run = Run(
        session=session,
        number=number,
        user=None,
        message=planned.message,
        agent_name=planned.agent[:AGENT_NAME_LENGTH],
        model=planned.model,
        origin=Origin.IMPORT,
        status=RunStatus(planned.status),
        created_at=_moment(planned.began),
        started_at=_moment(planned.began),
        ended_at=_moment(planned.ended),
        iterations=planned.iterations,
        input_tokens=planned.usage["input_tokens"],
        output_tokens=planned.usage["output_tokens"],
        cached_tokens=planned.usage.get("cached_tokens"),
        cost=None if planned.cost is None else Decimal(str(round(planned.cost, 10))),
        currency="" if planned.cost is None else "USD",
        parent=parent,
        parent_call_id=call_id,
        depth=0 if parent is None else parent.depth + 1,
    )
    run.client_message_id = f"import:{run.pk.hex}"
    if parent is not None:
        asked = {"run_id": str(parent.pk), "tool_call_id": call_id, "depth": run.depth}
        planned.entries[0].data["parent"] = asked
    run_state.add_ended(run)
    entries = [_entry(*each) for each in planned.entries]
    done = 0
    for place, asked_by, child in planned.children:
        step_log.append_unowned(run, entries[done:place], position=done, findable=False)
        done = place
        _store_run(session, child, number, run, asked_by)
    step_log.append_unowned(run, entries[done:], position=done, findable=False)


def _entry(event: str, data: JsonObject, full_content: str | None) -> Entry:
    return Entry(cast(StoredType, event), cast(EventData, data), full_content)


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
