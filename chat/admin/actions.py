"""Actions of operators on the objects of a list: confirmed on a page of their own, executed on each object, and reported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext

from chat.accounts.models import User
from chat.models import MANY_SESSIONS, Act, Door, Run, Schedule, Session
from chat.protocol import as_uuid
from chat.rendering.sentences import translate_sentence
from chat.runs.admission import Refused
from chat.security import audit

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

#: Longer lists are not counted exactly.
_COUNTED = 10_000
#: How many objects one action handles.
_MOST = 200


class BoundedPaginator(Paginator):  # type: ignore[type-arg] # Django's classes take no parameters at run time
    """Counts a list only up to a limit, which is fast however long the table is."""

    @cached_property
    def count(self) -> int:
        """The number of objects, or the limit."""
        return min(self._counted, _COUNTED)

    @property
    def more_than(self) -> str:
        """The limit, for people, if there are more objects than that; else empty."""
        return f"{_COUNTED:,}" if self._counted > _COUNTED else ""

    @cached_property
    def _counted(self) -> int:
        # Counting does not need what the rows show of related tables.
        return cast(QuerySet[Any], self.object_list).order_by().values("pk")[: _COUNTED + 1].count()


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list that users with the view permission can read; nothing can be edited."""

    #: Whether its rows belong to users: then every view of them is recorded in the audit.
    is_private = True
    #: The audit entries are written by what is done here, not by the admin site.
    notes_itself = True
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Only with the view permission itself: a permission for an action does not include it."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.view_{self.opts.model_name}"))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list; viewing and searching it are recorded first."""
        if self.is_private and self.has_view_permission(request):
            record_list(request)
        return super().changelist_view(request, extra_context)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """One object; if it is another user's, viewing it is recorded first."""
        thing = super().get_object(request, object_id, from_field)
        if self.is_private and thing is not None and self.has_view_permission(request, thing):
            record_look(request, thing)
        return thing

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Always False."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Always False."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Always False: what may be deleted is deleted by an action, through the use case."""
        return False


def user_pk(request: HttpRequest) -> int:
    """The primary key of the requesting user."""
    return cast(int, request.user.pk)


def record_list(request: HttpRequest) -> None:
    """Record that the requesting user views or searches a list of other users' objects."""
    if request.GET.get("q", "").strip():
        audit.record_search(user_pk(request), Door.ADMIN)
    else:
        audit.record_view(user_pk(request), MANY_SESSIONS, Door.ADMIN)


def record_look(request: HttpRequest, thing: Any) -> None:
    """Record that the requesting user views a session of somebody else, or an object in it."""
    if (session_id := session_of_another(request, thing)) is not None:
        audit.record_view(user_pk(request), session_id, Door.ADMIN)


def record_act(request: HttpRequest, thing: Any, act: Act) -> None:
    """Record, before it is done, that something is done to a session of somebody else, or to an object in it."""
    if (session_id := session_of_another(request, thing)) is None:
        return
    if isinstance(thing, Schedule):
        about, owner_id = f"schedule {thing.pk}", thing.owner_id
        audit.record_action(user_pk(request), act, Door.ADMIN, session_id=session_id, subject_id=owner_id, about=about)
    else:
        run_id = thing.pk if isinstance(thing, Run) else None
        audit.record_action(user_pk(request), act, Door.ADMIN, session_id=session_id, run_id=run_id)


def session_of_another(request: HttpRequest, thing: Any) -> UUID | None:
    """The session that an object belongs to; None if it is the user's own. A schedule has an owner of its own, and not always a session."""
    owned = thing if isinstance(thing, Session | Schedule) else thing.session
    session_id: UUID | None = thing.pk if isinstance(thing, Session) else thing.session_id
    return session_id or MANY_SESSIONS if owned.owner_id != user_pk(request) else None


@dataclass(frozen=True, slots=True)
class ConfirmedAction:
    """An action that is confirmed on a page, executed on each object that it applies to, and reported."""

    label: "StrOrPromise"
    permission: str
    question: "StrOrPromise"
    perform: Callable[[User, Any], str]
    applies_to: Callable[[Any], bool] = lambda _: True
    #: Why it does not apply to the other objects, for people.
    skipped_because: "StrOrPromise" = ""
    #: Whether the use case writes the audit entry itself.
    is_noted: bool = False


def _about(name: str, text: str) -> str:
    return gettext("%(name)s: %(text)s") % {"name": name, "text": text}


class ConfirmedActionsAdmin(ReadOnlyAdmin):
    """A read-only list with some actions, each of which asks for confirmation and then reports what happened to each object."""

    acts: ClassVar[Mapping[str, ConfirmedAction]] = {}
    #: Further pages that offer the actions, by name, with the address to return to.
    backs: ClassVar[Mapping[str, str]] = {}

    def get_urls(self) -> list[URLPattern]:
        """Add the confirmation page."""
        page = self.admin_site.admin_view(self.act)
        return [path("act/<str:name>/", page, name=f"chat_{self.opts.model_name}_act"), *super().get_urls()]

    def _may(self, request: HttpRequest) -> dict[str, ConfirmedAction]:
        if not self.has_view_permission(request):
            return {}
        return {name: act for name, act in self.acts.items() if request.user.has_perm(act.permission)}

    def _address(self, name: str, keys: list[str], back: str = "") -> str:
        page = reverse(f"admin:chat_{self.opts.model_name}_act", args=[name])
        return f"{page}?{urlencode({'id': keys, **({'back': back} if back else {})}, doseq=True)}"

    def acts_on(self, request: HttpRequest, thing: Any, *, back: str = "") -> list[tuple["StrOrPromise", str]]:
        """The actions that the user may do to an object, each with the address of its confirmation page.

        ``back``: a key of `backs`, the page to return to.
        """
        may = self._may(request).items()
        return [(act.label, self._address(name, [str(thing.pk)], back)) for name, act in may if act.applies_to(thing)]

    def _back(self, given: Any) -> str:
        name = self.backs.get(given.get("back", ""), f"chat_{self.opts.model_name}_changelist")
        return reverse(f"admin:{name}")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """The actions that the user may do, as Django's admin expects them."""

        def leading_to(name: str) -> Callable[..., HttpResponse]:
            def ask(_: Any, __: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse:
                keys = [str(key) for key in chosen.values_list("pk", flat=True)[:_MOST]]
                return HttpResponseRedirect(self._address(name, keys))

            return ask

        acts = {name: (leading_to(name), name, act.label) for name, act in self._may(request).items()}
        return {**super().get_actions(request), **acts}

    def act(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask for confirmation; when it is given, execute the action and report."""
        if name not in self.acts:
            raise Http404
        act = self._may(request).get(name)
        if act is None:
            raise PermissionDenied
        given = request.POST if request.method == "POST" else request.GET
        keys = [key for key in map(as_uuid, given.getlist("id")[:_MOST]) if key]
        found = list(self.get_queryset(request).filter(pk__in=keys))
        for thing in found:
            record_look(request, thing)
        chosen = [thing for thing in found if act.applies_to(thing)]
        left_out = self._left_out(act, len(found) - len(chosen), len(found))
        if request.method == "POST" or not chosen:
            for thing in chosen:
                if not act.is_noted:
                    record_act(request, thing, Act(name))
                self._do(request, act, thing)
            if left_out or not found:
                self.message_user(
                    request, left_out or gettext("There is nothing of that kind any more."), messages.WARNING
                )
            return HttpResponseRedirect(self._back(given))
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": act.label}
        context.update(
            back=given.get("back", "") if given.get("back") in self.backs else "", leads_back=self._back(given)
        )
        return TemplateResponse(
            request, "admin/chat/act.html", {**context, "act": act, "chosen": chosen, "left_out": left_out}
        )

    def _left_out(self, act: ConfirmedAction, number: int, of: int) -> str:
        """Say for how many objects the action does nothing, and why."""
        if not number:
            return ""
        if of == 1:
            return gettext("This %(thing)s %(why)s.") % {"thing": self.opts.verbose_name, "why": act.skipped_because}
        values = {"n": number, "total": of, "things": self.opts.verbose_name_plural, "why": act.skipped_because}
        return gettext("%(n)d of %(total)d %(things)s %(why)s.") % values

    def _do(self, request: HttpRequest, act: ConfirmedAction, thing: Any) -> None:
        label = str(thing)
        self.log_change(request, thing, str(act.label))
        try:
            happened = act.perform(cast(User, request.user), thing)
        except Refused as refused:
            self.message_user(request, _about(label, translate_sentence(refused.message)), messages.ERROR)
        else:
            self.message_user(request, _about(label, happened), messages.SUCCESS)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Offer the applicable actions on the object's own page too."""
        thing = self.get_object(request, object_id)
        offered = [] if thing is None else self.acts_on(request, thing)
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "acts": offered})
