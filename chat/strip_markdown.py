"""Turns a model's Markdown into plain text, for lists that show a part of a text.

``static/chat/lib/strip-markdown.js`` does the same for live texts; a test compares them. Not a parser: a part that was cut out of a text
may contain only one of a pair of marks, which is removed, too. The time of each pattern is linear in the text; callers cut it first.
"""

import re

#: Marks that fill a whole line, or are at its beginning.
_BLOCKS = [
    re.compile(r"^[ \t]*(?:[-*_][ \t]*){3,}$", re.MULTILINE),
    re.compile(r"^[ \t]*(?:\|[ \t]*)?:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*(?:\|[ \t]*)?$", re.MULTILINE),
    re.compile(r"^[ \t]*\[(?!\^)[^\[\]\n]+\]:[ \t][^\n]*$", re.MULTILINE),
    re.compile(r"^(?:[ \t]*>)*[ \t]*(?:#{1,6}[ \t]+|[-*+][ \t]+(?:\[[ xX]\][ \t]+)?|\[![A-Za-z]+\])?", re.MULTILINE),
]
_ROW = re.compile(r"^[ \t]*\|([^\n]*)\|[ \t]*$", re.MULTILINE)
_FENCED = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*$(.*?)(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)

_TARGET = r"\([^()\n]*(?:\([^()\n]*\)[^()\n]*)?\)"
_INLINE = re.compile(
    # Code stays as it is.
    r"(?<!`)(?P<ticks>`+)(?P<code>[^`]+)(?P=ticks)(?!`)"
    r"|\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|&(?P<entity>amp|lt|gt|quot|nbsp);"
    r"|<(?P<address>(?:https?:|mailto:)[^<> \t\n]*)>"
    r"|</?(?P<tag>[A-Za-z]{1,10})[ \t]*/?>"
    r"|\[\^[^\[\]\n]*\]:?"
    rf"|\[?!\[(?P<picture>[^\[\]\n]*)\]{_TARGET}(?:\]{_TARGET})?"
    rf"|\[(?P<link>[^\[\]\n]*)\](?:{_TARGET}|\[[^\[\]\n]*\])"
    rf"|\]{_TARGET}"
    r"|(?<!\*)(?P<stars>\*{2,3})(?=[^ \t\n*])(?P<strong>[^*\n]+)(?<=[^ \t])(?P=stars)(?!\*)"
    r"|~~(?=[^ \t\n~])(?P<struck>[^~\n]+)~~"
    r"|(?<![A-Za-z0-9_])(?P<lines>_{1,3})(?=[^ \t\n_])(?P<stressed>[^_\n]+)(?<=[^ \t])(?P=lines)(?![A-Za-z0-9_])"
    # One of a pair of marks whose other is missing; a star between two numbers or names is no mark.
    r"|`+|(?<![A-Za-z0-9)\]*])\*{1,3}(?=[^ \t\n*])|(?<=[^ \t\n*])\*{1,3}(?![A-Za-z0-9(\[*])"
)
#: Each mark begins with one of these.
_SIGN = re.compile(r"[\\&<\[\]*`~_]")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "nbsp": " "}


def strip_markdown(text: str) -> str:
    """The plain text of Markdown; its line breaks stay."""
    pieces = []
    end = 0
    for fenced in _FENCED.finditer(text):
        pieces += [_strip_blocks(text[end : fenced.start()]), fenced[2]]
        end = fenced.end()
    return "".join([*pieces, _strip_blocks(text[end:])])


def _strip_blocks(text: str) -> str:
    for pattern in _BLOCKS:
        text = pattern.sub("", text)
    return _strip_inline(_ROW.sub(lambda row: " · ".join(cell.strip(" \t") for cell in row[1].split("|")), text))


def _strip_inline(text: str) -> str:
    # Most texts have no such character, and this check is faster than looking for marks.
    return _INLINE.sub(_words_of, text) if _SIGN.search(text) else text


def _words_of(mark: re.Match[str]) -> str:
    found = mark.groupdict()
    if (tag := found["tag"]) is not None:
        return " " if tag.lower() == "br" else "" if tag.lower() in _TAGS else mark[0]
    if found["entity"]:
        return _ENTITIES[found["entity"]]
    for name in ("code", "escaped", "address"):
        if found[name] is not None:
            return str(found[name])
    inside = next((found[name] for name in ("picture", "link", "strong", "struck", "stressed") if found[name]), "")
    # A mark contains none of its own kind, so the recursion is bounded.
    return _strip_inline(inside)


_TAGS = {"sub", "sup", "kbd", "del", "ins", "mark", "details", "summary", "br"}
