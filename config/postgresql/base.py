"""Django's PostgreSQL backend, with a pool that returns working connections even while connections are cut again and again.

A pool that checks connections itself pauses after each broken one, for 1 s, 2 s, 4 s. Connections that it opens meanwhile lie idle, and
are broken by then if all are cut every moment; and after many idle ones were cut at once, the next caller waits for most of these pauses.
"""

import time
from typing import Any

from django.db.backends.postgresql import base
from psycopg import Connection, Error
from psycopg_pool import ConnectionPool, PoolTimeout


class DatabaseWrapper(base.DatabaseWrapper):
    """Checks each connection itself, and takes the next one at once if it is broken."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> "Connection[Any]":
        """Return a working connection. Raises `PoolTimeout` if there is none within the pool's timeout."""
        pool: ConnectionPool[Any] | None = self.pool
        gives_up_at = time.monotonic() + (0.0 if pool is None else pool.timeout)
        while True:
            connection: Connection[Any] = super().get_new_connection(conn_params)
            if pool is None:
                return connection
            try:
                pool.check_connection(connection)
            except Error as dead:
                # The pool opens another connection instead, for other callers.
                pool.putconn(connection)
                if time.monotonic() > gives_up_at:
                    raise PoolTimeout("every connection was cut before it could be used") from dead
            else:
                return connection
