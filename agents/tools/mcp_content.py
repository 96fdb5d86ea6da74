"""Results of MCP servers, as text for a model, and their errors, as a message."""

import base64
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import anyio
import httpx2
from mcp import MCPError, types

from agents.masking import mask_text
from agents.text import clean_text
from agents.tools.file_access import ReturnedFile
from agents.tools.tool import ToolError, ToolText

#: Characters of a server's own error message that are passed on.
_MOST_CHARACTERS = 300


def as_text(result: types.CallToolResult) -> str:
    """The result as text. Other contents are described, and files are returned in a `ToolText`."""
    parts = [_block(block) for block in result.content]
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False, indent=1)]
    text = "\n\n".join(part for part in parts if part)
    if result.is_error:
        raise ToolError(text or "The tool failed and did not say why.")
    return ToolText(text or "The tool returned nothing.", [*map(_file, filter(_holds_file, result.content))])


def _holds_file(block: types.ContentBlock) -> bool:
    return isinstance(block, types.ImageContent | types.AudioContent) or (
        isinstance(block, types.EmbeddedResource) and isinstance(block.resource, types.BlobResourceContents)
    )


def _file(block: Any) -> ReturnedFile:
    """A picture, a sound or a resource as a file; empty if it does not have the declared type."""
    is_resource = isinstance(block, types.EmbeddedResource)
    encoded = block.resource.blob if is_resource else block.data
    name = unquote(str(block.resource.uri).rpartition("/")[2]) if is_resource else ""
    try:
        return ReturnedFile(name, base64.b64decode(encoded))
    except ValueError:
        return ReturnedFile(name, b"")


def _block(block: types.ContentBlock) -> str:
    if isinstance(block, types.TextContent):
        return block.text
    if isinstance(block, types.ImageContent | types.AudioContent):
        return f"[{block.type}, {block.mime_type}, {_size(block.data)}: it was returned, but only text can be passed on to you]"
    if isinstance(block, types.ResourceLink):
        return f"[link: {block.title or block.name}, {block.uri}]"
    resource = block.resource
    if isinstance(resource, types.TextResourceContents):
        return f"{resource.uri}:\n{resource.text}"
    kind = resource.mime_type or "unknown type"
    return (
        f"[file {resource.uri}, {kind}, {_size(resource.blob)}: it was returned, but only text can be passed on to you]"
    )


def _size(encoded: str) -> str:
    return f"{len(encoded) * 3 // 4 / 1000:.1f} kB"


def progress_text(progress: float, total: float | None, message: str | None) -> str:
    """A call's progress, in the server's own words if it sends any."""
    done = f"{progress:g} of {total:g}" if total else f"{progress:g}"
    text = " ".join(clean_text(message or "").split())[:_MOST_CHARACTERS]
    return f"{done}: {text}" if text else done


def failure_text(error: BaseException | None, text: str = "", secrets: Sequence[str] = ()) -> str:
    """Why a server cannot be used: its own message if there is one, without secrets; for a group of exceptions, the first one's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    shown = text or _error_text(error)
    for secret in sorted(secrets, key=len, reverse=True):
        shown = shown.replace(secret, "…")
    return mask_text(" ".join(clean_text(shown).split()))[:_MOST_CHARACTERS].rstrip(".")


def _error_text(error: BaseException | None) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no program “{error.filename}”"
    # Which exception comes depends on how far the handshake had come.
    if isinstance(error, anyio.BrokenResourceError | anyio.ClosedResourceError | BrokenPipeError):
        return "it ended at once"
    if isinstance(error, MCPError):
        return "it ended at once" if error.error.code == types.CONNECTION_CLOSED else f"it said “{error.error.message}”"
    if isinstance(error, httpx2.ConnectError):
        return "nothing answers at its address"
    return str(error) or type(error).__name__
