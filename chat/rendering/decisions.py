"""Texts about requests to people within a run, and about their decisions.

For live frames ``static/chat/state/decisions.js`` has the same sentences; a test compares them.
"""

from typing import Any
from urllib.parse import urlencode

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from chat.rendering import humanize
from chat.rendering.template_row import Row
from chat.rendering.transcript import Call, Decision, Request


def decision_row(call: Call, run_id: str, asked_by: str) -> Row | None:
    """The data of ``_decision.html`` for a call's card; None if the call does not involve people."""
    request, decision = call.request, call.decision
    if request is None and decision is None:
        return None
    is_question = request is not None and request.fields is not None
    return {
        "waits": call.waits,
        "run_id": run_id,
        "call": urlencode({"call": call.call_id}),
        "why": request_line(asked_by, is_question) if call.waits else "",
        "asks": request.text if request is not None else "",
        "deadline": request.deadline if request is not None and call.waits else None,
        "by_itself": by_itself(request, "") if request is not None and call.waits else "",
        "text": decision_line(decision, is_question) if decision is not None else "",
        "at": decision.at if decision is not None else None,
        "reason": decision.reason if decision is not None else "",
        "changes": argument_changes(call.arguments, decision.arguments) if decision is not None else [],
        "answers": answer_pairs(request, decision),
    }


def request_line(name: str, is_question: bool) -> str:
    """The sentence above a request to people; ``name``: the user whose agent asks, or empty."""
    if is_question:
        return _("%(name)s's agent asks:") % {"name": name} if name else _("The agent asks:")
    if name:
        return _("%(name)s's agent wants to make this call. A rule wants somebody to decide.") % {"name": name}
    return _("The agent wants to make this call. A rule wants somebody to decide.")


def by_itself(request: Request, time: str) -> str:
    """What happens if no one decides; ``time``: in how long, or empty to leave that out."""
    if request.deadline is None:
        return ""
    if request.fields is not None:
        return _("Goes on without an answer in %(time)s") % {"time": time} if time else _("Goes on without an answer")
    if request.unanswered == "stop":
        return _("Stops by itself in %(time)s") % {"time": time} if time else _("Stops by itself")
    return _("Denied by itself in %(time)s") % {"time": time} if time else _("Denied by itself")


def decision_line(decision: Decision, is_question: bool) -> str:
    """Who has decided, and what."""
    name = {"name": decision.user}
    match decision.decision:
        case "answer" if decision.user:
            return _("Answered by %(name)s") % name
        case "allow" if decision.user is None:
            return _("Allowed")
        case "allow" if decision.scope == "session":
            return _("Allowed for this session by %(name)s") % name
        case "allow":
            return _("Allowed by %(name)s") % name
        case "deny" if decision.user:
            return _("Denied by %(name)s") % name
    return _("Nobody answered in time") if is_question else _("Denied by itself: nobody decided in time")


def argument_changes(before: Any, after: Any) -> list[Row]:
    """The arguments that a person has changed: name, old value and new value, each empty if it is missing."""
    if after is None:
        return []
    if not isinstance(before, dict) or not isinstance(after, dict):
        old, new = _value_text(before), _value_text(after)
        return [] if old == new else [{"name": "", "before": old, "after": new}]
    names = dict.fromkeys([*before, *after])
    rows = [
        {
            "name": name,
            "before": _value_text(before[name]) if name in before else "",
            "after": _value_text(after[name]) if name in after else "",
        }
        for name in names
    ]
    return [row for row in rows if row["before"] != row["after"]]


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else humanize.as_json(value)


def answer_pairs(request: Request | None, decision: Decision | None) -> list[tuple[str, str]]:
    """The answers, each with its question."""
    if decision is None or decision.answers is None:
        return []
    fields = request.fields if request is not None and request.fields is not None else []
    labels = {field["name"]: field["label"] or field["name"] for field in fields}
    return [(labels.get(name, name), _answer(value)) for name, value in decision.answers.items()]


def _answer(value: Any) -> str:
    match value:
        case True:
            return pgettext("an answer", "Yes")
        case False:
            return pgettext("an answer", "No")
        case None | "" | []:
            return "–"
        case list():
            return humanize.join_list(map(_value_text, value))
    return _value_text(value)
