"""The filters of lists in the admin."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import F, Max, Q, QuerySet
from django.http import HttpRequest
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from chat.accounts.models import User
from chat.catalog import agents as catalog
from chat.models import LIVE, UNFINISHED, Origin, PauseReason, Run, RunStatus, Step
from chat.rendering.rows import agent_title
from chat.runtime import clock
from chat.schedules import occurrences
from chat.store.run_figures import Elapsed

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

#: Steps are filtered among this many of the newest.
NEWEST_STEPS = 100_000
#: The choices of a filter come from this many of the newest runs.
_NEWEST_RUNS = 1_000


class ChoiceFilter(admin.SimpleListFilter):
    """A filter whose choices need no query."""

    choices_of: "tuple[tuple[str, StrOrPromise], ...]" = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> "tuple[tuple[str, StrOrPromise], ...]":
        """The choices."""
        return self.choices_of

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows that match the chosen value."""
        value = self.value()
        return queryset if value is None else self.fitting(queryset, str(value))

    def fitting(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The rows that match one of the choices."""
        return queryset.filter(**{str(self.parameter_name): value})


class StatusFilter(ChoiceFilter):
    """By status; all unfinished ones are one choice."""

    title = _("status")
    parameter_name = "status"
    choices_of = (("unfinished", _("Unfinished")), *((str(status), _(str(status.label))) for status in RunStatus))

    def fitting(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The rows of that status."""
        return queryset.filter(status__in=UNFINISHED if value == "unfinished" else [value])


class AgentFilter(ChoiceFilter):
    """By agent."""

    title = _("agent")
    parameter_name = "agent_name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> tuple[tuple[str, str], ...]:
        """All agents, with archived ones."""
        return tuple((name, agent_title(name)) for name in catalog.all_names())


class RecentFilter(admin.SimpleListFilter):
    """By a column with few different values: offers those of the newest rows, and the chosen one."""

    column: str

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The values of the newest rows."""
        newest = model_admin.model.objects.order_by("-created_at").values_list(self.column, flat=True)[:_NEWEST_RUNS]
        values = {*newest, str(self.value() or "")}
        return [(value, value) for value in sorted(values) if value]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows with that value."""
        return queryset if self.value() is None else queryset.filter(**{self.column: self.value()})


class ModelFilter(RecentFilter):
    """By the model that answered."""

    title = _("model")
    parameter_name = column = "model"


class ReasonFilter(RecentFilter):
    """By why a run failed, as an error code of the protocol."""

    title = _("reason")
    parameter_name = column = "code"


class OriginFilter(ChoiceFilter):
    """By how a run was started."""

    title = _("origin")
    parameter_name = "origin"
    choices_of = tuple((str(origin), _(str(origin.label))) for origin in Origin)


class UserFilter(admin.SimpleListFilter):
    """By user: offers the users that were here last, and the chosen one. Others are found by name."""

    title = _("user")
    parameter_name = "of"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The latest users."""
        latest = User.objects.order_by(F("last_login").desc(nulls_last=True))[:20]
        names = {user.get_username() for user in latest} | {str(self.used_parameters.get("of") or "")}
        return [(name, name) for name in sorted(names) if name]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows of that user: sessions by owner, runs by the user who started them."""
        field = "user__username" if queryset.model is Run else "owner__username"
        return queryset if self.value() is None else queryset.filter(**{field: self.value()})


class SlowFilter(ChoiceFilter):
    """By how long a run took."""

    title = _("duration")
    parameter_name = "slow"
    choices_of = (("10", _("Over 10 s")), ("60", _("Over 1 minute")), ("300", _("Over 5 minutes")))

    def fitting(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The runs that took longer, or have been running for longer."""
        if value not in dict(self.choices_of):
            return queryset
        longest = timedelta(seconds=int(value))
        # Without an index: most runs have ended, and the newest are wanted first.
        timed: QuerySet[Any] = queryset.alias(lasted=Elapsed(F("ended_at"), F("started_at")))
        at_work = Q(ended_at=None, started_at__lt=clock.now() - longest)
        return timed.filter(Q(lasted__gt=longest.total_seconds() * 1000) | at_work)


class TroubleFilter(ChoiceFilter):
    """By what went wrong."""

    title = _("trouble")
    parameter_name = "trouble"
    choices_of = (("failed", _("Failed or interrupted")), ("silent", _("Running, but silent")))

    def fitting(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The rows with that problem."""
        if value == "silent":
            return queryset.filter(status__in=LIVE, heartbeat_at__lt=clock.now() - timedelta(seconds=10))
        return queryset.filter(status__in=(RunStatus.FAILED, RunStatus.INTERRUPTED))


class StepTypeFilter(ChoiceFilter):
    """By type, among the newest steps."""

    title = format_lazy(_("type (newest {n})"), n=f"{NEWEST_STEPS:,}")
    parameter_name = "kind"
    choices_of = (
        *((kind, kind) for kind in ("thought", "tool_use", "tool_result", "final_answer", "error")),
        ("failed", _("failed tool_result")),
    )

    def fitting(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The steps of that type."""
        newest = Step.objects.aggregate(last=Max("pk"))["last"] or 0
        recent = queryset.filter(pk__gt=newest - NEWEST_STEPS)
        return recent.filter(ok=False) if value == "failed" else recent.filter(type=value)


class HealthFilter(ChoiceFilter):
    """By the state of a schedule."""

    title = _("health")
    parameter_name = "health"
    choices_of = (
        ("failing", _("Failing now")),
        ("paused", _("Paused by failures, or refused")),
        ("late", _("Late")),
        ("running", _("Runs by its times")),
        ("off", _("Paused or done")),
    )

    def fitting(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The schedules in that state."""
        match value:
            case "failing":
                return queryset.filter(failures__gt=0)
            case "paused":
                return queryset.filter(paused_because__in=(PauseReason.FAILURES, PauseReason.REFUSED))
            case "late":
                return queryset.filter(enabled=True, next_at__lt=clock.now() - occurrences.ON_TIME)
        return queryset.filter(enabled=value == "running")
