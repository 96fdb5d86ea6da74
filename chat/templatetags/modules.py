"""Names all modules of a page's scripts in its HTML, so that the browser fetches them at once instead of level by level."""

import posixpath
import re
from functools import cache
from pathlib import Path

from django import template
from django.conf import settings
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

#: An import of another file: in our scripts, it always ends its line.
_IMPORT = re.compile(r"""^(?:import .*|\} from )"(\.{1,2}/[^"]+)";$""", re.MULTILINE)


@register.simple_tag
def script_modules(*paths: str) -> SafeString:
    """The script tags of a page, and before them a preload hint for each imported module."""
    if settings.DEBUG:
        modules_below.cache_clear()
        _tags.cache_clear()
    return _tags(paths, static(paths[0]))


@cache
def _tags(paths: tuple[str, ...], _address: str) -> SafeString:
    """The tags. ``_address`` is only part of the cache's key: it changes when any script does."""
    modules = dict.fromkeys(module for path in paths for module in modules_below(path) if module not in paths)
    # What the server has rendered is painted before any of them runs.
    hints = format_html_join(
        "", '<link rel="modulepreload" fetchpriority="low" href="{}">\n', ((static(module),) for module in modules)
    )
    scripts = format_html_join("\n", '<script type="module" src="{}"></script>', ((static(path),) for path in paths))
    return format_html("{}{}", hints, scripts)


@cache
def modules_below(path: str) -> tuple[str, ...]:
    """The modules that a module imports, directly or not: paths of static files, each once, in any order."""
    found: dict[str, None] = {}
    waiting = [path]
    while waiting:
        module = waiting.pop()
        for imported in _imports(module):
            if imported not in found:
                found[imported] = None
                waiting.append(imported)
    return tuple(found)


def _imports(module: str) -> list[str]:
    file = finders.find(module)
    if file is None:
        return []
    text = Path(file).read_text("utf-8")
    return [posixpath.normpath(posixpath.join(posixpath.dirname(module), name)) for name in _IMPORT.findall(text)]
