"""What was worded in English where it happened, in the language of who reads it now."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext

from agents.sentence import format_parts, format_sentence


def translate_sentence(text: str) -> str:
    """A sentence of ours in the reader's language; words of others, which are plain strings, as they are."""
    return format_sentence(text, gettext)


def translate_error(error: Mapping[str, Any]) -> str:
    """The message of an error as the protocol carries it: by its ``template`` where it has one, else as it stands."""
    message = str(error.get("message", ""))
    return format_parts(error, gettext) if error.get("template") else message


def first_sentence(words: str) -> str:
    """What a tool does, without what only the model has to know."""
    line = words.partition("\n")[0]
    return line.partition(". ")[0].rstrip(".")
