"""The databases and worlds that these tests copy are made as those of the tests that break things."""

from tests.faults.conftest import model, open_world, ready

__all__ = ["model", "open_world", "ready"]
