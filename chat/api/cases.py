"""Sets of cases: questions with the expected answers, asked of versions of agents."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import Router, Status
from pydantic import BaseModel, ConfigDict, Field, StrictStr

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.api.auth import MANAGE, READ
from chat.api.bodies import read_body, takes_body, user_of
from chat.cases import commands, formats, rules
from chat.cases import files as case_files
from chat.cases import selectors as case_selectors
from chat.cases.commands import CaseFields
from chat.models import Act, Case, CaseSet, Door
from chat.protocol import BadFrame, as_uuid
from chat.runs import registry as run_registry
from chat.runs.admission import Refused
from chat.runtime import database
from chat.security import audit

router = Router()


class SetName(BaseModel):
    """The name of a set."""

    name: StrictStr


class CaseIn(BaseModel):
    """A question and what is expected of its answer: that it contains all the words, in any case and spacing, and that the rule passes."""

    model_config = ConfigDict(extra="forbid")

    question: StrictStr | None = None
    files: list[UUID] | None = Field(
        None, description="Ids of the question's files: the caller's own, or those of a case of the set."
    )
    expected: list[StrictStr] | None = Field(None, description="Words or phrases.")
    rule: StrictStr | None = Field(
        None,
        description="Python for the sandbox, with `answer` and `steps`: a list of {tool, arguments, result, ok}. The value of its last "
        "expression says whether the answer is right; so does an `assert`.",
    )
    notes: StrictStr | None = None

    def fields(self) -> CaseFields:
        """The fields as the use case takes them."""
        expected = None if self.expected is None else "\n".join(" ".join(each.split()) for each in self.expected)
        return CaseFields(self.question, expected, self.rule, self.notes, self.files)


class CaseOfRun(CaseIn):
    """A case made from a run. By default it has the run's question and files. Either `set_id`, or `set_name` for a new set."""

    set_id: StrictStr | None = None
    set_name: StrictStr | None = None


class SetOut(TypedDict):
    """A set."""

    id: UUID
    name: str
    agent_name: str
    cases: int
    owner: str
    role: Annotated[
        str, Field(description="owner; driver, who may change cases and ask the set; or watcher, who may see it.")
    ]
    created_at: float


class SetList(TypedDict):
    """Sets, newest first."""

    items: list[SetOut]


class CaseOut(formats.CaseData):
    """A case."""

    id: UUID
    number: int
    source_run: UUID | None


class CaseList(TypedDict):
    """The cases of a set, by their numbers."""

    items: list[CaseOut]


def set_key(name: str, refused: Refused | None = None) -> UUID:
    """The identifier in a path. Raises `Refused`: ``refused`` if given, else that there is no such set."""
    key = as_uuid(name)
    if key is None:
        raise refused or commands.no_such_set()
    return key


_NO_CASE = Refused("not_found", Sentence("There is no such case."))


def visible_set(request: HttpRequest, set_id: str) -> CaseSet:
    """A set that the user may see. Raises `Refused`."""
    found = case_selectors.find_set(user_of(request), set_key(set_id))
    if found is None:
        raise commands.no_such_set()
    return found[0]


def _set_out(user: User, case_set: Any) -> SetOut:
    return {
        "id": case_set.pk,
        "name": case_set.name,
        "agent_name": case_set.agent_name,
        "cases": getattr(case_set, "size", 0) or 0,
        "owner": case_set.owner.get_username(),
        "role": case_selectors.role_of(user, case_set),
        "created_at": case_set.created_at.timestamp(),
    }


def _case_out(case: Case) -> CaseOut:
    return {**formats.case_data(case), "id": case.pk, "number": case.number, "source_run": case.source_run}


# Sets


@router.get("sets/", auth=READ, response=SetList)
async def list_sets(request: HttpRequest, shared: bool = False) -> SetList:
    """List your own sets of cases, newest first; with `shared=true`, those that others share with you."""
    user = user_of(request)
    sets = case_selectors.shared_sets(user) if shared else case_selectors.own_sets(user)
    return {"items": await database.read(lambda: [_set_out(user, each) for each in sets.select_related("owner")])}


@router.post("sets/", auth=MANAGE, response={201: SetOut}, openapi_extra=takes_body(SetName))
async def create_set(request: HttpRequest) -> Status[SetOut]:
    """Make an empty set."""
    user = user_of(request)
    return Status(201, _set_out(user, await database.write(commands.make_set, user, read_body(request, SetName).name)))


@router.get("sets/{set_id}/", auth=READ, response=SetOut)
async def get_set(request: HttpRequest, set_id: str) -> SetOut:
    """Show a set."""
    return await database.read(lambda: _set_out(user_of(request), visible_set(request, set_id)))


@router.patch("sets/{set_id}/", auth=MANAGE, response=SetOut, openapi_extra=takes_body(SetName))
async def rename_set(request: HttpRequest, set_id: str) -> SetOut:
    """Rename a set."""
    await database.write(commands.rename_set, user_of(request), set_key(set_id), read_body(request, SetName).name)
    return await database.read(lambda: _set_out(user_of(request), visible_set(request, set_id)))


@router.delete("sets/{set_id}/", auth=MANAGE, response={204: None})
async def delete_set(request: HttpRequest, set_id: str) -> Status[None]:
    """Delete a set with its cases, results, schedules, and the sessions in which its cases were asked; running ones are stopped."""
    for run_id in await database.write(commands.remove_set, user_of(request), set_key(set_id), Door.API):
        await run_registry.stop_run(run_id, "The set was deleted.")
    return Status(204, None)


# Cases


async def _fields_in(user: User, set_id: UUID, new: CaseIn) -> CaseFields:
    """A body's fields, once it is checked that the rule can run, with files of the set's owner. Raises `Refused`."""
    fields = await asyncio.to_thread(rules.checked, new.fields())
    (ready,) = await database.write(case_files.with_files, user, set_id, [fields])
    return ready


@router.get("sets/{set_id}/cases/", auth=READ, response=CaseList)
async def list_cases(request: HttpRequest, set_id: str) -> CaseList:
    """List a set's cases, at most a thousand."""
    found = await database.read(lambda: list(visible_set(request, set_id).cases.order_by("number")))
    return {"items": [_case_out(case) for case in found]}


@router.post("sets/{set_id}/cases/", auth=MANAGE, response={201: CaseOut}, openapi_extra=takes_body(CaseIn))
async def add_case(request: HttpRequest, set_id: str) -> Status[CaseOut]:
    """Add a case."""
    fields = await _fields_in(user_of(request), set_key(set_id), read_body(request, CaseIn))
    made = await database.write(commands.add_case, user_of(request), set_key(set_id), fields, Door.API)
    return Status(201, _case_out(made))


@router.patch("sets/{set_id}/cases/{case_id}/", auth=MANAGE, response=CaseOut, openapi_extra=takes_body(CaseIn))
async def change_case(request: HttpRequest, set_id: str, case_id: str) -> CaseOut:
    """Change a case. Earlier results stay as they were judged."""
    key, user = set_key(case_id, _NO_CASE), user_of(request)
    fields = await _fields_in(user, set_key(set_id), read_body(request, CaseIn))
    return _case_out(await database.write(commands.change_case, user, set_key(set_id), key, fields, Door.API))


@router.delete("sets/{set_id}/cases/{case_id}/", auth=MANAGE, response={204: None})
async def delete_case(request: HttpRequest, set_id: str, case_id: str) -> Status[None]:
    """Delete a case and its results."""
    key = set_key(case_id, _NO_CASE)
    await database.write(commands.remove_case, user_of(request), set_key(set_id), key, Door.API)
    return Status(204, None)


@router.post("runs/{run_id}/case/", auth=MANAGE, response={201: CaseOut}, openapi_extra=takes_body(CaseOfRun))
async def make_case_of_run(request: HttpRequest, run_id: str) -> Status[CaseOut]:
    """Make a case from a run's question and files. You must own the session, or be staff who may see it and use a set of your own.

    The case keeps them if the session is deleted.
    """
    user, key = user_of(request), set_key(run_id, Refused("not_found", Sentence("There is no such run.")))
    new = read_body(request, CaseOfRun)
    if (new.set_id is None) == (new.set_name is None):
        raise BadFrame("bad_frame", Sentence("Name a set: by set_id, or by set_name for a new one."))
    run = await database.read(commands.check_source, user, key)
    if new.files is not None:
        raise BadFrame("bad_frame", Sentence("files: a case of a run has those of its question."))
    values = new.model_copy(update={"question": new.question or run.message}).fields()
    fields = await asyncio.to_thread(rules.checked, values)
    set_id = set_key(new.set_id) if new.set_id is not None else None
    file_ids = await database.write(case_files.files_for, user, key, set_id)
    made = await database.write(
        commands.add_case_of_run, user, key, set_id, fields, file_ids, Door.API, new_set=new.set_name
    )
    return Status(201, _case_out(made))


# Files


@router.get("sets/{set_id}/export/", auth=READ)
async def export_cases(request: HttpRequest, set_id: str) -> HttpResponseBase:
    """Read a set's cases as JSON lines: question, files (names only), expected words, rule, notes."""

    def read() -> bytes:
        case_set = visible_set(request, set_id)
        audit.record_action(
            user_of(request).pk, Act.EXPORT, Door.API, subject_id=case_set.owner_id, about=f"set {set_id}"
        )
        return b"".join(formats.lines_of(case_set.pk))

    return file_answer(await database.write(read), "cases.jsonl", "application/jsonl")


@router.post("sets/{set_id}/import/", auth=MANAGE, response={201: CaseList})
async def import_cases(request: HttpRequest, set_id: str) -> Status[CaseList]:
    """Add cases from JSON lines, the body: all, or none if one is bad. `expected` is a list; `files` is a list of identifiers."""
    user, key = user_of(request), set_key(set_id)
    await database.read(visible_set, request, set_id)
    lines = await asyncio.to_thread(formats.read_lines, request.body)
    fields = await database.write(case_files.with_files, user, key, lines)
    made = await database.write(commands.import_cases, user, key, fields, Door.API)
    return Status(201, {"items": [_case_out(case) for case in made]})


def file_answer(content: bytes, name: str, kind: str) -> HttpResponse:
    """A response that browsers save as a file."""
    return HttpResponse(content, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
