"""Sets of cases in the admin: owner, number of cases and runs, and the newest result. Their contents are not shown."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from chat.admin.actions import ReadOnlyAdmin
from chat.admin.filters import UserFilter
from chat.cases import selectors as case_selectors
from chat.models import Case, CaseSet, SetRun


def _count(rows: Any) -> Any:
    counted = rows.filter(case_set=OuterRef("pk")).order_by().values("case_set").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted), 0)


@admin.register(CaseSet)
class CaseSetAdmin(ReadOnlyAdmin):
    """Read-only. Names and cases of a set are its owner's, and are not shown."""

    is_private = False
    list_display = ("id", "owner", "agent_name", "cases_in_it", "times_asked", "newest_result", "created_at")
    list_filter = (UserFilter,)
    list_select_related = ("owner",)
    search_fields = ("=id", "owner__username")
    fields = list_display
    readonly_fields = list_display

    def get_queryset(self, request: HttpRequest) -> QuerySet[CaseSet]:
        """All sets, with what the rows of the list show."""
        every: QuerySet[CaseSet] = super().get_queryset(request)
        return every.annotate(size=_count(Case.objects), asked=_count(SetRun.objects))

    @admin.display(description=_("cases"))
    def cases_in_it(self, case_set: Any) -> int:
        """The number of cases."""
        return int(case_set.size)

    @admin.display(description=_("times asked"))
    def times_asked(self, case_set: Any) -> int:
        """The number of its runs."""
        return int(case_set.asked)

    @admin.display(description=_("newest result"))
    def newest_result(self, case_set: CaseSet) -> str:
        """The result of its newest run."""
        newest = case_selectors.runs_of(case_set).first()
        if newest is None:
            return "–"
        (column,) = case_selectors.columns_of([newest])
        label = ngettext("%(passed)s of %(n)s passed", "%(passed)s of %(n)s passed", column.totals.cases)
        text = label % {"passed": column.totals.passed, "n": column.totals.cases}
        return f"{newest.agent_name} {newest.agent_version.number} · {text} · {gettext(newest.state)}"
