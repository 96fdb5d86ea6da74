"""One line per event on standard error, from our code and from libraries, without the texts of users and models."""

import logging
import logging.config
import re
import sys
from typing import Any

import structlog
from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, InternalError, OperationalError, ProgrammingError
from structlog.typing import EventDict, WrappedLogger

from agents.masking import mask_text

#: Fields that are never logged.
PRIVATE = frozenset(
    {
        "answer",
        "api_key",
        "arguments",
        "authorization",
        "body",
        "content",
        "cookie",
        "message",
        "password",
        "prompt",
        "secret",
        "secret_key",
        "text",
        "token",
    }
)
LEFT_OUT = "[left out]"


def leave_private_out(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace the values of private fields."""
    for field in PRIVATE & event.keys():
        event[field] = LEFT_OUT
    return event


#: PostgreSQL's code for a missing table.
UNDEFINED_TABLE = "42P01"
#: Exceptions of a part that is unavailable or read-only: an error of that part. Where in this code it was raised does not matter.
AWAY = (ConnectionError, TimeoutError, OperationalError, InterfaceError, InternalError)


def lacks_tables(error: object) -> bool:
    """Whether PostgreSQL reports that a table is missing: the database is empty, or being restored. SQLite's exception is in `AWAY`."""
    return isinstance(error, ProgrammingError) and getattr(error.__cause__, "sqlstate", "") == UNDEFINED_TABLE


def is_of_redis(error: object) -> bool:
    """Whether the client of Redis raised it. Installations without Redis do not import that client."""
    client = sys.modules.get("redis.exceptions")
    return client is not None and isinstance(error, client.RedisError)


def shorten_traceback(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace a traceback by the exception's message: for unavailable parts, an empty database, an invalid request."""
    info = event.get("exc_info")
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, (*AWAY, SuspiciousOperation)) or is_of_redis(error) or lacks_tables(error):
        del event["exc_info"]
        event["error"] = " ".join(f"{type(error).__name__}: {error}".split())
    return event


def mask_addresses(_: WrappedLogger, __: str, line: str) -> str:
    """Reduce every address in a line, and in its traceback, to its host: the rest may contain a key, whichever library logged it."""
    return mask_text(line)


SHARED = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.ExtraAdder(),
    leave_private_out,
    shorten_traceback,
)


def configure(settings: dict[str, Any]) -> None:
    """Django's ``LOGGING_CONFIG``: set up the standard library's loggers and structlog alike."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(settings)


_NUMBERS = re.compile(r"\d+")


class Seldom(logging.Filter):
    """Passes a failure that goes on once a minute, for libraries that log it at each of their attempts."""

    EVERY_S = 60.0

    def __init__(self) -> None:
        super().__init__()
        self._last = ""
        self._last_at = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is another failure than the last one, or that was long ago."""
        # Without the numbers: Celery counts its attempts, and says when the next one is.
        failure = _NUMBERS.sub("", f"{record.getMessage()} {record.exc_info[1] if record.exc_info else ''}")
        if failure == self._last and record.created - self._last_at < self.EVERY_S:
            return False
        self._last, self._last_at = failure, record.created
        return True


def _is_no_closed_connection(record: logging.LogRecord) -> bool:
    return not record.msg.startswith("discarding closed connection")


def logging_config() -> dict[str, Any]:
    """The logging configuration: warnings of libraries, information of the product's own."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": SHARED,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.dev.ConsoleRenderer(
                        colors=bool(sys.stderr and sys.stderr.isatty()),
                        exception_formatter=structlog.dev.plain_traceback,
                    ),
                    mask_addresses,
                ],
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            # Django gives this one a handler of its own; all lines are to use the same one.
            "django": {"handlers": [], "level": "WARNING", "propagate": True},
            "agents": {"level": "INFO"},
            "chat": {"level": "INFO"},
            "config": {"level": "INFO"},
            # The exporter logs, once, that traces are refused.
            "opentelemetry": {"level": "CRITICAL"},
            # It logs each second that its Redis refuses it, or is gone.
            "channels_redis.pubsub": {"filters": [Seldom()]},
            # The same of a worker's broker.
            "celery.worker.consumer.consumer": {"filters": [Seldom()]},
            # Lost connections are logged where one was in use, not by the pool for each idle one.
            "psycopg.pool": {"filters": [_is_no_closed_connection]},
        },
    }
