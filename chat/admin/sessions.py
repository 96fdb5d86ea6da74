"""Sessions in the admin."""

from collections.abc import Mapping
from typing import ClassVar

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chat import access
from chat.accounts.models import User
from chat.admin.actions import ConfirmedAction, ConfirmedActionsAdmin
from chat.admin.filters import AgentFilter, StatusFilter, UserFilter
from chat.admin.formatting import username_of
from chat.models import Session
from chat.runs import sessions


def _delete(user: User, session: Session) -> str:
    async_to_sync(sessions.delete_session)(user, session, as_operator=True)
    return "was deleted, with all its runs."


@admin.register(Session)
class SessionAdmin(ConfirmedActionsAdmin):
    """Sessions."""

    list_display = (
        "title_or_id",
        "owned_by",
        "agent_name",
        "status",
        "last_seq",
        "archived",
        "created_at",
        "active_at",
    )
    list_filter = (StatusFilter, AgentFilter, UserFilter, "archived", ("active_at", admin.DateFieldListFilter))
    list_select_related = ("owner",)
    search_fields = ("title", "owner__username", "=id")
    search_help_text = "Title, user name or identifier. What was said is searched among the steps."
    ordering = ("-active_at",)
    fields = (
        "id",
        "title",
        "owned_by",
        "agent_name",
        "status",
        "archived",
        "last_seq",
        "created_at",
        "active_at",
        "leads_to",
    )
    readonly_fields = fields
    acts: ClassVar[Mapping[str, ConfirmedAction]] = {
        "delete": ConfirmedAction(
            "Delete",
            access.DELETE_SESSIONS,
            "These sessions are deleted, with all their runs and steps. A run at work is stopped.",
            _delete,
        )
    }

    @admin.display(description="session", ordering="title")
    def title_or_id(self, session: Session) -> str:
        """Its title, or what there is instead."""
        return str(session)

    @admin.display(description="owner", ordering="owner__username")
    def owned_by(self, session: Session) -> str:
        """Whose it is."""
        return username_of(session.owner)

    @admin.display(description="see")
    def leads_to(self, session: Session) -> SafeString:
        """Its runs, and the conversation as people see it."""
        every_run = f"{reverse('admin:chat_run_changelist')}?session__id__exact={session.pk}"
        conversation = reverse("session", args=[session.pk])
        return format_html('<a href="{}">Runs</a> · <a href="{}">Conversation</a>', every_run, conversation)
