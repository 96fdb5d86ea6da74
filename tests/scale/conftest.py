"""The database that these tests copy is made as that of the tests that break things."""

from tests.faults.conftest import ready

__all__ = ["ready"]
