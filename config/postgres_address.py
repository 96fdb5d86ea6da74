"""Addresses of PostgreSQL servers, parsed for Django.

They are libpq's own, so several hosts, Unix sockets and all its parameters are supported (PostgreSQL's manual, section 34.1.1.2).
"""

from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from config.addresses import AddressRefused


def parse_postgres(raw: str) -> dict[str, Any]:
    """Parse a PostgreSQL address; returns Django's ``NAME``, ``USER``, ``PASSWORD``, ``HOST``, ``PORT``, and ``OPTIONS``.

    ``pgbouncer=true`` is our own parameter: the server is a PgBouncer that pools by transaction. It accepts no start-up options, and
    state of a session (cursors, prepared statements) is lost.
    """
    address, _, query = raw.partition("?")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    pooled = parameters.pop("pgbouncer", "false").lower()
    if pooled not in {"true", "false"}:
        raise AddressRefused("must say pgbouncer=true or pgbouncer=false")
    try:
        found = conninfo_to_dict(f"{address}?{urlencode(parameters, quote_via=quote)}" if parameters else address)
    except ProgrammingError as error:
        raise AddressRefused(f"must be postgres://USER:PASSWORD@HOST:PORT/NAME ({_reason(error, raw)})") from None
    if not found.get("dbname") or not found.get("host"):
        raise AddressRefused("must be sqlite:///FILE or postgres://USER:PASSWORD@HOST:PORT/NAME")
    ports = str(found.pop("port", ""))
    if any(not port.isdigit() or not 0 < int(port) < 65536 for port in ports.split(",") if port):
        raise AddressRefused("must name ports from 1 to 65535")
    return {
        "NAME": found.pop("dbname"),
        "USER": found.pop("user", ""),
        "PASSWORD": found.pop("password", ""),
        "HOST": found.pop("host"),
        "PORT": ports,
        "DISABLE_SERVER_SIDE_CURSORS": pooled == "true",
        "OPTIONS": found,
    }


def _reason(error: Exception, raw: str) -> str:
    """Libpq's error message; empty if it repeats the whole address."""
    reason = " ".join(str(error).split())
    return "it cannot be read" if raw in reason or "@" in reason else reason
