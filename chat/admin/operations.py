"""What operators look after: processes, sockets and announcements."""

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


#: As the list of who is here calls them.
_ROLES: "dict[str, StrOrPromise]" = {
    Role.OWNER: _("owner"),
    Role.DRIVER: pgettext_lazy("a role", "may ask"),
    Role.WATCHER: pgettext_lazy("a role", "watches"),
    Role.STAFF: pgettext_lazy("a role", "staff"),
}


class RoleFilter(ChoiceFilter):
    """By what somebody is to the session."""

    title = _("role")
    parameter_name = "role"
    choices_of = tuple((str(role), words) for role, words in _ROLES.items())


@admin.register(Connection)
class ConnectionAdmin(ReadOnlyAdmin):
    """Sockets that are open now."""

    list_display = ("user", "role_words", "of_session", "process", "opened_at")
    list_filter = (RoleFilter,)
    list_select_related = ("user", "session")
    search_fields = ("user__username", "session__title", "process")
    ordering = ("-opened_at",)
    fields = ("id", "user", "role_words", "of_session", "process", "opened_at")
    readonly_fields = fields

    @admin.display(description=_("role"), ordering="role")
    def role_words(self, connection: Connection) -> str:
        """What they are to the session."""
        return str(_ROLES.get(connection.role, connection.role))

    @admin.display(description=_("session"))
    def of_session(self, connection: Connection) -> SafeString:
        """What it is open on."""
        return admin_link(connection.session)


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    """The processes, and what each has noticed that is wrong around it."""

    is_private = False
    list_display = ("name", "noticed_lines", "seen_at")
    fields = list_display
    readonly_fields = list_display

    @admin.display(description=_("noticed"), ordering="noticed")
    def noticed_lines(self, process: Process) -> SafeString:
        """Each cause on a line of its own."""
        return format_html_join(mark_safe("<br>"), "{}", ((line,) for line in process.noticed.splitlines()))


@admin.register(Announcement)
class AnnouncementAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Words to everyone: one that is added reaches every open page within two seconds."""

    list_display = ("message", "level", "created_at")
    list_filter = ("level",)
    ordering = ("-created_at",)
    fields = ("message", "level")
    formfield_overrides: ClassVar = {CharField: {"widget": Textarea(attrs={"rows": 4, "cols": 80})}}

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody: what was said was said."""
        return False
