"""The admin site: every change in it is in the audit, in the transaction of the change, whichever page makes it."""

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

#: Fields of accounts and groups that give permissions.
_RIGHTS = frozenset({"is_active", "is_staff", "is_superuser", "groups", "user_permissions", "permissions"})
_PASSWORDS = frozenset({"password", "password1", "password2"})
_ADMIN: Any = admin.ModelAdmin


class NotedAdmin(_ADMIN):  # type: ignore[misc] # mixed into each class that is registered
    """Writes an audit entry for each line that Django writes into its own log.

    A page that writes its own entries, with more details than are known here, sets ``notes_itself``.
    """

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """Record the names of the changed fields, and of the changed inlines' tables."""
        within = [each.model._meta.model_name for each in formsets or () if each.has_changed()]
        request.changed_fields = sorted({*form.changed_data, *within})  # type: ignore[attr-defined]
        return super().construct_change_message(request, form, formsets, add)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Record an addition."""
        self._note_change(request, obj, Act.CREATE)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Record a change: the names of fields, and an account's permissions after it."""
        fields = getattr(request, "changed_fields", [])
        if _PASSWORDS & set(fields):
            self._note_change(request, obj, Act.PASSWORD)
        elif fields:
            act = Act.PERMIT if _RIGHTS & set(fields) else Act.CHANGE
            self._note_change(request, obj, act, fields=fields, **(_rights(obj) if act is Act.PERMIT else {}))
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Record deletions, while the objects still exist."""
        for obj in queryset:
            self._note_change(request, obj, Act.DELETE)
        return super().log_deletions(request, queryset)

    def response_action(self, request: HttpRequest, queryset: Any) -> HttpResponseBase | None:
        """Execute the chosen action in one transaction."""
        with transaction.atomic():
            answer: HttpResponseBase | None = super().response_action(request, queryset)
        return answer

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The requested list; 404 for a number that no column can have."""
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
    """The permissions of an account or a group, by flags and ids."""
    flags = {name: getattr(obj, name) for name in ("is_active", "is_staff", "is_superuser") if hasattr(obj, name)}
    sets = ("groups", "user_permissions", "permissions")
    numbers = {name: sorted(getattr(obj, name).values_list("pk", flat=True)) for name in sets if hasattr(obj, name)}
    return {**flags, **numbers}


class Site(admin.AdminSite):
    """The admin site. Its first page shows the current state; passwords are changed on the page of the account."""

    index_template = "admin/chat/index.html"
    #: Functions that return further parts of the first page for a request; other packages register them.
    overview: Callable[[HttpRequest], dict[str, Any]] = staticmethod(lambda _: {})
    #: Functions that return links to pages that belong to no table, with the name of their group of tasks.
    further_pages: Callable[[HttpRequest], dict[str, list[dict[str, Any]]]] = staticmethod(lambda _: {})

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """All pages by task; those of one application if that is requested."""
        applications = super().get_app_list(request, app_label)
        if app_label is not None:
            return applications
        return arrange_by_task(applications, self.further_pages(request))

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """A view of the admin, which answers 404 if the address contains a character that no database can store."""

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
        """Register a page, ours or another package's, with audit entries for all its changes."""
        bases = (NotedAdmin, admin_class or admin.ModelAdmin)
        if admin_class is None or not issubclass(admin_class, NotedAdmin):
            admin_class = type(bases[1].__name__, bases, {"__module__": bases[1].__module__})
        super().register(model_or_iterable, admin_class, **options)

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Redirect to the account's own page."""
        return redirect("password_change")
