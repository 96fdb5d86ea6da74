"""Filters for the texts and small drawings of schedules' pages."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django import template
from django.utils.formats import date_format, time_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from chat.models import Occurrence, Outcome
from chat.rendering import humanize
from chat.rendering.rows import agent_title
from chat.rendering.template_row import Row
from chat.schedules import selectors as schedule_selectors
from chat.schedules.selectors import ScheduleRow

register = template.Library()
register.filter("outcome_word", schedule_selectors.outcome_word)
register.filter("agent_title", agent_title)

#: The distance between the marks of the drawing, which has room for twenty.
_PITCH = 8
#: For each kind of mark: its offset from above and from the left, its width and its height.
_SHAPES = {"ok": (3, 0, 5, 8), "skip": (3.5, 0.5, 4, 7), "bad": (0, 0, 5, 14), "now": (0, 0, 5, 14)}
_DOTS = {Outcome.WAITING: "queue", Outcome.STARTED: "live", Outcome.SKIPPED: "queue", Outcome.MISSED: "queue"}


@register.filter
def marks(row: ScheduleRow) -> list[Row]:
    """The last outcomes as marks of a drawing, oldest first. Tall marks: failed or running; hollow ones: not run to their end."""
    drawn = []
    for place, occurrence in enumerate(row.last):
        kind = schedule_selectors.outcome_kind(occurrence)
        y, inset, width, height = _SHAPES[kind]
        drawn.append({"kind": kind, "x": place * _PITCH + inset, "y": y, "width": width, "height": height})
    return drawn


@register.filter
def outcome_words(row: ScheduleRow) -> str:
    """The drawing as a text."""
    kinds = [schedule_selectors.outcome_kind(occurrence) for occurrence in row.last]
    number = len(kinds)
    counted = {kind: kinds.count(kind) for kind in ("ok", "bad", "skip", "now") if kind in kinds}
    return ngettext("Last %(n)d: %(outcomes)s", "Last %(n)d: %(outcomes)s", number) % {
        "n": number,
        "outcomes": humanize.join_list(_counted(kind, n) for kind, n in counted.items()),
    }


def _counted(kind: str, number: int) -> str:
    match kind:
        case "ok":
            text = ngettext("%(n)d finished", "%(n)d finished", number)
        case "bad":
            text = ngettext("%(n)d failed", "%(n)d failed", number)
        case "skip":
            text = ngettext("%(n)d did not finish", "%(n)d did not finish", number)
        case _:
            text = ngettext("%(n)d running or waiting", "%(n)d running or waiting", number)
    return text % {"n": number}


@register.filter
def outcome_dot(occurrence: Occurrence) -> str:
    """The shape and colour for an outcome."""
    return _DOTS.get(Outcome(occurrence.outcome)) or humanize.dot(occurrence.outcome)


@register.filter
def took(occurrence: Occurrence) -> str:
    """How long the occurrence's run took."""
    return humanize.duration(schedule_selectors.took_ms(occurrence))


@register.filter
def due(moment: datetime, zone: ZoneInfo) -> str:
    """A due time in its schedule's time zone, short: ``Mon 07:00``, with the date if that is far off."""
    local, now = moment.astimezone(zone), datetime.now(zone)
    if local.date() == now.date():
        return time_format(local, "H:i")
    is_near = abs(local - now) < timedelta(days=6)
    return date_format(local, pgettext("date format", "D H:i") if is_near else pgettext("date format", "j M Y, H:i"))


@register.filter
def due_long(moment: datetime, zone: ZoneInfo) -> str:
    """A due time in its schedule's time zone: ``Mon 4 Jan 2027, 07:00``."""
    return date_format(moment.astimezone(zone), pgettext("date format", "D j M Y, H:i"))


@register.filter
def from_now(moment: datetime, now: datetime) -> str:
    """The time until a moment: ``in 21 h``."""
    minutes = max(0, round((moment - now).total_seconds() / 60))
    if minutes < 1:
        return _("in a moment")
    if minutes < 120:
        return humanize.nbsp(_("in %(n)d min") % {"n": minutes})
    if minutes < 48 * 60:
        return humanize.nbsp(_("in %(n)d h") % {"n": round(minutes / 60)})
    days = round(minutes / 1440)
    return humanize.nbsp(ngettext("in %(n)d day", "in %(n)d days", days) % {"n": days})
