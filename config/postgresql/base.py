"""Django's PostgreSQL backend, whose pool gives out connections that work, also while they are cut again and again.

A pool that checks by itself pauses after each dead connection that it has found, for 1 s, 2 s, 4 s. What it makes meanwhile lies idle,
and is dead too by then where all are cut every moment; and after one cut of many idle ones, the next caller pauses for most of them.
"""

import time
from typing import Any

from django.db.backends.postgresql import base
from psycopg import Connection, Error
from psycopg_pool import ConnectionPool, PoolTimeout


class DatabaseWrapper(base.DatabaseWrapper):
    """Looks itself whether a connection works, and takes the next one at once where it doesn't."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> "Connection[Any]":
        """Return a connection that works. Raises `PoolTimeout` where none does within the pool's patience."""
        pool: ConnectionPool[Any] | None = self.pool
        gives_up_at = time.monotonic() + (0.0 if pool is None else pool.timeout)
        while True:
            connection: Connection[Any] = super().get_new_connection(conn_params)
            if pool is None:
                return connection
            try:
                pool.check_connection(connection)
            except Error as dead:
                # The pool makes another one instead, for whoever waits.
                pool.putconn(connection)
                if time.monotonic() > gives_up_at:
                    raise PoolTimeout("every connection was cut before it could be used") from dead
            else:
                return connection
