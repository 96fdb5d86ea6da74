"""The doctor asks the running product through a real nginx, whose configuration lacks a line at a time."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings

from chat.doctor.examination import examine
from chat.doctor.findings import Level
from chat.doctor.front import check_front
from config.env_types import parse_public_url
from tests.e2e.nginx import in_front_of
from tests.serving import Server, serving

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("nginx", path="/usr/sbin:/usr/bin") is None, reason="nginx is not here"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("data"), SECRET_KEY=django_settings.SECRET_KEY) as server:
        yield server


#: A stream that is compressed comes when the compressor has enough of it.
_PACKED = "gzip on; gzip_types text/event-stream; gzip_min_length 0; gzip_proxied any;"
#: What stands in nginx's file instead of what the README says, how that stands, and how it is said.
LINES: list[tuple[tuple[str, str], Level, str]] = [
    (("", ""), Level.OK, "streams are passed on as they come"),
    (("proxy_set_header Host $http_host;", ""), Level.FAIL, "the host is lost on the way"),
    (("proxy_set_header Upgrade $http_upgrade;", ""), Level.FAIL, "WebSockets are not passed on"),
    (("proxy_set_header Connection $connection_upgrade;", ""), Level.FAIL, "WebSockets are not passed on"),
    (("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", ""), Level.WARN, "clients are all seen as"),
    (
        ("proxy_buffering off;", f"proxy_ignore_headers X-Accel-Buffering; {_PACKED}"),
        Level.WARN,
        "streams are held back",
    ),
    (("proxy_pass", "return 404; proxy_pass"), Level.FAIL, "is not answered by this installation"),
]


@pytest.mark.parametrize(("instead", "level", "said"), LINES)
def test_a_line_that_lacks_is_found(
    served: Server, settings: Any, instead: tuple[str, str], level: Level, said: str
) -> None:
    with in_front_of(served.url, "/", takes_off=False, instead=instead) as address:
        public = parse_public_url(address)
        assert public is not None
        settings.PUBLIC_URL = public
        found = [told.finding for told in examine({"public address": check_front})]
    assert any(each.level is level and said in each.said for each in found), found
    if level is Level.OK:
        assert {each.level for each in found} == {Level.OK}
