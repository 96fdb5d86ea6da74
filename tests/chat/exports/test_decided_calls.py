"""Decisions of people within a run are in its files."""

from typing import Any

from chat.exports.as_markdown import _call
from chat.rendering.decisions import decision_row
from chat.rendering.fragments import render_fragment
from chat.rendering.transcript import Call, Decision, Request


def decided(**more: Any) -> Call:
    call = Call(1, 1, 0.0, "c1", "send_mail", {"to": "a"})
    call.request = Request(2, 0.0, 9.0, "deny", more.pop("fields", None))
    call.decision = Decision(3, 1.0, more.pop("decision", "allow"), "jonas", **more)
    return call


CHANGED = decided(arguments={"to": "b"}, reason="```\nNot a.")
FIELDS = [{"name": "n", "label": "How many?", "kind": "number", "required": True}]
ANSWERED = decided(decision="answer", answers={"n": 2}, fields=FIELDS)


def test_markdown_tells_who_decided_what() -> None:
    text = _call(CHANGED)
    assert "Allowed by jonas\n\n```\nNot a.\n```" in text
    assert '{\n  "to": "b"\n}' in text
    assert "Answered by jonas\n\n- How many?: 2" in _call(ANSWERED)


def test_html_tells_who_decided_what() -> None:
    for call, words in (
        (CHANGED, ["Allowed by jonas", "<del>a</del> <ins>b</ins>"]),
        (ANSWERED, ["<dt>How many?</dt><dd>2</dd>"]),
    ):
        html = render_fragment("export/_call.html", {"call": {"decision": decision_row(call, "", "")}})
        assert [each for each in words if each not in html] == []
