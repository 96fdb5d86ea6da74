"""Sentences for people that keep their template and values, so that a page can show them in its reader's language.

They are ordinary strings, in English: that is what logs, models and programs get.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypedDict

from agents.json_types import JsonObject


class SentenceParts(TypedDict, total=False):
    """A sentence's template and values as JSON; empty for a plain string."""

    template: str
    values: JsonObject
    """By name: strings, numbers, or the parts of another sentence. Missing if there are none."""


class Sentence(str):
    """An English sentence with its ``template`` and the ``values`` in it, by name: ``%(name)s``.

    The template is the key of its translations, so it must be written out as a literal where the sentence is made: ``make messages``
    finds it there. A per cent sign in it is doubled. A value may be a sentence itself, which is then shown in the same language.
    """

    __slots__ = ("template", "values")

    template: str
    values: Mapping[str, Any]

    def __new__(cls, template: str, /, **values: Any) -> Self:
        """Make a sentence from its template and values."""
        made = super().__new__(cls, template % values)
        made.template = template
        made.values = values
        return made


def join_sentences(texts: Iterable[str]) -> str:
    """Several sentences as one, joined by spaces; empty for none."""
    return (
        functools.reduce(lambda first, following: Sentence("%(first)s %(next)s", first=first, next=following), texts)
        if (texts := list(texts))
        else ""
    )


def parts_of(text: str) -> SentenceParts:
    """A sentence's parts as JSON: ``template``, and ``values`` if there are any. Empty for a plain string."""
    if not isinstance(text, Sentence):
        return {}
    parts: SentenceParts = {"template": text.template}
    if text.values:
        parts["values"] = {
            name: parts_of(value) or str(value) if isinstance(value, str) else value
            for name, value in text.values.items()
        }
    return parts


def format_sentence(text: str, gettext: Callable[[str], str]) -> str:
    """The sentence in the language of ``gettext``; a plain string as it is."""
    return format_parts(parts_of(text), gettext) if isinstance(text, Sentence) else text


def format_parts(parts: Mapping[str, Any], gettext: Callable[[str], str]) -> str:
    """As `format_sentence`, from the result of `parts_of`. Parts of another version that do not fit are shown in English."""
    template = str(parts.get("template", ""))
    given = parts.get("values") or {}
    values = {
        name: format_parts(value, gettext) if isinstance(value, Mapping) else value for name, value in given.items()
    }
    try:
        return gettext(template) % values
    except (KeyError, TypeError, ValueError):
        return str(parts.get("message", template))
