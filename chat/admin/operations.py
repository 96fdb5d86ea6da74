"""Processes, sockets and announcements in the admin."""

from typing import TYPE_CHECKING, ClassVar

from django.contrib import admin
from django.db.models import CharField, Model
from django.forms import Textarea
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from chat.access import Role
from chat.admin.actions import ReadOnlyAdmin
from chat.admin.filters import ChoiceFilter
from chat.admin.formatting import admin_link
from chat.models import Announcement, Connection, Process

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


#: The names of the roles, as the list of connected people has them.
_ROLES: "dict[str, StrOrPromise]" = {
    Role.OWNER: _("owner"),
    Role.DRIVER: pgettext_lazy("a role", "may ask"),
    Role.WATCHER: pgettext_lazy("a role", "watches"),
    Role.STAFF: pgettext_lazy("a role", "staff"),
}


class RoleFilter(ChoiceFilter):
    """By the user's role in the session."""

    title = _("role")
    parameter_name = "role"
    choices_of = tuple((str(role), label) for role, label in _ROLES.items())


@admin.register(Connection)
class ConnectionAdmin(ReadOnlyAdmin):
    """Sockets that are open."""

    list_display = ("user", "role_words", "of_session", "process", "opened_at")
    list_filter = (RoleFilter,)
    list_select_related = ("user", "session")
    search_fields = ("user__username", "session__title", "process")
    ordering = ("-opened_at",)
    fields = ("id", "user", "role_words", "of_session", "process", "opened_at")
    readonly_fields = fields

    @admin.display(description=_("role"), ordering="role")
    def role_words(self, connection: Connection) -> str:
        """The user's role in the session."""
        return str(_ROLES.get(connection.role, connection.role))

    @admin.display(description=_("session"))
    def of_session(self, connection: Connection) -> SafeString:
        """The session that it is open on."""
        return admin_link(connection.session)


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    """The processes, and the problems that each has reported."""

    is_private = False
    list_display = ("name", "noticed_lines", "seen_at")
    fields = list_display
    readonly_fields = list_display

    @admin.display(description=_("noticed"), ordering="noticed")
    def noticed_lines(self, process: Process) -> SafeString:
        """The problems, one a line."""
        return format_html_join(mark_safe("<br>"), "{}", ((line,) for line in process.noticed.splitlines()))


@admin.register(Announcement)
class AnnouncementAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Announcements: within two seconds a new one appears on every open page, and the newest, once it is deleted, disappears there."""

    list_display = ("message", "level", "created_at")
    list_filter = ("level",)
    ordering = ("-created_at",)
    fields = ("message", "level")
    formfield_overrides: ClassVar = {CharField: {"widget": Textarea(attrs={"rows": 4, "cols": 80})}}

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Always False: announcements cannot be changed."""
        return False
