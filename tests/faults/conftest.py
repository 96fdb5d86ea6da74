"""What fault tests share."""

from collections.abc import Iterator

import pytest

from tests.model_server import ModelServer


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    """The model's side, which does what the words of a message say; see ``tests/model_server.py``."""
    with ModelServer() as server:
        yield server
