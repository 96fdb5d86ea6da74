"""What the pages of schedules say in words and small drawings."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import template
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

import agents
from chat.models import Occurrence, Outcome
from chat.rendering import humanize
from chat.schedules import selectors as schedule_selectors
from chat.schedules.selectors import ScheduleRow

register = template.Library()
register.filter("outcome_word", schedule_selectors.outcome_word)

#: A mark of the drawing every so many units; the last twenty fill it.
_PITCH = 8
#: By kind: where a mark begins from above and from its left, how wide and how high it is.
_SHAPES = {"ok": (3, 0, 5, 8), "skip": (3.5, 0.5, 4, 7), "bad": (0, 0, 5, 14), "now": (0, 0, 5, 14)}
_DOTS = {Outcome.WAITING: "queue", Outcome.STARTED: "live", Outcome.SKIPPED: "queue", Outcome.MISSED: "queue"}


@register.filter
def marks(line: ScheduleRow) -> list[dict[str, Any]]:
    """The last outcomes as marks of a drawing, oldest first: tall ones failed or are at work, hollow ones did not run to their end."""
    drawn = []
    for place, occurrence in enumerate(line.last):
        kind = schedule_selectors.outcome_kind(occurrence)
        y, inset, width, height = _SHAPES[kind]
        drawn.append({"kind": kind, "x": place * _PITCH + inset, "y": y, "width": width, "height": height})
    return drawn


@register.filter
def outcomes_told(line: ScheduleRow) -> str:
    """The drawing in words."""
    kinds = [schedule_selectors.outcome_kind(occurrence) for occurrence in line.last]
    number = len(kinds)
    told = [ngettext("Last %(n)d: ", "Last %(n)d: ", number) % {"n": number}]
    said = {
        "ok": _("%(n)d finished"),
        "bad": _("%(n)d failed"),
        "skip": _("%(n)d did not run to their end"),
        "now": _("%(n)d at work or waiting"),
    }
    told.append(", ".join(said[kind] % {"n": kinds.count(kind)} for kind in said if kind in kinds))
    return "".join(told)


@register.filter
def outcome_dot(occurrence: Occurrence) -> str:
    """The shape and colour of an outcome."""
    return _DOTS.get(Outcome(occurrence.outcome)) or humanize.dot(occurrence.outcome)


@register.filter
def took(occurrence: Occurrence) -> str:
    """How long its run took."""
    return humanize.duration(schedule_selectors.took_ms(occurrence))


@register.filter
def agent_title(name: str) -> str:
    """An agent as people call it."""
    spec = agents.AGENTS.get(name)
    return spec.title if spec else name


@register.filter
def due(moment: datetime, zone: ZoneInfo) -> str:
    """A due time by its schedule's clock, in few words: ``Mon 07:00``, and the date where that is far."""
    local, now = moment.astimezone(zone), datetime.now(zone)
    if local.date() == now.date():
        return local.strftime("%H:%M")
    return local.strftime("%a %H:%M" if abs(local - now) < timedelta(days=6) else "%-d %b %Y, %H:%M")


@register.filter
def due_long(moment: datetime, zone: ZoneInfo) -> str:
    """A due time by its schedule's clock: ``Mon 4 Jan 2027, 07:00``."""
    return moment.astimezone(zone).strftime("%a %-d %b %Y, %H:%M")


@register.filter
def from_now(moment: datetime, now: datetime) -> str:
    """How far a moment lies ahead: ``in 21 h``."""
    minutes = max(0, round((moment - now).total_seconds() / 60))
    if minutes < 1:
        return _("in a moment")
    if minutes < 120:
        return humanize.nbsp(_("in %(n)d min") % {"n": minutes})
    if minutes < 48 * 60:
        return humanize.nbsp(_("in %(n)d h") % {"n": round(minutes / 60)})
    return humanize.nbsp(_("in %(n)d days") % {"n": round(minutes / 1440)})
