"""Rules in Python that judge an answer. They run in the sandbox of the `python` tool, with its limits, in a process that can be killed.

A rule gets `answer`, the text, and `steps`, the tool calls: a list of ``{"tool", "arguments", "result", "ok"}``. The value of its
last expression says whether the answer is right, or a failed `assert` that it is not. Other errors mean that the rule could not judge.
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
#: The longest answer, in characters, that a rule is given.
_LONGEST_ANSWER = 1_000_000
_LONGEST_WORDS = 600
#: Only one of three words leaves the sandbox, so a rule's value may be of any size.
_JUDGE = "def __judge__(value):\n  return 'none' if value is None else 'true' if value else 'false'"


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The result of a rule. ``passed`` is None if the rule could not judge; ``why`` is a sentence, empty if the answer is right."""

    passed: bool | None
    why: str = ""


class _Rule(PythonTool):
    """The sandbox for rules. What a rule prints is reported if it fails; too much output ends it."""

    output_limit = 20_000
    prelude = _JUDGE

    def judge(self, rule: str, given: Mapping[str, Any], stop: CancelToken) -> str | None:
        """The word for its last expression's value, None if there is none. Raises `AssertionError` or `ToolError` with what went wrong."""
        code = call_with_last_value(rule, "__judge__")
        output = Output(limit=self.output_limit)
        with self.session(stop) as (session, kill):
            remove_callback = stop.add_callback(kill)
            try:
                value = session.feed_run(code or rule, inputs=dict(given), print_callback=output.collect(kill))
            except MontyCrashedError as error:
                raise ToolError(self.why_crashed(error, output, stop)) from error
            except (MontyRuntimeError, MontySyntaxError) as error:
                problem = self.explain(error, rule)
                if problem.startswith("AssertionError"):
                    raise AssertionError(problem.removeprefix("AssertionError").removeprefix(": ")) from error
                raise ToolError(problem + output.before_that()) from error
            finally:
                remove_callback()
        if output.full:
            raise ToolError(self.too_much(output))
        if code is None and value is not None:
            # The rule uses newer syntax than this Python: the sandbox returned the value itself.
            return str(bool(value)).lower()
        return None if value is None else str(value)


def check_rules(rules: Sequence[str]) -> list[str]:
    """For each rule, a sentence about why it cannot run, with the line; empty if none is known. Does not run the rules.

    The sandbox parses each rule, and is asked for the names that the rule does not bind itself. That takes a fifth of a millisecond
    for a small rule, two hundred for the longest one. May be called from any thread; blocks.
    """
    try:
        with _Rule().session(CancelToken()) as (session, _kill):
            return [_why_never(rule, session) if rule.strip() else "" for rule in rules]
    except ToolError:
        # No interpreter is available, so nothing can be checked.
        return [""] * len(rules)


#: The sandbox parses all of the code before it runs it: with this line first, it parses the rule but never runs it.
_NEVER = "raise KeyboardInterrupt\n"


def _why_never(rule: str, session: MontySession) -> str:
    try:
        session.feed_run(_NEVER + rule, inputs={"answer": "", "steps": []})
    except (MontySyntaxError, MontyRuntimeError) as error:
        lines = [frame.line for frame in error.traceback()]
        if lines and lines[-1] > 1:
            # The sandbox's exception for missing features; people are shown only its message.
            return _cannot_run(lines[-1] - 1, error.display("type-msg").removeprefix("NotImplementedError: "))
    except MontyCrashedError:
        return Sentence("The rule cannot run: the sandbox could not read it.")
    return _missing_module(rule) or _missing_name(rule, session)


def _cannot_run(line: int, reason: str) -> str:
    return Sentence("The rule cannot run. Line %(line)d: %(said)s", line=line, said=_cut(reason))


def _missing_name(rule: str, session: MontySession) -> str:
    known: set[str] = set()
    for line, name in unbound_names(rule):
        if name in known:
            continue
        try:
            # The sandbox itself says whether it has the name: the variables were given before.
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
    """Judge an answer by a rule. Never raises because of the rule. Blocks, for at most the sandbox's time; any thread may call it."""
    given = {"answer": answer[:_LONGEST_ANSWER], "steps": [dict(step) for step in steps]}
    try:
        value = _Rule().judge(rule, given, stop or CancelToken())
    except AssertionError as error:
        return RuleResult(passed=False, why=Sentence("The rule does not hold: %(said)s", said=_cut(str(error))))
    except ToolError as error:
        return RuleResult(passed=None, why=Sentence("The rule could not judge: %(said)s", said=_cut(str(error))))
    match value:
        case None | "true":
            return RuleResult(passed=True)
        case "false":
            return RuleResult(passed=False, why=Sentence("The rule says no."))
    return RuleResult(
        passed=None, why=Sentence("The rule could not judge: it ended with None, which is neither yes nor no.")
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_WORDS else text[:_LONGEST_WORDS] + "…"
