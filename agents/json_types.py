"""JSON whose fields are not known here."""

from typing import Any, TypeAlias

JsonObject: TypeAlias = dict[str, Any]
"""An object of which no field is known here: a tool call's arguments, a JSON Schema, a server's answer before it is read."""
