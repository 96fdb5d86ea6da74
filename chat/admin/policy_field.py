"""An agent's approval policy as a table in its form; and what policies decide about a call that is typed for a trial."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.template.loader import render_to_string
from django.utils.datastructures import MultiValueDict
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agents.approval import Policy, Rule, judge_call, read_policy
from agents.json_types import JsonObject
from chat.rendering.waiting import rule_words

#: Empty rows below the rules, for browsers without scripts.
_EMPTY_ROWS = 2
_PARTS = ("tool", "arguments", "decision")

_EXAMPLE = {
    "tool": "fetch_*",
    "arguments": "url: https://intranet.*",
    "call": "fetch_page url=https://example.org/",
}

Row = dict[str, str]


def decision_words(decision: str) -> str:
    """A decision, in a word."""
    return {"allow": gettext("allow"), "ask": gettext("ask people"), "deny": gettext("deny")}.get(decision, decision)


class PolicyWidget(forms.Widget):
    """The rules as the rows of a table; empty rows are ignored."""

    template_name = "admin/chat/agent/policy.html"

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        """The rows, and the installation's own rules above them."""
        context: dict[str, Any] = super().get_context(name, value, attrs)
        empty = [{"tool": "", "arguments": "", "decision": "ask"}] * _EMPTY_ROWS
        return context | {
            "rows": [*_as_rows(value), *empty],
            "example": _EXAMPLE,
            "decisions": [(word, decision_words(word)) for word in ("ask", "deny", "allow")],
            "installation": [(rule_words(rule), decision_words(rule.decision)) for rule in settings.APPROVAL_POLICY],
        }

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """Rendered with the project's templates, which the renderer of Django's widgets does not search."""
        return render_to_string(self.template_name, self.get_context(name, value, attrs))

    def value_from_datadict(self, data: Any, files: MultiValueDict[str, Any], name: str) -> list[Row]:
        """The rows that are not empty, in order."""
        columns = [data.getlist(f"{name}-{part}") if hasattr(data, "getlist") else [] for part in _PARTS]
        rows = [dict(zip(_PARTS, map(str, row), strict=True)) for row in zip(*columns, strict=False)]
        return [row for row in rows if row["tool"].strip() or row["arguments"].strip()]

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        """Whether the submitted form has no such table."""
        return f"{name}-tool" not in data


def _as_rows(value: Any) -> list[Row]:
    """Rules, or rows as they were submitted, as the table shows them."""
    return [
        {
            "tool": str(each.get("tool", "")),
            "arguments": _as_lines(each.get("arguments") or {}),
            "decision": str(each.get("decision", "ask")),
        }
        for each in value or []
    ]


def _as_lines(arguments: Any) -> str:
    if isinstance(arguments, dict):
        return "\n".join(f"{name}: {glob}" for name, glob in arguments.items())
    return str(arguments)


class PolicyField(forms.Field):
    """A list of rules, as a version stores them."""

    widget = PolicyWidget
    default_error_messages = {
        "no_tool": _("Rule %(n)d needs a tool: a name, in which * stands for anything."),
        "no_argument": _(
            "Rule %(n)d: write each argument on a line of its own, as “name: value”, in which * stands for anything."
        ),
        "twice": _("Rule %(n)d names the argument “%(name)s” twice."),
    }

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether the rules have changed."""
        return bool(_as_rows(initial) != _as_rows(data))

    def clean(self, value: Any) -> list[JsonObject]:
        """The rows as rules. Errors name the number of the row."""
        rules = [self._rule(number, row) for number, row in enumerate(value or [], 1)]
        try:
            read_policy(rules)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        return rules

    def _rule(self, number: int, row: Row) -> JsonObject:
        tool = row["tool"].strip()
        if not tool:
            raise forms.ValidationError(self.error_messages["no_tool"], params={"n": number})
        arguments: dict[str, str] = {}
        for line in row["arguments"].splitlines():
            if not line.strip():
                continue
            name, colon, glob = (part.strip() for part in line.partition(":"))
            if not (name and colon and glob):
                raise forms.ValidationError(self.error_messages["no_argument"], params={"n": number})
            if name in arguments:
                raise forms.ValidationError(self.error_messages["twice"], params={"n": number, "name": name})
            arguments[name] = glob
        return {"tool": tool, **({"arguments": arguments} if arguments else {}), "decision": row["decision"]}


def try_policy(rows: list[Row], call: str) -> str:
    """What the table and the installation's rules decide about a call, in one or two sentences. `read_call` says how a call is written."""
    try:
        own = read_policy(PolicyField().clean(rows))
        tool, arguments = read_call(call)
    except forms.ValidationError as error:
        return " ".join(error.messages)
    found = [
        _describe_policy(gettext("This table"), own, tool, arguments),
        _describe_policy(gettext("The installation"), settings.APPROVAL_POLICY, tool, arguments),
    ]
    decision = judge_call((own, settings.APPROVAL_POLICY), tool, arguments).decision
    return "\n".join([*found, gettext("So it is: %(decision)s.") % {"decision": decision_words(decision)}])


def _describe_policy(whose: str, policy: Policy, tool: str, arguments: JsonObject) -> str:
    matching = ((number, rule) for number, rule in enumerate(policy, 1) if rule.matches(tool, arguments))
    number, rule = next(matching, (0, Rule("*", "allow")))
    if not number:
        return gettext("%(whose)s: no rule fits, so it is allowed.") % {"whose": whose}
    values = {"whose": whose, "n": number, "rule": rule_words(rule), "decision": decision_words(rule.decision)}
    return gettext("%(whose)s: rule %(n)d (%(rule)s) fits: %(decision)s.") % values


def read_call(text: str) -> tuple[str, JsonObject]:
    """Parse a call as people type it: the tool's name, and its arguments as a JSON object or as ``name=value``.

    Raises `ValidationError`.
    """
    tool, _space, rest = text.strip().partition(" ")
    rest = rest.strip()
    if not tool:
        raise forms.ValidationError(gettext("Write a call, as: fetch_page url=https://example.org/"))
    if not rest.startswith("{"):
        return tool, dict(_pairs(rest))
    try:
        arguments = json.loads(rest)
    except (ValueError, RecursionError):
        raise forms.ValidationError(gettext("The arguments are no JSON object.")) from None
    return tool, arguments


def _pairs(text: str) -> Sequence[tuple[str, str]]:
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    pairs = [word.partition("=") for word in words]
    if any(not name or not sign for name, sign, _value in pairs):
        raise forms.ValidationError(gettext("Write the arguments as a JSON object, or as name=value."))
    return [(name, value) for name, _sign, value in pairs]
