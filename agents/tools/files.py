"""The `read_file` and `search_file` tools: the session's files, by page and line, so that an answer can name its source."""

from collections.abc import Callable, Iterator, Sequence

from agents.cancellation import CancelToken
from agents.json_types import JsonObject
from agents.steps import FileData
from agents.tools.file_access import SessionFiles
from agents.tools.tool import ToolError

_MOST_HITS = 50
#: The most characters of lines that one call returns.
_MOST_CHARACTERS = 16_000
#: The most files that a tool's description names.
_NAMED = 30


class _FileTool:
    """The base of both tools: they see the files of one session only, and send nothing outside."""

    timeout_s = 90.0
    output_limit = 20_000
    reaches_outside = False
    has_side_effects = False

    def __init__(self, files: SessionFiles, listed: Sequence[FileData], on_read: Callable[[], None]) -> None:
        self._files, self._listed, self._on_read = files, listed, on_read


class ReadFileTool(_FileTool):
    """Reads a file's text."""

    name = "read_file"

    def __init__(self, files: SessionFiles, listed: Sequence[FileData], on_read: Callable[[], None]) -> None:
        super().__init__(files, listed, on_read)
        self.description = (
            "Reads the text of a file of this conversation, with page and line numbers; name these when you use what you read."
            f" A long one is read piece by piece. {_there_are(listed)}"
        )
        self.parameters: JsonObject = {
            "type": "object",
            "properties": {
                "file": {"type": "string", "description": "The file's name, or its id."},
                "page": {
                    "type": "integer",
                    "minimum": 1,
                    "description": "Which page, slide or sheet. Left out: the first.",
                },
                "from_line": {"type": "integer", "minimum": 1, "description": "The first line wanted. Left out: 1."},
                "to_line": {
                    "type": "integer",
                    "minimum": 1,
                    "description": "The last line wanted. Left out: as far as it fits.",
                },
            },
            "required": ["file"],
        }

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Read from ``arguments["file"]``."""
        file = find_file(self._listed, str(arguments["file"]))
        pages = self._files.pages(file["id"], stop)
        page = int(arguments.get("page") or 1)
        if page > pages:
            raise ToolError(f"“{file['name']}” has {_count(pages, 'page')}; there is no page {page:,}.")
        first = int(arguments.get("from_line") or 1)
        last = int(arguments.get("to_line") or 0)
        # Marked first, so that the model never knows anything private before the session is marked.
        self._on_read()
        shown, more = _fitting(self._files.lines(file["id"], page, first), last)
        if not shown:
            raise ToolError(f"Page {page:,} of “{file['name']}” has no line {first:,}.")
        heading = f"“{file['name']}”, page {page:,} of {pages:,}, lines {shown[0][0]:,}–{shown[-1][0]:,}"
        rest = f"\n[The page goes on at line {shown[-1][0] + 1:,}.]" if more else ""
        if not rest and page < pages:
            rest = f"\n[Page {page + 1:,} follows.]"
        return f"{heading}:\n" + "\n".join(f"{number}\t{line}" for number, line in shown) + rest


class SearchFileTool(_FileTool):
    """Finds words in files."""

    name = "search_file"

    def __init__(self, files: SessionFiles, listed: Sequence[FileData], on_read: Callable[[], None]) -> None:
        super().__init__(files, listed, on_read)
        self.description = (
            "Searches the files of this conversation for words and returns the lines that hold them, with file, page and line; name"
            f" these when you use what you found. Search for a few telling words. {_there_are(listed)}"
        )
        self.parameters: JsonObject = {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "The words; all of them have to stand near each other."},
                "file": {"type": "string", "description": "In which file, by name or id. Left out: in all of them."},
                "limit": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": _MOST_HITS,
                    "description": "How many lines to return. Left out: 20.",
                },
            },
            "required": ["query"],
        }

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Search for ``arguments["query"]``."""
        query = str(arguments["query"]).strip()
        if not query:
            raise ToolError("Say what to look for: the query is empty.")
        wanted = str(arguments.get("file") or "")
        among = [find_file(self._listed, wanted)] if wanted else list(self._listed)
        limit = max(1, min(int(arguments.get("limit") or 20), _MOST_HITS))
        hits, problems = self._files.search([file["id"] for file in among], query, limit, stop)
        beside = "".join(f"\n[{problem}]" for problem in problems)
        if not hits:
            return f"Nothing was found for “{query}” in {_count(len(among), 'file')}.{beside}"
        self._on_read()
        found = "\n".join(
            f"“{hit.file['name']}”, page {hit.page:,}, line {hit.line:,}: {hit.text.strip()}" for hit in hits
        )
        return f"{_count(len(hits), 'line')} for “{query}”:\n{found}{beside}"


def find_file(listed: Sequence[FileData], wanted: str) -> FileData:
    """The file that a model means by a name or an id; the newest of several with the same name. Raises `ToolError`."""
    plain = wanted.strip().strip("“”\"'").casefold()
    for file in reversed(listed):
        if plain in (file["id"], file["name"].casefold()):
            return file
    raise ToolError(f"There is no file “{wanted[:80]}” in this conversation. {_there_are(listed)}")


def _there_are(listed: Sequence[FileData]) -> str:
    names = ", ".join(f"“{file['name']}”" for file in listed[-_NAMED:])
    return f"There are: {names}." if names else "There are none."


def _fitting(lines: Iterator[tuple[int, str]], last: int) -> tuple[list[tuple[int, str]], bool]:
    """As many lines as fit, and whether the page has more."""
    shown: list[tuple[int, str]] = []
    left = _MOST_CHARACTERS
    for number, line in lines:
        left -= len(line) + 8
        if shown and (left < 0 or (last and number > last)):
            return shown, True
        shown.append((number, line))
    return shown, False


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
