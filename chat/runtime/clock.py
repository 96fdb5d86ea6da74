"""The database's clock, which leases, sweeps and schedules use, and how far this machine's clock differs from it.

Processes on several machines share one database, but no clock. Times that they compare with each other are written and read by the
database's clock; durations within a process are measured with `time.monotonic`.
"""

import logging
import time
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

from chat.runtime.db_values import datetime_from_db

logger = logging.getLogger(__name__)

#: A difference of this many seconds is logged, and again when it has changed by as much.
LOGGED_FROM_S = 2.0
#: If the database's answer took longer, in seconds, the comparison is too inexact.
_QUICK_S = 1.0


class _Skew:
    """How far this machine's clock is ahead of the database's, in seconds, as last measured and as last logged."""

    ahead_s = 0.0
    logged_s = 0.0


_skew = _Skew()


def now_expression() -> str:
    """The database's time, as an expression for raw SQL."""
    if connection.vendor == "postgresql":
        return "STATEMENT_TIMESTAMP()"
    return "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f000', 'NOW')"


def read_database() -> datetime:
    """Read the time from the database."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {now_expression()}", [])
        (now,) = cursor.fetchone()
    return datetime_from_db(now)


def measure() -> datetime:
    """Read the time from the database, and compare this machine's with it. A changed difference is logged, once."""
    own, asked_at = timezone.now(), time.monotonic()
    database_time = read_database()
    took = time.monotonic() - asked_at
    if took > _QUICK_S:
        return database_time
    _skew.ahead_s = (own - database_time).total_seconds() + took / 2
    if abs(_skew.ahead_s - _skew.logged_s) >= LOGGED_FROM_S:
        _skew.logged_s = _skew.ahead_s
        logger.warning("%s", describe_skew() or "This machine's clock and the database's agree again.")
    return database_time


def now() -> datetime:
    """The database's time without a query: this machine's, corrected by the last measured difference."""
    return timezone.now() - timedelta(seconds=_skew.ahead_s)


def skew_s() -> float:
    """How far this machine's clock is ahead of the database's, in seconds, as last measured."""
    return _skew.ahead_s


def describe_skew() -> str:
    """A warning for operators about this machine's clock; empty if it agrees with the database's."""
    ahead = _skew.ahead_s
    if abs(ahead) < LOGGED_FROM_S:
        return ""
    which = "ahead of" if ahead > 0 else "behind"
    return (
        f"This machine's clock is {abs(ahead):.0f} s {which} the database's: leases and schedules go by the database's."
    )
