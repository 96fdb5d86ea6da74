"""Sets as files: cases as JSON lines, exported and imported; results as CSV."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.sentence import Sentence
from agents.steps import FileData
from chat.cases import rules
from chat.cases.commands import MOST_CASES, CaseFields, files_in
from chat.cases.judging import expected_words
from chat.models import Case, CaseResult, SetRun
from chat.protocol import ErrorCode
from chat.rendering.spreadsheets import csv_line
from chat.runs.admission import Refused

#: The largest file that can be imported, in bytes.
LARGEST = 20_000_000
COLUMNS = (
    "case question verdict why agent version run attempts duration_ms input_tokens output_tokens cost currency".split()
)
_ROWS = 500


class _File(BaseModel):
    """A file, as in frames; only its identifier is read."""

    id: UUID


class _JsonLine(BaseModel):
    model_config = ConfigDict(extra="forbid")

    question: StrictStr
    files: list[_File | UUID] = []
    expected: list[StrictStr] = []
    rule: StrictStr = ""
    notes: StrictStr = ""


class CaseData(TypedDict):
    """A case, as in files and in the API."""

    question: str
    files: list[FileData]
    expected: list[str]
    rule: str
    notes: str


def case_data(case: Case) -> CaseData:
    """A case's fields. Of files only names and identifiers: an import looks them up."""
    return {
        "question": case.question,
        "files": files_in(case),
        "expected": expected_words(case.expected),
        "rule": case.rule,
        "notes": case.notes,
    }


def lines_of(set_id: Any) -> Iterator[bytes]:
    """A set's cases as JSON lines."""
    for case in Case.objects.filter(case_set=set_id).order_by("number").iterator(_ROWS):
        yield orjson.dumps(case_data(case)) + b"\n"


def read_lines(content: bytes) -> list[CaseFields]:
    """Parse cases from JSON lines: ``question``; optionally ``expected`` (a list), ``rule``, ``notes`` and ``files`` (identifiers).

    Asks the sandbox whether the rules can run, so it blocks. Raises `Refused`, which names the line.
    """
    if len(content) > LARGEST:
        raise Refused("too_large", Sentence("The file is too large."))
    lines = [(number, line) for number, line in enumerate(content.splitlines(), start=1) if line.strip()]
    if len(lines) > MOST_CASES:
        raise Refused("too_large", Sentence("A set may have %(n)s cases.", n=f"{MOST_CASES:,}"))
    if not lines:
        raise Refused("bad_frame", Sentence("The file has no cases."))
    read = [_read_line(number, line) for number, line in lines]
    if (refusal := rules.first_refusal(read)) is not None:
        at, why = refusal
        raise _bad_line(lines[at][0], why)
    return read


def _bad_line(number: int, why: str, code: ErrorCode = "bad_frame") -> Refused:
    return Refused(code, Sentence("Line %(n)d: %(why)s", n=number, why=why))


def _read_line(number: int, line: bytes) -> CaseFields:
    try:
        read = _JsonLine.model_validate(orjson.loads(line))
    except (ValidationError, orjson.JSONDecodeError) as error:
        problem = error.errors()[0] if isinstance(error, ValidationError) else None
        raise _bad_line(number, _why_bad(problem)) from None
    file_ids = [each if isinstance(each, UUID) else each.id for each in read.files]
    fields = CaseFields(read.question, "\n".join(read.expected), read.rule, read.notes, file_ids)
    try:
        fields.checked()
    except Refused as refused:
        raise _bad_line(number, refused.message, refused.code) from None
    return fields


def _why_bad(problem: Any) -> str:
    """What is wrong with a line, by pydantic's first error; None if it is no JSON."""
    if problem is None or not problem["loc"]:
        return Sentence("it is no JSON object")
    if problem["type"] == "extra_forbidden":
        return Sentence("%(field)s: a case has no such field", field=str(problem["loc"][0])[:80])
    return f"{'.'.join(str(part) for part in problem['loc'][:2])}: {problem['msg']}"


def results_csv(set_run: SetRun) -> Iterator[str]:
    """The results of a run of a set as CSV, a line for each case."""
    yield csv_line(COLUMNS)
    results = CaseResult.objects.filter(set_run=set_run).select_related("case").order_by("case__number")
    for result in results.iterator(_ROWS):
        case = result.case
        asked = (set_run.agent_name, set_run.agent_version.number, result.run_id or "", result.attempts)
        used = (result.duration_ms, result.input_tokens, result.output_tokens, result.cost, result.currency)
        yield csv_line([case.number, case.question, result.verdict, result.why.get("message", ""), *asked, *used])
