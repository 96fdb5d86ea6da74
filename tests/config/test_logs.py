"""What people and models wrote, and secrets, stay out of the log."""

import io
import logging
import logging.config

import pytest
import structlog

from config import logs


@pytest.fixture
def written() -> io.StringIO:
    """What a process that logs as we do writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    plan = logs.plan()["formatters"]["line"]
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
