"""Which tool calls wait for people: the rules of the installation, of an agent's version, and of the agent that has asked this one.

Pure. A rule is ``{"tool": glob, "arguments": {name: glob}, "decision": "allow" | "ask" | "deny"}``, its ``arguments`` optional; of a
policy's rules the first that matches counts, and where none does, the call is allowed. Of several policies the strictest holds.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any, Literal, TypeAlias, cast, get_args

Decision = Literal["allow", "ask", "deny"]
_STRICTNESS: dict[Decision, int] = {"allow": 0, "ask": 1, "deny": 2}
#: Rules of one policy, and characters of a glob.
MOST_RULES = 200
_LONGEST_GLOB = 500
#: The name of the rule by which a session that has read private data asks people.
PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class Rule:
    """A decision on calls of tools whose name and arguments match these globs."""

    tool: str
    decision: Decision
    arguments: tuple[tuple[str, str], ...] = ()

    def matches(self, tool_name: str, arguments: Mapping[str, Any]) -> bool:
        """Whether a call is meant. An argument that the call does not have fits nothing."""
        return fnmatchcase(tool_name, self.tool) and all(
            name in arguments and fnmatchcase(_as_text(arguments[name]), glob) for name, glob in self.arguments
        )


Policy: TypeAlias = tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision of policies on a call. ``rule`` names the rules that ask people: the same rules, the same name."""

    decision: Decision
    rule: str = ""


def read_policy(value: Any) -> Policy:
    """A policy from the JSON value that it is written as. Raises `ValueError` with a sentence that names the rule."""
    if not isinstance(value, list):
        raise ValueError("A policy is a list of rules.")  # noqa: TRY004 - a value of the wrong kind, as any other
    if len(value) > MOST_RULES:
        raise ValueError(f"A policy has at most {MOST_RULES} rules.")
    return tuple(_rule(number, each) for number, each in enumerate(value, 1))


def _rule(number: int, value: Any) -> Rule:
    if not isinstance(value, dict) or not value.keys() <= {"tool", "arguments", "decision"}:
        raise ValueError(f"Rule {number} has to be an object of “tool”, “decision” and perhaps “arguments”.")
    tool, decision, arguments = value.get("tool"), value.get("decision"), value.get("arguments") or {}
    if not _is_glob(tool):
        raise ValueError(f"Rule {number} needs a “tool”: a name, in which * stands for anything.")
    if decision not in get_args(Decision):
        raise ValueError(f"Rule {number} needs a “decision”: allow, ask or deny.")
    if not isinstance(arguments, dict) or not all(map(_is_glob, arguments.values())):
        raise ValueError(f"The “arguments” of rule {number} have to be texts by name, in which * stands for anything.")
    return Rule(cast(str, tool), cast(Decision, decision), tuple(arguments.items()))


def _is_glob(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_GLOB


def judge_call(policies: Sequence[Policy], tool_name: str, arguments: Mapping[str, Any]) -> Verdict:
    """The strictest policy's decision on a call."""
    found = [next((rule for rule in policy if rule.matches(tool_name, arguments)), None) for policy in policies]
    matched = [rule for rule in found if rule is not None]
    decision: Decision = max((rule.decision for rule in matched), key=_STRICTNESS.__getitem__, default="allow")
    if decision != "ask":
        return Verdict(decision)
    asking = [(rule.tool, sorted(rule.arguments)) for rule in matched if rule.decision == "ask"]
    return Verdict("ask", sha256(json.dumps(sorted(asking)).encode()).hexdigest())


def _as_text(value: Any) -> str:
    """A value as patterns are matched against it: a string unchanged, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


#: What the model gets for a call that would have to wait if it cannot.
CANNOT_WAIT = (
    "This call needs a person's decision, for which this agent cannot wait here. Nothing was run; go on without it."
)


def _never(_tool_name: str, _rule: str) -> bool:
    return False


def _cannot_wait() -> str:
    return CANNOT_WAIT


@dataclass(frozen=True, slots=True)
class Gate:
    """The check before a run's tool calls.

    ``why_no_wait`` returns why the run cannot end here and continue when people have decided: text for the model, whose call is refused
    with it; empty where it can. ``is_allowed`` returns, by tool and rule, whether people have allowed such calls for the whole session.
    Both are called in the agent's thread, for calls that would have to wait.
    """

    policies: tuple[Policy, ...] = ()
    why_no_wait: Callable[[], str] = _cannot_wait
    is_allowed: Callable[[str, str], bool] = _never
