"""HTML as text, hostile HTML too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.untrusted.page_text import decode_body, from_html
from tests.agents.untrusted.linear import assert_linear

#: Some of them take quadratic time, others contain no text.
NOT_OF_THE_WEB = [
    "punycode",
    "idna",
    "utf-7",
    "raw_unicode_escape",
    "unicode_escape",
    "mbcs",
    "hex",
    "base64",
    "zlib",
    "rot13",
    "undefined",
]

PAGE = "http://site.test/folder/page"


def text_of(html: str, limit: int = 10_000) -> str:
    return from_html(html.encode(), None, PAGE, limit)[1]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>Title</h1><p>One.</p><p>Two.</p>", "# Title\n\nOne.\n\nTwo."),
        ("<h3>Small</h3>text", "### Small\n\ntext"),
        ("one  \n two<br>three", "one two\nthree"),
        ("a<b>b</b>c <i>d</i>", "abc d"),
        ("<div>a</div><div>b</div>", "a\nb"),
        ("<p>intro</p><ul><li>a<li>b<ul><li>c</ul></ul>", "intro\n\n- a\n- b\n- c"),
        ("<table><tr><th>H<th>I<tr><td>1</td><td>2</td></table>", "H | I\n1 | 2"),
        ("<pre>def f():\n    return 1\n\nf()</pre>end", "def f():\n    return 1\n\nf()\n\nend"),
        ('see <a href="/x?y=1&amp;z=2">this</a>.', "see this (http://site.test/x?y=1&z=2)."),
        ('<a href="other">rel</a>', "rel (http://site.test/folder/other)"),
        ('<base href="https://cdn.test/"><a href="x">based</a>', "based (https://cdn.test/x)"),
        ('<a href="#part">here</a> <a href="javascript:x()">js</a> <a>none</a>', "here js none"),
        ('<a href="http://[bad">bad</a>', "bad"),
        ('<img alt="a  cat"> <img src="x">', "[image: a cat]"),
        ("&lt;b&gt; &amp; &#22825;", "<b> & 天"),
        ("<!-- no --><![CDATA[x]]><![endif]><?php x ?>yes", "yes"),
        ("tail without a tag", "tail without a tag"),
        ("", ""),
    ],
)
def test_html_as_text(html: str, text: str) -> None:
    assert text_of(html) == text


@pytest.mark.parametrize(
    "tag", ["script", "style", "noscript", "template", "svg", "nav", "aside", "footer", "form", "head", "select"]
)
def test_scripts_and_the_like_are_left_out(tag: str) -> None:
    assert text_of(f"<p>before</p><{tag}><p>hidden</p><{tag}>too</{tag}></{tag}><p>after</p>").split() == [
        "before",
        "after",
    ]


def test_an_embedded_picture_is_stepped_over() -> None:
    picture = f'<img alt="big" src="data:image/png;base64,{"A" * 3_000_000}">'
    comment = f"<!-- {'<p>no</p>' * 50_000} -->"
    assert text_of(f"<p>before</p>{picture}{comment}<p>after</p>") == "before\n\nafter"


def test_a_long_script_is_no_reason_to_stop() -> None:
    assert text_of(f"<p>before</p><script>{'x = 1;' * 100_000}</script><p>after</p>") == "before\n\nafter"


def test_the_main_part_is_enough() -> None:
    assert text_of("<p>site</p><main><h2>Part</h2><p>text</p></main><p>more site</p>") == "## Part\n\ntext"


def test_a_head_that_is_never_closed_ends_with_the_body() -> None:
    assert from_html(b"<head><title>T</title><body>text", None, PAGE, 100) == ("T", "text")


def test_the_title_is_one_line_and_the_first_one() -> None:
    assert from_html(b"<title> A\n b &amp; c</title><svg><title>icon</title></svg>x", None, PAGE, 100) == (
        "A b & c",
        "x",
    )


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("天".encode(), None, "天"),
        ("\ufeff天".encode(), None, "天"),
        ("天".encode("big5"), "big5", "天"),
        (b"\xff\xfd", "utf-8", "\ufffd\ufffd"),
        # The byte order mark of a page counts for more than its header.
        ("天".encode("utf-16"), "utf-8", "天"),
        # Names that browsers support, and Python does not, or takes for another encoding.
        (b"\x93a\x94", "iso-8859-1", "“a”"),
        ("한".encode("cp949"), "ks_c_5601-1987", "한"),
        # Encodings that Python supports and browsers do not.
        *((b"a-", label, "a-") for label in NOT_OF_THE_WEB),
        (b"a", "no-such-encoding", "a"),
        (b"a", "hex", "a"),
        (b"a", "base64", "a"),
        (b"a", "idna\0", "a"),
    ],
)
def test_decoding_never_fails(body: bytes, charset: str | None, text: str) -> None:
    assert decode_body(body, charset) == text


def test_reading_stops_when_there_is_enough_text() -> None:
    _, text = from_html(b"<p>word</p>" * 400_000, None, PAGE, 1_000)
    assert 1_000 <= len(text) < 1_100


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 100_000,
        "<ul><li>" * 50_000,
        "<b><p>" * 50_000,
        "<div " + " ".join(f"a{n}=1" for n in range(60_000)) + ">",
        "<div " + " ".join(f"a{n}=1" for n in range(600_000)),
        "<!--" * 200_000,
        "<![" * 200_000,
        "</" * 400_000,
        "<a '" * 200_000,
        "&" * 500_000,
        "<script>" + "</" * 200_000,
        "<title>" * 100_000,
    ],
    ids=lambda html: html[:12],
)
def test_hostile_markup_is_read_in_proportion_to_its_length(html: str) -> None:
    assert_linear(lambda some: from_html(some.encode(), None, PAGE, 24_000), html)


@given(st.text(st.sampled_from(list("<>/!-?&;='\"` \n\0abdhlprstuv[]天")), max_size=200))
def test_any_text_is_some_page(html: str) -> None:
    title, text = from_html(html.encode(), None, PAGE, 1_000)
    assert title == title.strip()
    assert text == text.strip()
