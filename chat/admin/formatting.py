"""How values are shown in the admin's lists and pages."""

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
    """A link to an object's page in the admin."""
    page = reverse(f"admin:chat_{to._meta.model_name}_change", args=[to.pk])
    return format_html('<a href="{}">{}</a>', page, text or str(to))


def two_lines(first: str, second: str) -> SafeString:
    """Two facts in one cell, the second one smaller."""
    return format_html("{}<br><small>{}</small>", first, second)


def username_of(user: User | None) -> str:
    """The user's name; a dash if the account is deleted."""
    return user.get_username() if user is not None else "—"


def whole_text(step: Step, data: Mapping[str, Any]) -> str:
    """The whole text of a step, also if it is stored in a table of its own."""
    whole = getattr(step, "full_content", None)
    return str(whole.content) if whole is not None else shortened_text(step, data)


def shortened_text(step: Step, data: Mapping[str, Any]) -> str:
    """The text of a step, cut as the step's event has it."""
    if step.type == "tool_use":
        arguments = data.get("arguments")
        return arguments if isinstance(arguments, str) else humanize.as_json(arguments)
    if step.event in ("reasoning_complete", "child_complete"):
        return humanize.as_json(data)
    return str(data.get("content") or data.get("message") or data.get("error") or "")


def format_moment(moment: datetime | None) -> str:
    """A time in the page's zone; a dash if there is none."""
    return "—" if moment is None else f"{timezone.localtime(moment):%Y-%m-%d %H:%M}"


def join_lines(lines: list[Any]) -> SafeString | str:
    """Lines below each other; a dash if there are none."""
    return format_html_join(SafeString("<br>"), "{}", ((line,) for line in lines)) if lines else "—"


def occurrence_line(occurrence: Occurrence) -> SafeString:
    """When a schedule was due, what happened, and how long it took."""
    words_of_it = schedule_selectors.outcome_word(occurrence)
    label = admin_link(occurrence.run, words_of_it) if occurrence.run is not None else words_of_it
    by_hand = gettext("started by hand") if occurrence.by_hand else ""
    facts = " · ".join(part for part in (humanize.duration(schedule_selectors.took_ms(occurrence)), by_hand) if part)
    return format_html("{} · {} {}", format_moment(occurrence.due_at), label, facts)
