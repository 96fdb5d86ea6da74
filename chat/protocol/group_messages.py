"""Messages between processes, sent through groups of the channel layer.

In a rolling restart, processes of two versions receive each other's messages. Each message has a ``version``; a reader accepts those up to
its own, and ignores and logs others once: it then finds the change in the database, at the poll of every second. Messages of the version
before this one, which had no number and positional lists, are still read.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypeAlias, cast

from typing_extensions import TypedDict

from chat.protocol.frame_data import NotificationData, WaitingData
from chat.protocol.frames import StoredType
from chat.protocol.notes import ActivityData

logger = logging.getLogger(__name__)

#: Raised with each change that the version before would misunderstand; adding a field or a type needs no new number.
VERSION = 1


class _Message(TypedDict):
    version: int


class StoredEvent(TypedDict):
    """A stored event, to be published."""

    seq: int
    run_id: str
    frame: str
    event: StoredType
    number: int
    """The step's number, 0 if it has none. The draft of that step is replaced."""


class EventsStored(_Message):
    """To a session's group: these events are in the log now. They are consecutive."""

    type: Literal["events"]
    events: list[StoredEvent]
    at: NotRequired[float]
    """When they were stored, by the clock of the machine that stored them."""


class TextWritten(_Message):
    """To a session's group: what a run is writing, from ``offset`` on. Of a run within another one it is ``child_written``, which the
    version before this one ignores.
    """  # noqa: D205 - one thought

    type: Literal["written", "child_written"]
    run_id: str
    step: int
    kind: str
    attempt: int
    offset: int
    text: str
    tool_name: str


class QueueChanged(_Message):
    """To a session's group: the queue has changed."""

    type: Literal["queue"]


class PeopleChanged(_Message):
    """To a session's group: the people who have it open have changed."""

    type: Literal["presence"]


class SessionDeleted(_Message):
    """To a session's group: it was deleted."""

    type: Literal["gone"]


class Noted(_Message):
    """To a session's group: a verdict or a comment was changed. ``notes_version`` numbers these changes without gaps."""

    type: Literal["noted"]
    notes_version: int
    frame: str


class ActivityChanged(_Message):
    """To a session's group: what somebody is doing now. It does no harm if one is lost."""

    type: Literal["activity"]
    data: ActivityData


class StopRun(_Message):
    """To all processes: stop this run. ``because``: the reason, a sentence for people."""

    type: Literal["stop"]
    run_id: str
    because: str


class SteerRun(_Message):
    """To all processes, for the run's: there are steering words up to ``number``. ``reason``: if given, the run is interrupted for it."""

    type: Literal["steer"]
    run_id: str
    number: int
    reason: str


class WakeRun(_Message):
    """To all processes, for that of the run around it: this run waits for people no more, or may continue."""

    type: Literal["wake"]
    run_id: str


class LoginsChanged(_Message):
    """To all processes: check which sockets' logins are still valid."""

    type: Literal["logins"]


class UserNotified(_Message):
    """To all processes: send this to the user's sockets."""

    type: Literal["notification"]
    user_id: int
    data: NotificationData | WaitingData


class RestartToolServer(_Message):
    """To all processes: reconnect to this tool server."""

    type: Literal["restart_tool_server"]
    name: str


SessionMessage: TypeAlias = (
    EventsStored | TextWritten | QueueChanged | PeopleChanged | SessionDeleted | Noted | ActivityChanged
)
ProcessMessage: TypeAlias = StopRun | SteerRun | WakeRun | LoginsChanged | UserNotified | RestartToolServer

QUEUE_CHANGED: QueueChanged = {"version": VERSION, "type": "queue"}
PEOPLE_CHANGED: PeopleChanged = {"version": VERSION, "type": "presence"}
SESSION_DELETED: SessionDeleted = {"version": VERSION, "type": "gone"}
LOGINS_CHANGED: LoginsChanged = {"version": VERSION, "type": "logins"}

#: Versions that this process has logged.
_reported: set[str] = set()


def read_session_message(message: Mapping[str, Any]) -> SessionMessage | None:
    """A message to a session's group; None if this version cannot read it."""
    if not _is_readable(message):
        return None
    match message["type"]:
        case "stored":
            return {"version": 0, "type": "events", "events": [_unnamed_event(event) for event in message["events"]]}
        case "growth":
            step, kind, attempt, offset, text, tool_name = message["growth"]
            return {
                "version": 0,
                "type": "written",
                "run_id": message["run_id"],
                "step": step,
                "kind": kind,
                "attempt": attempt,
                "offset": offset,
                "text": text,
                "tool_name": tool_name,
            }
    return cast(SessionMessage, message)


def read_process_message(message: Mapping[str, Any]) -> ProcessMessage | None:
    """A message to all processes; None if this version cannot read it."""
    return cast(ProcessMessage, message) if _is_readable(message) else None


def _is_readable(message: Mapping[str, Any]) -> bool:
    version = message.get("version", 0)
    if isinstance(version, int) and version <= VERSION:
        return True
    if str(version) not in _reported:
        _reported.add(str(version))
        logger.warning(
            "Another process speaks version %s of the messages between processes, this one %d: what they tell is found in the database",
            version,
            VERSION,
        )
    return False


def _unnamed_event(event: Sequence[Any]) -> StoredEvent:
    seq, run_id, frame, kind, number = event
    return {"seq": seq, "run_id": run_id, "frame": frame, "event": kind, "number": number}
