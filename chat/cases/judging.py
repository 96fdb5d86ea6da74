"""Whether an answer is right: by the words that must appear in it, and by a rule. Asks no database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from agents import judge_answer
from agents.sentence import Sentence, parts_of
from chat.models import CaseVerdict
from chat.protocol.frames import KeptFrame

#: Steps of a run that a rule is given, and missing words that are told.
_MOST_STEPS, _MOST_TOLD = 500, 10


@dataclass(frozen=True, slots=True)
class Judged:
    """What has come of a case, and why."""

    verdict: CaseVerdict
    why: str = ""


def why_data(why: str) -> dict[str, Any]:
    """A sentence as it is kept: as errors are told, so that a page says it in its reader's language."""
    return {"message": str(why), **parts_of(why)} if why else {}


def expected_words(text: str) -> list[str]:
    """What must appear, a word or phrase of each line; spaces count as one."""
    return [words for line in text.splitlines() if (words := " ".join(line.split()))]


def judge(expected: str, rule: str, answer: str, steps: Sequence[Mapping[str, Any]]) -> Judged:
    """Judge an answer. All words must appear in it, whatever their case and the spaces between them; then the rule is asked.

    A rule may take as long as the sandbox allows: not for the loop.
    """
    if missing := missing_words(expected, answer):
        told = ", ".join(f"“{words[:80]}”" for words in missing[:_MOST_TOLD])
        return Judged(CaseVerdict.FAILED, Sentence("The answer lacks %(words)s.", words=told))
    if not rule.strip():
        return Judged(CaseVerdict.PASSED if expected_words(expected) else CaseVerdict.ANSWERED)
    ruling = judge_answer(rule, answer, steps)
    if ruling.passed is None:
        return Judged(CaseVerdict.ERROR, ruling.why)
    return Judged(CaseVerdict.PASSED if ruling.passed else CaseVerdict.FAILED, ruling.why)


def missing_words(expected: str, answer: str) -> list[str]:
    """Those of the expected words that do not appear in an answer."""
    said = _normal(answer)
    return [words for words in expected_words(expected) if _normal(words) not in said]


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def answer_and_steps(run_id: str, frames: Sequence[KeptFrame]) -> tuple[str, list[dict[str, Any]]]:
    """A run's own answer, and its calls of tools as a rule is given them."""
    answer = ""
    calls: dict[str, dict[str, Any]] = {}
    for frame in frames:
        if frame["run_id"] != run_id or frame["type"] != "reasoning_step":
            continue
        data: dict[str, Any] = dict(frame["data"])
        match data["type"]:
            case "final_answer":
                answer = str(data["content"])
            case "tool_use":
                told = {"tool": data["tool_name"], "arguments": _plain(data["arguments"]), "result": "", "ok": False}
                calls[data["tool_call_id"]] = told
            case "tool_result" if data["tool_call_id"] in calls:
                calls[data["tool_call_id"]] |= {"result": str(data["content"]), "ok": bool(data["ok"])}
    return answer, list(calls.values())[:_MOST_STEPS]


def _plain(arguments: Any) -> Any:
    """Arguments as values of JSON alone."""
    return orjson.loads(orjson.dumps(arguments))
