"""The API's calls for schedules, and for notifications to their owner."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Router, Status
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.sentence import Sentence
from chat.api.auth import MANAGE, READ
from chat.api.bodies import read_body, takes_body, user_of
from chat.models import Door, MissedPolicy, Occurrence, Outcome, OverlapPolicy, Schedule
from chat.protocol import BadFrame, as_uuid
from chat.protocol.frame_data import NotificationData, WaitingData
from chat.runs import commands as run_commands
from chat.runs.admission import Refused
from chat.runtime import clock, database
from chat.schedules import commands as schedule_commands
from chat.schedules import notifications, occurrences
from chat.schedules import selectors as schedule_selectors
from chat.schedules.selectors import ScheduleRow

router = Router()

#: Schedules of a page.
_PAGE = 100


# Requests and answers


class _Fields(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: StrictStr = Field("", description="Empty: the beginning of the message.")
    agent_name: StrictStr = Field("", description="Empty: the session's agent, else the default.")
    set_id: StrictStr | None = Field(None, description="A set of cases that is asked instead of a message.")
    session_id: StrictStr | None = Field(
        None, description="The session that it runs in; null: a new session each time."
    )
    at: StrictInt | StrictFloat | StrictStr | None = Field(
        None,
        description="Once, at this time: Unix seconds, or a date and time, in the schedule's time zone if it names none.",
    )
    every_minutes: StrictInt | None = Field(None, description="Repeatedly, at intervals of this many minutes.")
    cron: StrictStr | None = Field(
        None, description="Repeatedly, by the five fields of cron, in the schedule's time zone."
    )
    time_zone: StrictStr = Field("UTC", description="The name of a time zone, such as Asia/Taipei.")
    missed: StrictStr = Field(
        "once", description="What to do about times that were missed because the server was down: once, skip."
    )
    overlap: StrictStr = Field(
        "queue", description="What to do with the next run while the last one is not finished: queue, skip."
    )
    pause_after: StrictInt = Field(5, description="The number of failures in a row after which it pauses; 0: never.")
    enabled: StrictBool = True

    def given(self) -> dict[str, Any]:
        """The given fields, as the use cases take them."""
        fields = self.model_dump(exclude_unset=True)
        if fields.get("at") is not None:
            fields["at"] = _moment(fields["at"])
        return fields


class NewSchedule(_Fields):
    """A new schedule: of a message or a set, with one of `at`, `every_minutes` and `cron`."""

    message: StrictStr = ""


class ScheduleChanges(_Fields):
    """Changes of a schedule; fields that are left out stay."""

    message: StrictStr = ""


class OccurrenceOut(TypedDict):
    """A due time and its outcome."""

    due_at: float
    by_hand: Annotated[bool, Field(description="Whether it was started by hand, not at a time of the schedule.")]
    outcome: Annotated[str, Field(description=f"One of {', '.join(Outcome.values)}.")]
    words: str
    times: Annotated[int, Field(description="If several times were missed in a row: how many.")]
    run_id: UUID | None
    session_id: UUID | None
    set_run: Annotated[int | None, Field(description="The number of the run of its set.")]
    duration_ms: int | None


class ScheduleOut(TypedDict):
    """A schedule."""

    id: UUID
    name: str
    agent_name: str
    message: str
    session_id: UUID | None
    set_id: UUID | None
    at: float | None
    every_minutes: int | None
    cron: str | None
    time_zone: str
    enabled: bool
    words: Annotated[str, Field(description="When it runs, as text.")]
    next: Annotated[list[float], Field(description="The next five times; empty while it is paused.")]
    missed: Annotated[str, Field(description=f"{', '.join(MissedPolicy.values)}.")]
    overlap: Annotated[str, Field(description=f"{', '.join(OverlapPolicy.values)}.")]
    pause_after: int
    rules: Annotated[list[str], Field(description="The three rules, as text.")]
    failures: Annotated[int, Field(description="The current number of failures in a row.")]
    paused_because: Annotated[str | None, Field(description="user, operator, done, failures or refused.")]
    paused_words: str | None
    history: Annotated[list[OccurrenceOut], Field(description="The last twenty runs, the newest first.")]
    created_at: float


class SchedulePage(TypedDict):
    """Schedules, newest first, and the cursor of the next page."""

    items: list[ScheduleOut]
    next: str | None


class StartedOut(TypedDict):
    """A run that exists now."""

    run_id: UUID
    session_id: UUID
    queued: Annotated[int, Field(description="Place in the queue.")]


class Notifications(TypedDict):
    """Notifications, oldest first, and the time from which to ask next."""

    items: Annotated[
        list[NotificationData | WaitingData],
        Field(
            description="First the scheduled runs that have ended, each with an `id` and without a `kind`; then the calls that wait, each "
            "with a `kind` and without an `id`. A client that knows no calls may pass over what has a `kind`."
        ),
    ]
    now: float


def _moment(at: float | str) -> datetime:
    try:
        return datetime.fromisoformat(at) if isinstance(at, str) else datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        raise BadFrame(
            "bad_frame", Sentence("at: neither Unix seconds nor a date and time like 2027-03-01T09:00.")
        ) from None


def schedule_out(row: ScheduleRow) -> ScheduleOut:
    """A schedule as the API returns it."""
    schedule = row.schedule
    return {
        "id": schedule.pk,
        "name": schedule.name,
        "agent_name": schedule.agent_name,
        "message": schedule.message,
        "session_id": schedule.session_id,
        "set_id": schedule.case_set_id,
        "at": schedule.at.timestamp() if schedule.at else None,
        "every_minutes": schedule.every_minutes,
        "cron": schedule.cron or None,
        "time_zone": schedule.time_zone,
        "enabled": schedule.enabled,
        "words": row.words,
        "next": [moment.timestamp() for moment in row.next],
        "missed": schedule.missed,
        "overlap": schedule.overlap,
        "pause_after": schedule.pause_after,
        "rules": row.rules,
        "failures": schedule.failures,
        "paused_because": schedule.paused_because or None,
        "paused_words": row.paused or None,
        "history": [_occurrence_out(occurrence) for occurrence in reversed(row.last)],
        "created_at": schedule.created_at.timestamp(),
    }


def _occurrence_out(occurrence: Occurrence) -> OccurrenceOut:
    return {
        "due_at": occurrence.due_at.timestamp(),
        "by_hand": occurrence.by_hand,
        "outcome": occurrence.outcome,
        "words": schedule_selectors.outcome_word(occurrence),
        "times": occurrence.times,
        "run_id": occurrence.run_id,
        "session_id": occurrence.run.session_id if occurrence.run is not None else None,
        "set_run": occurrence.set_run.number if occurrence.set_run is not None else None,
        "duration_ms": schedule_selectors.took_ms(occurrence),
    }


def _key(schedule_id: str) -> UUID:
    key = as_uuid(schedule_id)
    if key is None:
        raise Refused("not_found", Sentence("There is no such schedule."))
    return key


# Calls


@router.get("schedules/", auth=READ, response=SchedulePage)
async def list_schedules(request: HttpRequest, cursor: str = "") -> SchedulePage:
    """List your own schedules, newest first. `cursor` is `next` of the page before."""

    def page() -> SchedulePage:
        mine = schedule_selectors.schedules_of(user_of(request))
        if cursor:
            key = as_uuid(cursor)
            last = mine.filter(pk=key).first() if key else None
            if last is None:
                raise BadFrame(
                    "bad_frame", Sentence("cursor: not one that this server gave out, or that schedule is gone.")
                )
            mine = schedule_selectors.schedules_after(mine, last)
        found = list(mine[: _PAGE + 1])
        items = [schedule_out(row) for row in schedule_selectors.schedule_rows(found[:_PAGE])]
        return {"items": items, "next": str(found[_PAGE - 1].pk) if len(found) > _PAGE else None}

    return await database.read(page)


@router.post("schedules/", auth=MANAGE, response={201: ScheduleOut}, openapi_extra=takes_body(NewSchedule))
async def create_schedule(request: HttpRequest) -> Status[ScheduleOut]:
    """Create a schedule: a message that is asked at its times, as if it had been typed."""
    new = read_body(request, NewSchedule)
    if "message" not in new.model_fields_set and new.set_id is None:
        raise BadFrame("bad_frame", Sentence("Say the message, or name a set by set_id."))
    schedule = await database.write(schedule_commands.make, user_of(request), new.given(), clock.now())
    return Status(201, await _shown(schedule))


@router.get("schedules/{schedule_id}/", auth=READ, response=ScheduleOut)
async def get_schedule(request: HttpRequest, schedule_id: str) -> ScheduleOut:
    """Show a schedule."""
    schedule = await database.read(schedule_selectors.schedules_of(user_of(request)).filter(pk=_key(schedule_id)).first)
    if schedule is None:
        raise Refused("not_found", Sentence("There is no such schedule."))
    return await _shown(schedule)


@router.patch("schedules/{schedule_id}/", auth=MANAGE, response=ScheduleOut, openapi_extra=takes_body(ScheduleChanges))
async def change_schedule(request: HttpRequest, schedule_id: str) -> ScheduleOut:
    """Change a schedule; `enabled` pauses or resumes it."""
    changes = read_body(request, ScheduleChanges).given()
    schedule = await database.write(schedule_commands.change, user_of(request), _key(schedule_id), changes, clock.now())
    return await _shown(schedule)


@router.delete("schedules/{schedule_id}/", auth=MANAGE, response={204: None})
async def delete_schedule(request: HttpRequest, schedule_id: str) -> Status[None]:
    """Delete a schedule. The runs that it has started stay."""
    await database.write(schedule_commands.remove, user_of(request), _key(schedule_id), Door.API)
    return Status(204, None)


@router.post("schedules/{schedule_id}/run/", auth=MANAGE, response={202: StartedOut})
async def run_schedule(request: HttpRequest, schedule_id: str) -> Status[StartedOut]:
    """Run a schedule now, besides its times. One of a set is refused: use `POST sets/{set_id}/runs/`."""
    accepted = await run_commands.accept_run(occurrences.run_now, _key(schedule_id), clock.now(), user_of(request))
    answer: StartedOut = {"run_id": accepted.run_id, "session_id": accepted.session_id, "queued": accepted.queued}
    return Status(202, answer)


#: The last time of the calendar, in Unix seconds.
_LATEST = 253_402_300_799


@router.get("notifications/", auth=READ, response=Notifications)
async def list_notifications(
    request: HttpRequest, after: Annotated[float | None, Field(ge=0, le=_LATEST)] = None
) -> Notifications:
    """List scheduled runs that have ended since a time, and a little before it, and runs that began to wait for you and still do.

    The same notification may come twice: it has the same `id`, or is about the same call of the same run.

    Without `after` there are none, and `now` is the time to ask from.
    """
    now = clock.now()
    if after is None:
        return {"items": [], "now": now.timestamp()}
    since = datetime.fromtimestamp(after, UTC)
    return {
        "items": await database.read(notifications.notifications_since, user_of(request), since),
        "now": now.timestamp(),
    }


async def _shown(schedule: Schedule) -> ScheduleOut:
    return await database.read(lambda: schedule_out(schedule_selectors.schedule_row(schedule)))
