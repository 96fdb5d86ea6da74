"""Filters and tags for texts, icons and small drawings of the pages."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django import template
from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.templatetags.static import static
from django.utils import timezone
from django.utils.formats import date_format, time_format
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, pgettext, to_locale
from django.utils.translation import gettext as _

import agents
from agents import FileData
from chat.rendering import humanize, markdown
from chat.rendering.fragments import cached_fragment, reader_key
from chat.rendering.rows import BLANK
from chat.rendering.template_row import Row
from chat.store.search import Hit

register = template.Library()

register.filter("size", humanize.size)
register.filter("gist", humanize.first_line)
register.filter("markdown_gist", humanize.markdown_gist)
register.filter("initials", humanize.initials)
register.filter("tint", humanize.tint)
register.filter("dot", humanize.dot)
register.filter("cause", humanize.cause)
register.filter("run_cost", humanize.run_cost)
register.filter("markdown", markdown.markdown)
register.filter("prepared_markdown", markdown.prepared_markdown)

#: The browser libraries, by the name that modules import; the values are their files.
VENDOR = {
    "markdown-it": "vendor/markdown-it.js",
    "markdown-it-footnote": "vendor/markdown-it-footnote.js",
    "dompurify": "vendor/dompurify.js",
    "highlight.js": "vendor/highlight.js",
    "temml": "vendor/temml.js",
}


@register.filter
def file_size(size: int | str | None) -> str:
    """The size of a file; empty for an empty value."""
    return humanize.file_size(size) if isinstance(size, int) else ""


@register.filter
def is_picture(file: FileData | str | None) -> bool:
    """Whether a file is a picture that pages display."""
    return isinstance(file, dict) and file["media_type"] in agents.PICTURES


@register.filter
def duration(ms: int | str | None) -> str:
    """A measured time; empty if there is none yet."""
    return humanize.duration(ms) if isinstance(ms, int) else ""


@register.filter
def at_key(values: Mapping[Any, Any], key: Any) -> Any:
    """The value of a key; empty if there is none."""
    return values.get(key, ())


@register.filter
def approx_duration(ms: int | str | None) -> str:
    """A measured time within a sentence; empty if there is none yet."""
    return humanize.approx_duration(ms) if isinstance(ms, int) else ""


@register.simple_tag
@lru_cache(maxsize=512)
def icon(name: str, css: str = "", slot: str = "") -> SafeString:
    """An icon of the sprite."""
    return format_html(
        '<svg class="i{}" aria-hidden="true"{}><use href="{}#i-{}"/></svg>',
        f" {css}" if css else "",
        format_html(' data-slot="{}"', slot) if slot else "",
        static("chat/icons.svg"),
        name or "tool",
    )


@register.simple_tag
def constant(template_name: str, **values: Any) -> SafeString:
    """A part of pages that depends only on its values: it has no access to the page's context, and is cached."""
    return cached_fragment(template_name, (reader_key(), *values.items()), lambda: values)


@register.simple_tag(takes_context=True)
def include_with(context: template.Context, template_name: str, values: Mapping[str, Any]) -> SafeString:
    """Include a template with further values besides the page's context, such as those of a row."""
    with context.push(**values):
        made: SafeString = template.Engine.get_default().get_template(template_name).render(context)
        return made


@register.simple_tag
def blank_rows() -> dict[str, Row]:
    """Empty rows, which the page's script clones."""
    return BLANK


@register.simple_tag
def import_map() -> SafeString:
    """The import map's JSON, with the browser libraries that are installed. Without them the pages show plain text."""
    present = {name: path for name, path in VENDOR.items() if _exists(path)}
    text = json.dumps({"imports": {name: static(path) for name, path in present.items()}})
    return mark_safe(text.replace("<", "\\u003c"))  # noqa: S308 - JSON of our own names


def _exists(path: str) -> bool:
    hashed: dict[str, str] | None = getattr(staticfiles_storage, "hashed_files", None)
    return path in hashed if hashed else finders.find(path) is not None


@register.filter
def lang_tag(code: str) -> str:
    """A language's tag in HTML, such as ``zh-Hant`` for zh-hant."""
    return to_locale(code).replace("_", "-")


@register.simple_tag
def languages() -> list[tuple[str, str]]:
    """The pages' languages: the code of each, and its own name."""
    return list(settings.LANGUAGES)


@register.simple_tag
def catalogue() -> SafeString:
    """The module with the scripts' texts in the reader's language, to be put before those scripts. English texts are in the scripts."""
    path = f"chat/locale/{get_language()}.js"
    if not _exists(path):
        return SafeString("")
    return format_html('<script type="module" src="{}"></script>\n', static(path))


@register.filter
def moment(timestamp: float | None) -> datetime | None:
    """A Unix timestamp as a datetime in the reader's time zone."""
    return timezone.localtime(datetime.fromtimestamp(timestamp, UTC)) if timestamp else None


@register.filter
def moment_words(when: datetime | None) -> str:
    """A time in a conversation: the hour, and the date if it was not today."""
    if when is None:
        return ""
    local = timezone.localtime(when)
    today = local.date() == timezone.localdate()
    return time_format(local, "H:i") if today else date_format(local, pgettext("date format", "j M Y, H:i"))


@register.filter
def exact_moment(when: datetime) -> str:
    """A time with its date and seconds."""
    return date_format(timezone.localtime(when), pgettext("date format", "j M Y, H:i:s"))


@register.filter
def day(when: datetime | None) -> str:
    """A time in a list: the hour today and yesterday, the weekday within six days, else the date."""
    if when is None:
        return ""
    local, today = timezone.localtime(when), timezone.localtime()
    age = (today.date() - local.date()).days
    if age < 2:
        return time_format(local, "H:i")
    if age < 7:
        return date_format(local, "D")
    return date_format(local, pgettext("date format", "j M") if local.year == today.year else "Y-m-d")


@register.filter
def status_word(status: str) -> str:
    """The word for a status, in a list of choices."""
    return _("Working") if status == "running" else humanize.status(status)


@register.filter
def hit_words(hit: Hit) -> str:
    """Where a hit is: ``python result · step 35``."""
    match hit.type:
        case "thought":
            what = _("Thought")
        case "tool_use":
            what = _("%(tool)s arguments") % {"tool": hit.tool_name}
        case "tool_result":
            what = _("%(tool)s result") % {"tool": hit.tool_name}
        case "final_answer" | "response":
            what = _("Answer")
        case "message":
            what = _("Question")
        case _:
            what = _("Run")
    return what if hit.seq is None else _("%(what)s · step %(n)d") % {"what": what, "n": hit.seq}


@register.filter
def hit_icon(hit: Hit) -> str:
    """The sprite's symbol for where a hit is."""
    if hit.type in ("tool_use", "tool_result"):
        return humanize.icon(hit.tool_name)
    return {"thought": "thought", "final_answer": "answer", "response": "answer"}.get(hit.type, "user")
