"""Our additions to CommonMark, tables and strikethrough; ``static/chat/lib/markdown-rules.js`` has the same.

Each rule takes time proportional to the text: none reads further ahead than a fixed number of characters, or reads the same text twice.
``tests/agents/untrusted/test_linear.py`` checks that.
"""

import re
import unicodedata
from itertools import pairwise
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Scanned
from markdown_it.token import Token

ALERTS = ("note", "tip", "important", "warning", "caution")

#: The longest inline formula, and the longest address, in characters.
_LONGEST_FORMULA = 2_000
_LONGEST_ADDRESS = 2_000
#: The longest text in which footnotes are recognised, and the largest number of their marks.
FOOTNOTES_IN = 200_000
MOST_FOOTNOTES = 1_000


def add_rules(md: MarkdownIt) -> None:
    """Add our rules to a parser."""
    if md.linkify is not None:
        # main.py and README.md are not web sites.
        md.linkify.set({"fuzzy_link": False, "fuzzy_email": False})
    # The library's own two rules search the whole text for each address.
    md.core.ruler.disable("linkify")
    md.inline.ruler.at("linkify", _address)
    md.inline.ruler.before("escape", "math_inline", _math_inline)
    md.inline.ruler.before("html_inline", "harmless_tag", _harmless_tag)
    md.block.ruler.before("fence", "math_block", _math_block, {"alt": ["paragraph", "blockquote", "list"]})
    md.block.ruler.before("fence", "details", _details, {"alt": ["paragraph", "blockquote", "list"]})
    md.core.ruler.before("inline", "wide_spaces", _wide_spaces)
    md.core.ruler.before("inline", "alerts", _alerts)
    md.core.ruler.push("tasks", _tasks)
    md.core.ruler.push("links", _links)
    md.core.ruler.push("direction", _direction)
    StateInline.scanDelims = _scan_delims  # type: ignore[method-assign, assignment] # the parser has no other way to have it


# Formulas

_INLINE_MARKS = (("$$", "$$"), ("$", "$"), ("\\[", "\\]"), ("\\(", "\\)"))
_BLOCK_MARKS = (("$$", "$$"), ("\\[", "\\]"))
_ENVIRONMENT = re.compile(r"\\begin\{((?:equation|align|alignat|gather|multline|eqnarray|flalign)\*?)\}")
_WORD = re.compile(r"\s[A-Za-z]{2,}")


def _math_inline(state: StateInline, silent: bool) -> bool:
    r"""``$x$`` and ``\(x\)``; dollars that mean money or a variable of a shell do not begin a formula."""
    for opening, closing in _INLINE_MARKS:
        if not state.src.startswith(opening, state.pos):
            continue
        begin = state.pos + len(opening)
        end = _next_mark(state, closing, begin)
        is_near = end - begin <= _LONGEST_FORMULA and end + len(closing) <= state.posMax
        content = state.src[begin:end] if is_near else ""
        if not content.strip() or (opening == "$" and not _is_formula(state.src, state.pos, end)):
            continue
        if not silent:
            state.push("math_inline", "", 0).content = content
        state.pos = end + len(closing)
        return True
    return False


#: Where each mark was found last, and from where it was searched, so that no text is searched twice.
_marks: WeakKeyDictionary[StateInline, dict[str, tuple[int, int]]] = WeakKeyDictionary()


def _next_mark(state: StateInline, mark: str, begin: int) -> int:
    known = _marks.setdefault(state, {})
    since, at = known.get(mark, (0, -1))
    if not since <= begin <= at:
        found = state.src.find(mark, begin)
        at = found if found >= 0 else len(state.src) + _LONGEST_FORMULA
        known[mark] = begin, at
    return at


def _is_formula(src: str, start: int, end: int) -> bool:
    """Whether the text between single dollars at two positions is a formula."""
    content, before, after = src[start + 1 : end], src[start - 1 : start], src[end + 1 : end + 2]
    if before.isascii() and before.isalnum():  # US$
        return False
    if after.isascii() and (after.isalnum() or after in ("{", "_")):  # $5 to $6, $HOME:$PATH
        return False
    if content[0].isspace() or content[-1].isspace() or content[0] in "/,.;:!?)":
        return False
    # $5 more, or R$
    return not (content[0].isdecimal() and "\\" not in content and _WORD.search(content))


def _math_block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """A formula on lines of its own; its closing mark is at the end of a line."""
    first = _line(state, start_line).strip()
    for opening, closing, keep in _block_marks(first):
        lines = [first[len(opening) :]]
        line = _closing_line(state, start_line, end_line, lines, closing)
        if line is None:
            return False
        content = "\n".join(lines).rstrip()[: -len(closing)].strip()
        if not content:
            return False
        if silent:
            return True
        token = state.push("math_block", "", 0)
        token.content = f"{opening}{content}{closing}" if keep else content
        token.map = [start_line, line + 1]
        state.line = line + 1
        return True
    return False


def _block_marks(first: str) -> list[tuple[str, str, bool]]:
    """The marks that open and close a formula which begins on this line, and whether they are part of it."""
    if found := _ENVIRONMENT.match(first):
        return [(found.group(), f"\\end{{{found.group(1)}}}", True)]
    return [(opening, closing, False) for opening, closing in _BLOCK_MARKS if first.startswith(opening)]


def _closing_line(state: StateBlock, start: int, end: int, lines: list[str], closing: str) -> int | None:
    """The line that ends with the closing mark, before any empty line; lines that were read are added to ``lines``."""
    # From here, a search within the range that was already searched would fail, too.
    unclosed = state.env.setdefault("unclosed", {})
    key = (closing, end, state.blkIndent, state.level)
    first, last = unclosed.get(key, (0, 0))
    if first <= start < last and not lines[0].rstrip().endswith(closing):
        return None
    line = start
    while not lines[-1].rstrip().endswith(closing):
        line += 1
        if line >= end or state.isEmpty(line):
            unclosed[key] = (start, line)
            return None
        lines.append(_line(state, line))
    return line


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]


# Tags

_HARMLESS = re.compile(r"<(?:br[ ]?/?|/?(?:sub|sup|kbd|mark|ins))>", re.IGNORECASE)
_LONGEST_TAG = 8
_DETAILS = re.compile(r"<details( open)?>[ \t]*(?:<summary>(.*)</summary>)?", re.IGNORECASE)
_SUMMARY = re.compile(r"<summary>(.*)</summary>", re.IGNORECASE)


def _harmless_tag(state: StateInline, silent: bool) -> bool:
    """A few tags without attributes, which models use where Markdown has no syntax: ``<br>`` in a cell."""
    if state.src[state.pos] != "<":
        return False
    found = _HARMLESS.match(state.src[state.pos : state.pos + _LONGEST_TAG])
    if not found:
        return False
    if not silent:
        tag = found.group().lower()
        state.push("html_inline", "", 0).content = "<br>" if tag.startswith("<br") else tag
    state.pos += found.end()
    return True


def _details(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """``<details>`` on a line of its own, up to its ``</details>`` or the end; its content is Markdown."""
    found = (
        _DETAILS.fullmatch(_line(state, start_line).strip()) if state.sCount[start_line] - state.blkIndent < 4 else None
    )
    if not found:
        return False
    if silent:
        return True
    content, summary = start_line + 1, found.group(2)
    if summary is None and content < end_line and (named := _SUMMARY.fullmatch(_line(state, content).strip())):
        content, summary = content + 1, named.group(1)
    end = _end_of_details(state, content, end_line)
    opened = state.push("details_open", "details", 1)
    if found.group(1):
        opened.attrSet("open", "")
    state.push("summary_open", "summary", 1)
    inline = state.push("inline", "", 0)
    inline.content, inline.children, inline.map = (summary or "").strip() or "…", [], [start_line, content]
    state.push("summary_close", "summary", -1)
    line_max, state.lineMax = state.lineMax, end
    state.md.block.tokenize(state, content, end)
    state.lineMax = line_max
    state.push("details_close", "details", -1)
    state.line = min(end + 1, end_line)
    opened.map = [start_line, state.line]
    return True


def _end_of_details(state: StateBlock, start: int, end: int) -> int:
    depth = 1
    for line in range(start, end):
        text = _line(state, line).strip().lower()
        depth += 1 if _DETAILS.fullmatch(text) else -1 if text == "</details>" else 0
        if depth == 0:
            return line
    return end


# Addresses

_SCHEMES = ("https", "http", "mailto")
_SCHEME_LETTER = re.compile(r"[a-z0-9.+-]", re.IGNORECASE)
_SPACE = re.compile(r"\s")
_SOMEWHERE = re.compile(r"(?:https?|mailto|tel):", re.IGNORECASE)
#: What separates words in which addresses are searched, what ends an address's host, and what is invisible.
_NO_ADDRESS = re.compile(r"[^\w.\-:/?#@%]+")
_PATH = re.compile(r"[/?#]")
_UNSEEN = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def _address(state: StateInline, silent: bool) -> bool:
    """An address in the text becomes a link."""
    if state.linkLevel > 0 or state.src[state.pos] != ":":
        return False
    before = state.src[max(0, state.pos - 8) : state.pos]
    scheme = next((name for name in _SCHEMES if before.lower().endswith(name)), "")
    if not scheme or _SCHEME_LETTER.match(before[: -len(scheme)][-1:]):
        return False
    start = state.pos - len(scheme)
    ahead = state.src[start : start + _LONGEST_ADDRESS]
    space = _SPACE.search(ahead)
    if space is None and start + _LONGEST_ADDRESS < len(state.src):
        return False
    ahead = ahead[: space.start()] if space else ahead
    # Text before "@" only looks like a host.
    is_blind = scheme != "mailto" and "@" in _PATH.split(ahead[len(scheme) + 3 :], maxsplit=1)[0]
    link = state.md.linkify.match_at_start(ahead) if state.md.linkify and not is_blind else None
    if link is None or not state.pending.endswith(before[-len(scheme) :]):
        return False
    # A star at its end belongs to the text around it.
    url = str(link.url).rstrip("*")
    href = state.md.normalizeLink(url)
    if not state.md.validateLink(href):
        return False
    if not silent:
        state.pending = state.pending[: -len(scheme)]
        state.push("link_open", "a", 1).attrs = {"href": href}
        state.push("text", "", 0).content = state.md.normalizeLinkText(url)
        state.push("link_close", "a", -1)
    state.pos = start + len(url)
    return True


def leads_somewhere(address: str) -> bool:
    """Whether a reader can follow an address."""
    return _SOMEWHERE.match(address) is not None


def other_host(text: str, address: str) -> str:
    """The host of an address, if the link's text names another host; else empty."""
    try:
        parts = urlsplit(address)
        host = (parts.hostname or parts.path.rpartition("@")[2]).removeprefix("www.")
    except ValueError:
        host = ""
    for word in _NO_ADDRESS.split(_UNSEEN.sub("", unicodedata.normalize("NFKC", text[:500]))):
        named, is_credible = _host_in(word)
        if named and (not is_credible or (named != host and not host.endswith(f".{named}"))):
            return host or address[:80]
    return ""


def _host_in(word: str) -> tuple[str, bool]:
    """The host that a word looks like, if it does, and whether a browser would show the same host."""
    authority = _PATH.split(word.partition("://")[2] if "://" in word else word, maxsplit=1)[0]
    name, _, after = authority.rpartition("@")
    named = after.partition(":")[0].strip(".-").lower().removeprefix("www.")
    last = named.rpartition(".")[2] if "." in named else ""
    if len(last) < 2 or not (last.isalpha() or last.startswith("xn--")):
        return "", True
    return named, "://" not in word or not name


def _links(state: StateCore) -> None:
    """A link that leads nowhere becomes text; if a link's text names another host, the real host is shown next to it."""
    for token in state.tokens:
        children = token.children
        if token.type != "inline" or not children or not any(child.type == "link_open" for child in children):
            continue
        kept: list[Token] = []
        opened: list[tuple[Token, int]] = []
        for child in children:
            if child.type == "link_open":
                child.attrSet("target", "_blank")
                opened.append((child, len(kept)))
            kept.append(child)
            if child.type == "link_close" and opened:
                kept += _beside(*opened.pop(), kept, child)
        token.children = kept


def _beside(opening: Token, at: int, kept: list[Token], closing: Token) -> list[Token]:
    address = str(opening.attrs.get("href", ""))
    text = "".join(child.content for child in kept[at + 1 :])
    if leads_somewhere(address):
        shown = other_host(text, address)
    else:
        for token in (opening, closing):
            token.type, token.tag, token.nesting, token.attrs = "text", "", 0, {}
        shown = "" if address.startswith("#") or address in text else address[:200]
    if not shown:
        return []
    beside = Token("link_host", "", 0)
    beside.content = shown
    return [beside]


# Lists and boxes

_TASK = re.compile(r"\[([ xX])\][ \t]+(?=\S)")
_ALERT = re.compile(rf"\[!({'|'.join(ALERTS)})\][ \t]*(?:\n|$)", re.IGNORECASE)


def _tasks(state: StateCore) -> None:
    """``- [ ] to do``."""
    for at in range(2, len(state.tokens)):
        item, paragraph, inline = state.tokens[at - 2 : at + 1]
        if (item.type, paragraph.type, inline.type) != ("list_item_open", "paragraph_open", "inline"):
            continue
        if (found := _TASK.match(inline.content)) and inline.children and inline.children[0].type == "text":
            first = inline.children[0]
            # The parser's next token may begin within the space after the mark.
            first.content = ("☐ " if found.group(1) == " " else "☑ ") + first.content[3:].lstrip()
            item.attrSet("class", "task")


def _wide_spaces(state: StateCore) -> None:
    """Paragraphs lose the spaces and tabs around them, as in CommonMark, but no others: Chinese paragraphs begin with wide spaces."""
    lines = state.src.split("\n")
    for opening, inline in pairwise(state.tokens):
        if opening.type not in ("paragraph_open", "heading_open") or inline.map is None:
            continue
        rows, texts = lines[slice(*inline.map)], inline.content.split("\n")
        first = next((at for at, row in enumerate(rows) if row.rstrip().endswith(texts[0].rstrip())), 0)
        last = first + len(texts) - 1
        row = rows[first] if rows[first].endswith(texts[0]) else rows[first].rstrip()
        before = [*map(_wide, rows[:first]), _wide(row[: len(row) - len(texts[0])]) if row.endswith(texts[0]) else ""]
        after = [_wide(rows[last]) if texts[-1] and rows[last].rstrip().endswith(texts[-1]) else ""]
        after += map(_wide, rows[last + 1 :]) if opening.type == "paragraph_open" else ()
        inline.content = "\n".join(before).lstrip(" \t\n") + inline.content + "\n".join(after).rstrip(" \t\n")


def _wide(text: str) -> str:
    """The white space at the end of a text, without the spaces and tabs before it."""
    return text[len(text.rstrip()) :].lstrip(" \t")


def _alerts(state: StateCore) -> None:
    """``> [!NOTE]``."""
    tokens: list[Token] = []
    for at, token in enumerate(state.tokens):
        tokens.append(token)
        if token.type != "blockquote_open" or at + 2 >= len(state.tokens):
            continue
        paragraph, inline = state.tokens[at + 1 : at + 3]
        if paragraph.type == "paragraph_open" and (found := _ALERT.match(inline.content)):
            kind = found.group(1).lower()
            token.attrSet("class", f"alert {kind}")
            inline.content = inline.content[found.end() :]
            if inline.content:
                tokens += _title(kind.capitalize(), paragraph)
            else:
                inline.content = kind.capitalize()
                paragraph.attrSet("class", "alert-title")
    state.tokens = tokens


def _title(text: str, beside: Token) -> list[Token]:
    opening, inline, closing = (
        Token("paragraph_open", "p", 1),
        Token("inline", "", 0),
        Token("paragraph_close", "p", -1),
    )
    opening.attrSet("class", "alert-title")
    inline.content, inline.children = text, []
    for token in (opening, inline, closing):
        token.block, token.level, token.map = True, beside.level + (token is inline), beside.map
    return [opening, inline, closing]


_DIRECTED = {"paragraph_open", "blockquote_open", "bullet_list_open", "ordered_list_open", "details_open"}


def _direction(state: StateCore) -> None:
    """Each block has the direction of its own text; lists and quotations have one as a whole, so that their marks are on one side."""
    for token in state.tokens:
        if token.level == 0 and token.type in _DIRECTED:
            token.attrSet("dir", "auto")


# Emphasis beside Chinese, Japanese and Korean

#: Letters and punctuation that are written without spaces between words; the browser's renderer has the same.
CJK = re.compile(
    "[\u1100-\u11ff\u20a9\u2329-\u232a\u2630-\u2637\u268a-\u268f\u2e80-\u2e99\u2e9b-\u2ef3\u2f00-\u303e\u3041-\u3247\u3250-\ua4c6"
    "\ua960-\ua97c\uac00-\ud7fb\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6b\uff01-\uffee\U00016fe0-\U00018dff\U0001aff0-\U0001b2ff"
    "\U0001d300-\U0001d376\U0001f200\U0001f202\U0001f210-\U0001f219\U0001f21b-\U0001f22e\U0001f230-\U0001f231\U0001f237"
    "\U0001f23b\U0001f240-\U0001f248\U00020000-\U0003fffd]"
)


def _scan_delims(self: StateInline, start: int, can_split_word: bool) -> Scanned:
    """Whether stars and similar marks open or close emphasis, by CommonMark with the CJK-friendly rule of markdown-cjk-friendly.

    (Its package for Python takes no parser since version 4, the one for browsers is not a single file.)
    """
    end = start
    while end < self.posMax and self.src[end] == self.src[start]:
        end += 1
    before = self.src[start - 1] if start > 0 else " "
    after = self.src[end] if end < self.posMax else " "
    if "\ufe00" <= before <= "\ufe0e" and start > 1:
        before = self.src[start - 2]
    if isWhiteSpace(ord(before)) or isWhiteSpace(ord(after)):
        return Scanned(not isWhiteSpace(ord(after)), not isWhiteSpace(ord(before)), end - start)
    opens = was_punctuation = _is_punctuation(before)
    closes = is_punctuation = _is_punctuation(after)
    if can_split_word:
        cjk = CJK.match(before) is not None or CJK.match(after) is not None
        opens = opens or cjk or not is_punctuation
        closes = closes or cjk or not was_punctuation
    return Scanned(opens, closes, end - start)


def _is_punctuation(char: str) -> bool:
    return isMdAsciiPunct(ord(char)) or isPunctChar(char)
