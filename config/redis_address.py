"""Addresses of Redis servers, parsed for the channel layer (redis-py) and for the broker's client (kombu).

``redis://``, ``rediss://`` and ``unix://`` as redis-py reads them, and ``sentinel://HOST:PORT,HOST:PORT/NAME/NUMBER`` for a master that
Sentinels name.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from config.addresses import AddressRefused

REDIS_FORMS = ("redis", "rediss", "unix", "sentinel", "rediss+sentinel")
_SENTINEL_PORT = 26379
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_PARAMETERS = {*_TLS_FILES, "ssl_ca_path", "ssl_check_hostname", "ssl_cert_reqs"}
_SENTINEL_PARAMETERS = {*_TLS_PARAMETERS, "sentinel_username", "sentinel_password"}


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """One Redis, in the forms for the channel layer and the broker's client."""

    #: An entry of ``CHANNEL_LAYERS``' ``hosts``.
    layer: str | dict[str, Any]
    #: Celery's ``broker_url``, the options for its ``broker_transport_options``, and its ``broker_use_ssl``.
    broker: str
    broker_options: dict[str, Any] = field(default_factory=dict)
    broker_tls: dict[str, Any] | None = None


def parse_redis(raw: str) -> RedisAddress:
    """Parse the address of a Redis. Certificates are checked unless the address has ``ssl_cert_reqs=none``."""
    forms = "redis://, rediss://, unix:// or sentinel://"
    parsed = _split(re.sub(r"^redis\+sentinel://", "sentinel://", raw).replace(",", "%2C"))
    if parsed is None or parsed.scheme not in REDIS_FORMS:
        raise AddressRefused(f"must start with {forms} and name a host")
    if parsed.scheme.endswith("sentinel"):
        return _sentinels(parsed)
    # Imported here, so that installations without Redis do not wait for its client.
    from redis.connection import URL_QUERY_ARGUMENT_PARSERS  # noqa: PLC0415

    known = dict(parse_qsl(parsed.query))
    _refuse_unknown(known, {*_TLS_PARAMETERS, *URL_QUERY_ARGUMENT_PARSERS, "username", "password"})
    number = known.get("db", "") if parsed.scheme == "unix" else parsed.path.strip("/") or known.get("db", "")
    _check_number(number)
    if parsed.scheme == "unix":
        if not parsed.path.strip("/"):
            raise AddressRefused("must name a socket, as in unix:///run/redis/redis.sock?db=0")
        login = _login(parsed.username or known.get("username"), parsed.password or known.get("password"))
        return RedisAddress(raw, f"redis+socket://{login}{parsed.path}?virtual_host={number or 0}")
    if not parsed.hostname or "%2c" in parsed.hostname.lower():
        raise AddressRefused(f"must start with {forms} and name a host")
    if parsed.scheme == "redis":
        return RedisAddress(raw, raw)
    return RedisAddress(raw, raw.partition("?")[0], broker_tls=_tls(known))


def _sentinels(parsed: SplitResult) -> RedisAddress:
    """``sentinel://[USER:PASSWORD@]HOST[:PORT],…/NAME[/NUMBER]``; the login is the master's."""
    known = dict(parse_qsl(parsed.query))
    _refuse_unknown(known, _SENTINEL_PARAMETERS)
    login, _, hosts = parsed.netloc.rpartition("@")
    name, _, number = parsed.path.strip("/").partition("/")
    _check_number(number)
    nodes = [_host_and_port(host) for host in unquote(hosts).split(",")]
    if not name or not all(host for host, _ in nodes):
        raise AddressRefused("must be like sentinel://HOST:26379,HOST:26379/NAME/0, NAME being the master's")
    user, _, password = login.partition(":")
    master = {"username": unquote(user), "password": unquote(password)}
    master = {key: value for key, value in master.items() if value}
    own = {key: known[f"sentinel_{key}"] for key in ("username", "password") if f"sentinel_{key}" in known}
    tls = _tls(known) if parsed.scheme.startswith("rediss") else None
    secure = {"ssl": True, **tls} if tls else {}
    layer = {
        "sentinels": nodes,
        "master_name": name,
        "sentinel_kwargs": {**own, **secure},
        "db": int(number or 0),
        **master,
        **secure,
    }
    shown = f"{login}@" if login else ""
    broker = ";".join(f"sentinel://{shown}{_bracketed(host)}:{port}/{number or 0}" for host, port in nodes)
    return RedisAddress(layer, broker, {"master_name": name, "sentinel_kwargs": {**own, **secure}}, tls)


def _split(url: str) -> SplitResult | None:
    try:
        parsed = urlsplit(url)
        if not parsed.scheme.endswith("sentinel"):
            parsed.port  # noqa: B018 - raises when the port is none
    except ValueError:
        return None
    return parsed


def _host_and_port(host: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?", host.strip())
    return (found[1].strip("[]"), int(found[2] or _SENTINEL_PORT)) if found else ("", 0)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _login(user: str | None, password: str | None) -> str:
    return f"{user or ''}:{password}@" if password else ""


def _check_number(number: str) -> None:
    if number and not re.fullmatch(r"\d{1,5}", number):
        raise AddressRefused("must end with the database's number, as in /0")


def _refuse_unknown(given: Mapping[str, str], known: set[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise AddressRefused(f"has a parameter that is not known: {unknown[0]} (known are {', '.join(sorted(known))})")


def _tls(parameters: Mapping[str, str]) -> dict[str, Any]:
    """redis-py's settings for TLS: the certificate and its host name are checked, unless the address says otherwise."""
    checks = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
    wanted = parameters.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if wanted not in checks:
        raise AddressRefused(f"must say ssl_cert_reqs={', '.join(checks)}")
    return {
        "ssl_cert_reqs": checks[wanted],
        "ssl_check_hostname": wanted != "none" and parameters.get("ssl_check_hostname", "true").lower() != "false",
        **{name: parameters[name] for name in (*_TLS_FILES, "ssl_ca_path") if name in parameters},
    }
