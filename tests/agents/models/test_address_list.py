"""Which addresses of model servers the operator's list allows staff to enter."""

import pytest

from agents.addresses import BadAddress
from agents.models.address_list import AddressList

LIST = "https://api.example.org/v1, https://*.models.example, http://10.0.0.5:*, https://other.example:8443, https://strasse.example".split(
    ", "
)

ADDRESSES = [
    ("https://api.example.org/v1", True),
    ("https://api.example.org/v1/", True),
    ("https://API.example.org:443/v1/sub", True),
    ("https://api.example.org/v1x", False),
    ("https://api.example.org/v2", False),
    ("https://api.example.org/", False),
    ("http://api.example.org/v1", False),
    ("https://api.example.org:444/v1", False),
    ("https://eu.models.example/v1", True),
    ("https://models.example/v1", False),
    ("https://eumodels.example/v1", False),
    ("https://evil.test/.models.example", False),
    ("https://evil.test/?.models.example", False),
    ("https://evil.test#.models.example", False),
    ("https://eu.models.example.evil.test/", False),
    ("https://api.example.org@evil.test/v1", False),
    ("https://user:secret@api.example.org/v1", False),
    ("https://api.example.org/v1/../admin", False),
    ("https://api.example.org/v1/%2e%2e/admin", False),
    ("https://api.example.org/v1?key=1", False),
    ("http://10.0.0.5:8000/v1", True),
    ("http://10.0.0.5:11434", True),
    ("http://10.0.0.50:8000/v1", False),
    ("http://0x0a000005:8000/", False),
    ("https://other.example:8443/", True),
    ("https://other.example/", False),
    # In an older standard the name has another ASCII form than that of the host that is connected to.
    ("https://strasse.example/", True),
    ("https://straße.example/", False),
    ("https://ＡＰＩ.example.org/v1", True),
    ("https://api。example.org/v1", True),
    ("https://api.example.org./v1", True),
    ("https://@api.example.org/v1", False),
    ("https://api.example.org:０443/v1", False),
    ("https://a\u200dpi.example.org/v1", False),
    ("https://a\u00adpi.example.org/v1", False),
    ("https://api.example.org\\@evil.test/v1", False),
    ("https://api.example.org\t.evil.test/v1", False),
    ("https://api.example.org/v1/.%2e/admin", False),
    ("https://api.example.org/v1/.\\../admin", False),
    ("http://10.0.0.5.nip.example:8000/", False),
    ("http://[::ffff:10.0.0.5]:8000/", False),
    ("http://167772165:8000/", False),
    ("http://012.0.0.5:8000/", False),
    ("http://10.5:8000/", False),
    ("http://１０.0.0.5:8000/", True),
    ("dashscope", False),
    ("file:///etc/passwd", False),
    ("", False),
]


@pytest.mark.parametrize(("address", "allowed"), ADDRESSES)
def test_addresses(address: str, allowed: bool) -> None:
    assert AddressList(LIST).allows(address) is allowed


@pytest.mark.parametrize(
    "pattern", ["*", "https://*", "https://a*.example", "https://*.*", "ftp://x.example", "x.example", "https://x/?a"]
)
def test_an_invalid_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(BadAddress):
        AddressList([pattern])


def test_only_a_host_that_is_named_may_be_in_a_private_network() -> None:
    listed = AddressList(LIST)
    assert listed.names_host("http://10.0.0.5:8000/v1")
    assert not listed.names_host("https://eu.models.example/v1")
    assert not AddressList([]).allows("https://api.example.org/v1")
