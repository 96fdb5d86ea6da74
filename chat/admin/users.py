"""Accounts in the admin."""

from http import HTTPStatus
from typing import Any, cast

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy, ngettext

from chat.accounts.models import User
from chat.models import Door
from chat.runs import erasure, sessions
from chat.security import tokens


def _with_sessions(name: str, number: int) -> str:
    text = ngettext("%(name)s, with %(n)s session", "%(name)s, with %(n)s sessions", number)
    return text % {"name": name, "n": f"{number:,}"}


# allauth would register pages for tokens and secrets here. Users manage their own; everything else is configured by the environment.
for model in (EmailAddress, Authenticator, SocialAccount, SocialApp, SocialToken):
    admin.site.unregister(model)


@admin.register(User)
class AccountAdmin(UserAdmin):  # type: ignore[type-arg]
    """Accounts. Deleting one deletes its sessions too, and stops the runs in them."""

    fieldsets = (*(UserAdmin.fieldsets or ()), (gettext_lazy("Retention"), {"fields": ("retention_days",)}))
    actions = ("remove_second_factors",)
    readonly_fields = ("refused_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """All accounts, except those that are being deleted."""
        every: QuerySet[User] = super().get_queryset(request)
        return every.filter(closed=None)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What would be deleted, without reading every step."""
        users = list(objs)
        lost = [_with_sessions(str(user), user.sessions.count()) for user in users]
        missing = set() if self.has_delete_permission(request) else {"user"}
        return lost, {"users": len(users)}, missing, []

    @admin.action(description=gettext_lazy("Remove all second factors"), permissions=["change"])
    def remove_second_factors(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Remove the second factors of users who have lost theirs: they log in without one, and can set it up again.

        Not allowed for users with more rights than the requesting user.
        """
        from chat.security import second_factor  # noqa: PLC0415 - its libraries are loaded where they are used

        done = 0
        for user in queryset:
            if request.user.is_superuser or not (user.is_superuser or user.is_staff):
                second_factor.remove_factors(cast(int, request.user.pk), user)
                done += 1
        text = ngettext("%(n)s account has no second factor now.", "%(n)s accounts have no second factor now.", done)
        self.message_user(request, text % {"n": done})

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002 - Django's name
        """Set somebody's password, revoke their tokens and record it, in one transaction."""
        with transaction.atomic():
            if request.method == "POST" and id.isdecimal():
                tokens.revoke_all(int(id), by=request.user.pk, door=Door.ADMIN)
            answer = super().user_change_password(request, id, form_url)
            # If the form is shown again, nothing was saved.
            transaction.set_rollback(answer.status_code != HTTPStatus.FOUND)
            return answer

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save an account. If it is deactivated, its tokens are revoked."""
        if change and not obj.is_active:
            tokens.revoke_all(obj.pk, by=request.user.pk, door=Door.ADMIN)
        super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Deactivate an account immediately; its data are deleted in the background, in small steps."""
        at_work = erasure.close_account(obj.pk)
        # Django deletes in a transaction of its own.
        transaction.on_commit(lambda: async_to_sync(sessions.account_closed)(at_work))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Delete accounts."""
        for user in queryset:
            self.delete_model(request, user)
