"""Fragments of pages that are rendered from their values alone, and cached by these.

Such a fragment is rendered without a request: no nonce, no CSRF token and nothing of its reader can be in it, unless it is one of
the values. It may depend on the reader's language, time zone and day, which are part of its key. Where DEBUG is on, each is rendered
again, so that a changed template shows.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from django.conf import settings
from django.template.loader import get_template
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import get_language

from chat.runtime.kept import Kept, text_size

_kept: Kept[Hashable, SafeString] = Kept(16 << 20)


def reader_key() -> Hashable:
    """What all texts and times of a page depend on besides their values: the reader's language, time zone and day."""
    return get_language(), timezone.get_current_timezone_name(), timezone.localdate()


def render_fragment(template: str, values: Mapping[str, Any]) -> SafeString:
    """A fragment of a page, rendered from these values and nothing else."""
    return SafeString(get_template(template).render(dict(values)))


def cached_fragment(template: str, key: Hashable, values: Callable[[], Mapping[str, Any]]) -> SafeString:
    """The fragment of a template, from the cache if possible. ``values`` is called only for a new key: key and template are all that
    the fragment may depend on.
    """  # noqa: D205 - one thought
    whole_key = template, key
    html = None if settings.DEBUG else _kept.get(whole_key)
    if html is None:
        html = render_fragment(template, values())
        _kept.keep(whole_key, html, text_size(html))
    return html
