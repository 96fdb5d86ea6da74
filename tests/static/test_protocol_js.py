"""The names and types of the protocol in the page's scripts are those of ``chat/protocol``."""

from scripts import protocol_js


def test_the_script_is_up_to_date() -> None:
    assert protocol_js.TARGET.read_text("utf-8") == protocol_js.script(), "write it anew: make protocol"
