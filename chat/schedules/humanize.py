"""Texts about when a schedule runs and by which rules, for pages, API and admin."""

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from chat.rendering.humanize import join_list
from chat.schedules.recurrence import Cron, Every, Once, Recurrence

#: As cron numbers them: 0 and 7 are Sunday.
_SYMBOLS = {name: number for number, name in enumerate("SUN MON TUE WED THU FRI SAT".split())}


def zone_name(zone: ZoneInfo) -> str:
    """A time zone's name for people: ``Taipei`` for Asia/Taipei."""
    return zone.key.rpartition("/")[2].replace("_", " ")


def recurrence_words(recurrence: Recurrence, zone: ZoneInfo) -> str:
    """When it runs: ``every weekday at 09:00, Taipei``."""
    match recurrence:
        case Once(at):
            local = at.astimezone(zone)
            day = local.strftime("%Y-%m-%d")
            text = _("once, on %(day)s at %(time)s") % {"day": day, "time": local.strftime("%H:%M")}
            return _with_place(text, zone)
        case Every(minutes):
            return _every(minutes)
        case Cron(expression):
            text, is_by_the_clock = _cron(expression)
            return _with_place(text, zone) if is_by_the_clock else text


def _with_place(text: str, zone: ZoneInfo) -> str:
    return _("%(when)s, %(place)s") % {"when": text, "place": zone_name(zone)}


def _every(minutes: int) -> str:
    if minutes % 1440 == 0:
        days = minutes // 1440
        return _("every day") if days == 1 else ngettext("every %(n)d day", "every %(n)d days", days) % {"n": days}
    if minutes % 60 == 0:
        hours = minutes // 60
        return (
            _("every hour") if hours == 1 else ngettext("every %(n)d hour", "every %(n)d hours", hours) % {"n": hours}
        )
    if minutes == 1:
        return _("every minute")
    return ngettext("every %(n)d minute", "every %(n)d minutes", minutes) % {"n": minutes}


def _cron(expression: str) -> tuple[str, bool]:
    """The words, and whether they name a time of day, which depends on a zone."""
    minute, hour, day, month, weekday = expression.upper().split()
    if (hour, day, month, weekday) == ("*", "*", "*", "*"):
        if minute == "*":
            return _("every minute"), False
        if minute.isdigit():
            return _past_the_hour(int(minute)), False
        step = minute.removeprefix("*/")
        if minute.startswith("*/") and step.isdigit() and 60 % int(step) == 0:
            return _every(int(step)), False
    days = _days(day, month, weekday)
    if minute.isdigit() and hour.isdigit() and days:
        return _("%(days)s at %(time)s") % {"days": days, "time": f"{int(hour):02}:{int(minute):02}"}, True
    if (get_language() or "en") != "en":
        return _("by the cron expression %(expression)s") % {"expression": expression}, True
    # The library's own text, in English; it is always correct.
    text: str = CronSim(expression, datetime(2000, 1, 1)).explain()  # noqa: DTZ001 - only its name is used
    return text[:1].lower() + text[1:], True


def _past_the_hour(minute: int) -> str:
    if minute == 0:
        return _("every hour")
    return _("every hour at %(minute)s past") % {"minute": f"{minute:02}"}


def _days(day: str, month: str, weekday: str) -> str:
    """The days in their simplest forms; empty for any other."""
    if month != "*":
        return ""
    if weekday == "*":
        if day == "*":
            return _("every day")
        return _("every month on day %(day)d") % {"day": int(day)} if day.isdigit() else ""
    if day != "*":
        return ""
    numbers = _weekdays(weekday)
    if numbers == [1, 2, 3, 4, 5]:
        return _("every weekday")
    if numbers == [0, 6]:
        return _("every Saturday and Sunday")
    names = [_weekday(number) for number in sorted(numbers, key=lambda number: number or 7)]
    if len(names) == 1:
        return _("every %(weekday)s") % {"weekday": names[0]}
    if names:
        return _("every %(weekdays)s and %(weekday)s") % {"weekdays": join_list(names[:-1]), "weekday": names[-1]}
    return ""


def _weekdays(field: str) -> list[int]:
    """The days of the week of a field of plain days and ranges; empty if it is more complex."""
    numbers: set[int] = set()
    for term in field.split(","):
        found = re.fullmatch(r"(\w+)(?:-(\w+))?", term)
        ends = [_SYMBOLS.get(name, int(name) if name.isdigit() else -1) for name in (found.groups("") if found else [])]
        if not ends or ends[0] < 0:
            return []
        last = ends[0] if found and not found[2] else ends[1]
        numbers |= {number % 7 for number in range(ends[0], last + 1)}
    return sorted(numbers)


def _weekday(number: int) -> str:
    return (_("Sunday"), _("Monday"), _("Tuesday"), _("Wednesday"), _("Thursday"), _("Friday"), _("Saturday"))[number]
