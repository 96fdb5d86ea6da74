"""The use cases of sets: create, rename and delete them; add, change and delete cases. Each function is one transaction.

A set belongs to its owner, who may share it; its drivers change its cases, too (`sharing`). The owner of a run's session, and staff who
may see it, can make a case from the run: staff only in a set of their own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

import agents
from agents.sentence import Sentence
from agents.steps import FileData
from agents.text import clean_text
from chat.access import Role, may_drive, may_manage, role_in, role_in_set
from chat.accounts.models import User
from chat.models import IS_ROOT, Act, Case, CaseSet, Door, Run
from chat.protocol import is_blank
from chat.runs import admission, erasure
from chat.runs.admission import Refused
from chat.security import audit
from chat.store import files as stored_files

#: The most sets of a user, cases of a set, and characters of a set's name and of a case's other texts.
MOST_SETS, MOST_CASES = 200, 1_000
LONGEST_NAME, LONGEST_TEXT = 200, 20_000


@dataclass(frozen=True, slots=True)
class CaseFields:
    """A user's fields of a case; None leaves a field as it is. ``expected`` has one word or phrase per line.

    ``files`` are the question's. When a case is stored they must be the set's owner's (`files.with_files`).
    """

    question: str | None = None
    expected: str | None = None
    rule: str | None = None
    notes: str | None = None
    files: Sequence[UUID] | None = None

    def checked(self) -> dict[str, str]:
        """The fields as they are stored. Raises `Refused`."""
        given = {name: getattr(self, name) for name in ("question", "expected", "rule", "notes")}
        cleaned = {name: clean_text(value.replace("\r\n", "\n")) for name, value in given.items() if value is not None}
        if "question" in cleaned:
            admission.check_message(cleaned["question"])
        for name, value in cleaned.items():
            if name != "question" and len(value) > LONGEST_TEXT:
                raise Refused(
                    "too_large",
                    Sentence(
                        "%(field)s: %(n)s characters; at most %(most)s are allowed.",
                        field=name,
                        n=f"{len(value):,}",
                        most=f"{LONGEST_TEXT:,}",
                    ),
                )
        return cleaned


# Sets


@transaction.atomic
def make_set(user: User, name: str) -> CaseSet:
    """Create an empty set. Raises `Refused`."""
    name = checked_name(name)
    # Locked, so that of two simultaneous requests the second counts the first.
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if CaseSet.objects.filter(owner=user).count() >= MOST_SETS:
        raise Refused("rate_limited", Sentence("You have %(n)s sets, and more are not allowed.", n=MOST_SETS))
    return CaseSet.objects.create(owner=user, name=name)


def checked_name(name: str) -> str:
    """A set's name as it is stored. Raises `Refused`."""
    name = " ".join(clean_text(name).split())
    if is_blank(name):
        raise Refused("bad_frame", Sentence("Give the set a name."))
    if len(name) > LONGEST_NAME:
        raise Refused("bad_frame", Sentence("The name may have %(most)s characters.", most=LONGEST_NAME))
    return name


@transaction.atomic
def rename_set(user: User, set_id: UUID, name: str) -> CaseSet:
    """Rename a set. Raises `Refused`."""
    case_set = hold_set(user, set_id, may_manage)
    case_set.name = checked_name(name)
    case_set.save(update_fields=("name",))
    return case_set


@transaction.atomic
def remove_set(user: User, set_id: UUID, door: Door) -> list[UUID]:
    """Delete a set with its cases, results, schedules, and the sessions that were opened for it. Raises `Refused`.

    Returns running runs, which the caller has to stop.
    """
    case_set = hold_set(user, set_id, may_manage)
    audit.record_action(user.pk, Act.DELETE, door, subject_id=user.pk, about=f"set {set_id}")
    at_work = erasure.hide_sessions_of_set(set_id)
    stored_files.detach_from_cases(list(case_set.cases.values_list("pk", flat=True)))
    case_set.delete()
    return at_work


def hold_set(user: User, set_id: UUID, may: Callable[[Role], bool] = may_drive) -> CaseSet:
    """A set in which the user's role is one that ``may``; its row is locked for the rest of the transaction. Raises `Refused`."""
    case_set = CaseSet.objects.select_for_update().filter(pk=set_id).first()
    if case_set is None:
        raise no_such_set()
    check_may(user, case_set, may)
    return case_set


def check_may(user: User, case_set: CaseSet, may: Callable[[Role], bool]) -> Role:
    """The user's role in a set, if it is one that ``may``; else raises `Refused`."""
    role = role_in_set(user.pk, case_set)
    if role is None:
        raise no_such_set()
    if not may(role):
        raise Refused("not_allowed", Sentence("Only the set's owner does this.")) if may_drive(role) else no_change()
    return role


def no_change() -> Refused:
    """The refusal of a change for a user who may only see the set."""
    return Refused("not_allowed", Sentence("You may see this set, but neither change nor ask it."))


def no_such_set() -> Refused:
    """The refusal for a set that does not exist, or that the user may not see."""
    return Refused("not_found", Sentence("There is no such set."))


def remember_agent(case_set: CaseSet, agent_name: str) -> None:
    """Store which agent a set was last asked of. The caller has locked the set's row."""
    case_set.agent_name = agent_name
    case_set.save(update_fields=("agent_name",))


# Cases


@transaction.atomic
def add_case(user: User, set_id: UUID, fields: CaseFields, door: Door) -> Case:
    """Add a case to the end of a set. Raises `Refused`."""
    (made,) = add_cases(user, set_id, [fields])
    _note_change(user, made.case_set, door, f"case {made.pk}")
    return made


def _note_change(user: User, case_set: CaseSet, door: Door, about: str) -> None:
    """Record in the audit log that a user changes another user's set."""
    if case_set.owner_id != user.pk:
        audit.record_action(user.pk, Act.CHANGE, door, subject_id=case_set.owner_id, about=about)


@transaction.atomic
def add_cases(user: User, set_id: UUID, fields: Sequence[CaseFields]) -> list[Case]:
    """Add cases to the end of a set, all or none. Raises `Refused`."""
    values = [{"question": "", **each.checked()} for each in fields]
    for each in values:
        admission.check_message(each["question"])
    case_set = hold_set(user, set_id)
    existing = Case.objects.filter(case_set=set_id)
    if existing.count() + len(values) > MOST_CASES:
        raise Refused("too_large", Sentence("A set may have %(n)s cases.", n=f"{MOST_CASES:,}"))
    last = existing.aggregate(last=Max("number"))["last"] or 0
    made = Case.objects.bulk_create(
        Case(case_set=case_set, number=last + place, **each) for place, each in enumerate(values, start=1)
    )
    for case, each_fields in zip(made, fields, strict=True):
        if each_fields.files:
            _attach(case, each_fields.files)
    return made


@transaction.atomic
def import_cases(user: User, set_id: UUID, fields: Sequence[CaseFields], door: Door) -> list[Case]:
    """`add_cases` from a file; recorded in the audit log."""
    made = add_cases(user, set_id, fields)
    owner_id = made[0].case_set.owner_id
    audit.record_action(user.pk, Act.IMPORT, door, subject_id=owner_id, about=f"set {set_id}", cases=len(made))
    return made


@transaction.atomic
def change_case(user: User, set_id: UUID, case_id: UUID, fields: CaseFields, door: Door) -> Case:
    """Change the given fields. Earlier results stay as they were judged. Raises `Refused`."""
    values = fields.checked()
    case_set = hold_set(user, set_id)
    case = find_case(set_id, case_id)
    changed = {name: value for name, value in values.items() if getattr(case, name) != value}
    for name, value in changed.items():
        setattr(case, name, value)
    has_other_files = fields.files is not None and [str(each) for each in fields.files] != [
        file["id"] for file in files_in(case)
    ]
    if has_other_files:
        stored_files.detach_from_cases([case.pk])
        _attach(case, fields.files or ())
    if has_other_files or changed.keys() - {"notes"}:
        case.changed_at = timezone.now()
    case.save()
    _note_change(user, case_set, door, f"case {case_id}")
    return case


@transaction.atomic
def remove_case(user: User, set_id: UUID, case_id: UUID, door: Door) -> None:
    """Delete a case and its results; its sessions are deleted with the set. Raises `Refused`."""
    case_set = hold_set(user, set_id)
    case = find_case(set_id, case_id)
    audit.record_action(user.pk, Act.DELETE, door, subject_id=case_set.owner_id, about=f"case {case_id}")
    stored_files.detach_from_cases([case.pk])
    case.delete()


def find_case(set_id: UUID, case_id: UUID) -> Case:
    """A case of a set. Raises `Refused`."""
    case = Case.objects.filter(case_set=set_id, pk=case_id).first()
    if case is None:
        raise Refused("not_found", Sentence("There is no such case."))
    return case


# From a run


def check_source(user: User, run_id: UUID) -> Run:
    """The run, if the user may make a case from it; else raises `Refused`."""
    run = Run.objects.select_related("session").filter(IS_ROOT, pk=run_id).first()
    role = None if run is None else role_in(user, run.session)
    if run is None or role is None:
        raise Refused("not_found", Sentence("There is no such run."))
    if role not in (Role.OWNER, Role.STAFF):
        raise Refused("not_allowed", Sentence("Only the session's owner and staff make cases of its runs."))
    if is_blank(run.message):
        raise Refused("bad_frame", Sentence("This run has no question of its own."))
    return run


def files_in(asked: Case | Run) -> list[FileData]:
    """The files of a case's or a run's question, as they are sent to clients."""
    return list(orjson.loads(asked.files)) if asked.files else []


def check_target(user: User, run_id: UUID, set_id: UUID | None) -> CaseSet | None:
    """The set, if the user may put a case of this run into it; None for a new set of their own. Raises `Refused`."""
    source = check_source(user, run_id)
    if set_id is None:
        return None
    # What staff see of other users' sessions must not get into a set that others can see.
    is_own = role_in(user, source.session) is Role.OWNER
    return hold_set(user, set_id, may_drive if is_own else may_manage)


@transaction.atomic
def add_case_of_run(
    user: User,
    run_id: UUID,
    set_id: UUID | None,
    fields: CaseFields,
    file_ids: Sequence[UUID],
    door: Door,
    new_set: str | None = None,
) -> Case:
    """Make a case from a run's question, with ``file_ids``: the question's files, copied for the set's owner. Raises `Refused`.

    Without ``set_id`` it is the first case of a new set, named ``new_set``.
    """
    run = check_source(user, run_id)
    case_set = check_target(user, run_id, set_id) or make_set(user, new_set or "")
    case = add_case(user, case_set.pk, replace(fields, files=file_ids), door)
    case.source_run = run.pk
    case.save(update_fields=("source_run",))
    audit.record_action(user.pk, Act.COPY, door, session_id=run.session_id, run_id=run.pk, about=f"case {case.pk}")
    return case


def _attach(case: Case, file_ids: Sequence[UUID]) -> None:
    file_ids = admission.check_files([str(each) for each in file_ids])
    try:
        case.files = stored_files.attach_to_case(case.pk, case.case_set.owner_id, file_ids) if file_ids else ""
    except stored_files.Missing:
        raise Refused("not_found", Sentence("One of the files is not there, or not yours.")) from None
    case.save(update_fields=("files",))


def default_agent(case_set: CaseSet) -> str:
    """The agent that a set is asked of if none is named."""
    return case_set.agent_name or agents.DEFAULT_AGENT
