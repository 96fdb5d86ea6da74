"""Sessions in the admin."""

from collections.abc import Mapping
from typing import ClassVar

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat import access
from chat.accounts.models import User
from chat.admin.actions import ConfirmedAction, ConfirmedActionsAdmin
from chat.admin.filters import AgentFilter, StatusFilter, UserFilter
from chat.admin.formatting import username_of
from chat.models import Door, Session
from chat.runs import sessions


def _delete(user: User, session: Session) -> str:
    async_to_sync(sessions.delete_session)(user, session, Door.ADMIN, as_operator=True)
    return gettext("was deleted, with all its runs.")


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
    search_help_text = _("Title, user name or identifier. What was said is searched among the steps.")
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
            _("Delete"),
            access.DELETE_SESSIONS,
            _("These sessions are deleted, with all their runs and steps. A run in progress is stopped."),
            _delete,
            is_noted=True,
        )
    }

    @admin.display(description=_("session"), ordering="title")
    def title_or_id(self, session: Session) -> str:
        """The title, or what is shown if it has none."""
        return str(session)

    @admin.display(description=_("owner"), ordering="owner__username")
    def owned_by(self, session: Session) -> str:
        """The owner."""
        return username_of(session.owner)

    @admin.display(description=_("see"))
    def leads_to(self, session: Session) -> SafeString:
        """Links to its runs and to the conversation."""
        every_run = f"{reverse('admin:chat_run_changelist')}?session__id__exact={session.pk}"
        conversation = reverse("session", args=[session.pk])
        return format_html(
            '<a href="{}">{}</a> · <a href="{}">{}</a>',
            every_run,
            gettext("Runs"),
            conversation,
            gettext("Conversation"),
        )
