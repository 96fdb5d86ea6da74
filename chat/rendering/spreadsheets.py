"""Lines of CSV files that are safe to open in spreadsheets. All CSV files of the product are written by this module."""

import csv
from collections.abc import Iterable
from typing import Any

#: Beginnings of cells that spreadsheets take for formulas; Chinese and Japanese ones also in full width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class _Echo:
    def write(self, line: str) -> str:
        return line


_writer = csv.writer(_Echo())


def csv_line(cells: Iterable[Any]) -> str:
    """One line, with its line end. A text that a spreadsheet would take for a formula is quoted; numbers are not."""
    line: Any = _writer.writerow(map(_cell, cells))
    return str(line)


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
