"""Tests that share a product run in one process of a parallel run: in two it would be started twice, which takes longer than the tests."""

import pytest


@pytest.mark.xdist_group("kept together")
def test_tests_of_a_group_are_kept_together(request: pytest.FixtureRequest) -> None:
    """Xdist keeps those together whose ids end in their group's name; where it cannot add that, it reports nothing."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("all tests run in this process")
    assert request.node.nodeid.endswith("@kept together")
