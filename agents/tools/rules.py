"""Rules in Python that judge an answer: in the sandbox of the `python` tool, under its limits, in a process that can be killed.

A rule finds `answer`, the text, and `steps`, the calls of tools: a list of ``{"tool", "arguments", "result", "ok"}``. The value of its
last expression says whether the answer is right; so does an `assert`. Whatever else it does is told, and judges nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_monty import MontyCrashedError, MontyRuntimeError, MontySession, MontySyntaxError

from agents.cancellation import CancelToken
from agents.sentence import Sentence
from agents.tools.python import MODULES, Output, PythonTool, call_with_last_value, imported_modules, unbound_names
from agents.tools.tool import ToolError

LONGEST_RULE = 20_000
#: Characters of an answer that a rule is given.
_LONGEST_ANSWER = 1_000_000
_LONGEST_WORDS = 600
#: A value of its own may be as large as it likes: what leaves the sandbox is one of three words.
_JUDGE = "def __judge__(value):\n  return 'none' if value is None else 'true' if value else 'false'"


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What a rule says: ``passed`` is None where it could not judge; ``why`` is a sentence, empty where the answer is right."""

    passed: bool | None
    why: str = ""


class _Rule(PythonTool):
    """The sandbox, as a rule uses it. What it prints is told where it fails; too much of it ends it."""

    output_limit = 20_000
    prelude = _JUDGE

    def judge(self, rule: str, given: Mapping[str, Any], stop: CancelToken) -> str | None:
        """The word of its last expression, None where it ends with none. Raises `AssertionError` or `ToolError` with what went wrong."""
        code = call_with_last_value(rule, "__judge__")
        output = Output(limit=self.output_limit)
        with self.session(stop) as (session, kill):
            remove_callback = stop.add_callback(kill)
            try:
                said = session.feed_run(code or rule, inputs=dict(given), print_callback=output.collect(kill))
            except MontyCrashedError as error:
                raise ToolError(self.why_crashed(error, output, stop)) from error
            except (MontyRuntimeError, MontySyntaxError) as error:
                told = self.explain(error, rule)
                if told.startswith("AssertionError"):
                    raise AssertionError(told.removeprefix("AssertionError").removeprefix(": ")) from error
                raise ToolError(told + output.before_that()) from error
            finally:
                remove_callback()
        if output.full:
            raise ToolError(self.too_much(output))
        if code is None and said is not None:
            # Written in newer Python than this one: the sandbox has given the value itself.
            return str(bool(said)).lower()
        return None if said is None else str(said)


def check_rules(rules: Sequence[str]) -> list[str]:
    """What keeps each of these rules from ever judging, with the line; an empty sentence where nothing is known to. Runs none of them.

    The sandbox reads each as it would before it runs it, and is asked for the names that the rule does not bind itself: a small one takes a
    fifth of a millisecond, the longest some two hundred. Any thread.
    """
    try:
        with _Rule().session(CancelToken()) as (session, _kill):
            return [_why_never(rule, session) if rule.strip() else "" for rule in rules]
    except ToolError:
        # Without an interpreter nothing is known of them.
        return [""] * len(rules)


#: The sandbox reads all of what it is given and then runs it: with this before it, it comes to the rule's first line never.
_NEVER = "raise KeyboardInterrupt\n"


def _why_never(rule: str, session: MontySession) -> str:
    try:
        session.feed_run(_NEVER + rule, inputs={"answer": "", "steps": []})
    except (MontySyntaxError, MontyRuntimeError) as error:
        lines = [frame.line for frame in error.traceback()]
        if lines and lines[-1] > 1:
            # The sandbox calls it so where a rule asks for what it has not; the person is told the words alone.
            return _cannot_run(lines[-1] - 1, error.display("type-msg").removeprefix("NotImplementedError: "))
    except MontyCrashedError:
        return Sentence("The rule cannot run: the sandbox could not read it.")
    return _missing_module(rule) or _missing_name(rule, session)


def _cannot_run(line: int, said: str) -> str:
    return Sentence("The rule cannot run. Line %(line)d: %(said)s", line=line, said=_cut(said))


def _missing_name(rule: str, session: MontySession) -> str:
    known: set[str] = set()
    for line, name in unbound_names(rule):
        if name in known:
            continue
        try:
            # Whether there is such a name, the sandbox says itself: what it is given is there from what was fed before.
            session.feed_run(name)
        except MontyRuntimeError as error:
            return _cannot_run(line, error.display("type-msg"))
        known.add(name)
    return ""


def _missing_module(rule: str) -> str:
    for line, module in imported_modules(rule) if "import" in rule else ():
        if module not in MODULES:
            there = ", ".join(MODULES)
            return Sentence(
                "The rule cannot run. Line %(line)d: the sandbox has no module “%(module)s”, only %(there)s.",
                line=line,
                module=_cut(module),
                there=there,
            )
    return ""


def judge_answer(
    rule: str, answer: str, steps: Sequence[Mapping[str, Any]], stop: CancelToken | None = None
) -> RuleResult:
    """Judge an answer by a rule. Never raises for what the rule does; takes as long as the sandbox allows, at most. Any thread."""
    given = {"answer": answer[:_LONGEST_ANSWER], "steps": [dict(step) for step in steps]}
    try:
        said = _Rule().judge(rule, given, stop or CancelToken())
    except AssertionError as error:
        return RuleResult(passed=False, why=Sentence("The rule does not hold: %(said)s", said=_cut(str(error))))
    except ToolError as error:
        return RuleResult(passed=None, why=Sentence("The rule could not judge: %(said)s", said=_cut(str(error))))
    match said:
        case None | "true":
            return RuleResult(passed=True)
        case "false":
            return RuleResult(passed=False, why=Sentence("The rule says no."))
    return RuleResult(
        passed=None, why=Sentence("The rule could not judge: it ended with None, which is neither yes nor no.")
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_WORDS else text[:_LONGEST_WORDS] + "…"
