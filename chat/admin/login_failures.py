"""Failed logins, as axes stores them: names, addresses, and who is locked out. What was typed is not shown."""

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from chat.admin.actions import ReadOnlyAdmin

# Logins are in the audit; axes does not store them.
for model in (AccessAttempt, AccessFailureLog, AccessLog):
    admin.site.unregister(model)


@admin.register(AccessFailureLog)
class FailureAdmin(ReadOnlyAdmin):
    """Failed logins."""

    is_private = False
    list_display = ("attempt_time", "username", "ip_address", "locked_out", "path_info")
    list_filter = ("locked_out", ("attempt_time", admin.DateFieldListFilter))
    search_fields = ("username", "ip_address")
    ordering = ("-attempt_time",)
    fields = list_display
    readonly_fields = fields


@admin.register(AccessAttempt)
class AttemptAdmin(ReadOnlyAdmin):
    """The counted failures of a name and an address. Deleting one ends its lockout."""

    is_private = notes_itself = False
    list_display = ("attempt_time", "username", "ip_address", "failures_since_start")
    search_fields = ("username", "ip_address")
    ordering = ("-attempt_time",)
    fields = (*list_display, "path_info")
    readonly_fields = fields

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Only with the delete permission itself."""
        return bool(request.user.has_perm("axes.delete_accessattempt"))
