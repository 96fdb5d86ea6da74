"""Addresses of Redis and PostgreSQL servers, in every form that their clients know."""

import ssl
from typing import Any

import pytest

from config.addresses import AddressRefused
from config.postgres_address import parse_postgres
from config.redis_address import parse_redis

NODES = [("one", 26379), ("two", 26380)]
TLS = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}


@pytest.mark.parametrize(
    ("raw", "layer", "broker", "options", "tls"),
    [
        ("redis://h", "redis://h", "redis://h", {}, None),
        ("redis://u:p@h:6380/2", "redis://u:p@h:6380/2", "redis://u:p@h:6380/2", {}, None),
        ("rediss://h/1", "rediss://h/1", "rediss://h/1", {}, TLS),
        (
            "rediss://h/1?ssl_ca_certs=/ca.pem",
            "rediss://h/1?ssl_ca_certs=/ca.pem",
            "rediss://h/1",
            {},
            {**TLS, "ssl_ca_certs": "/ca.pem"},
        ),
        (
            "rediss://h?ssl_cert_reqs=none",
            "rediss://h?ssl_cert_reqs=none",
            "rediss://h",
            {},
            {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False},
        ),
        ("unix:///r/s.sock?db=3", "unix:///r/s.sock?db=3", "redis+socket:///r/s.sock?virtual_host=3", {}, None),
        (
            "unix://:p@/r/s.sock",
            "unix://:p@/r/s.sock",
            "redis+socket://:p@/r/s.sock?virtual_host=0",
            {},
            None,
        ),
        (
            "sentinel://:p@one,two:26380/main/1",
            {"sentinels": NODES, "master_name": "main", "sentinel_kwargs": {}, "db": 1, "password": "p"},
            "sentinel://:p@one:26379/1;sentinel://:p@two:26380/1",
            {"master_name": "main", "sentinel_kwargs": {}},
            None,
        ),
        (
            "redis+sentinel://[::1]:7/main?sentinel_password=q",
            {"sentinels": [("::1", 7)], "master_name": "main", "sentinel_kwargs": {"password": "q"}, "db": 0},
            "sentinel://[::1]:7/0",
            {"master_name": "main", "sentinel_kwargs": {"password": "q"}},
            None,
        ),
    ],
)
def test_a_redis_for_the_channel_layer_and_the_broker(
    raw: str, layer: object, broker: str, options: dict[str, Any], tls: dict[str, Any] | None
) -> None:
    found = parse_redis(raw)
    assert (found.layer, found.broker, found.broker_options, found.broker_tls) == (layer, broker, options, tls)


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ("localhost:6379", "must start with"),
        ("redis://", "must start with"),
        ("redis://a,b", "must start with"),
        ("redis://h:99999", "must start with"),
        ("redis://h/main", "must end with the database's number"),
        ("redis://h?colour=red", "has a parameter that is not known: colour"),
        ("rediss://h?ssl_cert_reqs=maybe", "must say ssl_cert_reqs=none, optional, required"),
        ("unix://", "must name a socket"),
        ("sentinel://one", "must be like sentinel://"),
        ("sentinel:///main", "must be like sentinel://"),
        ("amqp://h", "must start with"),
    ],
)
def test_an_invalid_redis_address_is_refused(raw: str, complaint: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        parse_redis(raw)
    assert str(refused.value).startswith(complaint)


@pytest.mark.parametrize(
    ("raw", "host", "port", "options", "pooled"),
    [
        ("postgres://me:a%40b@db:5433/chat", "db", "5433", {}, False),
        (
            "postgresql://me:a%40b@db/chat?sslmode=verify-full&sslrootcert=/ca",
            "db",
            "",
            {"sslmode": "verify-full", "sslrootcert": "/ca"},
            False,
        ),
        (
            "postgres://me:a%40b@one:5432,two:5433/chat?target_session_attrs=read-write",
            "one,two",
            "5432,5433",
            {"target_session_attrs": "read-write"},
            False,
        ),
        ("postgres://me:a%40b@/chat?host=/run/postgresql", "/run/postgresql", "", {}, False),
        ("postgres://me:a%40b@%2Frun%2Fpostgresql/chat", "/run/postgresql", "", {}, False),
        ("postgres://me:a%40b@[::1]:6432/chat?pgbouncer=true", "::1", "6432", {}, True),
    ],
)
def test_a_postgresql(raw: str, host: str, port: str, options: dict[str, str], pooled: bool) -> None:
    assert parse_postgres(raw) == {
        "NAME": "chat",
        "USER": "me",
        "PASSWORD": "a@b",
        "HOST": host,
        "PORT": port,
        "OPTIONS": options,
        "DISABLE_SERVER_SIDE_CURSORS": pooled,
    }


@pytest.mark.parametrize(
    "raw",
    [
        "postgres://db",
        "postgres:///chat",
        "postgres://me:secret@db:abc/chat",
        "postgres://me:secret@db:99999/chat",
        "postgres://me:secret@db/chat?colour=red",
        "postgres://me:secret@db/chat?pgbouncer=maybe",
        "postgres://me:secret@[db/chat",
    ],
)
def test_an_invalid_postgresql_address_is_refused(raw: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        parse_postgres(raw)
    assert "secret" not in str(refused.value)
