"""Tokens used and their cost, for staff: by user, agent, model and day, with a chart and a file; prices and budgets."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import date, timedelta
from typing import Any, ClassVar, cast

from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from chat.admin.actions import ReadOnlyAdmin, user_pk
from chat.catalog.budgets import load_budgets
from chat.catalog.prices import load_prices
from chat.models import Act, Budget, DailyUsage, Door, Price
from chat.rendering import humanize
from chat.rendering.spreadsheets import csv_line
from chat.rendering.template_row import Row
from chat.runtime import database
from chat.security import audit
from chat.store import usage
from chat.store.usage import By, Total

#: The periods that can be chosen, in days.
_DAYS = (7, 30, 90, 365)
_BY: dict[By, Any] = {"day": _("by day"), "user": _("by person"), "agent": _("by agent"), "model": _("by model")}
#: How many rows the table shows; the file has all.
_ROWS = 200


@admin.register(DailyUsage)
class UsageAdmin(ReadOnlyAdmin):
    """A page instead of a list: totals, their chart and the file. It shows sums only, no contents."""

    is_private = False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The totals of the chosen days."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = request.GET.get("days", "")
        days = int(asked) if asked in map(str, _DAYS) else 30
        until = timezone.now().date()
        since = until - timedelta(days=days - 1)
        if request.GET.get("format") == "csv":
            audit.record_action(user_pk(request), Act.EXPORT, Door.ADMIN, about="usage")
            headers = {"Content-Disposition": f'attachment; filename="usage-{since}-{until}.csv"'}
            kind = "text/csv; charset=utf-8"
            return cast(HttpResponse, StreamingHttpResponse(_lines(since, until), content_type=kind, headers=headers))
        by = cast(By, request.GET.get("by") if request.GET.get("by") in _BY else "day")
        by_day, rows = usage.totals(by, since, until)
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Usage"),
            "opts": self.opts,
            "days": days,
            "by": by,
            "choices_of_days": [(number, number == days) for number in _DAYS],
            "choices_of_by": [(key, label, key == by) for key, label in _BY.items()],
            "bars": _bars(by_day, [str(since + timedelta(days=n)) for n in range(days)]),
            "rows": _rows(rows[:_ROWS]),
            "since": since,
            "until": until,
        }
        return TemplateResponse(request, "admin/chat/usage.html", context)


def _bars(totals: Iterable[Total], days: list[str]) -> list[Row]:
    """A bar for each day, at most 100 high: input tokens, with output tokens on top."""
    found = {total.name: total for total in totals}
    most = max((total.tokens for total in found.values()), default=0) or 1
    bars = []
    for place, day in enumerate(days):
        total = found.get(day) or Total(day)
        height, out = total.tokens * 100 / most, total.output_tokens * 100 / most
        bars.append(
            {
                "x": round(place * 1000 / len(days), 2),
                "width": round(800 / len(days), 2),
                "y": round(100 - height, 2),
                "height": round(height - out, 2),
                "below": round(100 - height + out, 2),
                "out": round(out, 2),
                "words": f"{day}: {humanize.usage(total.input_tokens, total.output_tokens)}",
            }
        )
    return bars


def _rows(totals: list[Total]) -> list[Row]:
    """The totals in words, each with a bar that shows its share of the largest."""
    most = max((total.tokens for total in totals), default=0) or 1
    return [_row(total, most) for total in totals]


def _row(total: Total, most: int) -> Row:
    costs = [humanize.cost(float(amount), currency) for currency, amount in sorted(total.costs.items())]
    if total.unpriced:
        unknown = ngettext("unknown for %(n)s call", "unknown for %(n)s calls", total.unpriced)
        costs.append(unknown % {"n": humanize.count(total.unpriced)})
    into, out = (round(number * 100 / most, 2) for number in (total.input_tokens, total.output_tokens))
    return {"total": total, "cost": ", ".join(costs), "into": into, "out": out}


async def _lines(since: date, until: date) -> AsyncIterator[str]:
    """The lines of the file, read in batches."""
    yield csv_line(usage.COLUMNS)
    last: tuple[date, int] | None = None
    while rows := await database.read(usage.rows_after, since, until, last):
        yield "".join(csv_line(usage.file_row(row)) for row in rows)
        last = (rows[-1][1], rows[-1][0])


class _LoadedAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A table that processes cache: this process reads it again after each change, others within seconds."""

    load: ClassVar[Callable[[], None]]

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        """Save, and read the table again."""
        super().save_model(request, obj, form, change)
        transaction.on_commit(type(self).load)

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        """Delete, and read the table again."""
        super().delete_model(request, obj)
        transaction.on_commit(type(self).load)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete several, and read the table again."""
        super().delete_queryset(request, queryset)
        transaction.on_commit(type(self).load)


@admin.register(Price)
class PriceAdmin(_LoadedAdmin):
    """What tokens cost here. These prices take precedence over the known ones of public servers, from the next call on."""

    load = staticmethod(load_prices)
    list_display = ("provider", "model", "input", "cached", "output", "currency")
    ordering = ("provider", "model")
    fields = ("provider", "model", ("input", "cached", "output", "currency"))


class _PersonSelect(AutocompleteSelect):
    """A choice of users that can show a submitted form again, whatever value it had."""

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        """The chosen user only, because it can be any user."""
        keys = [key for key in value if not key or (key.isascii() and key.isdecimal() and len(key) < 19)]
        return super().optgroups(name, keys, attr)


@admin.register(Budget)
class BudgetAdmin(_LoadedAdmin):
    """How many tokens, or how much money, runs may use."""

    load = staticmethod(load_budgets)
    list_display = ("scope", "user", "agent_name", "limit", "unit")
    list_select_related = ("user",)
    ordering = ("scope", "agent_name")
    fields = ("scope", "user", "agent_name", ("limit", "unit"))
    autocomplete_fields: ClassVar = ("user",)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Users are found by name."""
        return super().formfield_for_foreignkey(
            db_field, request, **kwargs, widget=_PersonSelect(db_field, self.admin_site)
        )
