"""What is left to do with the text of a reply that has ended: marks and tags that only its end shows to be none of the answer."""

import json
import re

from agents.models.end_marks import END_MARK, LONGEST_MARK
from agents.models.reply_parts import Part
from agents.text import json_object

_ENDS_OF_THOUGHT = ("</think>", "</thinking>", "</thought>")
_STRAY_END = re.compile(r"^</think>[ \t]*$", re.MULTILINE)
#: How many marks are looked for, each of which takes as long as the text is.
_MOST_MARKS = 4
#: What stands around all of an answer, behind a thought: Hunyuan's, Granite's and ERNIE's; Command's; OpenThinker's.
_WRAPPERS = {
    "<answer>": "</answer>",
    "<response>": "</response>",
    "<|START_RESPONSE|>": "<|END_RESPONSE|>",
    "<|begin_of_solution|>": "<|end_of_solution|>",
}


def tidy_text(parts: list[Part], *, thought_is_open: bool, has_thought_first: bool) -> None:
    """Leave out what is none of the text; ``thought_is_open``: it ended within a thought, ``has_thought_first``: it began with one."""
    if thought_is_open:
        _end_open_thought(parts)
    _drop_end_marks(parts)
    if has_thought_first:
        _tell_drafts_from_answer(parts)
        _unwrap_answer(parts)


def _drop_end_marks(parts: list[Part]) -> None:
    """Leave out the marks by which the model ends a text, where the server has passed them on, right behind the text."""
    for _ in range(_MOST_MARKS):
        last = parts[-1] if parts else None
        if last is None or last.kind == "call" or not (found := END_MARK.search("".join(last.pieces[-LONGEST_MARK:]))):
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
    """End a last thought, whose own end has not come, where another tag's has: small models mix them up."""
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


def _tell_drafts_from_answer(parts: list[Part]) -> None:
    """Some models think once more behind their thoughts, without saying so, and end that by the tag, on a line of its own."""
    last = parts[-1] if parts else None
    if last is None or last.kind != "content" or "</think>" not in (text := last.text) or "<think>" in text:
        return
    found = _STRAY_END.search(text)
    if found is None or text[: found.start()].count("```") % 2 or not (answer := text[found.end() :].lstrip()):
        return
    draft = text[: found.start()].rstrip()
    parts[-1:] = [Part("reasoning", last.began, [draft]), Part("content", last.began, [answer])]


def leave_out_repeated(parts: list[Part]) -> None:
    """Leave out calls that stand in the text and were told by the server, too: some pass on the text that they have read them from."""
    calls = [part for part in parts if part.kind == "call"]
    told = {(part.name, _read(part.text)) for part in calls if not part.is_in_text}
    for part in calls:
        part.is_left_out |= part.is_in_text and (part.name, _read(part.text)) in told


def _read(arguments: str) -> str:
    read = json_object(arguments, None)
    return arguments if read is None else json.dumps(read, sort_keys=True)


def _unwrap_answer(parts: list[Part]) -> None:
    """Take away the tag that some models put around all of their answer, behind a thought."""
    last = parts[-1] if parts else None
    if last is None or last.kind != "content":
        return
    text = last.text.strip()
    for opener, closer in _WRAPPERS.items():
        if text.startswith(opener) and text.endswith(closer) and text.count(opener) == 1:
            last.pieces[:] = [text[len(opener) : -len(closer)].strip()]
