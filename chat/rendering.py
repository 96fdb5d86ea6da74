"""Markdown of models → HTML that is safe to show, with the grammar and the class names of ``static/chat/markdown.js``.

What a model wrote is untrusted: no HTML of its own, no images (a remote one tells its server who reads), no styles; and what
the renderer makes of it goes through an allowlist once more.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, Operator, String, _TokenType, is_token_subtype
from pygments.util import ClassNotFound

#: Pygments' kinds of token as highlight.js names them; the first that fits wins.
_CLASSES: tuple[tuple[_TokenType, str], ...] = (
    (Comment, "hljs-comment"),
    (Keyword.Constant, "hljs-literal"),
    (Keyword.Type, "hljs-type"),
    (Keyword, "hljs-keyword"),
    (Operator.Word, "hljs-keyword"),
    (String, "hljs-string"),
    (Number, "hljs-number"),
    (Name.Builtin, "hljs-built_in"),
    (Name.Function, "hljs-title"),
    (Name.Class, "hljs-title"),
    (Name.Decorator, "hljs-meta"),
    (Name.Attribute, "hljs-attr"),
    (Name.Tag, "hljs-attr"),
)
#: Longer code is shown without colours.
_HIGHLIGHT_LIMIT = 20_000

#: Characters of a text that are read for its words.
_PLAIN_LIMIT = 1_000

_TAGS = frozenset(
    [
        "a",
        "blockquote",
        "br",
        "code",
        "del",
        "div",
        "em",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "ol",
        "p",
        "pre",
        "s",
        "span",
        "strong",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
_ATTRIBUTES = {"a": {"href", "title", "target"}, "ol": {"start"}}
_ALLOWED_CLASSES = {
    "div": {"codeblock", "x", "math"},
    "pre": {"code"},
    "span": {"math", *(name for _, name in _CLASSES)},
    "table": {"grid"},
    "td": {"r", "m"},
    "th": {"r", "m"},
}


@lru_cache(maxsize=512)
def markdown(text: str) -> SafeString:
    """Render a model's Markdown."""
    return mark_safe(_clean(_markdown.render(text)))  # noqa: S308 - what the allowlist has let through


def plain(text: str) -> str:
    """The beginning of a model's Markdown as words alone, without its marks."""
    return " ".join(_said(_markdown.parse(text[:_PLAIN_LIMIT])))


def _said(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in ("inline", "image"):
            yield "".join(_said(token.children or ()))
        elif token.type in ("softbreak", "hardbreak"):
            yield " "
        elif token.content:
            yield token.content


def _clean(html: str) -> str:
    return nh3.clean(
        html,
        tags=set(_TAGS),
        attributes=_ATTRIBUTES,
        allowed_classes=_ALLOWED_CLASSES,
        url_schemes={"http", "https", "mailto"},
        # A model knows no address of ours; what looks like one leads elsewhere ("//evil") or somewhere unasked.
        url_relative="deny",
        link_rel="noopener noreferrer nofollow",
    )


def highlight(code: str, language: str) -> str:
    """Colour code by classes alone; an unknown language stays plain."""
    if not language or len(code) > _HIGHLIGHT_LIMIT:
        return escape(code)
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escape(code)
    parts: list[str] = []
    for kind, value in lexer.get_tokens(code):
        css_class = next((name for known, name in _CLASSES if is_token_subtype(kind, known)), "")
        parts.append(f'<span class="{css_class}">{escape(value)}</span>' if css_class else escape(value))
    return "".join(parts)


def _fence(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[idx]
    info = token.info.split()
    language = info[0].lower() if info else ""
    return (
        f'<div class="codeblock"><header>{escape(language or "text")}</header>'
        f'<pre class="code"><code>{highlight(token.content, language)}</code></pre></div>\n'
    )


def _image(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    """A picture becomes a link to it: it is fetched only by who wants to see it."""
    token = tokens[idx]
    words = self.renderInlineAsText(token.children or [], options, env) or "image"
    return f'<a href="{escape(str(token.attrs.get("src", "")))}" target="_blank">{escape(words)}</a>'


def _link_open(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    tokens[idx].attrSet("target", "_blank")
    return self.renderToken(tokens, idx, options, env)


def _heading(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    """Headings of an answer stand below those of the page."""
    token = tokens[idx]
    level = min(6, int(token.tag[1]) + 2)
    return f"<h{level}>" if token.nesting == 1 else f"</h{level}>\n"


def _table(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    return '<div class="x"><table class="grid">\n' if tokens[idx].nesting == 1 else "</table></div>\n"


def _cell(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[idx]
    align = {"text-align:right": ' class="r"', "text-align:center": ' class="m"'}.get(str(token.attrs.get("style")), "")
    return f"<{token.tag}{align}>"


def _math(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    """TeX as it was written; the page's script turns it into MathML."""
    tag = "div" if tokens[idx].type == "math_block" else "span"
    end = "\n" if tag == "div" else ""
    return f'<{tag} class="math">{escape(tokens[idx].content)}</{tag}>{end}'


#: Opening and closing marks of formulas, longest first.
_INLINE_MARKS = (("$$", "$$"), ("$", "$"), ("\\[", "\\]"), ("\\(", "\\)"))
_BLOCK_MARKS = (("$$", "$$"), ("\\[", "\\]"))


def _math_inline(state: StateInline, silent: bool) -> bool:
    r"""``$x$``, ``\(x\)``; a dollar before a space or after one, or before a digit, is money."""
    for opening, closing in _INLINE_MARKS:
        if not state.src.startswith(opening, state.pos):
            continue
        begin = state.pos + len(opening)
        end = state.src.find(closing, begin)
        content = state.src[begin:end] if end > 0 else ""
        if not content.strip() or end + len(closing) > state.posMax:
            continue
        after = state.src[end + 1 : end + 2]
        if opening == "$" and (content[0].isspace() or content[-1].isspace() or (after.isascii() and after.isdigit())):
            continue
        if not silent:
            state.push("math_inline", "", 0).content = content
        state.pos = end + len(closing)
        return True
    return False


def _math_block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """A formula on lines of its own, closed by its mark at the end of a line."""
    first = state.src[state.bMarks[start_line] + state.tShift[start_line] : state.eMarks[start_line]].strip()
    for opening, closing in _BLOCK_MARKS:
        if not first.startswith(opening):
            continue
        lines = [first[len(opening) :]]
        line = start_line
        while not lines[-1].rstrip().endswith(closing):
            line += 1
            if line >= end_line or state.isEmpty(line):
                return False
            lines.append(state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]])
        content = "\n".join(lines).rstrip()[: -len(closing)].strip()
        if not content:
            return False
        if silent:
            return True
        token = state.push("math_block", "", 0)
        token.content = content
        token.map = [start_line, line + 1]
        state.line = line + 1
        return True
    return False


def _build() -> MarkdownIt:
    md = MarkdownIt("js-default", {"html": False, "linkify": True})
    if md.linkify is not None:
        # main.py and README.md are no web sites.
        md.linkify.set({"fuzzy_link": False, "fuzzy_email": False})
    md.inline.ruler.before("escape", "math_inline", _math_inline)
    md.block.ruler.before("fence", "math_block", _math_block, {"alt": ["paragraph", "blockquote", "list"]})
    rules: dict[str, Any] = {
        "fence": _fence,
        "code_block": _fence,
        "image": _image,
        "link_open": _link_open,
        "heading_open": _heading,
        "heading_close": _heading,
        "table_open": _table,
        "table_close": _table,
        "th_open": _cell,
        "td_open": _cell,
        "math_inline": _math,
        "math_block": _math,
    }
    for name, rule in rules.items():
        md.add_render_rule(name, rule)
    return md


_markdown = _build()
