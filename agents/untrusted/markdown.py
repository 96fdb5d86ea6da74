"""Renders the Markdown of models as safe HTML, with the grammar and the class names of ``static/chat/lib/markdown.js``.

Models' texts are untrusted: only a few harmless tags of HTML are kept, no images (a remote one tells its server who reads), no styles; and
the rendered HTML is passed through an allowlist. Runs in a worker: see ``agents.untrusted.pool``.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from mdit_py_plugins.footnote import footnote_plugin

from agents.untrusted import markdown_rules

_TAGS = set(
    "a blockquote br code del details div em h3 h4 h5 h6 header hr ins kbd li mark ol p pre s span strong sub summary sup table"
    " tbody td th thead tr ul".split()
)
_ATTRIBUTES = {
    "*": {"dir"},
    "a": {"href", "title", "target"},
    "code": {"data-language"},
    "details": {"open"},
    "ol": {"start"},
}
_ALLOWED_CLASSES = {
    "blockquote": {"alert", *markdown_rules.ALERTS},
    "div": {"codeblock", "x", "math", "footnotes"},
    "li": {"task"},
    "p": {"alert-title"},
    "pre": {"code"},
    "span": {"math", "host"},
    "table": {"grid"},
    "td": {"r", "m"},
    "th": {"r", "m"},
}


def render_markdown(text: str) -> str:
    """Render a model's Markdown as HTML."""
    return sanitize_html(_parser(text).render(text))


def sanitize_html(html: str) -> str:
    """Remove everything from HTML that is not on the allowlist."""
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_ALLOWED_CLASSES,
        url_schemes={"http", "https", "mailto", "tel"},
        # Relative addresses are dropped: models do not know ours, and "//evil" leads elsewhere.
        url_relative="deny",
        link_rel="noopener noreferrer nofollow",
    )


def _fence(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    """Code is only escaped: the browser colours it, in a worker that it kills if that takes long."""
    token = tokens[idx]
    info = token.info.split()
    language = info[0].lower() if info else ""
    return (
        f'<div class="codeblock"><header>{escape(language or "text")}</header>'
        f'<pre class="code"><code data-language="{escape(language)}">{escape(token.content)}</code></pre></div>\n'
    )


def _image(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    """A picture becomes a link, so that it is fetched only if the reader follows it."""
    token = tokens[idx]
    label = self.renderInlineAsText(token.children or [], options, env) or "image"
    address = str(token.attrs.get("src", ""))
    if not markdown_rules.leads_somewhere(address):
        return escape(label)
    host = markdown_rules.other_host(label, address)
    beside = f' <span class="host">({escape(host)})</span>' if host else ""
    return f'<a href="{escape(address)}" target="_blank">{escape(label)}</a>{beside}'


def _heading(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    """Headings of an answer are below those of the page."""
    token = tokens[idx]
    level = min(6, int(token.tag[1]) + 2)
    return f'<h{level} dir="auto">' if token.nesting == 1 else f"</h{level}>\n"


def _table(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    return '<div class="x"><table class="grid">\n' if tokens[idx].nesting == 1 else "</table></div>\n"


def _cell(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[idx]
    align = {"text-align:right": ' class="r"', "text-align:center": ' class="m"'}.get(str(token.attrs.get("style")), "")
    return f'<{token.tag}{align} dir="auto">'


def _math(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    """TeX as it was written; the page's script turns it into MathML."""
    tag = "div" if tokens[idx].type == "math_block" else "span"
    end = "\n" if tag == "div" else ""
    return f'<{tag} class="math">{escape(tokens[idx].content)}</{tag}>{end}'


def _host(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    return f' <span class="host">({escape(tokens[idx].content)})</span>'


def _footnote_ref(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    """A number without a link: the id of its target would be the same in each answer of a page."""
    return f"<sup>[{tokens[idx].meta['id'] + 1}]</sup>"


def _footnotes(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    return '<div class="footnotes">\n<ol>\n' if tokens[idx].nesting == 1 else "</ol>\n</div>\n"


def _footnote(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    return "<li>" if tokens[idx].nesting == 1 else "</li>\n"


def _nothing(self: RendererHTML, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
    return ""


def _build(*, footnotes: bool) -> MarkdownIt:
    md = MarkdownIt("js-default", {"html": False, "linkify": True})
    if footnotes:
        md.use(footnote_plugin, inline=False)
    markdown_rules.add_rules(md)
    rules: dict[str, Any] = {
        "fence": _fence,
        "code_block": _fence,
        "image": _image,
        "heading_open": _heading,
        "heading_close": _heading,
        "table_open": _table,
        "table_close": _table,
        "th_open": _cell,
        "td_open": _cell,
        "math_inline": _math,
        "math_block": _math,
        "link_host": _host,
        "footnote_ref": _footnote_ref,
        "footnote_block_open": _footnotes,
        "footnote_block_close": _footnotes,
        "footnote_open": _footnote,
        "footnote_close": _footnote,
        "footnote_anchor": _nothing,
    }
    for name, rule in rules.items():
        md.add_render_rule(name, rule)
    return md


_with_footnotes = _build(footnotes=True)
_without_footnotes = _build(footnotes=False)


def _parser(text: str) -> MarkdownIt:
    """A parser, with footnotes only for texts that are short enough: the library takes time that grows with the square of their number."""
    few = len(text) <= markdown_rules.FOOTNOTES_IN and text.count("[^") <= markdown_rules.MOST_FOOTNOTES
    return _with_footnotes if few else _without_footnotes
