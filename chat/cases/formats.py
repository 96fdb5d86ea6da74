"""Sets as files: cases as JSON lines, out and in; results as a table for spreadsheets."""

from collections.abc import Iterator
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

from agents.sentence import Sentence
from chat.cases.commands import MOST_CASES, CaseFields, files_in
from chat.cases.judging import expected_words
from chat.models import Case, CaseResult, SetRun
from chat.rendering.spreadsheets import csv_line
from chat.runs.admission import Refused

#: Of a file that is read in, bytes.
LARGEST = 20_000_000
COLUMNS = (
    "case question verdict why agent version run attempts duration_ms input_tokens output_tokens cost currency".split()
)
_ROWS = 500


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore")

    question: StrictStr
    expected: list[StrictStr] = []
    rule: StrictStr = ""
    notes: StrictStr = ""


def case_data(case: Case) -> dict[str, Any]:
    """What is said of a case. Files are named; a file of cases does not hold them."""
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
    """Cases from JSON lines: ``question``, and where there are any ``expected``, a list, ``rule`` and ``notes``. Raises `Refused`."""
    if len(content) > LARGEST:
        raise Refused("too_large", Sentence("The file is too large."))
    lines = [(number, line) for number, line in enumerate(content.splitlines(), start=1) if line.strip()]
    if len(lines) > MOST_CASES:
        raise Refused("too_large", Sentence("A set may have %(n)s cases.", n=f"{MOST_CASES:,}"))
    if not lines:
        raise Refused("bad_frame", Sentence("The file has no cases."))
    return [_read_line(number, line) for number, line in lines]


def _read_line(number: int, line: bytes) -> CaseFields:
    try:
        read = _Line.model_validate(orjson.loads(line))
    except (ValidationError, orjson.JSONDecodeError) as error:
        said = error.errors()[0] if isinstance(error, ValidationError) else None
        why = "it is no JSON object"
        if said is not None and said["loc"]:
            why = f"{'.'.join(map(str, said['loc']))}: {said['msg']}"
        raise Refused("bad_frame", Sentence("Line %(n)d: %(why)s", n=number, why=why)) from None
    fields = CaseFields(read.question, "\n".join(read.expected), read.rule, read.notes)
    try:
        fields.checked()
    except Refused as refused:
        raise Refused(refused.code, Sentence("Line %(n)d: %(why)s", n=number, why=refused.message)) from None
    return fields


def results_csv(set_run: SetRun) -> Iterator[str]:
    """What came of a run of a set, a line for each case."""
    yield csv_line(COLUMNS)
    results = CaseResult.objects.filter(set_run=set_run).select_related("case").order_by("case__number")
    for result in results.iterator(_ROWS):
        case = result.case
        asked = (set_run.agent_name, set_run.agent_version.number, result.run_id or "", result.attempts)
        used = (result.duration_ms, result.input_tokens, result.output_tokens, result.cost, result.currency)
        yield csv_line([case.number, case.question, result.verdict, result.why.get("message", ""), *asked, *used])
