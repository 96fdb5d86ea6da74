"""A run's model calls for people: a line next to each iteration, and a page for each call: readable, raw, and as a shell command."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from agents.history import ChatMessage
from chat.protocol.model_calls import CallData
from chat.rendering import humanize
from chat.rendering.template_row import Row

Message = Mapping[str, Any]
#: How many of the newest messages are open on a call's page.
_OPEN = 2
_HIDDEN = "(shown to staff alone)"
#: How many characters of a picture's address are shown.
_PICTURE = 60


def call_line(call: CallData, page: str) -> Row:
    """A call's line next to its iteration: a link to its page, and what it used, took and cost."""
    return {
        "iteration": call["iteration"],
        "page": page,
        "facts": [
            fact for fact in (_model(call), _tokens(call), _cost(call), humanize.duration(call["duration_ms"])) if fact
        ],
        "error": call.get("error", ""),
        "left_out": _left_out(call),
    }


def call_page(
    call: CallData, messages: Sequence[Message], tools: Sequence[Message], *, number: int, of: int, is_hidden: bool
) -> Row:
    """One call in full. ``is_hidden``: the agent's instructions were removed from the messages."""
    messages = _without_pictures(messages)
    body = {"model": call["model"], "messages": messages, **call["parameters"]}
    if tools:
        body["tools"] = list(tools)
    raw = json.dumps(body, ensure_ascii=False, indent=2)
    sent = call["messages"]
    return {
        "number": number,
        "of": of,
        "title": _("Iteration %(n)s") % {"n": call["iteration"]}
        if call["attempt"] == 1
        else _("Iteration %(n)s, attempt %(attempt)s") % {"n": call["iteration"], "attempt": call["attempt"]},
        "facts": [(name, value) for name, value in _facts(call) if value],
        "error": call.get("error", ""),
        "left_out": _left_out(call),
        "why_left_out": _("The conversation is longer than the model reads at a time. The oldest turns go first."),
        "hidden": is_hidden,
        "messages": [
            _message(message, about["tokens_estimated"], is_open=place >= len(messages) - _OPEN)
            for place, (message, about) in enumerate(zip(messages, sent, strict=True))
        ],
        "raw": raw,
        "raw_size": humanize.size(len(raw)),
        "curl": curl(body),
    }


def curl(body: Mapping[str, Any]) -> str:
    """The request as a shell command, without address and key."""
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    return (
        'curl "$MODEL_SERVER/chat/completions" -H "Authorization: Bearer $API_KEY" -H "Content-Type: application/json" '
        f"--data-binary {data}"
    )


def without_instructions(messages: Sequence[Message]) -> list[ChatMessage]:
    """The messages with the system's hidden; without one, with the first hidden, which then begins with the agent's instructions."""
    if any(message.get("role") == "system" for message in messages):
        return [{**each, "content": _HIDDEN} if each.get("role") == "system" else dict(each) for each in messages]
    return [{**each, "content": _HIDDEN} if place == 0 else dict(each) for place, each in enumerate(messages)]


def _facts(call: CallData) -> list[tuple[str, str]]:
    usage = call["usage"]
    cached, thought = usage.get("cached_tokens"), usage.get("reasoning_tokens")
    return [
        (_("Model"), _model(call)),
        (_("Agent's version"), str(call["agent_version"] or "")),
        (_("Tools"), ", ".join(call["tools"])),
        (_("Parameters"), ", ".join(f"{name}: {json.dumps(value)}" for name, value in call["parameters"].items())),
        (_("Tokens"), _tokens(call)),
        (_("From the cache"), "" if cached is None else humanize.count(cached)),
        (_("Tokens of thoughts"), "" if thought is None else humanize.count(thought)),
        (_("Cost"), _cost(call)),
        (_("First token after"), humanize.duration(call["first_token_ms"])),
        (_("Took"), humanize.duration(call["duration_ms"])),
        (_("Ended with"), call["finish_reason"] or ""),
    ]


def _model(call: CallData) -> str:
    return call["model"] if call["provider"] in ("demo", "default") else f"{call['model']} ({call['provider']})"


def _tokens(call: CallData) -> str:
    usage = call["usage"]
    if not usage["input_tokens"] + usage["output_tokens"]:
        return ""
    return humanize.usage(usage["input_tokens"], usage["output_tokens"], estimated=usage["estimated"])


def _cost(call: CallData) -> str:
    if "cost" in call:
        return humanize.cost(call["cost"]["amount"], call["cost"]["currency"])
    return _("cost unknown") if _tokens(call) else ""


def _left_out(call: CallData) -> str:
    left_out = call["left_out"]
    if left_out is None:
        return ""
    tokens = humanize.count(left_out["tokens_estimated"])
    if not left_out["messages"]:
        return _("About %(tokens)s tokens of results left out") % {"tokens": tokens}
    return ngettext(
        "%(n)d message left out, about %(tokens)s tokens",
        "%(n)d messages left out, about %(tokens)s tokens",
        left_out["messages"],
    ) % {"n": left_out["messages"], "tokens": tokens}


def _message(message: Message, tokens: int, *, is_open: bool) -> Row:
    parts = [("", _text(message.get("content")))] if message.get("content") else []
    calls = message.get("tool_calls") or ()
    parts += [(call["function"]["name"], call["function"]["arguments"]) for call in calls]
    known = {"role", "content", "tool_calls", "tool_call_id", "name"}
    parts += [(name, _text(value)) for name, value in message.items() if name not in known]
    first = parts[0] if parts else ("", "")
    return {
        "role": message["role"],
        "gist": humanize.first_line(f"{first[0]} {first[1]}".strip()),
        "size": ngettext("about %(n)s token", "about %(n)s tokens", tokens) % {"n": humanize.count(tokens)},
        "parts": parts,
        "open": is_open,
    }


def _text(content: Any) -> str:
    return content if isinstance(content, str) else humanize.as_json(content)


def _without_pictures(value: Any) -> Any:
    """The value with embedded pictures cut short: nobody reads megabytes of them. The API returns them in full."""
    if isinstance(value, str):
        return f"{value[:_PICTURE]}… ({len(value):,} characters)" if value.startswith("data:") else value
    if isinstance(value, Mapping):
        return {name: _without_pictures(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_pictures(each) for each in value]
    return value
