"""The state of each MCP server in each process, with its last error, and an action that reconnects it."""

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat.admin.actions import ReadOnlyAdmin, user_pk
from chat.catalog import tool_servers
from chat.models import Act, Door, Process, ToolServer
from chat.rendering.humanize import join_list
from chat.security import audit

_ABOUT = _(
    "Each process that executes runs has connections of its own. What stands here is what it said when something last changed;"
    " nothing stands here until a process that executes runs has been told of servers by MCP_SERVERS."
)


@admin.register(ToolServer)
class ToolServerAdmin(ReadOnlyAdmin):
    """Read-only, except for reconnecting. The servers come from the configuration."""

    is_private = False
    list_display = ("name", "state", "tools", "transport", "attempts", "last_error", "since", "process")
    list_filter = ("state",)
    search_fields = ("name", "last_error")
    fields = list_display
    readonly_fields = list_display
    actions = ("connect_anew",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ToolServer]:
        """The states in processes that are alive: those in others are out of date."""
        rows: QuerySet[ToolServer] = super().get_queryset(request)
        return rows.filter(process__in=Process.objects.values("name"))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, with a sentence that explains it."""
        return super().changelist_view(request, {**(extra_context or {}), "subtitle": _ABOUT})

    def has_restart_permission(self, request: HttpRequest) -> bool:
        """Whether the user may reconnect servers."""
        return request.user.has_perm("chat.restart_toolserver")

    @admin.action(description=_("Connect anew, in all processes"), permissions=["restart"])
    def connect_anew(self, request: HttpRequest, queryset: QuerySet[ToolServer]) -> None:
        """Make every process close its connection to these servers and open a new one. Calls that are running fail."""
        names: dict[str, ToolServer] = {}
        for row in queryset:
            names.setdefault(row.name, row)
        for name, row in names.items():
            self.log_change(request, row, gettext("Connected anew."))
            audit.record_action(user_pk(request), Act.RESTART, Door.ADMIN, about=f"tool server {name}")
            async_to_sync(tool_servers.restart)(name)
        listed = join_list(names)
        self.message_user(
            request,
            gettext("All processes were told to connect anew: %(names)s.") % {"names": listed},
            messages.SUCCESS,
        )
