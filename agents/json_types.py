"""JSON whose fields are not known here."""

from typing import Any, TypeAlias

JsonObject: TypeAlias = dict[str, Any]
"""An object none of whose fields is known here: a tool call's arguments, a JSON Schema, a server's answer before it is parsed."""
