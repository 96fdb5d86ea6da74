"""Verdicts and comments in the admin's list of runs: filters and counts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext

from chat.admin.filters import ChoiceFilter
from chat.models import Comment, Run, Step, Verdict, VerdictWord
from chat.protocol.notes import VerdictCounts
from chat.store import notes

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Run]
else:
    _Admin = object


class VerdictFilter(ChoiceFilter):
    """By the users' verdicts on a run."""

    title = _("verdict")
    parameter_name = "verdict"
    choices_of = (
        (str(VerdictWord.BAD), _("Somebody thinks it bad")),
        (str(VerdictWord.GOOD), _("Somebody thinks it good")),
        ("both", _("People disagree")),
    )

    def fitting(self, queryset: QuerySet[Run], value: str) -> QuerySet[Run]:
        """The runs with such a verdict."""
        words = (VerdictWord.GOOD, VerdictWord.BAD) if value == "both" else (value,)
        for word in words:
            queryset = queryset.filter(pk__in=Verdict.objects.filter(word=word).values("run_id"))
        return queryset


class CommentFilter(ChoiceFilter):
    """By whether the run's steps have comments."""

    title = _("comments")
    parameter_name = "comments"
    choices_of = (("some", _("With comments")),)

    def fitting(self, queryset: QuerySet[Run], value: str) -> QuerySet[Run]:
        """The runs with comments: only sessions that have any are searched."""
        commented = Comment.objects.filter(deleted_at=None).values("session_id")
        return queryset.filter(Exists(_comments()), session__in=commented)


def _comments() -> QuerySet[Comment]:
    """The comments on the steps of an outer query's run."""
    steps = Step.objects.filter(run=OuterRef(OuterRef("pk")), seq__isnull=False).values("seq")
    return Comment.objects.filter(session=OuterRef("session"), deleted_at=None, seq__in=steps).order_by()


def _count_comments(runs: Sequence[Run]) -> dict[UUID, int]:
    """The number of comments on the steps of each of these runs."""
    commented: dict[tuple[UUID, int], int] = {}
    rows = Comment.objects.filter(session__in={run.session_id for run in runs}, deleted_at=None).order_by()
    for session_id, seq, n in (
        rows.values("session_id", "seq").annotate(n=Count("pk")).values_list("session_id", "seq", "n")
    ):
        commented[session_id, seq] = n
    counts: dict[UUID, int] = {}
    if commented:
        steps = Step.objects.filter(run__in=[run.pk for run in runs], seq__in={seq for _, seq in commented})
        for run_id, session_id, number in steps.order_by().values_list("run_id", "session_id", "seq"):
            counts[run_id] = counts.get(run_id, 0) + commented.get((session_id, number or 0), 0)
    return counts


class NotedRuns(_Admin):
    """A list of runs with the numbers of verdicts and comments, read for the rows of one page at once."""

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list, whose rows have the numbers."""
        changes = super().get_changelist_instance(request)
        # The primary keys of a page's rows are found first, so that the other data are read for these runs only.
        keys = list(changes.result_list.values_list("pk", flat=True)) if changes.result_count else []
        rows = self.get_queryset(request).in_bulk(keys)
        runs = [rows[key] for key in keys if key in rows]
        verdicts = notes.verdict_counts(Verdict.objects.filter(run__in=[run.pk for run in runs]))
        comments = _count_comments(runs)
        for run in runs:
            vars(run)["notes_text"] = _notes_text(verdicts.get(run.pk), comments.get(run.pk, 0))
        changes.result_list = runs
        return changes

    @admin.display(description=_("said of it"))
    def notes_summary(self, run: Run) -> str:
        """The numbers in words; empty if there are none."""
        return str(getattr(run, "notes_text", ""))


def _notes_text(verdicts: VerdictCounts | None, comments: int) -> str:
    good, bad = (verdicts["good"], verdicts["bad"]) if verdicts else (0, 0)
    parts = (
        pgettext("verdicts", "%(n)d good") % {"n": good} if good else "",
        pgettext("verdicts", "%(n)d bad") % {"n": bad} if bad else "",
        ngettext("%(n)d comment", "%(n)d comments", comments) % {"n": comments} if comments else "",
    )
    return " · ".join(filter(None, parts))
