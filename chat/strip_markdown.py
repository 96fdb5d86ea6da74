"""A model's Markdown as words in a line: without its marks, for lists that show a piece of a text.

Mirrored by ``static/chat/lib/strip-markdown.js`` for what arrives live; tested equal. No parser: a piece that was cut out of a text has
marks without their others, and they go too. Each pattern takes time in proportion to the text, whatever it is; callers cut it first.
"""

import re

#: What takes up a line by itself, and what stands at the beginning of one.
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
    # Code is kept as it is.
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
    # The mark of what begins or ends elsewhere; a star between two numbers or names is none.
    r"|`+|(?<![A-Za-z0-9)\]*])\*{1,3}(?=[^ \t\n*])|(?<=[^ \t\n*])\*{1,3}(?![A-Za-z0-9(\[*])"
)
#: With one of these each mark begins.
_SIGN = re.compile(r"[\\&<\[\]*`~_]")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "nbsp": " "}


def strip_markdown(text: str) -> str:
    """The words of a Markdown text, line by line as they stand."""
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
    # Most pieces have none, and are looked through faster for that than for each mark.
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
    # It has no mark of its own kind in it, so this ends soon.
    return _strip_inline(inside)


_TAGS = {"sub", "sup", "kbd", "del", "ins", "mark", "details", "summary", "br"}
