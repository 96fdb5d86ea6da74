"""The form of an agent, for people who do not write programs; each save makes a new version."""

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import orjson
from django import forms
from django.forms.fields import InvalidJSONInput
from django.http import QueryDict
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

import agents
from agents.json_types import JsonObject
from agents.specs import OWN_FIELDS
from chat.admin.policy_field import PolicyField
from chat.catalog import mcp_servers
from chat.catalog.agent_versions import SavedMeanwhile, content_of
from chat.models import Agent, AgentVersion, ModelServer
from chat.rendering.sentences import first_sentence, translate_sentence

#: Characters of instructions: about as much as leaves a usual model room for the conversation.
MOST_INSTRUCTIONS = 50_000
_MOST_STARTERS, _LONGEST_STARTER = 8, 300
_LONGEST_BODY = 10_000
_BUDGET = re.compile(r"\d{1,9}(\.\d{1,6})? [A-Z]{3}")


_WIDE = forms.TextInput(attrs={"class": "vLargeTextField", "size": 80})


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


class _ObjectField(forms.JSONField):
    """A JSON object, empty if there is none. Refuses what Python reads but databases or model servers do not."""

    def to_python(self, value: Any) -> Any:
        """The object, if every database and server can read it."""
        found, sent = None, b""
        with contextlib.suppress(RecursionError, ValueError, orjson.JSONEncodeError):
            found = super().to_python(value)
            sent = orjson.dumps(found)
        # What JSON cannot express as a number is null in it.
        if not sent or b"\\u0000" in sent or orjson.loads(sent) != found:
            raise forms.ValidationError(self.error_messages["invalid"], params={"value": value})
        return found

    def bound_data(self, data: Any, initial: Any) -> Any:
        """The text as it was typed, if it is not JSON."""
        try:
            return self.to_python(data)
        except forms.ValidationError:
            return InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        """The object as text for editing."""
        return super().prepare_value(value) if value else ""


class AgentForm(forms.ModelForm):  # type: ignore[type-arg] # Django's classes take no parameters at run time
    """The form of an agent, filled with its newest version. Saving makes the next version."""

    based_on = forms.IntegerField(widget=forms.HiddenInput, required=False)
    title = forms.CharField(widget=_WIDE, label=_("Title"), max_length=80, help_text=_("The name that people see."))
    description = forms.CharField(
        widget=_WIDE,
        label=_("What it is for"),
        max_length=300,
        required=False,
        help_text=_("One sentence, shown beside the title."),
    )
    instructions = forms.CharField(
        label=_("Instructions"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 22, "cols": 100, "class": "vLargeTextField"}),
        help_text=_("Who the agent is, how it works and how it answers, in plain words. The model reads them first."),
    )
    instructions_shown = forms.BooleanField(
        label=_("Others may read the instructions"),
        required=False,
        initial=True,
        help_text=_("They are shown with each model call. Staff can always read them."),
    )
    tools = forms.MultipleChoiceField(label=_("Tools"), required=False, widget=forms.CheckboxSelectMultiple)
    all_servers = forms.BooleanField(
        label=_("All of the environment's tool servers (MCP)"),
        required=False,
        initial=True,
        help_text=_("Includes servers that are added later. If not checked, only those chosen below."),
    )
    servers = forms.MultipleChoiceField(
        label=_("Tool servers (MCP)"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("If single tools of a server are chosen, the agent gets only those."),
    )
    sub_agents = forms.MultipleChoiceField(
        label=_("Agents that it may ask"), required=False, widget=forms.CheckboxSelectMultiple
    )
    policy = PolicyField(
        label=_("Calls that wait for people"),
        required=False,
        help_text=_(
            "The first rule that fits a call counts; where none does, it is allowed. Each argument on a line of its own; one that a call "
            "does not have fits nothing."
        ),
    )
    model_server = forms.ModelChoiceField(
        label=_("Model server"),
        queryset=ModelServer.objects.none(),
        required=False,
        empty_label=_("The installation's"),
    )
    model = forms.CharField(
        label=_("Model"),
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={"list": "models", "class": "vTextField", "autocomplete": "off"}),
        help_text=_("Leave it empty for the installation's model."),
    )
    temperature = forms.FloatField(
        label=_("Temperature"),
        min_value=0,
        max_value=2,
        required=False,
        help_text=_("Lower is more predictable, higher more varied."),
    )
    top_p = forms.FloatField(
        label="top_p",
        min_value=0,
        max_value=1,
        required=False,
        help_text=_("Another limit on variety. Leave it empty if unsure."),
    )
    max_tokens = forms.IntegerField(
        label=_("Longest reply, in tokens"), min_value=1, max_value=10_000_000, required=False
    )
    seed = forms.IntegerField(
        label=_("Seed"),
        min_value=0,
        max_value=2**53,
        required=False,
        help_text=_("Makes answers repeatable, if the server supports it."),
    )
    thinking = forms.TypedChoiceField(
        label=pgettext_lazy("a parameter of a model", "Thinking"),
        required=False,
        choices=(("", _("The model's default")), ("true", _("On")), ("false", _("Off"))),
        coerce=lambda word: word == "true",
        empty_value=None,
    )
    extra_body = _ObjectField(
        label=_("Additional request fields"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60, "spellcheck": "false"}),
        help_text=_("A JSON object, for servers with options of their own. Leave it empty if unsure."),
    )
    iterations = forms.IntegerField(label=_("Model calls"), min_value=1, max_value=1_000, required=False)
    tokens = forms.IntegerField(label=_("Tokens (input and output)"), min_value=1, max_value=10**9, required=False)
    time_s = forms.FloatField(label=_("Seconds"), min_value=1, max_value=86_400, required=False)
    budget = forms.CharField(
        label=_("Money"), max_length=24, required=False, help_text=_("An amount and its currency, as 0.50 USD.")
    )
    starters = forms.CharField(
        label=_("Questions to begin with"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "cols": 80}),
        help_text=_("One per line. Leave it empty for the usual questions."),
    )
    note = forms.CharField(
        widget=_WIDE,
        label=_("What is new"),
        max_length=200,
        required=False,
        help_text=_("For colleagues, in the list of versions."),
    )

    class Meta:
        model = Agent
        fields = ("name", "groups")

    class Media:
        js = (
            forms.Script("chat/page/agent-form.js", type="module"),
            forms.Script("chat/page/policy-table.js", type="module"),
        )

    #: The version that another user has saved since the form was opened.
    saved_meanwhile: AgentVersion | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        newest = self.newest = newest_of(self.instance)
        if newest is not None:
            self.initial = {**initial_of(newest), **self.initial, "based_on": newest.number}
        self.fields["tools"].choices = _tool_choices(newest)  # type: ignore[attr-defined]
        self.fields["servers"].choices = _server_choices(newest)  # type: ignore[attr-defined]
        others = Agent.objects.filter(archived_at=None).exclude(pk=self.instance.pk).values_list("name", flat=True)
        kept = newest.sub_agents if newest is not None else []
        self.fields["sub_agents"].choices = [(name, name) for name in dict.fromkeys([*others, *kept])]  # type: ignore[attr-defined]
        if newest is not None and newest.agent_class:
            self.fields["policy"].help_text = gettext(
                "This agent is an extension's own program, which cannot wait for people: a call that needs a decision is refused in words, "
                "and the agent goes on without it. So are ask_user, and such calls of the agents that it asks."
            )
        open_servers = ModelServer.objects.filter(archived_at=None)
        self.fields["model_server"].queryset = open_servers  # type: ignore[attr-defined]

    def clean_instructions(self) -> str:
        """Check the length of the instructions."""
        text: str = self.cleaned_data["instructions"].replace("\r\n", "\n").strip()
        if len(text) > MOST_INSTRUCTIONS:
            raise forms.ValidationError(
                gettext("The instructions have %(n)s characters; at most %(most)s are allowed.")
                % {"n": f"{len(text):,}", "most": f"{MOST_INSTRUCTIONS:,}"}
            )
        return text

    def clean_starters(self) -> list[str]:
        """The example questions, one a line."""
        found = _lines(self.cleaned_data["starters"])
        if len(found) > _MOST_STARTERS or any(len(line) > _LONGEST_STARTER for line in found):
            raise forms.ValidationError(
                gettext("At most %(n)d questions of up to %(most)d characters.")
                % {"n": _MOST_STARTERS, "most": _LONGEST_STARTER}
            )
        return found

    def clean_extra_body(self) -> JsonObject:
        """Check that it is an object without fields that this program sets itself."""
        found = self.cleaned_data["extra_body"] or {}
        if not isinstance(found, dict) or len(json.dumps(found)) > _LONGEST_BODY:
            raise forms.ValidationError(gettext("It must be a JSON object of up to 10,000 characters."))
        if own := sorted(OWN_FIELDS & found.keys()):
            raise forms.ValidationError(
                gettext("These fields are the program's own: %(names)s.") % {"names": ", ".join(own)}
            )
        return found

    def clean_budget(self) -> str:
        """An amount and its currency."""
        text: str = " ".join(self.cleaned_data["budget"].split()).upper()
        if text and not _BUDGET.fullmatch(text):
            raise forms.ValidationError(gettext("Write an amount and its currency, as 0.50 USD."))
        return text

    def clean(self) -> dict[str, Any]:
        """Check that an own model server has a model, and that nobody else has saved a version meanwhile; then what was typed is kept."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        newest = newest_of(self.instance)
        if newest is not None and newest.number != data.get("based_on"):
            self.saved_meanwhile = newest
            self.add_error(None, translate_sentence(SavedMeanwhile(newest).message))
            # If it is submitted again, it becomes the version after that one.
            typed = cast(QueryDict, self.data).copy()
            typed["based_on"] = str(newest.number)
            self.data = typed
        if data.get("all_servers") and data.get("servers"):
            problem = gettext("Either all of the environment's, or the ones chosen here: one of the two.")
            self.add_error("servers", problem)
        if data.get("model_server") is not None and not data.get("model"):
            self.add_error("model", gettext("Say which of the server's models it asks."))
        return data

    def content(self) -> dict[str, Any]:
        """The content of the new version."""
        data = self.cleaned_data
        plain = (
            "title",
            "description",
            "instructions",
            "instructions_shown",
            "model_server",
            "model",
            "starters",
            "policy",
        )
        return {
            **{name: data[name] for name in plain},
            # An agent of an extension stays one.
            "agent_class": self.newest.agent_class if self.newest is not None else "",
            "tools": list(data["tools"]),
            "sub_agents": list(data["sub_agents"]),
            "mcp": None if data["all_servers"] else _mcp_of(data["servers"]),
            "parameters": _filled(data, ("temperature", "top_p", "max_tokens", "seed", "thinking", "extra_body")),
            "limits": _filled(data, ("iterations", "tokens", "time_s", "budget")),
        }


def newest_of(agent: Agent) -> AgentVersion | None:
    """The newest version of an agent, published or not."""
    return agent.versions.select_related("created_by").order_by("-number").first() if agent.pk else None


def initial_of(version: AgentVersion) -> dict[str, Any]:
    """A version as initial values of the form."""
    content = content_of(version)
    thinking = version.parameters.get("thinking")
    return {
        **content,
        **version.parameters,
        **version.limits,
        "thinking": "" if thinking is None else str(thinking).lower(),
        "extra_body": version.parameters.get("extra_body", {}),
        "starters": "\n".join(version.starters),
        "all_servers": version.mcp is None,
        "servers": list(_chosen(version.mcp or ())),
    }


def _filled(data: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: data[name] for name in names if data[name] not in (None, "", {})}


def _tool_choices(newest: AgentVersion | None) -> list[tuple[str, SafeString]]:
    offered = {tool.name: tool.description for tool in agents.list_tools()}
    kept = dict.fromkeys(newest.tools if newest is not None else (), gettext("It is not there any more."))
    return [(name, _labelled(name, description)) for name, description in {**kept, **offered}.items()]


def _labelled(name: str, description: str) -> SafeString:
    return format_html("<code>{}</code> {}", name, first_sentence(description))


_TOOL_MARK = "\t"


def _server_choices(newest: AgentVersion | None) -> list[tuple[str, SafeString]]:
    """The available tool servers, each with its tools as far as they are known, and those chosen before."""
    known = mcp_servers.known_tools()
    choices: dict[str, SafeString] = {}
    for server in mcp_servers.names_to_choose():
        choices[server] = _labelled(server, gettext("all its tools"))
        for tool, description in known.get(server, {}).items():
            choices[f"{server}{_TOOL_MARK}{tool}"] = _labelled(f"{server} · {tool}", description)
    for value in _chosen((newest.mcp or ()) if newest is not None else ()):
        choices.setdefault(value, _labelled(value.replace(_TOOL_MARK, " · "), gettext("It is not there now.")))
    return list(choices.items())


def _chosen(mcp: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for choice in mcp:
        tools = choice.get("tools")
        yield from [choice["server"]] if tools is None else [f"{choice['server']}{_TOOL_MARK}{tool}" for tool in tools]


def _mcp_of(values: Iterable[str]) -> list[JsonObject]:
    chosen: dict[str, list[str] | None] = {}
    for value in values:
        server, is_tool, tool = value.partition(_TOOL_MARK)
        if not is_tool:
            chosen[server] = None
        elif (of_server := chosen.setdefault(server, [])) is not None:
            of_server.append(tool)
    return [{"server": server, "tools": tools} for server, tools in chosen.items()]
