"""Sets as pages, API and admin show them: the result of each case, as a table over the runs of its set. Reads only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Count, OuterRef, QuerySet, Subquery, Sum

from chat.access import Role, sets_seen_by
from chat.accounts.models import User
from chat.cases.set_runs import OPEN
from chat.models import IS_UNPRICED, Case, CaseFile, CaseResult, CaseSet, CaseVerdict, SetRun


@dataclass(slots=True)
class Totals:
    """How many results of a run of a set have which verdict, and what they used in total."""

    counts: dict[str, int] = field(default_factory=dict)
    duration_ms: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    costs: dict[str, Decimal] = field(default_factory=dict)
    unpriced: int = 0
    """How many results have an unknown cost."""

    @property
    def cases(self) -> int:
        """All."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """Those that have been settled."""
        return self.cases - sum(self.counts.get(verdict, 0) for verdict in OPEN)

    @property
    def passed(self) -> int:
        """Those that passed."""
        return self.counts.get(CaseVerdict.PASSED, 0)


@dataclass(frozen=True, slots=True)
class Column:
    """A run of a set, as a column of the table."""

    set_run: SetRun
    totals: Totals


@dataclass(frozen=True, slots=True)
class Cell:
    """A result, and the run of the same case in the run of the set before, to compare with. ``is_old``: the case has changed since."""

    result: CaseResult
    before: UUID | None = None
    is_old: bool = False


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A case and its results, one for each column; None if it was not asked."""

    case: Case
    cells: list[Cell | None]


def own_sets(user: User) -> QuerySet[CaseSet]:
    """The user's own sets, newest first, each with ``size``, and ``last_run``, the identifier of its newest run."""
    return _with_figures(sets_seen_by(user.pk).filter(owner=user))


def shared_sets(user: User) -> QuerySet[CaseSet]:
    """The sets of others that are shared with the user, with the same data."""
    return _with_figures(sets_seen_by(user.pk).exclude(owner=user).select_related("owner"))


def driven_sets(user: User) -> list[CaseSet]:
    """The sets that the user changes and asks: their own, then those that are shared with them as drivers."""
    return [*own_sets(user), *(each for each in shared_sets(user) if role_of(user, each) is Role.DRIVER)]


def find_set(user: User, set_id: UUID) -> tuple[CaseSet, Role] | None:
    """A set that the user may see, with the same data, and their role in it."""
    found: Any = _with_figures(sets_seen_by(user.pk).select_related("owner")).filter(pk=set_id).first()
    return None if found is None else (found, role_of(user, found))


def role_of(user: User, case_set: Any) -> Role:
    """The user's role in one of the sets above."""
    return Role.OWNER if case_set.owner_id == user.pk else Role(case_set.shared_role)


def is_in_a_set(user: User, file_id: UUID) -> bool:
    """Whether a case of a set that the user sees has this file."""
    sets = sets_seen_by(user.pk).values("pk")
    return CaseFile.objects.filter(file=file_id, case__case_set__in=sets).exists()


def _with_figures(sets: QuerySet[CaseSet]) -> QuerySet[CaseSet]:
    newest = SetRun.objects.filter(case_set=OuterRef("pk")).order_by("-number").values("pk")[:1]
    sizes = Case.objects.filter(case_set=OuterRef("pk")).order_by().values("case_set").annotate(n=Count("pk"))
    annotated = sets.annotate(size=Subquery(sizes.values("n")), last_run=Subquery(newest))
    return annotated.order_by("-created_at", "-id")


def columns_of(set_runs: Iterable[SetRun]) -> list[Column]:
    """Runs of sets with their totals."""
    shown = list(set_runs)
    totals = totals_of([each.pk for each in shown])
    return [Column(each, totals[each.pk]) for each in shown]


def runs_of(case_set: CaseSet) -> QuerySet[SetRun]:
    """The runs of a set, newest first."""
    return SetRun.objects.filter(case_set=case_set).select_related("agent_version").order_by("-number")


def totals_of(set_run_ids: Sequence[UUID]) -> dict[UUID, Totals]:
    """The totals of each of these runs of sets, by one statement."""
    found = {pk: Totals() for pk in set_run_ids}
    rows = CaseResult.objects.filter(set_run__in=set_run_ids).order_by().values("set_run", "verdict", "currency")
    sums = {name: Sum(name) for name in ("duration_ms", "input_tokens", "output_tokens", "cost")}
    unpriced = Count("pk", filter=IS_UNPRICED)
    summed: Iterable[Any] = rows.annotate(
        n=Count("pk"), unpriced=unpriced, **{f"sum_{name}": each for name, each in sums.items()}
    )
    for row in summed:
        totals = found[row["set_run"]]
        totals.counts[row["verdict"]] = totals.counts.get(row["verdict"], 0) + row["n"]
        totals.unpriced += row["unpriced"]
        totals.duration_ms += row["sum_duration_ms"] or 0
        totals.input_tokens += row["sum_input_tokens"] or 0
        totals.output_tokens += row["sum_output_tokens"] or 0
        if row["sum_cost"] is not None:
            totals.costs[row["currency"]] = totals.costs.get(row["currency"], Decimal()) + row["sum_cost"]
    return found


def results_table(cases: Sequence[Case], columns: Sequence[Column]) -> list[CaseRow]:
    """The results of these cases in these runs of their set, which are given newest first."""
    runs = [column.set_run for column in columns]
    results = CaseResult.objects.filter(set_run__in=runs, case__in=[case.pk for case in cases])
    found = {(result.case_id, result.set_run_id): result for result in results}
    rows = []
    for case in cases:
        cells: list[Cell | None] = []
        before: UUID | None = None
        # From the oldest on: each is compared with the one before it.
        for run in reversed(runs):
            result = found.get((case.pk, run.pk))
            cells.insert(0, None if result is None else _cell(case, run.created_at, result, before))
            before = before if result is None or result.run_id is None else result.run_id
        rows.append(CaseRow(case, cells))
    return rows


def _cell(case: Case, asked_at: datetime, result: CaseResult, before: UUID | None) -> Cell:
    return Cell(result, before if result.run_id is not None else None, is_old=case.changed_at > asked_at)
