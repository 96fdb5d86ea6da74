"""Finds out to which tool call a streamed piece belongs.

Servers differ: some give no index, some the same index to all calls, some another one to each piece; some give no ids, some repeat the
name, some send it in pieces, some send the whole call again at the end.
"""

from collections.abc import Collection

from agents.arguments import repair_arguments
from agents.models.reply_parts import Part
from agents.text import clean_text


def continues_call(part: Part, id: str, name: str, arguments: str, tools: Collection[str]) -> bool:  # noqa: A002
    """Whether a piece with a name or an id belongs to this call; otherwise it begins another one."""
    if id and part.id and id != part.id:
        # Some servers generate a new id for each piece.
        begins = bool(name) and (not arguments or arguments.lstrip().startswith("{") or not part.pieces)
        return not begins and not part.is_whole
    if not name or not part.name:
        part.name = part.name or clean_text(name)
        return True
    if not part.text.strip():
        return _joins_name(part, name, tools)
    if name != part.name:
        return False
    if not part.is_whole or not arguments.strip():
        part.may_repeat = part.is_whole
        return True
    return repeats_call(part, id, name, arguments)


def begins_again(part: Part, arguments: str) -> bool:
    """Whether a piece begins another call of the same name, which was sent again after this call was complete."""
    is_more = part.may_repeat and bool(arguments.strip()) and part.is_whole
    return is_more and not repeats_call(part, part.id, part.name, arguments)


def repeats_call(part: Part, id: str, name: str, arguments: str) -> bool:  # noqa: A002
    """Whether a piece repeats all arguments of a complete call, with which some servers end."""
    is_all = arguments.strip()[:1] in ("{", '"') and arguments.rstrip()[-1:] in ("}", '"')
    # A much shorter piece cannot: and each comparison reads all arguments.
    if not part.pieces or not is_all or (name and not id) or len(arguments) * _LONGEST_REPEATED < part.size:
        return False
    return part.is_whole and repair_arguments(arguments) == repair_arguments(part.text) != "{}"


def _joins_name(part: Part, name: str, tools: Collection[str]) -> bool:
    """Whether a name that follows a name is a piece of it, or repeats it."""
    if part.name in tools or name == part.name:
        return name == part.name
    if len(part.name) < _LONGEST_NAME:
        part.name = clean_text(name) if name.startswith(part.name) else part.name + clean_text(name)
    return True


#: How many times longer a repetition of the arguments may be, because of white space and escapes.
_LONGEST_REPEATED = 8
#: Characters of a name; what comes after these is ignored.
_LONGEST_NAME = 1_000
