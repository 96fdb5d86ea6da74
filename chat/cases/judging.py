"""Whether an answer is right: by the words that must occur in it, and by a rule. Does not use the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import orjson

from agents import judge_answer
from agents.json_types import JsonObject
from agents.sentence import Sentence, SentenceParts, parts_of
from chat.models import CaseVerdict
from chat.protocol.frames import KeptFrame

#: The most steps of a run that a rule gets, and missing words that are reported.
_MOST_STEPS, _MOST_LISTED = 500, 10


class ToolStep(TypedDict):
    """A tool call as rules get it."""

    tool: str
    arguments: Any
    """An object; or the text that the model wrote, if that is no object."""
    result: str
    ok: bool


class WhyData(SentenceParts, total=False):
    """Why a verdict is as it is, as stored; empty if there is nothing to say."""

    message: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on a case's answer, and why."""

    verdict: CaseVerdict
    why: str = ""


def why_data(why: str) -> WhyData:
    """A sentence as it is stored: with its parts, so that a page can translate it."""
    return {"message": str(why), **parts_of(why)} if why else {}


def expected_words(text: str) -> list[str]:
    """The words or phrases that must occur, one per line of ``text``; runs of white space count as one space."""
    return [words for line in text.splitlines() if (words := " ".join(line.split()))]


def judge(expected: str, rule: str, answer: str, steps: Sequence[Mapping[str, Any]]) -> Judged:
    """Judge an answer. All words must occur in it, in any case and spacing; then the rule is run.

    Blocks for as long as the sandbox lets a rule run.
    """
    if missing := missing_words(expected, answer):
        quoted = ", ".join(f"“{words[:80]}”" for words in missing[:_MOST_LISTED])
        return Judged(CaseVerdict.FAILED, Sentence("The answer lacks %(words)s.", words=quoted))
    if not rule.strip():
        return Judged(CaseVerdict.PASSED if expected_words(expected) else CaseVerdict.ANSWERED)
    judged = judge_answer(rule, answer, steps)
    if judged.passed is None:
        return Judged(CaseVerdict.ERROR, judged.why)
    return Judged(CaseVerdict.PASSED if judged.passed else CaseVerdict.FAILED, judged.why)


def missing_words(expected: str, answer: str) -> list[str]:
    """The expected words that do not occur in an answer."""
    text = _normal(answer)
    return [words for words in expected_words(expected) if _normal(words) not in text]


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def answer_and_steps(run_id: str, frames: Sequence[KeptFrame]) -> tuple[str, list[ToolStep]]:
    """A run's own answer, and its tool calls as rules get them."""
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
    """Arguments converted to plain JSON values."""
    return orjson.loads(orjson.dumps(arguments))
