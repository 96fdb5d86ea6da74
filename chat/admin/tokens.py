"""API tokens in the admin: owner, scope, last use, and an action that revokes them. The secret is never shown."""

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from chat.admin.actions import ReadOnlyAdmin, user_pk
from chat.models import ApiToken, Door
from chat.protocol import group_messages
from chat.runtime import groups
from chat.security import tokens


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """Read-only, except for revoking. The name of a token is its owner's, and is not shown."""

    is_private = False
    list_display = (
        "prefix",
        "user",
        "scope",
        "created_at",
        "expires_at",
        "last_used_at",
        "last_used_door",
        "revoked_at",
    )
    list_filter = ("scope",)
    list_select_related = ("user",)
    search_fields = ("prefix", "user__username")
    fields = list_display
    readonly_fields = list_display
    actions = ("revoke",)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Whether the user may revoke the tokens of others."""
        return request.user.has_perm("chat.change_apitoken")

    @admin.action(description=_("Revoke"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """Revoke these tokens; connections that use them are closed."""
        ended = sum(
            tokens.revoke_token(token.user_id, token.pk, by=user_pk(request), door=Door.ADMIN) for token in queryset
        )
        async_to_sync(groups.publish)(groups.EVERYONE, group_messages.LOGINS_CHANGED)
        message = ngettext("%(n)s token was revoked.", "%(n)s tokens were revoked.", ended) % {"n": ended}
        self.message_user(request, message, messages.SUCCESS)
