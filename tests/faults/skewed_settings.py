"""The product's settings for a process on a machine whose clock is wrong by ``CLOCK_AHEAD_S`` seconds.

All code that asks for the time of day gets the wrong one; code that measures durations is not affected, as on such a machine. SQLite runs
in the process and would ask the machine's own clock: this is for processes that share a PostgreSQL.
"""

import os
import time
from datetime import datetime, timedelta

from django.utils import timezone

from config.settings import *  # noqa: F403

_ahead = float(os.environ["CLOCK_AHEAD_S"])
_time, _now = time.time, timezone.now


def _shifted_time() -> float:
    return _time() + _ahead


def _shifted_now() -> datetime:
    return _now() + timedelta(seconds=_ahead)


time.time = _shifted_time
timezone.now = _shifted_now
