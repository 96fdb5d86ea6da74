"""Markdown of models becomes harmless HTML, and the page is served whatever the text is."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.untrusted import markdown
from agents.untrusted.pool import Pool
from chat.rendering import markdown as rendering_markdown
from tests.markdown_cases import CASES

SAFE_TAGS = set(
    "a blockquote br code del details div em h3 h4 h5 h6 header hr ins kbd li mark ol p pre s span strong sub summary sup table tbody td th"
    " thead tr ul".split()
)
SAFE_ATTRIBUTES = {"class", "data-language", "dir", "href", "open", "rel", "start", "target", "title"}


class Inspector(HTMLParser):
    """Fails on anything that runs, loads or styles."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SAFE_TAGS, tag
        for name, value in attrs:
            assert name in SAFE_ATTRIBUTES, (tag, name)
            if name == "href":
                assert re.match(r"(?i)(https?:|mailto:|tel:)", value or ""), value
            if name == "class":
                assert re.fullmatch(
                    r"(codeblock|x|math|code|grid|r|m|host|task|footnotes|alert-title|alert (note|tip|important|warning|caution))",
                    value or "",
                ), value


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
    "<details open ontoggle=alert(1)><summary><img src=x onerror=alert(1)></summary>",
    "<details>\n<summary><img src=x onerror=alert(1)></summary>\n<script>alert(1)</script>\n</details>",
    "<sub onclick=alert(1)>x</sub>",
    "x[^<script>alert(1)</script>]\n\n[^<script>alert(1)</script>]: <img src=x>",
    "> [!NOTE]<script>alert(1)</script>",
    "[<img src=x>](docs/<script>alert(1)</script>)",
    "\\begin{align}</div><script>alert(1)</script>\\end{align}",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_runs_loads_or_styles(attack: str) -> None:
    html = markdown.render_markdown(attack)
    inspect(html)
    assert "<script" not in html
    assert "<img" not in html


@given(st.lists(st.one_of(st.sampled_from(ATTACKS), st.text(max_size=20)), max_size=6).map("\n".join))
def test_no_mixture_runs_loads_or_styles(text: str) -> None:
    inspect(markdown.render_markdown(text))


@pytest.mark.parametrize(("text", "html"), CASES)
def test_markdown_of_models_is_rendered(text: str, html: str) -> None:
    assert markdown.render_markdown(text).replace(' dir="auto"', "").strip() == html


def test_each_block_reads_in_the_direction_of_its_words() -> None:
    html = markdown.render_markdown("# a\n\nb\n\n- c\n\n> d\n\n| e |\n|--|\n| f |\n")
    assert re.findall(r"<(\w+)(?: class=\"\w+\")? dir=\"auto\"", html) == ["h3", "p", "ul", "blockquote", "th", "td"]


@pytest.mark.parametrize("language", ["", "nosuchlanguage", "python " + "x" * 50])
def test_any_language_is_shown(language: str) -> None:
    assert "1 &lt; 2" in markdown.render_markdown(f"```{language}\n1 < 2\n```")


def test_links_lead_outside_and_tell_nothing() -> None:
    html = markdown.render_markdown("see https://a.example/x and [b](https://b.example)")
    assert html.count('target="_blank"') == 2
    assert html.count('rel="noopener noreferrer nofollow"') == 2


def test_a_picture_becomes_a_link_to_it() -> None:
    html = markdown.render_markdown("![a map](https://maps.example/1.png)")
    assert '<a href="https://maps.example/1.png"' in html
    assert ">a map</a>" in html


#: Takes the renderer extremely long.
ENDLESS = "[" * 400_000


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Rendering with a short timeout and an empty cache; returns how many texts each call of a worker had."""
    trips: list[int] = []

    class Counted(Pool):
        def run_each(self, function: str, items: Sequence[Sequence[Any]], **options: Any) -> list[Any]:
            trips.append(len(items))
            return super().run_each(function, items, **options)

    pool = Counted(2, "agents.untrusted.markdown")
    pool.preload()
    monkeypatch.setattr(rendering_markdown, "_pool", pool)
    monkeypatch.setattr(rendering_markdown, "_results", rendering_markdown._Results())
    monkeypatch.setattr(rendering_markdown, "_CPU_S", 0.3)
    monkeypatch.setattr(rendering_markdown, "_PAGE_S", 20.0)
    yield trips
    pool.close()


def test_a_text_that_takes_too_long_is_shown_as_it_is_and_not_tried_again(impatient: list[int]) -> None:
    for _ in range(3):
        html = rendering_markdown.markdown(f"{ENDLESS}<b>")
        assert re.fullmatch(r'<p class="unrendered" dir="auto">\[+&lt;b&gt;</p>', html)
    assert impatient == [1]


def test_a_slow_text_costs_no_other_text_of_the_page_its_markup(impatient: list[int]) -> None:
    done = rendering_markdown.prepare_markdown(["**a**", ENDLESS, "**b**"])
    assert [html and "<strong>" in html for html in done.values()] == [True, None, True]


def test_a_page_of_many_texts_costs_one_trip(impatient: list[int]) -> None:
    texts = [f"**{number}**" for number in range(200)]
    rendering_markdown.prepare_markdown(texts)
    assert [rendering_markdown.markdown(text) for text in texts] == [markdown.render_markdown(text) for text in texts]
    assert impatient == [200]


def test_a_text_that_was_not_prepared_is_shown_unrendered(impatient: list[int]) -> None:
    rendering_markdown.prepare_markdown(["**a**"])
    assert rendering_markdown.prepared_markdown("**a**") == '<p dir="auto"><strong>a</strong></p>\n'
    assert rendering_markdown.prepared_markdown("**b** <") == '<p class="unrendered" dir="auto">**b** &lt;</p>'
    assert impatient == [1]


def test_the_newest_thoughts_are_rendered_with_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering_markdown, "THOUGHT_CHARACTERS", 10)
    assert list(rendering_markdown.newest_thoughts(["aaaa", "bbbb", "cccc"])) == ["cccc", "bbbb"]
    assert list(rendering_markdown.newest_thoughts(["a", "b" * 11])) == []


def test_a_second_request_for_the_same_text_waits_for_the_first(impatient: list[int]) -> None:
    with ThreadPoolExecutor(10) as people:
        pages = list(people.map(rendering_markdown.markdown, [ENDLESS] * 10))
    assert len(set(pages)) == 1
    assert impatient == [1]


def test_a_worker_that_fails_is_no_error_of_the_page(impatient: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Pool(1, "nosuchmodule")
    monkeypatch.setattr(rendering_markdown, "_pool", broken)
    assert rendering_markdown.markdown("*a*") == '<p class="unrendered" dir="auto">*a*</p>'
    broken.close()
