"""Agents in the admin: their form, which makes a new version at each save; versions compared, tried, published, restored."""

from typing import Any, ClassVar, cast

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Max, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.datastructures import MultiValueDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from agents import AgentError, ModelSettings
from agents.models.probing import list_models
from chat.accounts.models import User
from chat.admin.agent_form import AgentForm, newest_of
from chat.admin.agent_trial import try_version
from chat.admin.policy_field import PolicyWidget, try_policy
from chat.catalog import agent_versions, mcp_servers, model_servers
from chat.catalog.agent_versions import Unchangeable, content_of
from chat.catalog.agents import load_version
from chat.models import Agent, AgentVersion, ModelServer
from chat.rendering.differences import list_differences
from chat.rendering.sentences import translate_sentence

#: How many versions are listed below the form, newest first.
_VERSIONS = 30
#: OpenAI's limit, and that of many who have its API.
_MOST_TOOLS = 128
PUBLISH = "chat.publish_agent"


@admin.register(Agent)
class AgentAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The change permission allows drafts; publishing, archiving and setting who may use an agent need the publish permission."""

    form = AgentForm
    change_form_template = "admin/chat/agent/change_form.html"
    list_display = ("name", "shown_title", "published", "newest", "asks", "open_to", "is_offered")
    search_fields = ("name", "current__title")
    ordering = ("archived_at", "name")
    filter_horizontal = ("groups",)
    save_as_continue = False
    notes_itself = True
    fieldsets = (
        (None, {"fields": ("based_on", "name", "title", "description", "instructions", "instructions_shown")}),
        (_("What it can do"), {"fields": ("tools", "all_servers", "servers", "sub_agents", "policy")}),
        (
            _("Model"),
            {
                "fields": (
                    "model_server",
                    "model",
                    ("temperature", "top_p"),
                    ("max_tokens", "seed"),
                    "thinking",
                    "extra_body",
                )
            },
        ),
        (_("Limits of a run"), {"fields": (("iterations", "time_s"), ("tokens", "budget"))}),
        (_("Beginning"), {"fields": ("starters",)}),
        (
            _("Who may use it"),
            {"fields": ("groups",), "description": _("No group: everyone. Changes take effect immediately.")},
        ),
        (_("This version"), {"fields": ("note",)}),
    )
    acts: ClassVar[tuple[str, ...]] = ("publish", "restore", "archive", "bring_back")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Agent]:
        """All agents, with what the rows of the list show."""
        every: QuerySet[Agent] = super().get_queryset(request)
        return (
            every.select_related("current__model_server")
            .prefetch_related("groups")
            .annotate(last=Max("versions__number"))
        )

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Always empty: the form takes no values from the URL."""
        return {}

    def get_readonly_fields(self, request: HttpRequest, obj: Agent | None = None) -> tuple[str, ...]:
        """The name cannot be changed; who may use an agent can be set only by those who publish."""
        fixed = ("name",) if obj is not None else ()
        return fixed if request.user.has_perm(PUBLISH) else (*fixed, "groups")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Always False, because runs refer to versions. Agents are archived instead."""
        return False

    @admin.display(description=_("title"))
    def shown_title(self, agent: Agent) -> str:
        """The title that people see."""
        return agent.current.title if agent.current is not None else "–"

    @admin.display(description=_("published"))
    def published(self, agent: Agent) -> str:
        """The version that runs use."""
        return str(agent.current.number) if agent.current is not None else "–"

    @admin.display(description=_("newest"))
    def newest(self, agent: Any) -> str:
        """The version that was saved last."""
        return str(agent.last or "–")

    @admin.display(description=_("model"))
    def asks(self, agent: Agent) -> str:
        """The model, and its server."""
        if agent.current is None:
            return "–"
        return " · ".join(dict.fromkeys(model_servers.names_of(load_version(agent.current.pk))))

    @admin.display(description=_("for"))
    def open_to(self, agent: Agent) -> str:
        """Who may use it."""
        return ", ".join(group.name for group in agent.groups.all()) or gettext("everyone")

    @admin.display(description=_("offered"), boolean=True)
    def is_offered(self, agent: Agent) -> bool:
        """Whether users can choose it."""
        return agent.archived_at is None and agent.current is not None

    # -- saving -----------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: Agent, form: Any, change: bool) -> None:
        """Make a new version."""
        data = form.cleaned_data
        if change:
            based_on = data["based_on"] or 0
            agent_versions.save_version(obj.pk, _by(request), form.content(), based_on=based_on, note=data["note"])
            return
        agent_versions.make_agent(obj, _by(request), form.content(), note=data["note"])

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save who may use it, if the user may set that."""
        if "groups" in form.cleaned_data:
            agent_versions.set_groups(form.instance.pk, _by(request), form.cleaned_data["groups"])

    def changeform_view(self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """The form. If two users save at the same moment, the second one waits, and then sees what the first has saved."""
        with transaction.atomic():
            if request.method == "POST" and object_id is not None and object_id.isdecimal() and len(object_id) < 16:
                Agent.objects.select_for_update().filter(pk=object_id).first()
            return super().changeform_view(request, object_id, *args, **kwargs)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        """Add the list of versions, and the differences of a newest version that is not published."""
        agent: Agent | None = context.get("original")
        if agent is not None and agent.pk:
            versions = list(agent.versions.select_related("created_by")[: _VERSIONS + 1])
            context |= {
                "versions": versions[:_VERSIONS],
                "current": agent.current,
                "may_publish": request.user.has_perm(PUBLISH),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def response_change(self, request: HttpRequest, obj: Agent) -> HttpResponse:
        """Return to the form: a draft is usually edited again."""
        newest = newest_of(obj)
        if newest is not None:
            message = gettext("Version %(n)d is saved as a draft. Runs go on with the published one.") % {
                "n": newest.number
            }
            self.message_user(request, message, messages.SUCCESS)
            self._warn_of_many(request, newest)
        return HttpResponseRedirect(_address(obj))

    def _warn_of_many(self, request: HttpRequest, version: AgentVersion) -> None:
        """Say that there are more tools than many model servers take."""
        count = len(version.tools) + mcp_servers.count_tools(version.mcp)
        if count > _MOST_TOOLS:
            warning = gettext(
                "This agent has %(n)d tools. Many model servers take %(most)d at a time at most: their models are offered the first ones "
                "alone."
            ) % {"n": count, "most": _MOST_TOOLS}
            self.message_user(request, warning, messages.WARNING)

    def response_add(self, request: HttpRequest, obj: Agent, post_url_continue: str | None = None) -> HttpResponse:
        """Return to the form."""
        return self.response_change(request, obj)

    # -- versions ---------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """The admin's own addresses, and those of the versions."""
        view = self.admin_site.admin_view
        own = [
            path("policy/", view(require_POST(self.try_policy)), name="chat_agent_policy"),
            path("models/", view(self.list_models), name="chat_agent_models"),
            path("<int:agent_id>/versions/<int:number>/", view(self.show_difference), name="chat_agent_version"),
            path("<int:agent_id>/versions/<int:number>/try/", view(self.show_trial), name="chat_agent_try"),
            path("<int:agent_id>/do/<str:act>/", view(require_POST(self.do_act)), name="chat_agent_act"),
        ]
        urls: list[URLPattern] = super().get_urls()
        return [*own, *urls]

    def try_policy(self, request: HttpRequest) -> HttpResponse:
        """What the rules in the form, as they are now, decide about a call."""
        if not (self.has_change_permission(request) or self.has_add_permission(request)):
            raise PermissionDenied
        rows = PolicyWidget().value_from_datadict(request.POST, MultiValueDict(), "policy")
        return JsonResponse({"text": try_policy(rows, request.POST.get("call", ""))})

    def _version(self, request: HttpRequest, agent_id: int, number: int) -> AgentVersion:
        if not self.has_view_permission(request):
            raise PermissionDenied
        every = AgentVersion.objects.select_related("agent", "model_server", "created_by")
        return get_object_or_404(every, agent=agent_id, number=number)

    def show_difference(self, request: HttpRequest, agent_id: int, number: int) -> HttpResponse:
        """The differences between a version and another one: the one before it, unless the URL names another."""
        version = self._version(request, agent_id, number)
        asked = request.GET.get("with", "")
        other_number = int(asked) if asked.isdecimal() and len(asked) < 9 else number - 1
        other = version.agent.versions.filter(number=other_number).first()
        found = list_differences(content_of(other), content_of(version)) if other is not None else []
        return self._page(
            request,
            "admin/chat/agent/difference.html",
            version,
            title=gettext("Version %(n)d") % {"n": number},
            other=other,
            differences=found,
            others=version.agent.versions.exclude(pk=version.pk)[:_VERSIONS],
        )

    def show_trial(self, request: HttpRequest, agent_id: int, number: int) -> HttpResponse:
        """Try a version before it is published: ask it a question, and show what the agent does and what its model can."""
        version = self._version(request, agent_id, number)
        if not self.has_change_permission(request):
            raise PermissionDenied
        question = request.POST.get("question", "")[:2_000] if request.method == "POST" else None
        tried = None if question is None else try_version(version, question, _by(request))
        title = gettext("Try version %(n)d") % {"n": number}
        return self._page(request, "admin/chat/agent/trial.html", version, title=title, question=question, tried=tried)

    def _page(self, request: HttpRequest, template: str, version: AgentVersion, **more: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "version": version,
            "agent": version.agent,
            "may_publish": request.user.has_perm(PUBLISH),
            **more,
        }
        return TemplateResponse(request, template, context)

    def do_act(self, request: HttpRequest, agent_id: int, act: str) -> HttpResponse:
        """Publish or restore a version; archive an agent, or restore it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if act not in self.acts:
            raise Http404
        is_draft = act == "restore"
        if not (self.has_change_permission(request) if is_draft else request.user.has_perm(PUBLISH)):
            raise PermissionDenied
        agent = get_object_or_404(Agent, pk=agent_id)
        try:
            message = getattr(self, f"_{act}")(request, agent)
        except Unchangeable as refused:
            self.message_user(request, translate_sentence(refused.message), messages.ERROR)
        else:
            self.message_user(request, message, messages.SUCCESS)
        return HttpResponseRedirect(_address(agent))

    def _publish(self, request: HttpRequest, agent: Agent) -> str:
        version = _named(request, agent)
        agent_versions.publish_version(version, _by(request))
        return gettext("Version %(n)d is published: runs that begin from now on take it.") % {"n": version.number}

    def _restore(self, request: HttpRequest, agent: Agent) -> str:
        old = _named(request, agent)
        made = agent_versions.restore_version(old, _by(request))
        return gettext("Version %(n)d is a draft that says what version %(old)d says.") % {
            "n": made.number,
            "old": old.number,
        }

    def _archive(self, request: HttpRequest, agent: Agent) -> str:
        agent_versions.archive_agent(agent.pk, _by(request), archived=True)
        return gettext("“%(name)s” is archived: it is offered to nobody any more.") % {"name": agent.name}

    def _bring_back(self, request: HttpRequest, agent: Agent) -> str:
        agent_versions.archive_agent(agent.pk, _by(request), archived=False)
        return gettext("“%(name)s” is offered again.") % {"name": agent.name}

    def list_models(self, request: HttpRequest) -> HttpResponse:
        """The models that a server lists, for the form."""
        if not (self.has_change_permission(request) or self.has_add_permission(request)):
            raise PermissionDenied
        try:
            found = async_to_sync(list_models)(_chosen_server(request.GET.get("server", "")))
        except AgentError as error:
            return JsonResponse({"models": [], "message": translate_sentence(error.message)})
        message = gettext("The server does not list its models.") if found is None else ""
        return JsonResponse({"models": found or [], "message": message})


def _chosen_server(key: str) -> ModelSettings:
    """The server that the form names; the installation's if none. Raises `AgentError`, or `Http404` for an unknown one."""
    if key:
        number = int(key) if key.isdecimal() and len(key) < 16 else 0
        return model_servers.settings_at(get_object_or_404(ModelServer, pk=number), "")
    return model_servers.installation_settings()


def _named(request: HttpRequest, agent: Agent) -> AgentVersion:
    number = request.POST.get("number", "")
    known = agent.versions.select_related("agent", "model_server")
    return get_object_or_404(known, number=int(number) if number.isdecimal() and len(number) < 9 else 0)


def _by(request: HttpRequest) -> User:
    return cast(User, request.user)


def _address(agent: Agent) -> str:
    return reverse("admin:chat_agent_change", args=(agent.pk,))
