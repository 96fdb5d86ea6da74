"""The databases and processes of these tests are made like those of the tests of faults."""

from tests.faults.conftest import model, open_world, ready

__all__ = ["model", "open_world", "ready"]
