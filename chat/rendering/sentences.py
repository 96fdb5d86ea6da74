"""Sentences that were made in English where something happened, in the language of their reader."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext

from agents.sentence import format_parts, format_sentence
from agents.steps import ThoughtStep


def translate_sentence(text: str) -> str:
    """A `Sentence` in the reader's language; a plain string, which others wrote, as it is."""
    return format_sentence(text, gettext)


def translate_error(error: Mapping[str, Any]) -> str:
    """The message of an error frame: translated by its ``template`` where it has one, else as it is."""
    message = str(error.get("message", ""))
    return format_parts(error, gettext) if error.get("template") else message


def translate_thought(step: ThoughtStep) -> str:
    """The text of a thought: a model's as it is; what no model said translated by its ``template``."""
    content = step["content"]
    return format_parts({**step, "message": content}, gettext) if step.get("template") else content


def first_sentence(text: str) -> str:
    """A tool's description, without what only the model has to know."""
    line = text.partition("\n")[0]
    return line.partition(". ")[0].rstrip(".")
