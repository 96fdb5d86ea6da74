"""Lines of CSV files, all of this product's, as spreadsheets may open them."""

import csv
from collections.abc import Iterable
from typing import Any

#: How a cell begins that a spreadsheet would take for a formula, in Chinese and Japanese ones also in full width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class _Echo:
    def write(self, line: str) -> str:
        return line


_writer = csv.writer(_Echo())


def csv_line(cells: Iterable[Any]) -> str:
    """One line, with its end. A text that a spreadsheet would take for a formula is quoted; numbers are left as they are."""
    line: Any = _writer.writerow(map(_cell, cells))
    return str(line)


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
