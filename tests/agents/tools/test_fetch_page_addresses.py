"""The strict defaults of `fetch_page` against abuse: every address is checked, in any spelling, and so is the one that is connected to."""

import ipaddress
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.tools import CancelToken
from agents.tools.fetch_page import FetchPageTool, web_ports_only
from agents.tools.special_addresses import is_public
from tests.agents.tools.site import Site, any_port, failure, fetch, local, site

__all__ = ["site"]


# -- the strict default ---------------------------------------------------------------------------


def strict(*answers: str) -> FetchPageTool:
    """Addresses are checked as in production; ports are not, so that a refusal is about the address; names are invented."""
    return FetchPageTool(
        allow_port=any_port,
        resolve=lambda host, port: list(answers) or [str(info[4][0]) for info in socket.getaddrinfo(host, port)],
    )


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "１２７.０.０.１",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1%25lo]",
        "0x7f.1",
        "0177.1",
        "127.000.000.001",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "LOCALHOST",
        "localhost.",
        "ⓛocalhost",
        "0x7f.0.0.1.",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[2001:0:7f00:1::]",
        "[fe80::1%lo]",
        "127.0.0.1．",
        "localhost․",
        "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
        "0x7f.0x0.0x0.0x1",
        "0x",
        "127.1.",
        "127.0.0.1.0",
        "127.0.0.1,8.8.8.8",
        "[v1.127.0.0.1]",
    ],
)
def test_spellings_of_this_machine_are_refused_without_connecting(site: Site, host: str) -> None:
    site.page("/", "secret")
    failure(f"http://{host}:{site.port}/", strict())
    assert site.connections == 0


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254",
        "100.64.0.1", "0.0.0.0", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250",
        "240.0.0.1", "255.255.255.255", "::1", "::", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::10.0.0.1", "fe80::1", "fc00::1",
        "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:a00:1::", "2001:0:1::1", "100::1",
        "100.100.100.200", "192.0.0.192", "5f00::1", "3fff::1", "168.63.129.16", "::ffff:168.63.129.16",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    assert (
        failure("http://innocent.test/", strict(address))
        == "“innocent.test” is not on the public internet, so it is not read."
    )


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "answers", [["93.184.216.34", "127.0.0.1"], ["10.0.0.1", "93.184.216.34"], ["2606:4700:4700::1111", "::1"]]
)
def test_one_private_address_among_public_ones_is_enough_to_refuse(answers: list[str]) -> None:
    assert "not on the public internet" in failure("http://mixed.test/", strict(*answers))


@pytest.mark.parametrize("answers", [[], ["not an address"], [""]])
def test_a_resolver_without_a_usable_answer(answers: list[str]) -> None:
    failure("http://odd.test/", FetchPageTool(resolve=lambda host, port: answers))


def test_the_defaults_are_strict(site: Site) -> None:
    assert [port for port in range(65_536) if web_ports_only(port)] == [80, 443]
    assert (
        failure(f"{site.url}/", FetchPageTool()) == f"Port {site.port} is not read: web pages are on ports 80 and 443."
    )
    assert "not on the public internet" in failure("http://localhost/", FetchPageTool())
    assert "not on the public internet" in failure("https://localhost/", FetchPageTool())
    assert site.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "/etc/passwd",
        "etc/passwd",
        "gopher://127.0.0.1:70/",
        "ftp://ftp.test/",
        "data:text/html,hello",
        "javascript:alert(1)",
        "dict://127.0.0.1:11211/",
        "ws://127.0.0.1/",
        "HTTPS",
        "",
    ],
)
def test_other_schemes_are_refused(url: str) -> None:
    assert failure(url) == "Only http:// and https:// addresses can be read."


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///path",
        "http://a b/",
        "http://host\\@127.0.0.1/",
        "http://host/\r\nX-Injected: 1",
        "http://host/\x00",
        "http://host:99999/",
        "http://host:port/",
        "http://[::1/",
        "http://..../",
        "http:host/",
        "http://127.0.0.1%2f.host.test/",
        "http://127.0.0.1\\.host.test/",
        "http://localhost%00.host.test/",
        "http://ho\tst.test/",
        "http://host:80:80/",
        "http://1.1.1.1 &@127.0.0.1# @8.8.8.8/",
        "http://[::1]x/",
        "http://[::1].host.test/",
        "http://host.test[::1]/",
        "http://[[::1]]/",
        "http://[127.0.0.1]/",
        "http://[::ffff:0x7f.0.0.1]/",
        "http:////127.0.0.1/",
        "http://host.test／@127.0.0.1/",
        "http://127.0.0.1：80/",
        "http://local\u200bhost/",
        f"http://{'a' * 64}.test/",
        f"http://host/{'a' * 4_000}",
    ],
)
def test_invalid_addresses_are_refused(url: str) -> None:
    assert failure(url) == "This is not a valid web address."


@pytest.mark.parametrize("url", ["http://user:pass@host.test/", "http://user@host.test/", "http://@host.test/"])
def test_credentials_are_refused(url: str) -> None:
    assert "user name or password" in failure(url)


# -- the checked address is the one that is connected to ------------------------------------------


def test_a_name_that_answers_differently_the_second_time_gains_nothing(site: Site) -> None:
    site.page("/", "<p>the vetted one</p>")
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    asked: list[str] = []

    def rebind(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    tool = local(allow_address=lambda address: str(address) == "127.0.0.1", resolve=rebind)
    assert fetch(f"http://rebind.test:{site.port}/", tool).endswith("the vetted one")
    assert asked == ["rebind.test"]
    assert site.headers[0]["Host"] == f"rebind.test:{site.port}"
    assert "not on the public internet" in failure(f"http://rebind.test:{site.port}/", tool)
    assert site.connections == 1


def test_a_second_address_is_tried_when_the_first_refuses(site: Site) -> None:
    site.page("/", "<p>here</p>")
    assert fetch(
        f"http://two.test:{site.port}/", local(resolve=lambda host, port: ["127.0.0.3", "127.0.0.1"])
    ).endswith("here")


# -- https ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "secure.test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("secure.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    plain_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(plain_key + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure_site(site: Site, certificate: Path) -> Site:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    return site


def test_https_asks_for_the_name_at_the_vetted_address(secure_site: Site, certificate: Path) -> None:
    secure_site.page("/", "<p>secure</p>")
    tool = local(tls=ssl.create_default_context(cafile=certificate), resolve=lambda host, port: ["127.0.0.1"])
    assert fetch(f"https://secure.test:{secure_site.port}/", tool).endswith("secure")


def test_https_with_another_name_is_refused(secure_site: Site, certificate: Path) -> None:
    secure_site.page("/", "<p>secure</p>")
    tool = local(tls=ssl.create_default_context(cafile=certificate), resolve=lambda host, port: ["127.0.0.1"])
    assert failure(f"https://other.test:{secure_site.port}/", tool).startswith("The site's certificate is not valid: ")


def test_https_with_an_unknown_issuer_is_refused_by_default(secure_site: Site) -> None:
    secure_site.page("/", "<p>secure</p>")
    tool = local(resolve=lambda host, port: ["127.0.0.1"])
    assert (
        failure(f"https://secure.test:{secure_site.port}/", tool)
        == "The site's certificate is not valid: self-signed certificate."
    )
    assert secure_site.asked == []


def test_https_to_a_plain_site(site: Site) -> None:
    assert failure(f"https://127.0.0.1:{site.port}/") == "A secure connection to the site could not be made."


def test_cancel_during_the_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        stop, errors = CancelToken(), []
        url = f"https://127.0.0.1:{mute.getsockname()[1]}/"
        calling = threading.Thread(target=lambda: errors.append(failure(url, stop=stop)))
        calling.start()
        connection, _ = mute.accept()
        with connection:
            assert connection.recv(1)
            stop.set("Stopped by Mei.")
            calling.join(2)
        assert errors == ["Stopped by Mei."]
