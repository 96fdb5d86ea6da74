"""Whether an answer is right: by the words that must appear in it, and by a rule. Does not use the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import orjson

from agents import judge_answer
from agents.json_types import JsonObject
from agents.sentence import Sentence, SentenceParts, parts_of
from chat.models import CaseVerdict
from chat.protocol.frames import KeptFrame

#: Steps of a run that a rule is given, and missing words that are reported.
_MOST_STEPS, _MOST_TOLD = 500, 10


class ToolStep(TypedDict):
    """A tool call as a rule is given it."""

    tool: str
    arguments: Any
    """An object; the text that the model wrote where that is none."""
    result: str
    ok: bool


class WhyData(SentenceParts, total=False):
    """Why a verdict is as it is, as it is stored; empty where there is nothing to say."""

    message: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A case's verdict, and why."""

    verdict: CaseVerdict
    why: str = ""


def why_data(why: str) -> WhyData:
    """A sentence as it is stored: like an error, so that a page can translate it."""
    return {"message": str(why), **parts_of(why)} if why else {}


def expected_words(text: str) -> list[str]:
    """What must appear, a word or phrase of each line; spaces count as one."""
    return [words for line in text.splitlines() if (words := " ".join(line.split()))]


def judge(expected: str, rule: str, answer: str, steps: Sequence[Mapping[str, Any]]) -> Judged:
    """Judge an answer. All words must appear in it, whatever their case and the spaces between them; then the rule is run.

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


def answer_and_steps(run_id: str, frames: Sequence[KeptFrame]) -> tuple[str, list[ToolStep]]:
    """A run's own answer, and its calls of tools as a rule is given them."""
    answer = ""
    calls: dict[str, ToolStep] = {}
    for frame in frames:
        if frame["run_id"] != run_id or frame["type"] != "reasoning_step":
            continue
        data: JsonObject = dict(frame["data"])
        match data["type"]:
            case "final_answer":
                answer = str(data["content"])
            case "tool_use":
                asked = _plain(data["arguments"])
                calls[data["tool_call_id"]] = {"tool": data["tool_name"], "arguments": asked, "result": "", "ok": False}
            case "tool_result" if data["tool_call_id"] in calls:
                call = calls[data["tool_call_id"]]
                call["result"], call["ok"] = str(data["content"]), bool(data["ok"])
    return answer, list(calls.values())[:_MOST_STEPS]


def _plain(arguments: Any) -> Any:
    """Arguments as values of JSON alone."""
    return orjson.loads(orjson.dumps(arguments))
