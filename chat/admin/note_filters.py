"""What people say about runs, in the admin's list of them: filters and counts."""

from django.contrib import admin
from django.db.models import Count, Exists, IntegerField, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext

from chat.admin.filters import ChoiceFilter
from chat.models import Comment, Run, Step, Verdict, VerdictWord


class VerdictFilter(ChoiceFilter):
    """By what people think of a run."""

    title = _("verdict")
    parameter_name = "verdict"
    choices_of = (
        (str(VerdictWord.BAD), _("Somebody thinks it bad")),
        (str(VerdictWord.GOOD), _("Somebody thinks it good")),
        ("both", _("People disagree")),
    )

    def fitting(self, queryset: QuerySet[Run], value: str) -> QuerySet[Run]:
        """Those that somebody has judged so."""
        words = (VerdictWord.GOOD, VerdictWord.BAD) if value == "both" else (value,)
        for word in words:
            queryset = queryset.filter(pk__in=Verdict.objects.filter(word=word).values("run_id"))
        return queryset


class CommentFilter(ChoiceFilter):
    """By whether there are comments on a run's steps."""

    title = _("comments")
    parameter_name = "comments"
    choices_of = (("some", _("With comments")),)

    def fitting(self, queryset: QuerySet[Run], value: str) -> QuerySet[Run]:
        """Those with comments: only sessions that have any are looked at."""
        commented = Comment.objects.filter(deleted_at=None).values("session_id")
        return queryset.filter(Exists(_comments()), session__in=commented)


def _comments() -> QuerySet[Comment]:
    """The comments on the steps of the run that a query is about."""
    steps = Step.objects.filter(run=OuterRef(OuterRef("pk")), seq__isnull=False).values("seq")
    return Comment.objects.filter(session=OuterRef("session"), deleted_at=None, seq__in=steps).order_by()


def with_counts(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Runs, each with ``good``, ``bad`` and ``commented``: how many verdicts and comments there are."""
    verdicts = Verdict.objects.filter(run=OuterRef("pk")).order_by().values("run")
    comments = _comments().values("session").annotate(n=Count("pk")).values("n")

    def count(word: VerdictWord) -> Coalesce:
        return _or_none(Subquery(verdicts.annotate(n=Count("pk", filter=Q(word=word))).values("n")))

    return runs.annotate(
        good=count(VerdictWord.GOOD), bad=count(VerdictWord.BAD), commented=_or_none(Subquery(comments))
    )


def _or_none(found: Subquery) -> Coalesce:
    return Coalesce(found, Value(0), output_field=IntegerField())


class NotedRuns:
    """A list of runs that says how many verdicts and comments there are; its rows come from `with_counts`."""

    @admin.display(description=_("said of it"))
    def said(self, run: Run) -> str:
        """In few words; empty where nobody has said anything."""
        good, bad, comments = (getattr(run, name, 0) for name in ("good", "bad", "commented"))
        parts = (
            pgettext("verdicts", "%(n)d good") % {"n": good} if good else "",
            pgettext("verdicts", "%(n)d bad") % {"n": bad} if bad else "",
            ngettext("%(n)d comment", "%(n)d comments", comments) % {"n": comments} if comments else "",
        )
        return " · ".join(filter(None, parts))
