"""Texts of users and models, and secrets, are never logged."""

import io
import logging
import logging.config

import pytest
import structlog
from django.db import OperationalError, ProgrammingError
from psycopg.errors import UndefinedColumn, UndefinedTable
from redis.exceptions import RedisError

from config import logs


@pytest.fixture
def written() -> io.StringIO:
    """The output of a process with our logging."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    plan = logs.logging_config()["formatters"]["line"]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=plan["processors"], foreign_pre_chain=plan["foreign_pre_chain"])
    )
    logger = logging.getLogger("chat.of_the_test")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)


def test_private_fields_are_left_out_whoever_logs(written: io.StringIO) -> None:
    logging.getLogger("chat.of_the_test").info("Asked", extra={"prompt": "my salary", "run": "r1"})
    structlog.get_logger("chat.of_the_test").info("Answered", content="my secret", api_key="sk-1", run="r2")
    lines = written.getvalue()
    assert "my salary" not in lines
    assert "my secret" not in lines
    assert "sk-1" not in lines
    assert "run=r1" in lines.replace("\x1b[0m", "")
    assert lines.count(logs.LEFT_OUT) == 3


def test_libraries_speak_up_only_to_warn() -> None:
    assert not logging.getLogger("httpx").isEnabledFor(logging.INFO)
    assert logging.getLogger("chat").isEnabledFor(logging.INFO)


@pytest.mark.parametrize("logger", ["celery.worker.consumer.consumer", "channels_redis.pubsub"])
def test_attempts_at_the_same_are_logged_once_a_minute(logger: str) -> None:
    (seldom,) = logs.logging_config()["loggers"][logger]["filters"]

    def passes(attempt: int, at: float, reason: str = "invalid password") -> bool:
        # As Celery does it: the attempt and the time until the next one are in the message.
        text = f"consumer: Cannot connect to redis://a:6379: %s.\nTrying again in {attempt * 2}.00 seconds... ({attempt}/None)\n"
        record = logging.LogRecord(logger, logging.ERROR, "", 0, text, (reason,), None)
        record.created = at
        return seldom.filter(record)

    attempts = [(1, 0.0), (2, 2.0), (3, 59.0), (4, 61.0), (5, 100.0)]
    assert [passes(*attempt) for attempt in attempts] == [True, False, False, True, False]
    assert passes(6, 101.0, "connection refused"), "another failure is logged at once"


@pytest.mark.parametrize(
    "away", [ConnectionRefusedError("nobody\nthere"), TimeoutError(), OperationalError("locked"), RedisError("oom")]
)
def test_a_part_that_is_away_is_said_in_a_line(written: io.StringIO, away: Exception) -> None:
    try:
        raise away
    except type(away):
        logging.getLogger("chat.of_the_test").exception("It did not answer")
    assert len(written.getvalue().splitlines()) == 1
    assert type(away).__name__ in written.getvalue()


def test_a_database_without_tables_is_said_in_a_line(written: io.StringIO) -> None:
    try:
        raise ProgrammingError("relation does not exist") from UndefinedTable("relation does not exist")
    except ProgrammingError:
        logging.getLogger("chat.of_the_test").exception("It did not answer")
    assert len(written.getvalue().splitlines()) == 1
    assert "relation does not exist" in written.getvalue()


def test_a_mistake_in_a_statement_is_said_with_its_place(written: io.StringIO) -> None:
    try:
        raise ProgrammingError("column does not exist") from UndefinedColumn("column does not exist")
    except ProgrammingError:
        logging.getLogger("chat.of_the_test").exception("It did not answer")
    assert "Traceback" in written.getvalue()


def test_a_mistake_of_ours_is_said_with_its_place(written: io.StringIO) -> None:
    logging.getLogger("chat.of_the_test").error("It went wrong", exc_info=KeyError("x"))
    assert "KeyError" in written.getvalue()
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("chat.of_the_test").exception("It went wrong")
    assert "Traceback (most recent call last)" in written.getvalue()


@pytest.mark.parametrize(
    "address",
    [
        "https://mcp.test/mcp?token=SECRET",
        "https://u:SECRET@mcp.test/",
        "https://mcp.test/SECRET",
        "redis://:SECRET@mcp.test:6379/0",
        "postgres://u:SECRET@mcp.test/name",
    ],
)
def test_only_the_host_of_an_address_is_logged(written: io.StringIO, address: str) -> None:
    log = logging.getLogger("chat.of_the_test")
    log.info("It is at %s, they say", address)
    log.info("It is there", extra={"address": address})
    try:
        raise RuntimeError(f"for url '{address}'")
    except RuntimeError:
        log.exception("It failed")
    structlog.get_logger("chat.of_the_test").info("It is there", where=address)
    assert "SECRET" not in written.getvalue()
    assert written.getvalue().count("mcp.test") == 4
