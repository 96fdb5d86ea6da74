"""Addresses of databases, parsed into Django's settings.

Dj-database-url supports only one host and one port, and accepts any parameter.
"""

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from config.addresses import AddressRefused

#: A pool that cannot connect would by default retry less and less often, for five minutes, and notice late that a database is back. When it
#: starts again every ten seconds, it retries at least every four.
_POSTGRES_POOL = {"min_size": 1, "max_size": 16, "timeout": 10, "reconnect_timeout": 10}
#: A process that is frozen in a transaction holds its locks for no longer than this, no statement waits longer for one,
#: and a server that has vanished silently is noticed. Times are written as they are read here, whatever the server's own style is.
POSTGRES_SESSION = {
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
}
_POSTGRES_PATIENCE = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}


def parse_database(raw: str, base: Path) -> dict[str, Any]:
    """Django's settings for the database of an address, in which ``base`` is the folder of a relative file. Raises `AddressRefused`."""
    if raw.startswith(("postgres://", "postgresql://")):
        return _postgres(raw)
    if raw.startswith("sqlite:///") and raw.removeprefix("sqlite:///").strip("/:") not in {"", "memory"}:
        if "?" in raw:
            raise AddressRefused("must name a file alone, without parameters")
        path = base / unquote(raw.removeprefix("sqlite:///"))
        if path.parent.is_dir() and not path.is_dir():
            return describe_sqlite(path)
        raise AddressRefused("must name a file in a folder that exists")
    raise AddressRefused("must be sqlite:///FILE or postgres://USER:PASSWORD@HOST:PORT/NAME")


def describe_sqlite(path: Path) -> dict[str, Any]:
    """Django's settings for a database in a file."""
    return {
        "ENGINE": "config.sqlite",
        "NAME": path,
        # Opening it again takes longer than most queries.
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            # Taking the write lock at the start makes a transaction wait its turn; one that reads first would fail at once.
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
            # FULL: a step that was shown to somebody is still there after a power cut.
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;",
        },
    }


def _postgres(raw: str) -> dict[str, Any]:
    # Importing psycopg takes a tenth of a second, which installations on SQLite need not spend.
    from config.postgres_address import parse_postgres  # noqa: PLC0415

    found = parse_postgres(raw)
    session = " ".join(f"-c {name}={value}" for name, value in POSTGRES_SESSION.items())
    # A pooler accepts no options at the start of a connection; `config.prepare` sets them for the role.
    own = {} if found["DISABLE_SERVER_SIDE_CURSORS"] else {"options": session}
    options = {**_POSTGRES_PATIENCE, **own, **found["OPTIONS"], "pool": _POSTGRES_POOL}
    # A connection is returned to the pool when a request has ended.
    return {"ENGINE": "config.postgresql", "CONN_MAX_AGE": 0, **found, "OPTIONS": options}
