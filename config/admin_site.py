"""The admin's site: whatever is changed in it, by whichever of its pages, is in the audit, in the transaction that changes it."""

import functools
from collections.abc import Callable
from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db import transaction
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from chat.accounts.models import User
from chat.models import Act, Door
from chat.security import audit
from config.admin_tasks import arrange_by_task

#: Fields of accounts and groups that say what somebody may do.
_RIGHTS = frozenset({"is_active", "is_staff", "is_superuser", "groups", "user_permissions", "permissions"})
_PASSWORDS = frozenset({"password", "password1", "password2"})
_ADMIN: Any = admin.ModelAdmin


class NotedAdmin(_ADMIN):  # type: ignore[misc] # mixed into each class that is registered
    """Writes an entry beside each line that Django writes into its own log.

    A page whose acts are noted where they are done, in more words than are known here, says so by ``notes_itself``.
    """

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """Keep which fields have changed, and which tables of what belongs to it, by their names."""
        within = [each.model._meta.model_name for each in formsets or () if each.has_changed()]
        request.changed_fields = sorted({*form.changed_data, *within})  # type: ignore[attr-defined]
        return super().construct_change_message(request, form, formsets, add)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Note that something was made."""
        self._note_change(request, obj, Act.CREATE)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Note what was changed: names of fields, and what an account may now do."""
        fields = getattr(request, "changed_fields", [])
        if _PASSWORDS & set(fields):
            self._note_change(request, obj, Act.PASSWORD)
        elif fields:
            act = Act.PERMIT if _RIGHTS & set(fields) else Act.CHANGE
            self._note_change(request, obj, act, fields=fields, **(_rights(obj) if act is Act.PERMIT else {}))
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Note what is deleted, which is there still."""
        for obj in queryset:
            self._note_change(request, obj, Act.DELETE)
        return super().log_deletions(request, queryset)

    def response_action(self, request: HttpRequest, queryset: Any) -> HttpResponseBase | None:
        """Do what was chosen of a list as one act."""
        with transaction.atomic():
            answer: HttpResponseBase | None = super().response_action(request, queryset)
        return answer

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list that is asked for; a number that no column can have is no such list."""
        try:
            return super().get_changelist_instance(request)
        except OverflowError as error:
            raise IncorrectLookupParameters(error) from error

    def _note_change(self, request: HttpRequest, obj: Any, act: Act, **details: Any) -> None:
        if getattr(self, "notes_itself", False):
            return
        subject_id = obj.pk if isinstance(obj, User) else getattr(obj, "user_id", None)
        about = "account" if isinstance(obj, User) else f"{obj._meta.model_name} {obj.pk}"
        audit.record_action(cast(int, request.user.pk), act, Door.ADMIN, subject_id=subject_id, about=about, **details)


def _rights(obj: Any) -> dict[str, Any]:
    """What an account or a group may, by flags and numbers."""
    flags = {name: getattr(obj, name) for name in ("is_active", "is_staff", "is_superuser") if hasattr(obj, name)}
    sets = ("groups", "user_permissions", "permissions")
    numbers = {name: sorted(getattr(obj, name).values_list("pk", flat=True)) for name in sets if hasattr(obj, name)}
    return {**flags, **numbers}


class Site(admin.AdminSite):
    """The one site. Its first page tells what is so now; passwords are changed where everybody changes theirs."""

    index_template = "admin/chat/index.html"
    #: What the first page tells somebody beside its list of pages: given by those who know.
    overview: Callable[[HttpRequest], dict[str, Any]] = staticmethod(lambda _: {})
    #: Pages that are no table's, for somebody, as lines of the group of tasks that is named.
    further_pages: Callable[[HttpRequest], dict[str, list[dict[str, Any]]]] = staticmethod(lambda _: {})

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """All pages by what they are for; those of one application where that is asked for."""
        applications = super().get_app_list(request, app_label)
        if app_label is not None:
            return applications
        return arrange_by_task(applications, self.further_pages(request))

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """A page, which no address with a character leads to that no database keeps: nothing has that identifier."""

        @functools.wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if "\0" in request.path_info:
                raise Http404
            return view(request, *args, **kwargs)

        return super().admin_view(checked, cacheable)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The first page."""
        return super().index(request, {**(extra_context or {}), **self.overview(request)})

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register a page, ours or another package's, with entries for all that it changes."""
        bases = (NotedAdmin, admin_class or admin.ModelAdmin)
        if admin_class is None or not issubclass(admin_class, NotedAdmin):
            admin_class = type(bases[1].__name__, bases, {"__module__": bases[1].__module__})
        super().register(model_or_iterable, admin_class, **options)

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Lead there."""
        return redirect("password_change")
