"""Rules that judge an answer: which ones are valid, and the result of faulty ones. A further one is a line."""

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


#: Rules, whether they judged the answer, and the message.
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


#: Rules that can never work, and the error when they are saved; there is none for all others.
NEVER = {
    "no Python": ("this is no Python", "Line 1: SyntaxError"),
    "an open bracket": ("x = 1\ny = (\nz", "Line 3: SyntaxError: unexpected EOF"),
    "wrong indentation": ("def f():\n    return 1\n  f()", "Line 3: SyntaxError: unindent"),
    "what the sandbox has not": ("x = 1\nif x:\n    del x", "Line 3: The monty syntax parser does not yet support"),
    "nested without end": ("(" * 5_000, "Line 1: SyntaxError: Source is too deeply nested"),
    "a NUL": ("a\0b", "Line 1: SyntaxError"),
    "a module that there is not": ("True\nimport numpy.linalg", "Line 2: the sandbox has no module “numpy”"),
    "a name that there is not": ("x = answer\nanser == x", "Line 2: NameError: name 'anser' is not defined"),
    "one in a function": ("def f(a):\n    return a + prices\nlen(answer)", "Line 2: NameError: name 'prices'"),
    "one of a function alone": ("def f():\n    x = 1\nf()\nx", "Line 4: NameError: name 'x'"),
    "one of a comprehension": ("all(s['ok'] for s in steps)\ns['tool']", "Line 2: NameError: name 's'"),
    "one of a class": ("class A:\n    b = 1\nb", "Line 3: NameError: name 'b'"),
    "one of Python's that the sandbox has not": ("True\ncallable(answer)", "Line 2: NameError: name 'callable'"),
    "one within a text": ("f'{len(answer)} {longest}' in answer", "Line 1: NameError: name 'longest'"),
    "all of a module": ("from math import *\nsqrt(4) == 2", "Line 1: Wildcard imports"),
    "within something": ("def f():\n    from requests import get\nf()", "Line 2: the sandbox has no module “requests”"),
    "one that only fails": ("1 / 0", ""),
    "one that never ends": ("while True:\n    pass", ""),
    "one that raises what the check raises": ("raise KeyboardInterrupt", ""),
    "one that imports": ("import re, os.path\nfrom json import dumps\nre.search('4', answer)", ""),
    "none": ("", ""),
}


def test_a_rule_that_can_never_judge_is_refused_with_its_line() -> None:
    problems = check_rules([rule for rule, _ in NEVER.values()])
    for (kind, (_, words)), problem in zip(NEVER.items(), problems, strict=True):
        assert words in problem, kind
        assert bool(words) == bool(problem), (kind, problem)


#: Rules that work, however they define their names: there is no error for any of them.
NAMES = {
    "builtins": "sorted([len(answer), int('7'), *map(abs, [1])])",
    "comprehensions": "[b for a in [[1]] for b in a] and {k: v for k, v in {1: 2}.items()} and {s['ok'] for s in steps}",
    "a comprehension within one": "[[x + y for x in range(2)] for y in range(2)]",
    "a walrus": "if (found := answer.find('42')) < 0:\n    assert False\nfound > 0",
    "a walrus within a comprehension": "[last := step for step in steps]\nlast['tool'] == 'fetch_page'",
    "functions within functions": "def f(n):\n    def g(m):\n        return m + n\n    return g(1)\nf(1) == 2",
    "a function that stands below": "def f():\n    return g()\ndef g():\n    return True\nf()",
    "one that calls itself": "def f(n):\n    return n == 0 or f(n - 1)\nf(3)",
    "every kind of parameter": "(lambda a, /, b, *c, d=1, **e: [a, b, c, d, e])(1, 2)",
    "a decorator": "def same(f):\n    return f\n@same\ndef g():\n    return True\ng()",
    "nonlocal": "def f():\n    n = 1\n    def g():\n        nonlocal n\n        n = 2\n    g()\n    return n\nf() == 2",
    "global": "def f():\n    global seen\n    seen = True\nf()\nseen",
    "an exception's name": "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    said = str(error)\nsaid",
    "a name that is known to be missing": "try:\n    nothing\nexcept NameError:\n    nothing = 1\nnothing",
    "whatever goes wrong": "try:\n    nothing\nexcept Exception:\n    nothing = 1\nnothing",
    "imports": "import re as r, json, os.path\nfrom math import floor as down\nr and json and os and down(1.5) == 1",
    "an import within a function": "def f():\n    import re\n    return re.search('4', answer)\nf() is not None",
    "unpacking": "first, *rest = steps\n(a, [b, c]) = 1, [2, 3]\nrest and a and b and c",
    "loops": "for at, step in enumerate(steps):\n    pass\nat == 1 and not step['ok']",
    "match": "match steps:\n    case [{'tool': name, **more}, *others]:\n        pass\nname == 'python' and more and others",
    "a class": "class A:\n    b = 1\n    c = b\n    def d(self):\n        return self.c\nA().d()",
    "a class's own kind of name": "__x = 1\nclass A:\n    def b(self):\n        return __x\nA().b()",
    "annotations of nothing": "def f(a: Words) -> Anything:\n    return a\nx: Whatever = f(1)\nx",
    "a data class": "from dataclasses import dataclass\n@dataclass\nclass A:\n    b: int\nA(1).b",
    "names of the module": "__name__ == '__main__'",
    "names of other scripts": "größe = 1\n名 = 2\ngröße < 名",
    "what is made by code": "exec('made = 1')\nmade",
    "what is never reached": "if False:\n    nothing\nTrue",
    "await": "import asyncio\nasync def f():\n    return True\nasyncio.run(f())",
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_that_a_rule_has_is_not_missed(kind: str) -> None:
    assert judge_answer(NAMES[kind], ANSWER, STEPS).passed
    assert check_rules([NAMES[kind]]) == [""]
