"""What operators look after: sockets, announcements, and the record of who did what."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import CharField, Model, OuterRef, Q, QuerySet, Subquery
from django.forms import Textarea
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat.accounts.models import User
from chat.admin.actions import ReadOnlyAdmin
from chat.admin.formatting import admin_link
from chat.models import MANY_SESSIONS, Announcement, AuditEntry, Connection, Process
from chat.protocol import as_uuid


@admin.register(Connection)
class ConnectionAdmin(ReadOnlyAdmin):
    """Sockets that are open now."""

    list_display = ("user", "role", "of_session", "process", "opened_at")
    list_filter = ("role",)
    list_select_related = ("user", "session")
    search_fields = ("user__username", "session__title", "process")
    ordering = ("-opened_at",)
    fields = ("id", "user", "role", "of_session", "process", "opened_at")
    readonly_fields = fields

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


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who of the staff looked at what belongs to others."""

    is_private = False
    list_display = ("at", "actor", "action", "about", "door", "of_session")
    list_filter = ("action", "door", ("at", admin.DateFieldListFilter))
    search_fields = ("session_id",)
    search_help_text = _("User name, number of an account, or a session's identifier, whole.")
    fields = ("at", "actor", "actor_id", "action", "about", "door", "of_session")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEntry]:
        """All entries, with the name of whoever is still there."""
        name = User.objects.filter(pk=OuterRef("actor_id")).values("username")[:1]
        every: QuerySet[AuditEntry] = super().get_queryset(request)
        return every.annotate(name=Subquery(name))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By whole names and identifiers, which the indexes know."""
        term = search_term.strip()
        if not term:
            return queryset, False
        session_id = as_uuid(term)
        if session_id is not None:
            return queryset.filter(session_id=session_id), False
        known = Q(actor_id__in=User.objects.filter(username=term).values("pk"))
        is_number = term.isascii() and term.isdigit() and len(term) < 18
        return queryset.filter(known | Q(actor_id=int(term)) if is_number else known), False

    @admin.display(description=_("who"), ordering="actor_id")
    def actor(self, entry: Any) -> str:
        """The name of the account, or its number where it is gone."""
        return entry.name or gettext("account %(number)s, deleted") % {"number": entry.actor_id}

    @admin.display(description=_("session"), ordering="session_id")
    def of_session(self, entry: AuditEntry) -> str:
        """Which session it was, as far as it was one."""
        if entry.about:
            return "–"
        return gettext("many") if entry.session_id == MANY_SESSIONS else str(entry.session_id)


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
