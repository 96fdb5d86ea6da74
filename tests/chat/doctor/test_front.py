"""The doctor asks the running product through a real nginx with a line missing in its configuration, and with a wrong clock."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from chat.doctor.examination import run_checks
from chat.doctor.findings import Level
from chat.doctor.front import check_front
from config.env_types import parse_public_url
from tests import programs, services, tls
from tests.e2e.nginx import in_front_of
from tests.serving import Server, serving

pytestmark = pytest.mark.long
needs_nginx = pytest.mark.skipif(shutil.which("nginx", path="/usr/sbin:/usr/bin") is None, reason="nginx is not here")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("data"), SECRET_KEY=django_settings.SECRET_KEY) as server:
        yield server


#: A compressed stream only arrives once the compressor's buffer is full.
_PACKED = "gzip on; gzip_types text/event-stream; gzip_min_length 0; gzip_proxied any;"
#: What is in nginx's file instead of the README's lines, the expected state, and its text.
LINES: list[tuple[tuple[str, str], Level, str]] = [
    (("", ""), Level.OK, "streams are forwarded without delay"),
    (("proxy_set_header Host $http_host;", ""), Level.FAIL, "the host is lost on the way"),
    (("proxy_set_header Upgrade $http_upgrade;", ""), Level.FAIL, "WebSockets are not forwarded"),
    (("proxy_set_header Connection $connection_upgrade;", ""), Level.FAIL, "WebSockets are not forwarded"),
    (("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", ""), Level.WARN, "all clients are seen as"),
    (
        ("proxy_buffering off;", f"proxy_ignore_headers X-Accel-Buffering; {_PACKED}"),
        Level.WARN,
        "streams are buffered",
    ),
    (("proxy_pass", "return 404; proxy_pass"), Level.FAIL, "is not answered by this installation"),
]


@needs_nginx
@pytest.mark.parametrize(("instead", "level", "words"), LINES)
def test_a_line_that_lacks_is_found(
    served: Server, settings: Any, instead: tuple[str, str], level: Level, words: str
) -> None:
    with in_front_of(served.url, "/", takes_off=False, instead=instead) as address:
        public = parse_public_url(address)
        assert public is not None
        settings.PUBLIC_URL = public
        found = [result.finding for result in run_checks({"public address": check_front})]
    assert any(each.level is level and words in each.text for each in found), found
    if level is Level.OK:
        assert {each.level for each in found} == {Level.OK}


def test_an_address_of_ipv6_is_one_as_others(tmp_path: Path) -> None:
    port = services.free_port()
    server = Server(tmp_path, HOST="[::1]", PUBLIC_URL=f"http://[0:0::1]:{port}")
    server.prepare()
    server.start(port)
    try:
        found = [each for each in examined(server) if each["check"] == "public address"]
    finally:
        server.stop()
    # There is no proxy.
    (client,) = [each for each in found if each["level"] != "ok"]
    assert client["said"] == "all clients are seen as ::1: the proxy does not send their addresses"
    assert {"the host arrives unchanged", "WebSockets are forwarded"} <= {each["said"] for each in found}


def examined(server: Server, **environment: str) -> list[dict[str, str]]:
    """The output of the command that an operator runs beside the product."""
    done = programs.run_program(["manage.py", "doctor", "--json"], {**server.environment, **environment})
    found: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    assert done.returncode == any(each["level"] == "fail" for each in found), done.stderr
    return found


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, tuple[int, Path]]]:
    """The product, which is reached by https only, and the certificate of its proxy."""
    port, certificate = services.free_port(), tls.make_certificate(tmp_path_factory.mktemp("tls"))
    with serving(tmp_path_factory.mktemp("data"), PUBLIC_URL=f"https://127.0.0.1:{port}") as server:
        server.environment["SSL_CERT_FILE"] = str(certificate)
        yield server, (port, certificate)


_HEADERS = """
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;"""
_PROTO = "proxy_set_header X-Forwarded-Proto $scheme;"
#: What is in the file of an nginx with TLS instead of the README's lines, and the output of the command: the state, its text, and the
#: remedy.
SECURED: dict[str, tuple[tuple[str, str], str, str, str]] = {
    "as the README says": (("", ""), "ok", "requests use https", ""),
    "no header at all": ((_HEADERS, ""), "fail", "the proxy sends no X-Forwarded-Proto", "X-Forwarded-Proto $scheme;"),
    "none, and the host": ((_HEADERS, ""), "fail", "the host is lost on the way", "proxy_set_header Host $http_host;"),
    "no scheme": ((_PROTO, ""), "fail", "the proxy sends no X-Forwarded-Proto", "X-Forwarded-Proto $scheme;"),
    "another scheme": (
        (_PROTO, "proxy_set_header X-Forwarded-Proto http;"), "fail", "the proxy sends X-Forwarded-Proto: http",
        "Let it send X-Forwarded-Proto: https",
    ),
    "another host": (
        ("proxy_set_header Host $http_host;", "proxy_set_header Host other.example;"), "fail",
        "arrives as other.example", "proxy_set_header Host $http_host;",
    ),
    "no upgrade": (
        ("proxy_set_header Upgrade $http_upgrade;", ""), "fail", "WebSockets are not forwarded",
        "proxy_set_header Upgrade $http_upgrade;",
    ),
    "no clients": (
        ("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", ""), "warn", "all clients are seen as",
        "Let it send X-Forwarded-For",
    ),
}  # fmt: skip


@needs_nginx
@pytest.mark.parametrize("lacks", SECURED)
def test_the_command_says_what_a_proxy_that_takes_tls_lacks(
    secured: tuple[Server, tuple[int, Path]], lacks: str
) -> None:
    server, secure = secured
    instead, level, words, action = SECURED[lacks]
    with in_front_of(server.url, "/", takes_off=False, instead=instead, secure=secure):
        found = [each for each in examined(server) if each["check"] == "public address"]
    matching = [each for each in found if each["level"] == level and words in each["said"]]
    assert matching, found
    assert action in matching[0]["action"]
    if level == "ok":
        assert {each["level"] for each in found} == {"ok"}


#: How fast the clock of the command's machine is, and the text about the database's and the proxy's clocks.
CLOCKS = [("40", "is +40 s off the database's", "-40 s off this machine's"), ("-7200", "is -7200 s off", "+7200 s off")]


@needs_nginx
@pytest.mark.parametrize(("ahead_s", "text", "of_the_proxy"), CLOCKS)
def test_the_command_says_that_the_clock_is_wrong(
    served: Server, postgres_url: str, ahead_s: str, text: str, of_the_proxy: str
) -> None:
    """The database's clock and the proxy's are right, this machine's is wrong."""
    wrong = {"DJANGO_SETTINGS_MODULE": "tests.faults.skewed_settings", "CLOCK_AHEAD_S": ahead_s}
    with in_front_of(served.url, "/", takes_off=False) as address:
        found = examined(served, DATABASE_URL=postgres_url, PUBLIC_URL=address, **wrong)
    findings = {each["said"]: each for each in found if " off " in each["said"]}
    for words in (text, of_the_proxy):
        (line,) = [each for each in findings.values() if words in each["said"]]
        assert (line["level"], line["action"]) == ("warn", "Set both by NTP.")
