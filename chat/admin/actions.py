"""What operators may do to what is listed: asked for, confirmed, done to each, and reported."""

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

#: A list's length is known up to here.
_COUNTED = 10_000
#: Objects that one action takes.
_MOST = 200


class BoundedPaginator(Paginator):  # type: ignore[type-arg] # Django's classes take no parameters at run time
    """Counts a list only up to a limit, which a database does fast however long the table is."""

    @cached_property
    def count(self) -> int:
        """How many there are, or the limit."""
        return min(self._counted, _COUNTED)

    @property
    def more_than(self) -> str:
        """The limit, for people, where there are more; else nothing."""
        return f"{_COUNTED:,}" if self._counted > _COUNTED else ""

    @cached_property
    def _counted(self) -> int:
        # Without what each row shows beside it.
        return cast(QuerySet[Any], self.object_list).order_by().values("pk")[: _COUNTED + 1].count()


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shown to those who have the permission to view it; never edited."""

    #: Whether its rows belong to people, so that each look at them is noted.
    is_private = True
    #: What may be done here is noted where it is done.
    notes_itself = True
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Who was given just that: being allowed to do something to them is another permission."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.view_{self.opts.model_name}"))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """A list, once it is noted that somebody looks at it, or searches."""
        if self.is_private and self.has_view_permission(request):
            record_list(request)
        return super().changelist_view(request, extra_context)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """One of them, once it is noted that somebody looks at what is another's."""
        thing = super().get_object(request, object_id, from_field)
        if self.is_private and thing is not None and self.has_view_permission(request, thing):
            record_look(request, thing)
        return thing

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody: what may be deleted is, by an action, through the use case."""
        return False


def user_pk(request: HttpRequest) -> int:
    """The primary key of who asks."""
    return cast(int, request.user.pk)


def record_list(request: HttpRequest) -> None:
    """Note a look at a list of what is others', or a search in it."""
    if request.GET.get("q", "").strip():
        audit.record_search(user_pk(request), Door.ADMIN)
    else:
        audit.record_view(user_pk(request), MANY_SESSIONS, Door.ADMIN)


def record_look(request: HttpRequest, thing: Any) -> None:
    """Note a look at a session or at something of one that is somebody else's."""
    if (session_id := session_of_another(request, thing)) is not None:
        audit.record_view(user_pk(request), session_id, Door.ADMIN)


def record_act(request: HttpRequest, thing: Any, act: Act) -> None:
    """Note that something is done to it, likewise, before it is."""
    if (session_id := session_of_another(request, thing)) is None:
        return
    if isinstance(thing, Schedule):
        about, owner_id = f"schedule {thing.pk}", thing.owner_id
        audit.record_action(user_pk(request), act, Door.ADMIN, session_id=session_id, subject_id=owner_id, about=about)
    else:
        run_id = thing.pk if isinstance(thing, Run) else None
        audit.record_action(user_pk(request), act, Door.ADMIN, session_id=session_id, run_id=run_id)


def session_of_another(request: HttpRequest, thing: Any) -> UUID | None:
    """The session that it is of, if it isn't one's own; a schedule has its own owner, and not always a session."""
    owned = thing if isinstance(thing, Session | Schedule) else thing.session
    session_id: UUID | None = thing.pk if isinstance(thing, Session) else thing.session_id
    return session_id or MANY_SESSIONS if owned.owner_id != user_pk(request) else None


@dataclass(frozen=True, slots=True)
class ConfirmedAction:
    """Something that may be done to objects: it is asked for, done one by one to those that it fits, and reported."""

    label: "StrOrPromise"
    permission: str
    question: "StrOrPromise"
    do: Callable[[User, Any], str]
    fits: Callable[[Any], bool] = lambda _: True
    #: Why it does not fit the others.
    otherwise: "StrOrPromise" = ""
    #: Whether it is noted with the act itself, whoever does it through whichever door.
    is_noted: bool = False


def _about(name: str, text: str) -> str:
    return gettext("%(name)s: %(text)s") % {"name": name, "text": text}


class ConfirmedActionsAdmin(ReadOnlyAdmin):
    """Read-only but for a few acts, each of which asks first and then says what has become of each object."""

    acts: ClassVar[Mapping[str, ConfirmedAction]] = {}
    #: Pages beside the list that offer acts, and are led back to.
    backs: ClassVar[Mapping[str, str]] = {}

    def get_urls(self) -> list[URLPattern]:
        """Add the page that asks."""
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
        """What somebody may do to it, each with the address of the page that asks. ``back`` is one of `backs`: where it leads then."""
        may = self._may(request).items()
        return [(act.label, self._address(name, [str(thing.pk)], back)) for name, act in may if act.fits(thing)]

    def _back(self, given: Any) -> str:
        name = self.backs.get(given.get("back", ""), f"chat_{self.opts.model_name}_changelist")
        return reverse(f"admin:{name}")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """The acts that the user may, as a list's actions."""

        def leading_to(name: str) -> Callable[..., HttpResponse]:
            def ask(_: Any, __: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse:
                keys = [str(key) for key in chosen.values_list("pk", flat=True)[:_MOST]]
                return HttpResponseRedirect(self._address(name, keys))

            return ask

        acts = {name: (leading_to(name), name, act.label) for name, act in self._may(request).items()}
        return {**super().get_actions(request), **acts}

    def act(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask whether it is meant; when it is, do it and say what has happened."""
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
        chosen = [thing for thing in found if act.fits(thing)]
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
        """Say to how many the act does nothing, and why."""
        if not number:
            return ""
        if of == 1:
            return gettext("This %(thing)s %(why)s.") % {"thing": self.opts.verbose_name, "why": act.otherwise}
        words = {"n": number, "total": of, "things": self.opts.verbose_name_plural, "why": act.otherwise}
        return gettext("%(n)d of %(total)d %(things)s %(why)s.") % words

    def _do(self, request: HttpRequest, act: ConfirmedAction, thing: Any) -> None:
        told = str(thing)
        self.log_change(request, thing, str(act.label))
        try:
            happened = act.do(cast(User, request.user), thing)
        except Refused as refused:
            self.message_user(request, _about(told, translate_sentence(refused.message)), messages.ERROR)
        else:
            self.message_user(request, _about(told, happened), messages.SUCCESS)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Offer the acts that fit on the object's own page too."""
        thing = self.get_object(request, object_id)
        offered = [] if thing is None else self.acts_on(request, thing)
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "acts": offered})
