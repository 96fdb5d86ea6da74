"""A Redis that cannot be used is reported at the start, with its own error; one that is down is waited for."""

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from chat.runtime.redis_check import RedisRefused, check_redis
from tests import services, tls

SETTINGS = Path(__file__).resolve().parents[3] / "config" / "settings.py"
#: The part that is checked.
NAMES = """REDIS_URL BROKER_URL CHANNEL_LAYERS CELERY_BROKER_URL CELERY_BROKER_USE_SSL CELERY_BROKER_TRANSPORT_OPTIONS
    CELERY_TASK_DEFAULT_QUEUE""".split()

Check = Callable[..., str]


@pytest.fixture
def check(settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Check:
    """The error of a process that is started with these variables."""

    def problem_of(**environment: str) -> str:
        for name, value in {"DATABASE_URL": "postgres://db/x", **environment}.items():
            monkeypatch.setenv(name, value)
        read = runpy.run_path(str(SETTINGS))
        for name in NAMES:
            setattr(settings, name, read[name])
        caplog.clear()
        refused = ""
        try:
            check_redis()
        except RedisRefused as error:
            refused = str(error)
        return refused + "".join(caplog.messages)

    return problem_of


@pytest.fixture(scope="module")
def server() -> Iterator[services.Redis]:
    """A Redis with a password, and with users who have fewer rights."""
    with services.own_redis("--requirepass", "right", "--databases", "4") as server:
        with redis.Redis(port=server.port, password="right") as client:
            client.execute_command("ACL SETUSER all on >right ~* &* +@all")
            client.execute_command("ACL SETUSER mute on >right ~* resetchannels +@all")
            client.execute_command("ACL SETUSER reader on >right ~* &* +@read +@connection +subscribe +publish")
            client.execute_command("ACL SETUSER keyless on >right resetkeys &* +@all")
        yield server


@pytest.mark.parametrize(
    ("layer", "broker", "expected"),
    [
        ("redis://all:right@{host}/0", "redis://all:right@{host}/1", ""),
        ("redis://:right@{host}/0", "redis://:right@{host}/1", ""),
        ("redis://:wrong@{host}/0", "", "The Redis of REDIS_URL cannot be used: "),
        ("redis://{host}/0", "", "The Redis of REDIS_URL cannot be used: "),
        ("redis://all:right@{host}/7", "", "The Redis of REDIS_URL cannot be used: DB index is out of range."),
        ("redis://mute:right@{host}/0", "", "The Redis of REDIS_URL cannot be used: "),
        ("redis://all:right@{host}/0", "redis://:wrong@{host}/1", "The Redis of BROKER_URL cannot be used: "),
        ("redis://all:right@{host}/0", "redis://all:right@{host}/9", "The Redis of BROKER_URL cannot be used: DB"),
        ("redis://all:right@{host}/0", "redis://keyless:right@{host}/1", "The Redis of BROKER_URL cannot be used: "),
    ],
)
def test_an_unusable_redis_is_reported_with_the_reason(
    check: Check, layer: str, broker: str, expected: str, server: services.Redis
) -> None:
    host = f"127.0.0.1:{server.port}"
    problem_of = check(REDIS_URL=layer.format(host=host), BROKER_URL=broker.format(host=host))
    assert problem_of.startswith(expected)
    assert bool(problem_of) is bool(expected)
    assert "right" not in problem_of.replace("copyright", "")


def test_a_redis_that_is_away_is_waited_for(check: Check) -> None:
    away = f"redis://127.0.0.1:{services.free_port()}"
    problem_of = check(REDIS_URL=f"{away}/0", BROKER_URL=f"{away}/1")
    assert problem_of.count("does not answer; going on, and trying until it does") == 2
    assert "cannot be used" not in problem_of


def test_certificates_are_checked_on_both_connections(check: Check, server: services.Redis, tmp_path: Path) -> None:
    certificate = tls.make_certificate(tmp_path)
    other = tls.make_certificate(tmp_path, "elsewhere.test")
    with tls.tls_front(server.port, certificate) as port:
        address = f"rediss://all:right@127.0.0.1:{port}"
        trusted, other_ca = f"?ssl_ca_certs={certificate}", f"?ssl_ca_certs={other}"
        assert check(REDIS_URL=f"{address}/0{trusted}", BROKER_URL=f"{address}/1{trusted}") == ""
        for name in ("REDIS_URL", "BROKER_URL"):
            for untrusted in ("", other_ca):
                urls = {"REDIS_URL": f"{address}/0{trusted}", "BROKER_URL": f"{address}/1{trusted}"}
                urls[name] = f"{address}/0{untrusted}"
                assert check(**urls).startswith(
                    f"The Redis of {name} cannot be used: its certificate is not accepted ("
                )
