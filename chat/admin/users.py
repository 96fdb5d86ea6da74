"""Accounts in the admin."""

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from chat.accounts.models import User
from chat.runs import erasure, sessions


def _with_sessions(name: str, number: int) -> str:
    text = ngettext("%(name)s, with %(n)s session", "%(name)s, with %(n)s sessions", number)
    return text % {"name": name, "n": f"{number:,}"}


@admin.register(User)
class AccountAdmin(UserAdmin):  # type: ignore[type-arg]
    """Accounts. With one that is deleted its sessions go too, and what is at work in them stops."""

    fieldsets = (*(UserAdmin.fieldsets or ()), (_("Retention"), {"fields": ("retention_days",)}))

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """All accounts but those that are being removed."""
        every: QuerySet[User] = super().get_queryset(request)
        return every.filter(closed=None)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Say what goes, without reading every step of it."""
        users = list(objs)
        lost = [_with_sessions(str(user), user.sessions.count()) for user in users]
        missing = set() if self.has_delete_permission(request) else {"user"}
        return lost, {"users": len(users)}, missing, []

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002 - Django's name
        """Set somebody's password, and note it, as one."""
        with transaction.atomic():
            return super().user_change_password(request, id, form_url)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Close an account at once; all that belongs to it is removed little by little, however much it is."""
        at_work = erasure.close_account(obj.pk)
        # Django deletes in a transaction of its own.
        transaction.on_commit(lambda: async_to_sync(sessions.account_closed)(at_work))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Delete accounts."""
        for user in queryset:
            self.delete_model(request, user)
