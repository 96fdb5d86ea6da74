"""Sets of cases: questions with what is expected of their answers, asked of versions of an agent."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import Router, Schema, Status
from pydantic import BaseModel, Field, StrictInt, StrictStr

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.api.auth import MANAGE, READ
from chat.api.bodies import payload, takes, user_of
from chat.cases import commands, formats, runner, set_runs
from chat.cases import files as case_files
from chat.cases import selectors as case_selectors
from chat.cases.commands import CaseFields
from chat.cases.selectors import Cell, Column
from chat.models import Act, Case, CaseResult, CaseSet, Door, SetRun
from chat.protocol import BadFrame, as_uuid
from chat.runs import registry as run_registry
from chat.runs.admission import Refused
from chat.runtime import database
from chat.security import audit

router = Router()

#: Results, and runs of a set, of one answer.
_PAGE = 200


class SetName(BaseModel):
    """What a set is called."""

    name: StrictStr


class CaseIn(BaseModel):
    """What is asked, and what is expected of the answer: all words in it, whatever their case and spacing, and what the rule says."""

    question: StrictStr | None = None
    expected: list[StrictStr] | None = Field(None, description="Words or phrases.")
    rule: StrictStr | None = Field(
        None,
        description="Python for the sandbox, with `answer` and `steps`: a list of {tool, arguments, result, ok}. The value of its last "
        "expression says whether the answer is right; so does an `assert`.",
    )
    notes: StrictStr | None = None

    def fields(self) -> CaseFields:
        """As the use case takes it."""
        expected = None if self.expected is None else "\n".join(" ".join(each.split()) for each in self.expected)
        return CaseFields(self.question, expected, self.rule, self.notes)


class CaseOfRun(CaseIn):
    """A case of a run. Its question and files are the run's; `set_id`, or `set_name` for a new set."""

    set_id: StrictStr | None = None
    set_name: StrictStr | None = None


class NewSetRun(BaseModel):
    """Of which agent to ask a set."""

    agent_name: StrictStr = Field("", description="Empty: the one that was asked last, else the usual one.")
    version: StrictInt | None = Field(
        None, description="Empty: the current one. Others for those alone who change agents."
    )


class TotalsOut(Schema):
    """What a run of a set has come to."""

    counts: dict[str, int] = Field(
        description="Cases by verdict: waiting, asked, passed, failed, answered, error, stopped."
    )
    duration_ms: int
    input_tokens: int
    output_tokens: int
    costs: dict[str, float] = Field(description="By currency.")


class SetRunOut(Schema):
    """A run of a set."""

    number: int
    agent_name: str
    version: int
    state: str = Field(description="running, stopped or done.")
    by_clock: bool
    created_at: float
    ended_at: float | None
    totals: TotalsOut


class SetOut(Schema):
    """A set."""

    id: UUID
    name: str
    agent_name: str
    cases: int
    owner: str
    role: str = Field(description="owner; driver, who changes cases and asks it, too; watcher, who sees it.")
    created_at: float


class SetList(Schema):
    """Sets, newest first."""

    items: list[SetOut]


class CaseOut(Schema):
    """A case."""

    id: UUID
    number: int
    question: str
    files: list[dict[str, Any]]
    expected: list[str]
    rule: str
    notes: str
    source_run: UUID | None


class CaseList(Schema):
    """The cases of a set, by their numbers."""

    items: list[CaseOut]


class SetRunList(Schema):
    """The runs of a set, newest first; at most two hundred."""

    items: list[SetRunOut]


class ResultOut(Schema):
    """What came of a case. ``compare_with`` is the run of the same case in the run of the set before."""

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


class ResultPage(Schema):
    """Results by the numbers of their cases, and the cursor of the next page."""

    items: list[ResultOut]
    next: str | None


def _key(told: str, refused: Refused | None = None) -> UUID:
    key = as_uuid(told)
    if key is None:
        raise refused or commands.no_such_set()
    return key


_NO_CASE = Refused("not_found", Sentence("There is no such case."))


def _visible(request: HttpRequest, set_id: str) -> CaseSet:
    """A set that the user sees."""
    found = case_selectors.find_set(user_of(request), _key(set_id))
    if found is None:
        raise commands.no_such_set()
    return found[0]


def _set_run(request: HttpRequest, set_id: str, number: int) -> SetRun:
    found = case_selectors.runs_of(_visible(request, set_id)).filter(number=number).first()
    if found is None:
        raise Refused("not_found", Sentence("The set was not asked so often."))
    return found


def _set_out(user: User, case_set: Any) -> dict[str, Any]:
    return {
        "id": case_set.pk,
        "name": case_set.name,
        "agent_name": case_set.agent_name,
        "cases": getattr(case_set, "size", 0) or 0,
        "owner": case_set.owner.get_username(),
        "role": case_selectors.role_of(user, case_set),
        "created_at": case_set.created_at.timestamp(),
    }


def _case_out(case: Case) -> dict[str, Any]:
    said = formats.case_data(case)
    return {"id": case.pk, "number": case.number, "source_run": case.source_run, **said}


def _set_run_out(column: Column) -> dict[str, Any]:
    set_run, totals = column.set_run, column.totals
    return {
        "number": set_run.number,
        "agent_name": set_run.agent_name,
        "version": set_run.agent_version.number,
        "state": set_run.state,
        "by_clock": set_run.by_clock,
        "created_at": set_run.created_at.timestamp(),
        "ended_at": set_run.ended_at and set_run.ended_at.timestamp(),
        "totals": {
            "counts": totals.counts,
            "duration_ms": totals.duration_ms,
            "input_tokens": totals.input_tokens,
            "output_tokens": totals.output_tokens,
            "costs": {currency: float(cost) for currency, cost in totals.costs.items()},
        },
    }


def _result_out(case: Case, cell: Cell) -> dict[str, Any]:
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


def _shown(set_run: SetRun) -> dict[str, Any]:
    return _set_run_out(case_selectors.columns_of([set_run])[0])


# Sets


@router.get("sets/", auth=READ, response=SetList)
async def list_sets(request: HttpRequest, shared: bool = False) -> dict[str, Any]:
    """List one's own sets of cases, newest first; with `shared=true` those that others share with one."""
    user = user_of(request)
    sets = case_selectors.shared_sets(user) if shared else case_selectors.own_sets(user)
    return {"items": await database.read(lambda: [_set_out(user, each) for each in sets.select_related("owner")])}


@router.post("sets/", auth=MANAGE, response={201: SetOut}, openapi_extra=takes(SetName))
async def create_set(request: HttpRequest) -> Status[dict[str, Any]]:
    """Make an empty set."""
    user = user_of(request)
    return Status(201, _set_out(user, await database.write(commands.make_set, user, payload(request, SetName).name)))


@router.get("sets/{set_id}/", auth=READ, response=SetOut)
async def get_set(request: HttpRequest, set_id: str) -> dict[str, Any]:
    """Show a set."""
    return await database.read(lambda: _set_out(user_of(request), _visible(request, set_id)))


@router.patch("sets/{set_id}/", auth=MANAGE, response=SetOut, openapi_extra=takes(SetName))
async def rename_set(request: HttpRequest, set_id: str) -> dict[str, Any]:
    """Give it another name."""
    await database.write(commands.rename_set, user_of(request), _key(set_id), payload(request, SetName).name)
    return await database.read(lambda: _set_out(user_of(request), _visible(request, set_id)))


@router.delete("sets/{set_id}/", auth=MANAGE, response={204: None})
async def delete_set(request: HttpRequest, set_id: str) -> Status[None]:
    """Delete it with its cases, results, schedules, and the sessions in which its cases were asked; what is at work is stopped."""
    for run_id in await database.write(commands.remove_set, user_of(request), _key(set_id), Door.API):
        await run_registry.stop_run(run_id, "The set was deleted.")
    return Status(204, None)


# Cases


@router.get("sets/{set_id}/cases/", auth=READ, response=CaseList)
async def list_cases(request: HttpRequest, set_id: str) -> dict[str, Any]:
    """List a set's cases: a thousand at most."""
    found = await database.read(lambda: list(_visible(request, set_id).cases.order_by("number")))
    return {"items": [_case_out(case) for case in found]}


@router.post("sets/{set_id}/cases/", auth=MANAGE, response={201: CaseOut}, openapi_extra=takes(CaseIn))
async def add_case(request: HttpRequest, set_id: str) -> Status[dict[str, Any]]:
    """Add a case."""
    fields = payload(request, CaseIn).fields()
    made = await database.write(commands.add_case, user_of(request), _key(set_id), fields, Door.API)
    return Status(201, _case_out(made))


@router.patch("sets/{set_id}/cases/{case_id}/", auth=MANAGE, response=CaseOut, openapi_extra=takes(CaseIn))
async def change_case(request: HttpRequest, set_id: str, case_id: str) -> dict[str, Any]:
    """Change a case. What came of it before stays as it was judged then."""
    fields, key = payload(request, CaseIn).fields(), _key(case_id, _NO_CASE)
    return _case_out(await database.write(commands.change_case, user_of(request), _key(set_id), key, fields, Door.API))


@router.delete("sets/{set_id}/cases/{case_id}/", auth=MANAGE, response={204: None})
async def delete_case(request: HttpRequest, set_id: str, case_id: str) -> Status[None]:
    """Delete a case, and what came of it."""
    key = _key(case_id, _NO_CASE)
    await database.write(commands.remove_case, user_of(request), _key(set_id), key, Door.API)
    return Status(204, None)


@router.post("runs/{run_id}/case/", auth=MANAGE, response={201: CaseOut}, openapi_extra=takes(CaseOfRun))
async def make_case_of_run(request: HttpRequest, run_id: str) -> Status[dict[str, Any]]:
    """Make a case of a run's question and files: as the owner of its session, or as staff who may see it, in a set of one's own.

    The case keeps them when the session is deleted.
    """
    user, key = user_of(request), _key(run_id, Refused("not_found", Sentence("There is no such run.")))
    new = payload(request, CaseOfRun)
    if (new.set_id is None) == (new.set_name is None):
        raise BadFrame("bad_frame", Sentence("Name a set: by set_id, or by set_name for a new one."))
    run = await database.read(commands.check_source, user, key)
    fields = new.model_copy(update={"question": new.question or run.message}).fields()
    set_id = _key(new.set_id) if new.set_id is not None else None
    file_ids = await database.write(case_files.files_for, user, key, set_id)
    made = await database.write(
        commands.add_case_of_run, user, key, set_id, fields, file_ids, Door.API, new_set=new.set_name
    )
    return Status(201, _case_out(made))


# Files


@router.get("sets/{set_id}/export/", auth=READ)
async def export_cases(request: HttpRequest, set_id: str) -> HttpResponseBase:
    """Read a set's cases as JSON lines: question, names of files, expected words, rule, notes."""

    def read() -> bytes:
        case_set = _visible(request, set_id)
        audit.record_action(
            user_of(request).pk, Act.EXPORT, Door.API, subject_id=case_set.owner_id, about=f"set {set_id}"
        )
        return b"".join(formats.lines_of(case_set.pk))

    return _file(await database.write(read), "cases.jsonl", "application/jsonl")


@router.post("sets/{set_id}/import/", auth=MANAGE, response={201: CaseList})
async def import_cases(request: HttpRequest, set_id: str) -> Status[dict[str, Any]]:
    """Add cases from JSON lines, which are the body: all, or none where one is bad. `expected` is a list; files are not read in."""
    user, key = user_of(request), _key(set_id)
    await database.read(_visible, request, set_id)
    fields = formats.read_lines(request.body)
    made = await database.write(commands.import_cases, user, key, fields, Door.API)
    return Status(201, {"items": [_case_out(case) for case in made]})


@router.get("sets/{set_id}/runs/{number}/csv/", auth=READ)
async def export_results(request: HttpRequest, set_id: str, number: int) -> HttpResponseBase:
    """Read what came of a run of a set as CSV."""

    def read() -> bytes:
        set_run = _set_run(request, set_id, number)
        owner_id, about = set_run.case_set.owner_id, f"set {set_id} run {number}"
        audit.record_action(user_of(request).pk, Act.EXPORT, Door.API, subject_id=owner_id, about=about)
        return "".join(formats.results_csv(set_run)).encode()

    return _file(await database.write(read), "results.csv", "text/csv; charset=utf-8")


def _file(content: bytes, name: str, kind: str) -> HttpResponse:
    return HttpResponse(content, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


# Runs


@router.get("sets/{set_id}/runs/", auth=READ, response=SetRunList)
async def list_set_runs(request: HttpRequest, set_id: str) -> dict[str, Any]:
    """List the runs of a set, newest first."""

    def read() -> list[Column]:
        return case_selectors.columns_of(case_selectors.runs_of(_visible(request, set_id))[:_PAGE])

    return {"items": [_set_run_out(column) for column in await database.read(read)]}


@router.post("sets/{set_id}/runs/", auth=MANAGE, response={202: SetRunOut}, openapi_extra=takes(NewSetRun))
async def run_set(request: HttpRequest, set_id: str) -> Status[dict[str, Any]]:
    """Ask a set of an agent, case by case, each in a session of its own that stands in no list; `MAX_CASES_AT_ONCE` at a time.

    A run that would wait for people is stopped: its case is an `error`. One that ends with its process is asked again.
    """
    new = payload(request, NewSetRun)
    set_run = await database.write(
        set_runs.begin, user_of(request), _key(set_id), agent_name=new.agent_name, version=new.version
    )
    return Status(202, await database.read(lambda: _shown(_set_run(request, set_id, set_run.number))))


@router.get("sets/{set_id}/runs/{number}/", auth=READ, response=SetRunOut)
async def get_set_run(request: HttpRequest, set_id: str, number: int) -> dict[str, Any]:
    """Show how far a run of a set is."""
    return await database.read(lambda: _shown(_set_run(request, set_id, number)))


@router.post("sets/{set_id}/runs/{number}/stop/", auth=MANAGE, response={202: SetRunOut})
async def stop_set_run(request: HttpRequest, set_id: str, number: int) -> Status[dict[str, Any]]:
    """Stop asking: what is at work ends, what waits is not asked."""
    await runner.end_runs(await database.write(set_runs.stop, user_of(request), _key(set_id), number, Door.API))
    return Status(202, await database.read(lambda: _shown(_set_run(request, set_id, number))))


@router.get("sets/{set_id}/runs/{number}/results/", auth=READ, response=ResultPage)
async def list_results(request: HttpRequest, set_id: str, number: int, cursor: str = "") -> dict[str, Any]:
    """Read what came of the cases. `cursor` is `next` of the page before."""
    if cursor and not (cursor.isdecimal() and len(cursor) < 10):
        raise BadFrame("bad_frame", Sentence("cursor: not one that this server gave out."))

    def read() -> dict[str, Any]:
        set_run = _set_run(request, set_id, number)
        cases = list(
            Case.objects.filter(case_set=set_run.case_set, number__gt=int(cursor or 0)).order_by("number")[: _PAGE + 1]
        )
        runs = case_selectors.runs_of(set_run.case_set).filter(number__lte=number)[:2]
        lines = case_selectors.table(cases[:_PAGE], [Column(each, case_selectors.Totals()) for each in runs])
        items = [_result_out(line.case, line.cells[0]) for line in lines if line.cells[0] is not None]
        return {"items": items, "next": str(cases[_PAGE - 1].number) if len(cases) > _PAGE else None}

    return await database.read(read)
