"""What templates are given of one thing: a row of a list, a line of a table, a part of a page."""

from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
"""By the names that the template uses, which alone says what has to be in it."""
