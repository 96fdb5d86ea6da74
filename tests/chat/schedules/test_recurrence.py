"""Due times in many time zones: their changes between summer and winter time are calculated here minute by minute."""

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chat.schedules import humanize as schedule_humanize
from chat.schedules import recurrence
from chat.schedules.recurrence import Cron, Every, Invalid, Once

MINUTE = timedelta(minutes=1)
NOW = datetime(2026, 11, 23, 7, 30, tzinfo=UTC)
TAIPEI, BERLIN, NEW_YORK = ZoneInfo("Asia/Taipei"), ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
#: Zones that change by an hour, half an hour (Lord Howe), two hours (Troll), by night and at midnight (Santiago, Beirut).
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "America/Santiago",
    "Asia/Beirut",
    "Asia/Taipei",
    "Asia/Kolkata",
    "UTC",
]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(moments: list[datetime], zone: ZoneInfo) -> list[str]:
    return [moment.astimezone(zone).strftime("%m-%d %H:%M %z") for moment in moments]


# Clocks that are put forward and back


@pytest.mark.parametrize(
    ("expression", "after", "times"),
    [
        # 2027-03-28, 02:00 becomes 03:00: at the first moment after the gap.
        ("30 2 * * *", "2027-03-27T00:00", ["03-27 02:30 +0100", "03-28 03:00 +0200", "03-29 02:30 +0200"]),
        # Two times within the gap, or one within and one right after it, count once.
        ("0,30 2 * * *", "2027-03-28T00:00", ["03-28 03:00 +0200", "03-29 02:00 +0200", "03-29 02:30 +0200"]),
        ("0 2,3 * * *", "2027-03-28T00:00", ["03-28 03:00 +0200", "03-29 02:00 +0200", "03-29 03:00 +0200"]),
        # Every half hour follows elapsed time.
        ("*/30 * * * *", "2027-03-28T00:20", ["03-28 01:30 +0100", "03-28 03:00 +0200", "03-28 03:30 +0200"]),
        # 2027-10-31, 03:00 becomes 02:00: the first of the two only.
        ("30 2 * * *", "2027-10-30T00:00", ["10-30 02:30 +0200", "10-31 02:30 +0200", "11-01 02:30 +0100"]),
        # Also if asked for between the two.
        ("30 2 * * *", "2027-10-31T00:45", ["11-01 02:30 +0100", "11-02 02:30 +0100"]),
        ("30 2 * * *", "2027-10-31T01:15", ["11-01 02:30 +0100", "11-02 02:30 +0100"]),
        # Every half hour, both.
        (
            "*/30 * * * *",
            "2027-10-31T00:00",
            ["10-31 02:30 +0200", "10-31 02:00 +0100", "10-31 02:30 +0100", "10-31 03:00 +0100"],
        ),
    ],
)
def test_spring_and_autumn(expression: str, after: str, times: list[str]) -> None:
    found = recurrence.next_times(Cron(expression, BERLIN), utc(after), len(times))
    assert local(found, BERLIN) == times


def test_minutes_count_as_they_pass() -> None:
    found = recurrence.next_times(Every(90, utc("2027-03-28T00:00")), utc("2027-03-28T00:00"), 3)
    assert local(found, BERLIN) == ["03-28 03:30 +0200", "03-28 05:00 +0200", "03-28 06:30 +0200"]


@pytest.mark.parametrize(
    ("wall", "moment"),
    [
        ("2027-03-28T02:30", "2027-03-28T01:00"),
        ("2027-10-31T02:30", "2027-10-31T00:30"),
        ("2027-06-01T09:00", "2027-06-01T07:00"),
    ],
)
def test_a_time_without_a_zone_is_the_clocks(wall: str, moment: str) -> None:
    assert recurrence.once(datetime.fromisoformat(wall), NOW, BERLIN) == Once(utc(moment))


# Compared with every minute


def matches(field: str, value: int, least: int, most: int) -> bool:
    """Whether a field of a number, ``*``, a step, a range or a list of these contains a value."""
    for term in field.split(","):
        body, _, step = term.partition("/")
        first, _, last = body.partition("-")
        begin = least if body == "*" else int(first)
        end = most if body == "*" or (step and not last) else int(last or first)
        if begin <= value <= end and (value - begin) % int(step or 1) == 0:
            return True
    return False


def shows(expression: str, wall: datetime) -> bool:
    minute, hour, day, month, weekday = expression.split()
    return (
        matches(minute, wall.minute, 0, 59)
        and matches(hour, wall.hour, 0, 23)
        and matches(day, wall.day, 1, 31)
        and matches(month, wall.month, 1, 12)
        and (matches(weekday, wall.isoweekday() % 7, 0, 7) or (wall.isoweekday() == 7 and matches(weekday, 7, 0, 7)))
    )


def by_hand(cron: Cron, since: datetime, until: datetime) -> list[datetime]:
    """The due times in an interval by the documented rule: checked against local time every minute."""
    minute, hour = cron.expression.split()[:2]
    found = []
    if minute.startswith("*") or hour.startswith("*"):
        moment = since
        while moment <= until:
            if shows(cron.expression, moment.astimezone(cron.zone)):
                found.append(moment)
            moment += MINUTE
        return found
    wall = (since - timedelta(days=1)).replace(tzinfo=None)
    while wall <= (until + timedelta(days=1)).replace(tzinfo=None):
        if shows(cron.expression, wall):
            found.append(recurrence.existing_time(wall, cron.zone).astimezone(UTC))
        wall += MINUTE
    return sorted({moment for moment in found if since <= moment <= until})


def changes(zone: ZoneInfo, year: int) -> list[datetime]:
    """The hours of a year in which a zone's offset changes."""
    begin = datetime(year, 1, 1, tzinfo=UTC)
    hours = [begin + timedelta(hours=number) for number in range(366 * 24)]
    return [
        later
        for earlier, later in itertools.pairwise(hours)
        if earlier.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset()
    ]


CHANGES = {name: changes(ZoneInfo(name), 2026) or [NOW] for name in ZONES}


def a_number(least: int, most: int) -> st.SearchStrategy[str]:
    return st.integers(least, most).map(str)


fields = {
    "minute": st.one_of(a_number(0, 59), st.sampled_from(["*", "*/15", "*/7", "0,30", "10-20/5", "59"])),
    # The hours at which offsets change, most of the time.
    "hour": st.one_of(a_number(0, 3), st.sampled_from(["*", "*/2", "1-3", "0,23", "2,3", "0-23"])),
    "day": st.sampled_from(["*", "*", "*", "1", "28-31", "*/2"]),
    "month": st.sampled_from(["*", "*", "3,10", "1-12"]),
}


@st.composite
def crons(draw: st.DrawFn) -> tuple[Cron, datetime]:
    """An expression, and a time within two days of an offset change in its zone."""
    name = draw(st.sampled_from(ZONES))
    day = draw(fields["day"])
    # Where both are given either one matches, which is the library's rule.
    weekday = draw(st.sampled_from(["*", "0", "1-5", "6,7"])) if day == "*" else "*"
    expression = f"{draw(fields['minute'])} {draw(fields['hour'])} {day} {draw(fields['month'])} {weekday}"
    change = draw(st.sampled_from(CHANGES[name]))
    return Cron(expression, ZoneInfo(name)), change + timedelta(minutes=draw(st.integers(-2880, 1440)))


@given(crons())
@example((Cron("* 0 * * 0", ZoneInfo("Asia/Beirut")), datetime(2026, 3, 28, 21, 59, tzinfo=UTC)))
@example((Cron("* 0 * * *", ZoneInfo("Australia/Lord_Howe")), datetime(2026, 4, 4, 15, tzinfo=UTC)))
def test_cron_is_due_when_the_wall_clock_says_so(given_: tuple[Cron, datetime]) -> None:
    cron, since = given_
    until = since + timedelta(days=2)
    found, due = [], cron.after(since - timedelta(seconds=1))
    while due is not None and due <= until:
        found.append(due)
        due = cron.after(due)
    assert found == by_hand(cron, since, until)


@given(crons(), st.integers(0, 3000))
def test_the_latest_is_the_last_of_those_that_come_one_by_one(given_: tuple[Cron, datetime], minutes: int) -> None:
    cron, since = given_
    until = since + timedelta(minutes=minutes, seconds=30)
    due = by_hand(cron, since, until)
    assert cron.latest(since, until) == (due[-1] if due else None)
    assert recurrence.count(cron, since, until) == min(len(due), recurrence.COUNTED)


@given(st.integers(1, 5000), st.integers(-10_000, 100_000), st.integers(0, 100_000))
def test_minutes_have_no_hole(pause: int, begin: int, length: int) -> None:
    every = Every(pause, NOW)
    since = NOW + timedelta(seconds=begin)
    until = since + timedelta(seconds=length)
    first = every.after(since - timedelta(microseconds=1))
    assert first is not None
    assert first > NOW
    assert (first - NOW) % timedelta(minutes=pause) == timedelta()
    assert first >= since > first - timedelta(minutes=pause) or first == NOW + timedelta(minutes=pause)
    last = every.latest(since, until)
    assert (last is None) == (first > until)
    if last is not None:
        assert last <= until < last + timedelta(minutes=pause)
        assert every.after(last) == last + timedelta(minutes=pause)


def test_years_of_minutes_are_not_counted_one_by_one() -> None:
    cron = Cron("* * * * *", BERLIN)
    assert cron.latest(NOW - timedelta(days=3650), NOW) == NOW
    assert recurrence.count(cron, NOW - timedelta(days=3650), NOW) == recurrence.COUNTED
    assert Cron("0 0 29 2 *", BERLIN).latest(utc("2020-01-01T00:00"), NOW) == utc("2024-02-28T23:00")


# What people enter


@pytest.mark.parametrize(
    "expression",
    [
        *("", "* * * *", "@daily", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "a b c d e"),
        *("1-x * * * *", "*/0 * * * *", "5-1 * * * *", "-1 * * * *", "² * * * *", "* * * * MON#6", "\x00 * * * *"),
        *("* " * 200, ",,, * * * *"),
    ],
)
def test_an_invalid_cron_expression_is_refused(expression: str) -> None:
    with pytest.raises(Invalid) as refused:
        recurrence.cron(expression, NOW, TAIPEI)
    assert refused.value.field == "cron"
    assert len(refused.value.message) > 20


@pytest.mark.parametrize("expression", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31 4 */1"])
def test_a_cron_expression_that_is_never_due_is_refused(expression: str) -> None:
    with pytest.raises(Invalid, match="never comes"):
        recurrence.cron(expression, NOW, TAIPEI)


def test_a_schedule_runs_at_most_every_minute() -> None:
    with pytest.raises(Invalid, match="seconds"):
        recurrence.cron("*/10 * * * * *", NOW, TAIPEI)
    for minutes in (0, -5, recurrence.MOST_MINUTES + 1, 10**30):
        with pytest.raises(Invalid, match="from 1 to"):
            recurrence.every(minutes, NOW)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "asia/taipei ", "UTC\x00", "Asia", "+08:00"])
def test_an_invalid_time_zone_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="no time zone"):
        recurrence.zone(name)


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (NOW, "past"),
        (NOW - timedelta(days=1), "past"),
        (datetime(1, 1, 1), "calendar"),  # noqa: DTZ001 - as people write it
        (datetime(9999, 12, 31, 23, 59), "calendar|hundred"),  # noqa: DTZ001 - likewise
        (datetime(2200, 1, 1, tzinfo=UTC), "hundred"),
    ],
)
def test_a_single_time_must_lie_ahead_and_not_too_far(at: datetime, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        recurrence.once(at, NOW, TAIPEI)


# Descriptions


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 9 * * 1-5", "every weekday at 09:00, Taipei"),
        ("0 9 * * mon-fri", "every weekday at 09:00, Taipei"),
        ("5 17 * * *", "every day at 17:05, Taipei"),
        ("0 8 * * 1,3,5", "every Monday, Wednesday and Friday at 08:00, Taipei"),
        ("30 2 * * 7", "every Sunday at 02:30, Taipei"),
        ("0 0 * * 6,0", "every Saturday and Sunday at 00:00, Taipei"),
        ("0 6 1 * *", "every month on day 1 at 06:00, Taipei"),
        ("*/15 * * * *", "every 15 minutes"),
        ("* * * * *", "every minute"),
        ("0 * * * *", "every hour"),
        ("5 * * * *", "every hour at 05 past"),
        ("0 6 1,15 * *", "at 06:00 on the first and the 15th day of month, Taipei"),
        ("0 9 1 * MON", "at 09:00 on the first day of month and on Monday, Taipei"),
        ("0 9 * * 5L", "at 09:00 on the last Friday of the month, Taipei"),
        ("0 9 * * MON#2", "at 09:00 on the second Monday of the month, Taipei"),
    ],
)
def test_cron_in_words(expression: str, words: str) -> None:
    assert schedule_humanize.recurrence_words(recurrence.cron(expression, NOW, TAIPEI), TAIPEI) == words


def test_the_others_in_words() -> None:
    assert schedule_humanize.recurrence_words(Once(NOW), NEW_YORK) == "once, on 2026-11-23 at 02:30, New York"
    texts = {1: "every minute", 30: "every 30 minutes", 60: "every hour", 120: "every 2 hours", 1440: "every day"}
    texts |= {2880: "every 2 days", 90: "every 90 minutes"}
    assert {minutes: schedule_humanize.recurrence_words(Every(minutes, NOW), TAIPEI) for minutes in texts} == texts
