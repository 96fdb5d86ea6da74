"""Rules that judge an answer: what they may be, and what becomes of those that are bad. A further one is a line."""

import time
from typing import Any

import pytest

from agents.tools.rules import LONGEST_RULE, check_rules, judge_answer

ANSWER = "It is 42 euros, so “yes”."
STEPS: list[dict[str, Any]] = [
    {"tool": "python", "arguments": {"code": "6*7"}, "result": "42", "ok": True},
    {"tool": "fetch_page", "arguments": {"url": "https://example.org/"}, "result": "not there", "ok": False},
]

HOLDS = {
    "an expression": "'42' in answer",
    "a value that is true": "len(steps)",
    "no expression at the end": "assert steps[0]['tool'] == 'python'",
    "arguments": "steps[0]['arguments']['code'] == '6*7' and not steps[1]['ok']",
    "a module": "import re\nre.search(r'\\d+ euros', answer) is not None",
    "a function of its own": "def check(a):\n    return '“yes”' in a\ncheck(answer)",
    "what it prints is nothing": "print('looking')\n[s['tool'] for s in steps] == ['python', 'fetch_page']",
    "nothing at all": "",
}


@pytest.mark.parametrize("rule", HOLDS)
def test_a_rule_that_holds(rule: str) -> None:
    ruling = judge_answer(HOLDS[rule], ANSWER, STEPS)
    assert (ruling.passed, ruling.why) == (True, "")


#: Rules, whether they judged, and what is said.
DO_NOT = {
    "false": ("'43' in answer", False, "says no"),
    "zero": ("answer.count('44')", False, "says no"),
    "an assertion with words": ("assert '43' in answer, 'forty-three is missing'", False, "forty-three is missing"),
    "an assertion without": ("assert False", False, "does not hold"),
    "None": ("print(answer)", None, "neither yes nor no"),
    "a name that there is not": ("anser == 1", None, "NameError"),
    "no Python": ("this is no Python", None, "SyntaxError"),
    "a failure": ("steps[9]['tool']", None, "IndexError"),
    "where it failed": ("x = 1\ny = x / 0\ny", None, "Line 2"),
    "it never ends": ("while True:\n    pass", None, "within"),
    "it prints without end": ("while True:\n    print('x' * 100_000)", None, "printed more than"),
    "it prints 1 GB at once": ("print('x' * 1_000_000_000)", None, "could not judge"),
    "it takes all memory": ("a = [0]\nwhile True:\n    a = a + a", None, "memory"),
    "it recurses without end": ("def f():\n    return f()\nf()", None, "could not judge"),
    "it reads files": ("open('/etc/passwd').read()", None, "could not judge"),
    "it asks the network": ("import socket\nsocket.create_connection(('192.0.2.1', 1))", None, "could not judge"),
    "it sleeps": ("import time\ntime.sleep(100)", None, "sleeping is not possible"),
    "it exits": ("import sys\nsys.exit(0)", None, "could not judge"),
    "it has a NUL": ("'a\0b' in answer", False, "says no"),
}


@pytest.mark.parametrize("rule", DO_NOT)
def test_a_rule_that_does_not(rule: str) -> None:
    code, passed, words = DO_NOT[rule]
    began = time.monotonic()
    ruling = judge_answer(code, ANSWER, STEPS)
    assert ruling.passed is passed, ruling
    assert words in ruling.why
    assert len(ruling.why) < 1_000
    assert time.monotonic() - began < 35


def test_a_long_answer_and_a_long_rule_are_taken() -> None:
    answer = "word " * 400_000
    assert judge_answer("answer.endswith('word ') and len(answer) == 1_000_000", answer, STEPS).passed
    assert judge_answer("x = 0\n" + "x += 1\n" * (LONGEST_RULE // 7) + "x > 100", answer, STEPS).passed


#: Rules that can never judge, and what is said of them beforehand; of all others nothing is.
NEVER = {
    "no Python": ("this is no Python", "Line 1: SyntaxError"),
    "an open bracket": ("x = 1\ny = (\nz", "Line 3: SyntaxError: unexpected EOF"),
    "wrong indentation": ("def f():\n    return 1\n  f()", "Line 3: SyntaxError: unindent"),
    "what the sandbox has not": ("x = 1\nif x:\n    del x", "Line 3: The monty syntax parser does not yet support"),
    "nested without end": ("(" * 5_000, "Line 1: SyntaxError: Source is too deeply nested"),
    "a NUL": ("a\0b", "Line 1: SyntaxError"),
    "a module that there is not": ("True\nimport numpy.linalg", "Line 2: the sandbox has no module “numpy”"),
    "within something": ("def f():\n    from requests import get\nf()", "Line 2: the sandbox has no module “requests”"),
    "one that only fails": ("1 / 0", ""),
    "one that never ends": ("while True:\n    pass", ""),
    "one that raises what the check raises": ("raise KeyboardInterrupt", ""),
    "one that imports": ("import re, os.path\nfrom json import dumps\nre.search('4', answer)", ""),
    "none": ("", ""),
}


def test_what_can_never_judge_is_told_with_its_line_and_nothing_is_run() -> None:
    said = check_rules([rule for rule, _ in NEVER.values()])
    for (kind, (_, words)), told in zip(NEVER.items(), said, strict=True):
        assert words in told, kind
        assert bool(words) == bool(told), (kind, told)
