"""Cleans up the text of an ended reply: removes marks and tags of which only the end shows that they are not part of the answer."""

import json
import re

from agents.models.end_marks import END_MARK, LONGEST_MARK
from agents.models.reply_parts import Part
from agents.text import json_object

_ENDS_OF_THOUGHT = ("</think>", "</thinking>", "</thought>")
_STRAY_END = re.compile(r"^</think>[ \t]*$", re.MULTILINE)
#: How many marks are searched for; each search takes time in proportion to the text.
_MOST_MARKS = 4
#: Tags that some models put around the whole answer, after a thought: Hunyuan's, Granite's and ERNIE's; Command's; OpenThinker's.
_WRAPPERS = {
    "<answer>": "</answer>",
    "<response>": "</response>",
    "<|START_RESPONSE|>": "<|END_RESPONSE|>",
    "<|begin_of_solution|>": "<|end_of_solution|>",
}


def tidy_text(parts: list[Part], *, thought_is_open: bool, has_thought_first: bool) -> None:
    """Remove from the parts what is not text.

    ``thought_is_open``: the reply ended within a thought; ``has_thought_first``: it began with one.
    """
    if thought_is_open:
        _end_open_thought(parts)
    _drop_end_marks(parts)
    if has_thought_first:
        _separate_drafts(parts)
        _unwrap_answer(parts)


def _drop_end_marks(parts: list[Part]) -> None:
    """Remove the marks by which a model ends its text, at the end of the text, if the server has passed them on."""
    for _ in range(_MOST_MARKS):
        last = parts[-1] if parts else None
        if last is None or last.kind == "call":
            return
        found = END_MARK.search("".join(last.pieces[-LONGEST_MARK:]).rstrip()[-LONGEST_MARK:])
        if found is None:
            return
        text = last.text
        bare = text.rstrip()[: -len(found[1])].rstrip()
        is_closer = found[1] == "</s>" and "<s>" in text
        if is_closer or bare.endswith("`"):
            return
        if not bare:
            if len(parts) > 1 and parts[-2].kind == "call":
                parts.pop()
            return
        last.pieces[:] = [bare]


def _end_open_thought(parts: list[Part]) -> None:
    """End a last thought that is still open at the closing tag of another kind: small models confuse them."""
    last = parts[-1] if parts else None
    if last is None or last.kind != "reasoning":
        return
    text = last.text
    for closer in _ENDS_OF_THOUGHT:
        thought, found, answer = text.rpartition(closer)
        if found and answer.strip() and not thought.endswith("`"):
            last.pieces[:] = [thought]
            parts.append(Part("content", last.began, [answer.lstrip()]))
            return


def _separate_drafts(parts: list[Part]) -> None:
    """Make text a thought if it ends with a closing tag on its own line: some models think again, without an opening tag."""
    last = parts[-1] if parts else None
    if last is None or last.kind != "content" or "</think>" not in (text := last.text) or "<think>" in text:
        return
    found = _STRAY_END.search(text)
    if found is None or text[: found.start()].count("```") % 2 or not (answer := text[found.end() :].lstrip()):
        return
    draft = text[: found.start()].rstrip()
    parts[-1:] = [Part("reasoning", last.began, [draft]), Part("content", last.began, [answer])]


def leave_out_repeated(parts: list[Part]) -> None:
    """Drop calls in the text that the server has also reported as calls: some servers pass on the text that they have parsed."""
    calls = [part for part in parts if part.kind == "call"]
    native = {(part.name, _read(part.text)) for part in calls if not part.is_in_text}
    for part in calls:
        part.is_left_out |= part.is_in_text and (part.name, _read(part.text)) in native


def _read(arguments: str) -> str:
    read = json_object(arguments, None)
    return arguments if read is None else json.dumps(read, sort_keys=True)


def _unwrap_answer(parts: list[Part]) -> None:
    """Remove the tag that some models put around the whole answer, after a thought."""
    last = parts[-1] if parts else None
    if last is None or last.kind != "content":
        return
    text = last.text.strip()
    for opener, closer in _WRAPPERS.items():
        if text.startswith(opener) and text.endswith(closer) and text.count(opener) == 1:
            last.pieces[:] = [text[len(opener) : -len(closer)].strip()]
