"""When something is due: once, every so many minutes, or by a cron expression in a time zone. Pure: no clock, no database.

When a zone's clock is changed, minutes are counted as they pass. A cron time that the clock skips is due at the first moment after the
gap, and one that it shows twice is due only the first time; an expression for "every" hour or minute (a field that begins with ``*``)
follows the clock through both.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from agents.sentence import Sentence

#: Longer than any expression that people write.
LONGEST_CRON = 120
#: One year, in minutes.
MOST_MINUTES = 366 * 24 * 60
#: How far in the future a single time may be.
FARTHEST = timedelta(days=36_525)
#: Missed times are counted up to this number.
COUNTED = 100

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)
_FIELDS = Sentence("minute, hour, day of the month, month and day of the week")
#: The library's names for the fields.
_PARTS: dict[str, str] = {
    part: part
    for part in (
        Sentence("minute"),
        Sentence("hour"),
        Sentence("day of month"),
        Sentence("month"),
        Sentence("day of week"),
        Sentence("field"),
    )
}


class Invalid(ValueError):
    """Not a valid recurrence: ``field`` names the wrong field; the message is for people."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class Once:
    """Due once."""

    at: datetime

    def after(self, moment: datetime) -> datetime | None:
        """The first due time after a moment; None if there is none."""
        return self.at if self.at > moment else None

    def latest(self, since: datetime, until: datetime) -> datetime | None:
        """The last due time between two moments, inclusive."""
        return self.at if since <= self.at <= until else None


@dataclass(frozen=True, slots=True)
class Every:
    """Due every so many minutes from a time on."""

    minutes: int
    since: datetime

    def after(self, moment: datetime) -> datetime | None:
        """The first due time after a moment."""
        try:
            return self.since + self._pause * (max(0, (moment - self.since) // self._pause) + 1)
        except OverflowError:
            return None

    def latest(self, since: datetime, until: datetime) -> datetime | None:
        """The last due time between two moments, inclusive."""
        last = self.since + self._pause * ((until - self.since) // self._pause)
        return last if last >= since and last > self.since else None

    @property
    def _pause(self) -> timedelta:
        return timedelta(minutes=self.minutes)


@dataclass(frozen=True, slots=True)
class Cron:
    """Due when the clock of a time zone matches five fields."""

    expression: str
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime | None:
        """The first due time after a moment; None if there is none within fifty years."""
        try:
            return next((due for due in self._from(moment) if due > moment), None)
        except OverflowError:
            return None

    def latest(self, since: datetime, until: datetime) -> datetime | None:
        """The last due time between two moments, inclusive."""
        # Searched backwards in ever longer periods, so that it never goes through years of minutes.
        stretch = timedelta(hours=1)
        end = until
        while end >= since:
            begin = max(since, end - stretch)
            found = None
            due = self.after(begin - timedelta(microseconds=1))
            while due is not None and due <= end:
                found, due = due, self.after(due)
            if found is not None:
                return found
            if due is None or begin == since:
                return None
            end, stretch = begin - timedelta(microseconds=1), stretch * 8
        return None

    def _from(self, moment: datetime) -> Iterator[datetime]:
        """Due times from shortly before a moment on."""
        minute, hour, *_ = self.expression.split()
        if minute.startswith("*") or hour.startswith("*"):
            yield from self._as_the_clock_goes(moment.replace(microsecond=0))
        else:
            for due in CronSim(self.expression, moment.astimezone(self.zone)):
                yield due.astimezone(UTC)

    def _as_the_clock_goes(self, at: datetime) -> Iterator[datetime]:
        """The due times after a moment by the zone's clock, through its changes.

        The library also handles changes, but in whole hours, so it would skip minutes if the clock is changed by half an hour.
        """
        offset = self._offset(at)
        wall = at + offset
        while True:
            for shown in CronSim(self.expression, wall.replace(tzinfo=None)):
                due = shown.replace(tzinfo=UTC) - offset
                if (change := self._change(at, due)) is not None:
                    break
                yield due
                at = due
            else:
                return
            at, offset = change, self._offset(change)
            # Including the first time that it shows.
            wall = at + offset - _SECOND

    def _change(self, since: datetime, until: datetime) -> datetime | None:
        """The first whole second, after one moment and up to another, at which the zone's clock changes."""
        offset, begin = self._offset(since), since
        while begin < until:
            end = min(begin + _DAY, until)
            if self._offset(end) != offset:
                while end - begin > _SECOND:
                    middle = begin + (end - begin) // _SECOND // 2 * _SECOND
                    begin, end = (middle, end) if self._offset(middle) == offset else (begin, middle)
                return end
            begin = end
        return None

    def _offset(self, moment: datetime) -> timedelta:
        """How far the zone's clock is ahead of UTC."""
        return moment.astimezone(self.zone).utcoffset() or timedelta(0)


Recurrence = Once | Every | Cron


def next_times(recurrence: Recurrence, moment: datetime, number: int) -> list[datetime]:
    """The next due times after a moment, at most ``number``."""
    found: list[datetime] = []
    due = recurrence.after(moment)
    while due is not None and len(found) < number:
        found.append(due)
        due = recurrence.after(due)
    return found


def count(recurrence: Recurrence, since: datetime, until: datetime) -> int:
    """How many due times there are from one moment up to another, exclusive; counted up to `COUNTED`."""
    number = 0
    due = recurrence.after(since - timedelta(microseconds=1))
    while due is not None and due < until and number < COUNTED:
        number += 1
        due = recurrence.after(due)
    return number


# From users' input


def zone(name: str) -> ZoneInfo:
    """The time zone of a name. Raises `Invalid`."""
    # Checked also because looking it up makes a path of the name.
    if name not in zone_names():
        raise Invalid(
            "time_zone",
            Sentence("There is no time zone “%(name)s”. It is a name like Asia/Taipei or UTC.", name=name[:64]),
        )
    return ZoneInfo(name)


@cache
def zone_names() -> frozenset[str]:
    """The names of all time zones. The first call reads many files, which no start should wait for."""
    return frozenset(available_timezones())


def once(at: datetime, now: datetime, of_zone: ZoneInfo) -> Once:
    """A single time; one without a time zone is in ``of_zone``. Raises `Invalid`."""
    try:
        moment = (at if at.tzinfo is not None else existing_time(at, of_zone)).astimezone(UTC)
        is_near = moment - now <= FARTHEST
    except OverflowError:
        raise Invalid("at", Sentence("That date lies outside of what a calendar holds.")) from None
    if moment <= now:
        raise Invalid("at", Sentence("That time is past. Choose one that is still to come."))
    if not is_near:
        raise Invalid("at", Sentence("That time lies more than a hundred years ahead."))
    return Once(moment)


def existing_time(wall: datetime, of_zone: ZoneInfo) -> datetime:
    """The moment at which a zone's clock shows a time: the first of two, or the first after the gap if it never shows it."""
    moment = wall.replace(tzinfo=of_zone, fold=0)
    while moment.astimezone(UTC).astimezone(of_zone).replace(tzinfo=None) != wall:
        wall = (wall + _MINUTE).replace(second=0, microsecond=0)
        moment = wall.replace(tzinfo=of_zone, fold=0)
    return moment


def every(minutes: int, since: datetime) -> Every:
    """Due every so many minutes from a moment on. Raises `Invalid`."""
    if not 1 <= minutes <= MOST_MINUTES:
        raise Invalid(
            "every_minutes",
            Sentence("It must be a whole number of minutes, from 1 to %(most)s.", most=f"{MOST_MINUTES:,}"),
        )
    return Every(minutes, since)


def cron(expression: str, now: datetime, of_zone: ZoneInfo) -> Cron:
    """Due by a cron expression of five fields. Raises `Invalid`."""
    fields = expression.split()
    if len(expression) > LONGEST_CRON:
        raise Invalid(
            "cron",
            Sentence(
                "The expression has %(n)s characters; at most %(most)s are allowed.",
                n=f"{len(expression):,}",
                most=LONGEST_CRON,
            ),
        )
    if len(fields) == 6:
        raise Invalid(
            "cron",
            Sentence(
                "Six fields would count seconds; nothing runs more often than every minute: %(fields)s.", fields=_FIELDS
            ),
        )
    if len(fields) != 5:
        raise Invalid(
            "cron",
            Sentence(
                "A cron expression has five fields: %(fields)s. This one has %(n)d.", fields=_FIELDS, n=len(fields)
            ),
        )
    made = Cron(" ".join(fields), of_zone)
    try:
        CronSim(made.expression, now.astimezone(of_zone))
    except (CronSimError, ValueError, AssertionError) as problem:
        # The library's message is “Bad hour”.
        part = str(problem).removeprefix("Bad ").replace("-", " ") or "field"
        raise Invalid(
            "cron",
            Sentence(
                "The %(part)s of “%(expression)s” is none that cron knows, or never comes.",
                part=_PARTS.get(part, part),
                expression=made.expression,
            ),
        ) from None
    if made.after(now) is None:
        raise Invalid("cron", Sentence("“%(expression)s” never comes.", expression=made.expression))
    return made
