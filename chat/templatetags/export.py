"""Tags for exported files, which must contain what pages would fetch."""

from functools import lru_cache

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
@lru_cache(maxsize=512)
def file_icon(name: str, css: str = "") -> SafeString:
    """An icon of the sprite that is embedded in the file."""
    return format_html(
        '<svg class="i{}" aria-hidden="true"><use href="#i-{}"/></svg>', f" {css}" if css else "", name or "tool"
    )
