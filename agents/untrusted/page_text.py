"""Converts HTML to readable text: title, headings, paragraphs, lists, tables, and links with their addresses.

Parses the page as a stream of tags, in slices, without building a tree: tree builders take hours for a few megabytes of nested or
attribute-laden markup. Stops as soon as it has enough text. Runs in a worker, which is killed if it takes long all the same: see
``agents.untrusted.pool``.
"""

import re
from html.parser import HTMLParser
from urllib.parse import urljoin

import webencodings

_SLICE = 16_384
_LONGEST_TAG = 131_072
_SKIPPED = frozenset(
    [
        "script",
        "style",
        "noscript",
        "template",
        "svg",
        "canvas",
        "iframe",
        "object",
        "head",
        "nav",
        "aside",
        "footer",
        "form",
        "button",
        "dialog",
        "select",
    ]
)
_PARAGRAPHS = frozenset(["p", "pre", "blockquote", "table", "section", "article", "h1", "h2", "h3", "h4", "h5", "h6"])
_LINES = frozenset(
    [
        "address",
        "body",
        "br",
        "center",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "header",
        "hr",
        "li",
        "main",
        "menu",
        "ol",
        "search",
        "summary",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
    ]
)
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_META_CHARSET = re.compile(rb"""<meta[^>]{1,500}?charset\s*=\s*["']?\s*([\w-]+)""", re.IGNORECASE)


def decode_body(body: bytes, charset: str | None) -> str:
    """Decode ``body``; what cannot be decoded becomes U+FFFD.

    ``charset`` is one of the encodings that browsers know. Python knows more, and for some of those decoding takes the square of the
    length.
    """
    known = webencodings.lookup(charset or "") or webencodings.UTF8
    text: str = webencodings.decode(body, known, errors="replace")[0]
    return text


def decode_start(body: bytes, charset: str | None, limit: int) -> str:
    """The first ``limit`` characters of a plain text."""
    return decode_body(body, charset)[:limit]


def from_html(body: bytes, charset: str | None, url: str, limit: int) -> tuple[str, str]:
    """Title and text of the page at ``url``; the text ends soon after ``limit`` characters."""
    html = decode_body(body, charset or _declared(body))
    reader = _Reader(url, limit)
    at = 0
    while at < len(html) and not reader.done:
        reader.feed(html[at : at + _SLICE])
        at += _SLICE
        if end := reader.stuck_until():
            found = html.find(end, at)
            at = len(html) if found < 0 else found + len(end)
    if not reader.done:
        # The parser holds back text until a tag follows.
        reader.feed("<br>")
    return reader.title.strip(), reader.text.strip()


def _declared(body: bytes) -> str | None:
    """The encoding that a page declares; None for encodings in which the declaration could not have been read."""
    found = _META_CHARSET.search(body[:4_096])
    label = found.group(1).decode("ascii", "replace") if found else ""
    return None if label.lower().startswith("utf-16") else label or None


class _Reader(HTMLParser):
    def __init__(self, url: str, limit: int) -> None:
        super().__init__(convert_charrefs=True)
        self.done = False
        self._title: list[str] = []
        self._in_title = False
        self._out: list[str] = []
        self._length = 0
        self._limit = limit
        self._base = url
        self._skip = ""
        self._skip_depth = 0
        self._pre = 0
        self._links: list[str] = []
        self._in_main = False

    def stuck_until(self) -> str:
        """What ends a tag or comment that is too long; the parser then discards it. Empty if there is none.

        Embedded pictures are such tags. Reading on would cost more with each slice.
        """
        if len(self.rawdata) < _LONGEST_TAG or self.cdata_elem is not None:
            return ""
        end = "-->" if self.rawdata.startswith("<!--") else ">"
        self.rawdata = ""
        return end

    @property
    def title(self) -> str:
        return " ".join("".join(self._title).split())

    @property
    def text(self) -> str:
        return "".join(self._out)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title" and self._skip in ("", "head") and not self._title:
            self._in_title = True
        if tag == "base" and (href := dict(attrs).get("href")):
            self._base = self._absolute(href) or self._base
        if self._skip:
            self._skip_depth += tag == self._skip
            if tag == "body":  # a head that was never closed ends here
                self._skip = ""
        elif tag in _SKIPPED:
            self._skip, self._skip_depth = tag, 1
        else:
            self._open(tag, dict(attrs))

    def _open(self, tag: str, attrs: dict[str, str | None]) -> None:
        if tag == "main" and not self._in_main:
            # What came before belongs to the site, not to the page.
            self._out.clear()
            self._length = 0
            self._in_main = True
        self._break_for(tag)
        if tag in _HEADINGS:
            self._put("#" * int(tag[1]) + " ")
        elif tag == "li":
            self._put("- ")
        elif tag in ("td", "th") and self._out and not self._out[-1].endswith("\n"):
            self._put(" | ")
        elif tag == "pre":
            self._pre += 1
        elif tag == "a":
            self._links.append(self._absolute(attrs.get("href") or ""))
        elif tag == "img" and (alt := " ".join((attrs.get("alt") or "").split())):
            self._put(f"[image: {alt}]")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # In HTML the slash has no meaning, but in SVG, which is skipped, it has.
        if not self._skip:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if self._skip:
            self._skip_depth -= tag == self._skip
            if self._skip_depth == 0:
                self._skip = ""
            return
        if tag == "a" and self._links:
            target = self._links.pop()
            if target and self._out and self._out[-1] != "\n\n":
                self._put(f" ({target})")
        elif tag == "pre":
            self._pre = max(0, self._pre - 1)
        elif tag == "main":
            self.done = True
        self._break_for(tag)

    def parse_html_declaration(self, i: int) -> int:
        """Handle ``<![…>`` as a comment, as browsers do: the parser would fail on some of it."""
        return self.parse_bogus_comment(i) if self.rawdata.startswith("<![", i) else super().parse_html_declaration(i)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title.append(data)
        elif self._skip:
            return
        elif self._pre:
            self._put(data)
        elif words := data.split():
            before = " " if data[0].isspace() and self._wants_space() else ""
            after = " " if data[-1].isspace() else ""
            self._put(before + " ".join(words) + after)
        elif self._wants_space():
            self._put(" ")

    def _wants_space(self) -> bool:
        return bool(self._out) and not self._out[-1].endswith((" ", "\n"))

    def _put(self, text: str) -> None:
        if self.done:
            return
        self._out.append(text)
        self._length += len(text)
        if self._length > self._limit:
            self.done = True

    def _break_for(self, tag: str) -> None:
        """End the line; paragraphs are separated by one empty line, however many breaks follow each other."""
        wanted = 2 if tag in _PARAGRAPHS else 1 if tag in _LINES else 0
        if not wanted or self.done:
            return
        while self._out and not (stripped := self._out[-1].rstrip(" ")):
            self._out.pop()
        if not self._out:
            return
        self._out[-1] = stripped
        ending = "".join(self._out[-2:])[-2:]
        there = len(ending) - len(ending.rstrip("\n"))
        if there < wanted:
            self._put("\n" * (wanted - there))

    def _absolute(self, href: str) -> str:
        href = href.strip()
        if not href or href.startswith("#"):
            return ""
        try:
            target = urljoin(self._base, href)
        except ValueError:
            return ""
        return target[:300] if target.startswith(("http://", "https://", "mailto:")) else ""
