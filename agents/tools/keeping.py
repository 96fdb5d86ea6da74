"""Stores the files that tools return with their text: pictures, documents, anything."""

from collections.abc import Sequence
from typing import Self

from agents.cancellation import CancelToken
from agents.json_types import JsonObject
from agents.steps import FileData
from agents.tools.file_access import SessionFiles
from agents.tools.tool import Tool, ToolText, has_side_effects


class KeptText(str):
    """A tool's text, and the files that were stored with it."""

    __slots__ = ("files",)

    files: Sequence[FileData]

    def __new__(cls, text: str, files: Sequence[FileData]) -> Self:
        """The text, which says what became of each file."""
        made = super().__new__(cls, text)
        made.files = files
        return made


class KeepingTool:
    """Wraps a tool, so that its files are stored before its result is passed on."""

    def __init__(self, tool: Tool, files: SessionFiles) -> None:
        self._tool, self._files = tool, files
        self.name, self.description, self.parameters = tool.name, tool.description, tool.parameters
        self.timeout_s, self.output_limit = tool.timeout_s, tool.output_limit
        self.has_side_effects = has_side_effects(tool)

    def is_private(self, arguments: JsonObject) -> bool:
        """See `agents.tools.egress.GuardedTool`."""
        asked = getattr(self._tool, "is_private", None)
        return asked is not None and asked(arguments)

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Call the tool, and store the files that it returns."""
        result = self._tool.call(arguments, stop)
        if not isinstance(result, ToolText) or not result.files:
            return result
        kept, problems = self._files.keep(result.files)
        names = ", ".join(f"“{file['name']}”" for file in kept)
        parts = [f"Kept in this conversation, where the person sees it: {names}."] if kept else []
        return KeptText("\n".join([result, *(f"[{part}]" for part in (*parts, *problems))]), kept)
