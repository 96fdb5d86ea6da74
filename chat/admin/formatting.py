"""How values are shown in lists and on pages of the admin."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Model
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from chat.accounts.models import User
from chat.models import Occurrence, Step
from chat.rendering import humanize
from chat.schedules import selectors as schedule_selectors

SHOWN_CHARACTERS = 2_000


def admin_link(to: Model, text: object = "") -> SafeString:
    """A link to a row's own page in the admin."""
    page = reverse(f"admin:chat_{to._meta.model_name}_change", args=[to.pk])
    return format_html('<a href="{}">{}</a>', page, text or str(to))


def two_lines(first: str, second: str) -> SafeString:
    """Two facts of one cell, the second smaller."""
    return format_html("{}<br><small>{}</small>", first, second)


def username_of(user: User | None) -> str:
    """Whose it is; a dash where the account is gone."""
    return user.get_username() if user is not None else "—"


def whole_text(step: Step, data: Mapping[str, Any]) -> str:
    """What a step says, all of it, also where that is stored apart."""
    whole = getattr(step, "full_content", None)
    return str(whole.content) if whole is not None else shortened_text(step, data)


def shortened_text(step: Step, data: Mapping[str, Any]) -> str:
    """What a step says, as far as the step itself carries it."""
    if step.type == "tool_use":
        arguments = data.get("arguments")
        return arguments if isinstance(arguments, str) else humanize.as_json(arguments)
    if step.event in ("reasoning_complete", "child_complete"):
        return humanize.as_json(data)
    return str(data.get("content") or data.get("message") or data.get("error") or "")


def format_moment(moment: datetime | None) -> str:
    """A time in the zone of the page; a dash where there is none."""
    return "—" if moment is None else f"{timezone.localtime(moment):%Y-%m-%d %H:%M}"


def join_lines(lines: list[Any]) -> SafeString | str:
    """Lines below each other; a dash where there are none."""
    return format_html_join(SafeString("<br>"), "{}", ((line,) for line in lines)) if lines else "—"


def occurrence_line(occurrence: Occurrence) -> SafeString:
    """When a schedule was due, what came of it, and how long that took."""
    words_of_it = schedule_selectors.outcome_word(occurrence)
    told = admin_link(occurrence.run, words_of_it) if occurrence.run is not None else words_of_it
    by_hand = gettext("started by hand") if occurrence.by_hand else ""
    facts = " · ".join(part for part in (humanize.duration(schedule_selectors.took_ms(occurrence)), by_hand) if part)
    return format_html("{} · {} {}", format_moment(occurrence.due_at), told, facts)
