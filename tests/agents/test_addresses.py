"""URLs as text: one spelling for each, found in texts and pages, and shown without secrets."""

import pytest

from agents.addresses import BadAddress, addresses_in, mask_address, mask_addresses, normalize_address


@pytest.mark.parametrize(
    ("spelling", "one"),
    [
        ("https://Example.ORG", "https://example.org/"),
        ("HTTPS://example.org:443/", "https://example.org/"),
        ("http://example.org:80?a=1", "http://example.org/?a=1"),
        ("https://example.org./a#part", "https://example.org/a"),
        ("https://example.org/?", "https://example.org/"),
        ("https://bücher.example/Ä", "https://xn--bcher-kva.example/%C3%84"),
        ("https://straße.example/", "https://xn--strae-oqa.example/"),
        ("https://example.org\u3002/", "https://example.org/"),
        ("https://xn--bcher-kva.example/%c3%84", "https://xn--bcher-kva.example/%C3%84"),
        ("https://[2606:4700::1111]:443/", "https://[2606:4700::1111]/"),
        ("https://[2606:4700:0:0::0:1111]/", "https://[2606:4700::1111]/"),
        ("https://[2606:4700::ABCD]/", "https://[2606:4700::abcd]/"),
        ("https://[::FFFF:909:0909]/", "https://[::ffff:909:909]/"),
        ("https://example.org:8443/", "https://example.org:8443/"),
    ],
)
def test_addresses_that_ask_the_same_have_one_spelling(spelling: str, one: str) -> None:
    assert normalize_address(spelling) == one
    assert normalize_address(one) == one


@pytest.mark.parametrize(
    "other",
    [
        "http://example.org/a/b",
        "https://example.org/a/B",
        "https://example.org/a/b/",
        "https://example.org/a/b?",
        "https://example.org/a/b?x",
        "https://example.org/a/./b",
        "https://example.org/a/words/../b",
        "https://example.org/a/%2e/b",
        "https://example.org/%61/b",
        "https://example.org//a/b",
        "https://example.org/a/b;words",
        "https://words.example.org/a/b",
        "https://example.org:8443/a/b",
        "https://example.org.words.test/a/b",
    ],
)
def test_different_addresses_have_different_spellings(other: str) -> None:
    same = {"https://example.org/a/b?"}  # an empty query is not sent
    assert (normalize_address(other) == "https://example.org/a/b") is (other in same)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "example.org",
        "ftp://example.org/",
        "https://u:p@example.org/",
        "https://a b/",
        "http://1/",
        "http://[v1.a:b]/",
    ],
)
def test_an_address_that_is_no_web_address_is_refused(bad: str) -> None:
    with pytest.raises(BadAddress):
        normalize_address(bad)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Read https://example.org/a.", "https://example.org/a"),
        ("see (https://example.org/a) or so", "https://example.org/a"),
        ("[here](https://example.org/a)", "https://example.org/a"),
        ("<https://example.org/a>", "https://example.org/a"),
        ("“https://example.org/a”, she said", "https://example.org/a"),
        ("https://example.org/wiki/A_(b)", "https://example.org/wiki/A_(b)"),
        ("請看https://example.org/路徑。謝謝", "https://example.org/%E8%B7%AF%E5%BE%91"),
        ("HTTPS://EXAMPLE.org!", "https://example.org/"),
        ("look at example.org/a, please", "https://example.org/a"),
        ("look at www.example.org", "http://www.example.org/"),
        ("https://example.org/?q=a&b=c", "https://example.org/?q=a&b=c"),
    ],
)
def test_addresses_are_found_in_what_people_write(text: str, address: str) -> None:
    assert address in set(addresses_in(text, bare=True))


@pytest.mark.parametrize(
    "text", ["me@example.org", "1.5 and 2.5", "no address", "https://", "file.name@x", "ftp://example.org/a"]
)
def test_other_text_is_not_taken_for_an_address(text: str) -> None:
    assert list(addresses_in(text, bare=True)) == []


def test_a_page_full_of_signs_is_read_in_linear_time() -> None:
    texts = ["https://a.b/" + "." * 30_000, "a." * 30_000, "https://a.b/)" * 5_000, "https://" * 10_000]
    for text in texts:
        assert sum(1 for _ in addresses_in(text, bare=True)) < 200_000


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://mcp.example.org/mcp?token=SECRET", "https://mcp.example.org"),
        ("https://SECRET:SECRET@mcp.example.org/", "https://mcp.example.org"),
        ("https://SECRET@mcp.example.org:8443", "https://mcp.example.org:8443"),
        ("https://mcp.example.org/SECRET/mcp", "https://mcp.example.org"),
        ("https://mcp.example.org/#SECRET", "https://mcp.example.org"),
        ("https://mcp.example.org/", "https://mcp.example.org"),
        ("http://[::1]:80/SECRET", "http://[::1]:80"),
        ("redis://:SECRET@cache:6379/0", "redis://cache:6379"),
        ("postgres://user:SECRET@db/name", "postgres://db"),
        ("http://[SECRET", "an address that can't be read"),
        ("http://host:SECRET/", "an address that can't be read"),
        ("SECRET", "an address that can't be read"),
    ],
)
def test_only_the_host_of_an_address_is_shown(address: str, shown: str) -> None:
    assert mask_address(address) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Client error '401 Unauthorized' for url 'https://h.test/mcp?token=SECRET'",
        "POST https://h.test/SECRET/x, then https://u:SECRET@h.test.",
        "(wss://h.test/?SECRET)",
        '{"url": "https://h.test/a?k=SECRET"}',
        "For more information check: https://h.test/SECRET",
    ],
)
def test_addresses_are_masked_wherever_they_stand(text: str) -> None:
    masked = mask_addresses(text)
    assert "SECRET" not in masked
    assert "h.test" in masked
    assert mask_addresses(masked) == masked
