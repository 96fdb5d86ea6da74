"""Parts of pages that are made of their values alone, and so made once for equal values.

Such a part is rendered without a request: no nonce, no token against forgery and nothing of who reads can be in it, unless it is one of
the values. What it says may depend on the reader's language, time zone and day, which belong to its key. Where DEBUG is on, each is made
anew, so that a template that was changed shows.
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


def surroundings() -> Hashable:
    """What every word and time of a page depends on, beside what it tells of."""
    return get_language(), timezone.get_current_timezone_name(), timezone.localdate()


def render_fragment(template: str, values: Mapping[str, Any]) -> SafeString:
    """A part of a page, made of these values and nothing else."""
    return SafeString(get_template(template).render(dict(values)))


def fragment(template: str, key: Hashable, values: Callable[[], Mapping[str, Any]]) -> SafeString:
    """The part that a template makes of values, which are asked for where their key is new: the surroundings, and all that they are."""
    whole_key = template, key
    html = None if settings.DEBUG else _kept.get(whole_key)
    if html is None:
        html = render_fragment(template, values())
        _kept.keep(whole_key, html, text_size(html))
    return html
