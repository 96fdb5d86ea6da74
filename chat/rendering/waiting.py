"""A call that waits for people as pages show it: its arguments, the rules that require a decision, and its form."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson
from django.utils.translation import gettext as _

from agents.approval import PRIVATE, Policy, Rule
from agents.json_types import JsonObject
from agents.steps import QuestionField
from chat.models import WaitingCall, WaitingKind
from chat.rendering import decision_form, decisions, humanize, rows
from chat.rendering.decision_form import FormField, Sent
from chat.rendering.template_row import Row
from chat.rendering.transcript import Call, Decision, Request


def arguments_of(call: WaitingCall) -> JsonObject:
    """The arguments that the model wrote."""
    return cast(JsonObject, orjson.loads(call.arguments or "{}"))


def fields_of(call: WaitingCall) -> list[QuestionField]:
    """The fields of the agent's question; empty for a decision."""
    return cast(list[QuestionField], orjson.loads(call.fields or "[]"))


def waiting_row(call: WaitingCall) -> Row:
    """The call's row in lists and on its own page."""
    folded = _folded(call)
    asked_by = call.run.user.get_username() if call.run.user else ""
    is_question = call.kind == WaitingKind.QUESTION
    arguments = arguments_of(call)
    return {
        "run_id": call.run_id,
        "session_id": call.session_id,
        "title": call.session.title,
        "tool_name": call.tool_name,
        "icon": humanize.icon(call.tool_name),
        "summary": humanize.summarize_arguments(arguments),
        "is_question": is_question,
        "word": humanize.waiting("question" if is_question else "approval"),
        "since": call.created_at.timestamp(),
        # By the server's clock: the page counts down from this, whatever its own clock says.
        "left": max(0, round(call.deadline.timestamp() - time.time())),
        "unanswered": call.unanswered,
        # An agent's question is shown in the form.
        **(rows.arguments_row({}) if is_question else rows.arguments_row(arguments)),
        "decision": decisions.decision_row(folded, str(call.run_id), asked_by),
    }


def _folded(call: WaitingCall) -> Call:
    """The call as it is in a run's outline."""
    is_question = call.kind == WaitingKind.QUESTION
    fields = fields_of(call) if is_question else None
    at = call.created_at.timestamp()
    folded = Call(None, 0, at, call.tool_call_id, call.tool_name, arguments_of(call))
    asks = str(folded.arguments.get("question", "")) if is_question else ""
    folded.request = Request(None, at, call.deadline.timestamp(), call.unanswered, fields, asks)
    if call.decided_at is not None:
        folded.decision = Decision(
            None,
            call.decided_at.timestamp(),
            call.decision,
            call.decided_by.get_username() if call.decided_by else None,
            orjson.loads(call.new_arguments) if call.new_arguments else None,
            reason=call.reason,
            answers=orjson.loads(call.answers) if call.answers else None,
        )
    return folded


def form_row(call: WaitingCall, schema: Mapping[str, Any], sent: Sent | None = None) -> Row:
    """The form for the decision or answer, filled with what was ``sent`` if that was not valid."""
    if call.kind == WaitingKind.QUESTION:
        return {"is_question": True, "fields": decision_form.question_fields(fields_of(call), sent)}
    arguments = arguments_of(call)
    whole = decision_form.whole_json(arguments)
    text = whole if sent is None else str(sent.get("json", whole)).replace("\r\n", "\n")
    fields: list[FormField] = decision_form.argument_fields(arguments, schema)
    return {
        "is_question": False,
        "fields": fields if sent is None else decision_form.with_sent(fields, sent),
        "json": text,
        "json_rows": min(16, max(3, text.count("\n") + 1)),
        "is_json_edited": text != whole,
        "is_edited": sent is not None,
        "reason": "" if sent is None else sent.get("reason", ""),
    }


def wanting_rules(call: WaitingCall, policies: Sequence[Policy]) -> list[str]:
    """The rules that require a decision about the call, as texts."""
    if call.kind == WaitingKind.QUESTION:
        return []
    if call.rule == PRIVATE:
        return [_("This session has read private things, and this call reaches outside.")]
    arguments = arguments_of(call)
    found = [next((rule for rule in policy if rule.matches(call.tool_name, arguments)), None) for policy in policies]
    return list(dict.fromkeys(rule_words(rule) for rule in found if rule is not None and rule.decision == "ask"))


def rule_words(rule: Rule) -> str:
    """Which calls a rule matches: ``fetch_page · url: https://*``."""
    arguments = [f"{name}: {glob}" for name, glob in rule.arguments]
    return " · ".join([rule.tool, *arguments])
