"""The data that templates get about one thing: a row of a list, a line of a table, a part of a page."""

from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
"""By the names that the template uses; only the template defines which there are."""
