"""Runs of sets: started, stopped, and the results of their cases."""

from typing import Annotated
from uuid import UUID

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router, Status
from pydantic import BaseModel, Field, StrictInt, StrictStr

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.sentence import Sentence
from chat.api.auth import MANAGE, READ
from chat.api.bodies import read_body, takes_body, user_of
from chat.api.cases import file_answer, set_key, visible_set
from chat.cases import formats, runner, set_runs
from chat.cases import selectors as case_selectors
from chat.cases.selectors import Cell, Column
from chat.models import Act, Case, CaseResult, Door, SetRun
from chat.protocol import BadFrame
from chat.runs.admission import Refused
from chat.runtime import database
from chat.security import audit

router = Router()

#: Results of a page, and runs of a set in a list.
_PAGE = 200


class NewSetRun(BaseModel):
    """The agent to ask a set of."""

    agent_name: StrictStr = Field("", description="Empty: the agent that was asked last, else the default.")
    version: StrictInt | None = Field(
        None, description="Empty: the current version. Only users who may change agents may name another."
    )


class TotalsOut(TypedDict):
    """The totals of a run of a set."""

    counts: Annotated[
        dict[str, int], Field(description="Cases by verdict: waiting, asked, passed, failed, answered, error, stopped.")
    ]
    duration_ms: int
    input_tokens: int
    output_tokens: int
    costs: Annotated[dict[str, float], Field(description="By currency.")]
    unpriced: Annotated[int, Field(description="Cases whose cost is not known.")]


class SetRunOut(TypedDict):
    """A run of a set."""

    number: int
    agent_name: str
    version: int
    state: Annotated[str, Field(description="running, stopped or done.")]
    by_clock: bool
    created_at: float
    ended_at: float | None
    totals: TotalsOut


class SetRunList(TypedDict):
    """The runs of a set, newest first; at most two hundred."""

    items: list[SetRunOut]


class ResultOut(TypedDict):
    """The result of a case. ``compare_with`` is the run of the same case in the set's run before."""

    case_id: UUID
    number: int
    verdict: str
    why: str
    run_id: UUID | None
    compare_with: UUID | None
    attempts: int
    duration_ms: int | None
    input_tokens: int
    output_tokens: int
    cost: float | None
    currency: str
    case_changed: bool


class ResultPage(TypedDict):
    """Results by the numbers of their cases, and the cursor of the next page."""

    items: list[ResultOut]
    next: str | None


def _set_run(request: HttpRequest, set_id: str, number: int) -> SetRun:
    found = case_selectors.runs_of(visible_set(request, set_id)).filter(number=number).first()
    if found is None:
        raise Refused("not_found", Sentence("The set was not asked so often."))
    return found


def _set_run_out(column: Column) -> SetRunOut:
    set_run, totals = column.set_run, column.totals
    return {
        "number": set_run.number,
        "agent_name": set_run.agent_name,
        "version": set_run.agent_version.number,
        "state": set_run.state,
        "by_clock": set_run.by_clock,
        "created_at": set_run.created_at.timestamp(),
        "ended_at": set_run.ended_at.timestamp() if set_run.ended_at else None,
        "totals": {
            "counts": totals.counts,
            "duration_ms": totals.duration_ms,
            "input_tokens": totals.input_tokens,
            "output_tokens": totals.output_tokens,
            "costs": {currency: float(cost) for currency, cost in totals.costs.items()},
            "unpriced": totals.unpriced,
        },
    }


def _result_out(case: Case, cell: Cell) -> ResultOut:
    result: CaseResult = cell.result
    return {
        "case_id": case.pk,
        "number": case.number,
        "verdict": result.verdict,
        "why": result.why.get("message", ""),
        "run_id": result.run_id,
        "compare_with": cell.before,
        "attempts": result.attempts,
        "duration_ms": result.duration_ms,
        "input_tokens": result.input_tokens,
        "output_tokens": result.output_tokens,
        "cost": None if result.cost is None else float(result.cost),
        "currency": result.currency,
        "case_changed": cell.is_old,
    }


def _shown(set_run: SetRun) -> SetRunOut:
    return _set_run_out(case_selectors.columns_of([set_run])[0])


@router.get("sets/{set_id}/runs/", auth=READ, response=SetRunList)
async def list_set_runs(request: HttpRequest, set_id: str) -> SetRunList:
    """List the runs of a set, newest first."""

    def read() -> list[Column]:
        return case_selectors.columns_of(case_selectors.runs_of(visible_set(request, set_id))[:_PAGE])

    return {"items": [_set_run_out(column) for column in await database.read(read)]}


@router.post("sets/{set_id}/runs/", auth=MANAGE, response={202: SetRunOut}, openapi_extra=takes_body(NewSetRun))
async def run_set(request: HttpRequest, set_id: str) -> Status[SetRunOut]:
    """Ask an agent a set, case by case, each in a session that no list shows; `MAX_CASES_AT_ONCE` at the same time.

    A run that would wait for people is stopped, and its case is an `error`. A run whose process has died is asked again.
    """
    new = read_body(request, NewSetRun)
    set_run = await database.write(
        set_runs.begin, user_of(request), set_key(set_id), agent_name=new.agent_name, version=new.version
    )
    return Status(202, await database.read(lambda: _shown(_set_run(request, set_id, set_run.number))))


@router.get("sets/{set_id}/runs/{number}/", auth=READ, response=SetRunOut)
async def get_set_run(request: HttpRequest, set_id: str, number: int) -> SetRunOut:
    """Show the progress of a run of a set."""
    return await database.read(lambda: _shown(_set_run(request, set_id, number)))


@router.post("sets/{set_id}/runs/{number}/stop/", auth=MANAGE, response={202: SetRunOut})
async def stop_set_run(request: HttpRequest, set_id: str, number: int) -> Status[SetRunOut]:
    """Stop a run of a set: running cases are stopped, pending ones are not asked."""
    await runner.end_runs(await database.write(set_runs.stop, user_of(request), set_key(set_id), number, Door.API))
    return Status(202, await database.read(lambda: _shown(_set_run(request, set_id, number))))


@router.get("sets/{set_id}/runs/{number}/results/", auth=READ, response=ResultPage)
async def list_results(request: HttpRequest, set_id: str, number: int, cursor: str = "") -> ResultPage:
    """List the results of the cases. `cursor` is `next` of the page before."""
    if cursor and not (cursor.isdecimal() and len(cursor) < 10):
        raise BadFrame("bad_frame", Sentence("cursor: not one that this server gave out."))

    def read() -> ResultPage:
        set_run = _set_run(request, set_id, number)
        cases = list(
            Case.objects.filter(case_set=set_run.case_set, number__gt=int(cursor or 0)).order_by("number")[: _PAGE + 1]
        )
        runs = case_selectors.runs_of(set_run.case_set).filter(number__lte=number)[:2]
        rows = case_selectors.results_table(cases[:_PAGE], [Column(each, case_selectors.Totals()) for each in runs])
        items = [_result_out(row.case, row.cells[0]) for row in rows if row.cells[0] is not None]
        return {"items": items, "next": str(cases[_PAGE - 1].number) if len(cases) > _PAGE else None}

    return await database.read(read)


@router.get("sets/{set_id}/runs/{number}/csv/", auth=READ)
async def export_results(request: HttpRequest, set_id: str, number: int) -> HttpResponseBase:
    """Read the results of a run of a set as CSV."""

    def read() -> bytes:
        set_run = _set_run(request, set_id, number)
        owner_id, about = set_run.case_set.owner_id, f"set {set_id} run {number}"
        audit.record_action(user_of(request).pk, Act.EXPORT, Door.API, subject_id=owner_id, about=about)
        return "".join(formats.results_csv(set_run)).encode()

    return file_answer(await database.write(read), "results.csv", "text/csv; charset=utf-8")
