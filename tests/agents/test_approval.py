"""Approval policies: which rule applies, what a rule may contain, and the form of `ask_user`."""

from typing import Any

import pytest

from agents.approval import Rule, judge_call, read_policy
from agents.tools.ask_user import answer_problem, fields_of
from agents.tools.tool import ToolError

ASK, DENY = {"tool": "mail", "decision": "ask"}, {"tool": "mail", "decision": "deny"}


def rule(decision: str, tool: str = "*", **arguments: str) -> dict[str, Any]:
    return {"tool": tool, "decision": decision, **({"arguments": arguments} if arguments else {})}


#: Policies, a call's tool and arguments, and the decision.
VERDICTS: list[tuple[list[list[dict[str, Any]]], str, dict[str, Any], str]] = [
    ([], "mail", {}, "allow"),
    ([[ASK]], "mail", {}, "ask"),
    ([[ASK]], "Mail", {}, "allow"),
    ([[ASK]], "mail2", {}, "allow"),
    ([[rule("ask", "ma*")]], "mail", {}, "ask"),
    ([[rule("ask", "files-*")]], "files-remove", {}, "ask"),
    # The first rule that matches applies.
    ([[rule("allow", "mail"), DENY]], "mail", {}, "allow"),
    ([[DENY, rule("allow", "mail")]], "mail", {}, "deny"),
    # An argument that does not exist does not match.
    ([[rule("ask", to="*")]], "mail", {}, "allow"),
    ([[rule("ask", to="*")]], "mail", {"to": ""}, "ask"),
    ([[rule("ask", to="*@example.org")]], "mail", {"to": "a@example.org"}, "ask"),
    ([[rule("ask", to="*@example.org")]], "mail", {"to": "a@example.com"}, "allow"),
    ([[rule("deny", to="a*", cc="*")]], "mail", {"to": "a"}, "allow"),
    ([[rule("deny", to="a*", cc="*")]], "mail", {"to": "a", "cc": None}, "deny"),
    # Values that are no text are matched as JSON.
    ([[rule("ask", n="5")]], "mail", {"n": 5}, "ask"),
    ([[rule("ask", all="true")]], "mail", {"all": True}, "ask"),
    ([[rule("ask", to='*"b"*')]], "mail", {"to": ["a", "b"]}, "ask"),
    # Of several policies the strictest applies.
    ([[rule("allow", "mail")], [ASK]], "mail", {}, "ask"),
    ([[ASK], [DENY], []], "mail", {}, "deny"),
]


@pytest.mark.parametrize(("policies", "tool", "arguments", "decision"), VERDICTS)
def test_the_first_rule_of_the_strictest_policy_counts(
    policies: list[list[dict[str, Any]]], tool: str, arguments: dict[str, Any], decision: str
) -> None:
    assert judge_call([read_policy(policy) for policy in policies], tool, arguments).decision == decision


def test_a_call_that_requires_a_decision_names_its_rules() -> None:
    named = [judge_call([read_policy([each])], "mail", {"to": "a"}).rule for each in (ASK, ASK, rule("ask", to="*"))]
    assert named[0] == named[1] != named[2]
    assert judge_call([read_policy([DENY])], "mail", {}).rule == ""


#: Invalid policies, and a part of the error.
BAD: list[tuple[Any, str]] = [
    ({}, "list of rules"),
    (None, "list of rules"),
    (["mail"], "Rule 1 has to be an object"),
    ([ASK, {**ASK, "because": "so"}], "Rule 2 has to be an object"),
    ([{"decision": "ask"}], "Rule 1 needs a “tool”"),
    ([{**ASK, "tool": ""}], "Rule 1 needs a “tool”"),
    ([{**ASK, "tool": "x" * 501}], "Rule 1 needs a “tool”"),
    ([{**ASK, "decision": "perhaps"}], "Rule 1 needs a “decision”"),
    ([{**ASK, "decision": ["ask"]}], "Rule 1 needs a “decision”"),
    ([{**ASK, "arguments": ["to"]}], "“arguments” of rule 1"),
    ([{**ASK, "arguments": {"to": 5}}], "“arguments” of rule 1"),
    ([ASK] * 201, "at most 200"),
]


@pytest.mark.parametrize(("value", "words"), BAD)
def test_an_invalid_policy_is_refused_with_an_error(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_policy(value)


def test_a_policy_is_what_it_says() -> None:
    assert read_policy([ASK, rule("deny", to="*")]) == (Rule("mail", "ask"), Rule("*", "deny", (("to", "*"),)))


FORM = fields_of(
    {
        "question": "?",
        "fields": [
            {"name": "text", "kind": "text"},
            {"name": "one", "kind": "choice", "options": ["a", "b"], "required": False},
            {"name": "some", "kind": "choices", "options": ["a", "b"], "required": False},
            {"name": "n", "kind": "number", "required": False},
            {"name": "yes", "kind": "yes_no", "label": "Really?", "required": False},
        ],
    }
)
#: Answers, and the error about them; an empty one: they are valid.
ANSWERS: list[tuple[dict[str, Any], str]] = [
    ({"text": "x"}, ""),
    ({"text": "x", "one": "a", "some": ["b", "a"], "n": 1.5, "yes": False}, ""),
    ({"text": "x", "one": None, "some": [], "n": None}, ""),
    ({}, "“text” has to be answered"),
    ({"text": "  "}, "“text” has to be answered"),
    ({"text": 5}, "“text” has to be a text"),
    ({"text": "x" * 4_001}, "“text” has to be a text"),
    ({"text": "x", "one": "c"}, "“one” has to be one of its options"),
    ({"text": "x", "one": ["a"]}, "“one” has to be one of its options"),
    ({"text": "x", "some": "a"}, "“some” has to be a list"),
    ({"text": "x", "some": ["a", "c"]}, "“some” has to be a list"),
    ({"text": "x", "some": ["a", "a", "a"]}, "“some” has to be a list"),
    ({"text": "x", "some": ["a", "a"]}, "“some” has to be a list"),
    ({"text": "x", "n": "1"}, "“n” has to be a number"),
    ({"text": "x", "n": True}, "“n” has to be a number"),
    ({"text": "x", "n": 1e300}, "“n” has to be a number"),
    ({"text": "x", "yes": 1}, "“Really?” has to be yes or no"),
    ({"text": "x", "more": 1}, "no field “more”"),
]


@pytest.mark.parametrize(("answers", "words"), ANSWERS)
def test_answers_fit_their_fields(answers: dict[str, Any], words: str) -> None:
    problem = answer_problem(FORM, answers)
    assert words in problem
    assert bool(problem) is bool(words)


def test_a_question_without_fields_is_one_for_a_text() -> None:
    assert fields_of({"question": "Where to?"}) == [
        {"name": "answer", "label": "Where to?", "kind": "text", "required": True}
    ]


@pytest.mark.parametrize(
    "fields",
    [
        [{"name": "a", "kind": "text"}, {"name": "a", "kind": "number"}],
        [{"name": " ", "kind": "text"}],
        [{"name": "a", "kind": "choice"}],
        [{"name": "a", "kind": "choices", "options": []}],
    ],
)
def test_an_invalid_form_is_reported_to_the_model(fields: list[dict[str, Any]]) -> None:
    with pytest.raises(ToolError, match="Nobody was asked"):
        fields_of({"question": "?", "fields": fields})
