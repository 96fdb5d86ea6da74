"""The state changes of a run of a set: started, its cases asked, settled, stopped, ended. The only writer of these tables.

Each is one transaction. Asking a case stores its run; settling it checks that this is still its run: so whichever process makes a change,
and wherever it is killed, each case gets exactly one result. A run that ended with its process says nothing about the agent, so its
case is asked again. Runs of sets do not wait for people: such a run is stopped, and the result says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Max, Q
from django.utils import timezone

from agents.json_types import JsonObject
from agents.sentence import Sentence
from chat.access import has_right, may_drive
from chat.accounts.models import User
from chat.cases import commands
from chat.cases.judging import Judged, why_data
from chat.catalog import agents as catalog
from chat.models import (
    Act,
    AgentVersion,
    CaseResult,
    CaseVerdict,
    Door,
    Run,
    RunStatus,
    SetRun,
    SetRunState,
)
from chat.runs import admission
from chat.runs import commands as run_commands
from chat.runs.admission import Refused
from chat.runs.commands import Accepted
from chat.runs.state import ENDED
from chat.security import audit
from chat.store import waiting_calls
from chat.store.step_log import Stored

#: The permission to ask versions that are not the current one; it is the same as for trying them in the admin.
CHANGE_AGENTS = "chat.change_agent"
#: How often a case is asked in all if its runs end with their processes.
_MOST_ATTEMPTS = 3
#: How many cases one poll asks if no limit is set, and how many it settles.
_AT_ONCE = 50
OPEN = (CaseVerdict.WAITING, CaseVerdict.ASKED)


@transaction.atomic
def begin(
    user: User, set_id: UUID, *, agent_name: str = "", version: int | None = None, door: Door = Door.API
) -> SetRun:
    """Start to ask an agent a set: its current version, or the version of this number. Raises `Refused`.

    ``door``: whether a user or a schedule starts it.
    """
    case_set = commands.hold_set(user, set_id)
    agent_name = agent_name or commands.default_agent(case_set)
    admission.check_agent(agent_name, user.pk)
    version_id = _version_of(user, agent_name, version)
    if SetRun.objects.filter(case_set=set_id, state=SetRunState.RUNNING).exists():
        raise Refused("conflict", Sentence("The set is being asked already."))
    cases = list(case_set.cases.order_by("number").values_list("pk", flat=True))
    if not cases:
        raise Refused("bad_frame", Sentence("The set has no cases yet."))
    last = SetRun.objects.filter(case_set=set_id).aggregate(last=Max("number"))["last"] or 0
    set_run = SetRun.objects.create(
        case_set=case_set,
        number=last + 1,
        agent_name=agent_name,
        agent_version_id=version_id,
        by_clock=door is Door.SCHEDULE,
        asked_by=user,
    )
    CaseResult.objects.bulk_create(CaseResult(set_run=set_run, case_id=pk) for pk in cases)
    commands.remember_agent(case_set, agent_name)
    about = f"set {set_id} run {set_run.number}"
    audit.record_action(user.pk, Act.RUN_NOW, door, subject_id=case_set.owner_id, about=about, version=version_id)
    return set_run


def _version_of(user: User, agent_name: str, number: int | None) -> int:
    current = catalog.current_of(agent_name, user.pk)
    if current is None:
        raise admission.no_such_agent(agent_name, user.pk)
    if number is None:
        return current
    found = AgentVersion.objects.filter(agent__name=agent_name, number=number).values_list("pk", flat=True).first()
    if found is not None and found != current and not has_right(user, CHANGE_AGENTS):
        raise Refused("not_allowed", Sentence("Only those who change agents ask other versions than the current one."))
    if found is None:
        raise Refused("not_found", Sentence("There is no such version."))
    return found


# Asked


@dataclass(frozen=True, slots=True)
class DueMoves:
    """What is due now: runs of sets that may ask further cases, and results whose run has ended or waits for people."""

    set_runs: Sequence[UUID] = ()
    ended: Sequence[int] = ()
    waiting: Sequence[int] = ()


def find_due_moves() -> DueMoves:
    """Find what is due now, at most `_AT_ONCE` of each kind. One query if no set is running."""
    at_work = SetRun.objects.filter(state=SetRunState.RUNNING).order_by("created_at")
    set_runs = list(at_work.values_list("pk", flat=True)[:_AT_ONCE])
    if not set_runs:
        return DueMoves()
    asked = CaseResult.objects.filter(set_run__in=set_runs, verdict=CaseVerdict.ASKED).order_by("pk")
    moved = asked.filter(Q(run=None) | Q(run__status__in=[*ENDED, RunStatus.WAITING]))
    found = list(moved.values_list("pk", "run__status")[:_AT_ONCE])
    waiting = [pk for pk, status in found if status == RunStatus.WAITING]
    return DueMoves(set_runs, [pk for pk, _ in found if pk not in waiting], waiting)


@transaction.atomic
def ask_next(set_run_id: UUID) -> list[Accepted]:
    """Ask as many further cases as may run at the same time, unless another process is doing so; end the set's run if none is left.

    The caller has to call `dispatch_accepted` for each.
    """
    held = SetRun.objects.select_for_update(skip_locked=True, of=("self",)).select_related(
        "case_set__owner", "asked_by"
    )
    set_run = held.filter(pk=set_run_id, state=SetRunState.RUNNING).first()
    if set_run is None:
        return []
    results = CaseResult.objects.filter(set_run=set_run)
    waiting = results.filter(verdict=CaseVerdict.WAITING).select_related("case").order_by("case__number")
    accepted = [made for result in waiting[: _places(set_run)] if (made := _ask(set_run, result)) is not None]
    if not results.filter(verdict__in=OPEN).exists():
        _end(set_run, SetRunState.DONE)
    return accepted


def _places(set_run: SetRun) -> int:
    """How many more cases may be asked now for the user who started the set's run."""
    most = settings.MAX_CASES_AT_ONCE
    if not most:
        return _AT_ONCE
    user = _asker(set_run)
    theirs = Q(asked_by=user) | Q(asked_by=None, case_set__owner=user)
    own = SetRun.objects.filter(theirs, state=SetRunState.RUNNING)
    return max(0, most - CaseResult.objects.filter(set_run__in=own, verdict=CaseVerdict.ASKED).count())


def _asker(set_run: SetRun) -> User:
    """The user for whom the cases are asked."""
    return set_run.asked_by or set_run.case_set.owner


def _ask(set_run: SetRun, result: CaseResult) -> Accepted | None:
    case, user = result.case, _asker(set_run)
    try:
        commands.check_may(user, set_run.case_set, may_drive)
        accepted = run_commands.ask_case(
            user,
            set_run.case_set.owner,
            set_run.case_set_id,
            message=case.question,
            file_ids=[UUID(file["id"]) for file in commands.files_in(case)],
            agent_name=set_run.agent_name,
            version_id=set_run.agent_version_id,
            client_message_id=f"case:{result.pk}:{result.attempts}",
        )
    except Refused as refused:
        why = Sentence("It could not be asked: %(why)s", why=refused.message)
        _settle(result.pk, None, Judged(CaseVerdict.ERROR, why), was=CaseVerdict.WAITING)
        return None
    result.run_id, result.verdict, result.attempts = accepted.run_id, CaseVerdict.ASKED, result.attempts + 1
    result.save(update_fields=("run", "verdict", "attempts"))
    return accepted


# Settled


@dataclass(frozen=True, slots=True)
class EndedCase:
    """A result whose run has ended or was deleted, and what its case expects."""

    result_id: int
    run: Run | None
    expected: str
    rule: str

    def judged_by_end(self) -> Judged | None:
        """The verdict, if the end of its run decides it; None if its answer has to be judged."""
        if self.run is None:
            return Judged(CaseVerdict.ERROR, Sentence("Its session was deleted."))
        match self.run.status:
            case RunStatus.COMPLETED:
                return None
            case RunStatus.CANCELLED:
                return Judged(CaseVerdict.STOPPED, Sentence("Its run was stopped."))
            case RunStatus.MAX_ITERATIONS:
                return Judged(CaseVerdict.ERROR, Sentence("Its run came to its limit of model calls."))
            case RunStatus.INTERRUPTED:
                return Judged(CaseVerdict.ERROR, Sentence("The server stopped while it was at work, again and again."))
        return Judged(CaseVerdict.ERROR, Sentence("Its run failed (%(code)s).", code=self.run.code or "internal"))


def ended_case(result_id: int) -> EndedCase | None:
    """A result that has to be settled; None if it already is."""
    result = CaseResult.objects.select_related("case", "run").filter(pk=result_id, verdict=CaseVerdict.ASKED).first()
    return None if result is None else EndedCase(result_id, result.run, result.case.expected, result.case.rule)


@transaction.atomic
def settle(ended: EndedCase, judged: Judged) -> bool:
    """Store a case's result, or have it asked again if its run ended with its process. Returns False if another process has settled it."""
    run = ended.run
    if run is not None and run.status == RunStatus.INTERRUPTED:
        asked = CaseResult.objects.filter(pk=ended.result_id, run=run, verdict=CaseVerdict.ASKED)
        if asked.filter(attempts__lt=_MOST_ATTEMPTS).update(verdict=CaseVerdict.WAITING, run=None):
            return True
    return _settle(ended.result_id, run, judged)


def _settle(result_id: int, run: Run | None, judged: Judged, was: CaseVerdict = CaseVerdict.ASKED) -> bool:
    """Store the result, unless the case has been settled or has another run by now."""
    open_one = CaseResult.objects.filter(pk=result_id, run=run, verdict=was)
    figures = {} if run is None else _figures(run)
    why = why_data(judged.why)
    return bool(open_one.update(verdict=judged.verdict, why=why, settled_at=timezone.now(), **figures))


def _figures(run: Run) -> JsonObject:
    lasted = (run.ended_at - run.started_at).total_seconds() * 1000 if run.ended_at and run.started_at else None
    return {
        "duration_ms": None if lasted is None else max(0, round(lasted) - run.waited_ms),
        "input_tokens": run.input_tokens,
        "output_tokens": run.output_tokens,
        "cost": run.cost,
        "currency": run.currency,
    }


# Stopped


@dataclass(slots=True)
class Stopped:
    """Runs to stop where they are executed, and events to publish, by session."""

    by: str
    running: list[UUID] = field(default_factory=list)
    events: dict[UUID, list[Stored]] = field(default_factory=dict)

    def add(self, user: User, run: Run) -> None:
        """Stop a run within the caller's transaction. A run that has ended is left as it is."""
        try:
            stops, events = run_commands.cancel_atomically(user, run.session_id, None, everything=True)
        except Refused:
            # It has ended but is not judged yet, or its session was deleted.
            return
        self.running += stops.running
        self.events[run.session_id] = events


@transaction.atomic
def stop_waiting(result_id: int) -> Stopped | None:
    """Settle a case whose run waits for people, and stop that run; None if it does not wait any more."""
    found = CaseResult.objects.select_related("run", "set_run__case_set__owner")
    result = found.filter(pk=result_id, verdict=CaseVerdict.ASKED, run__status=RunStatus.WAITING).first()
    if result is None or result.run is None:
        return None
    owner = result.set_run.case_set.owner
    tools = ", ".join(call.tool_name for call in waiting_calls.open_calls(result.run.pk))
    why = Sentence("It would have waited for people (%(tools)s): a set waits for nobody.", tools=tools)
    stopped = Stopped(owner.get_username())
    stopped.add(owner, result.run)
    _settle(result_id, result.run, Judged(CaseVerdict.ERROR, why))
    return stopped


@transaction.atomic
def stop(user: User, set_id: UUID, number: int, door: Door) -> Stopped:
    """Stop a set's run: running cases are stopped, pending ones are not asked. Existing verdicts stay. Raises `Refused`."""
    case_set = commands.hold_set(user, set_id)
    set_run = SetRun.objects.select_for_update().filter(case_set=set_id, number=number).first()
    if set_run is None:
        raise Refused("not_found", Sentence("The set was not asked so often."))
    if set_run.state != SetRunState.RUNNING:
        raise Refused("nothing_to_cancel", Sentence("It has ended already."))
    stopped = Stopped(user.get_username())
    results = CaseResult.objects.filter(set_run=set_run)
    for result in results.filter(verdict=CaseVerdict.ASKED).select_related("run"):
        if result.run is not None:
            stopped.add(user, result.run)
    results.filter(verdict__in=OPEN).update(verdict=CaseVerdict.STOPPED, settled_at=timezone.now())
    _end(set_run, SetRunState.STOPPED)
    audit.record_action(user.pk, Act.STOP, door, subject_id=case_set.owner_id, about=f"set {set_id} run {number}")
    return stopped


def _end(set_run: SetRun, state: SetRunState) -> None:
    set_run.state, set_run.ended_at = state, timezone.now()
    set_run.save(update_fields=("state", "ended_at"))
