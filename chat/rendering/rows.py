"""Folded runs as rows for templates: all texts, numbers and symbols that a row shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from chat.catalog import agents as catalog
from chat.rendering import humanize
from chat.rendering.bars import Bar
from chat.rendering.decisions import decision_row
from chat.rendering.sentences import translate_error, translate_sentence
from chat.rendering.template_row import Row
from chat.rendering.transcript import Answer, Call, Item, Run

#: How many characters of a failed call's result are shown as the cause.
_CAUSE = 400


def run_row(run: Run, within: Sequence[Run] = ()) -> Row:
    """A run for ``_run.html``; the runs ``within`` it, at any depth, are in the rows of the calls that started them."""
    counts = run.counts()
    bars = run.bars()
    rows = [item_row(run, item, bar) for item, bar in zip(run.items, bars, strict=True)]
    nest_children(rows, run, within)
    return {
        "id": run.id,
        "status": run.status,
        "ended": run.ended,
        "started_at": run.started_at,
        "agent": run.agent,
        "message": run.message,
        "files": run.files,
        "sent_along": humanize.sent_along(run.sent_along) if run.sent_along else "",
        "is_long": humanize.is_long(run.message),
        "user": run.user,
        "continues": run.continues,
        "by": asked_by(run),
        "cut": bool(run.outside.get("steps")),
        "removed": run.removed,
        "rows": rows,
        "open": not run.ended or run.status == "failed",
        "what": humanize.summarize_tools((call.name for call in run.calls), counts["thoughts"]) or humanize.at_work(),
        "fact": _joined(
            humanize.steps(counts["steps"]) if counts["steps"] else "", humanize.approx_duration(run.duration_ms)
        ),
        "failed_words": humanize.failed(counts["failed"]),
        "strip": [*bars, run.answer_bar()] if run.ended else [],
        "answer": run.answer,
        "answer_row": answer_row(run),
        "trouble": failure_banner(run) if run.ended else None,
        "end_icon": _END_ICONS.get(run.status, "check"),
        "endline": run_summary(run, counts),
    }


def nest_children(rows: Sequence[Row], run: Run, within: Sequence[Run], most: int | None = None) -> None:
    """Put the runs within a run into its rows, each into the row of the call that started it, with at most ``most`` rows each."""
    own = [
        (child, child.parent["tool_call_id"]) for child in within if child.parent and child.parent["run_id"] == run.id
    ]
    for row in rows if own else ():
        calls = row["calls"] if row["kind"] == "calls" else [row["call"]] if row["kind"] == "call" else []
        numbers = {call["call_id"]: row.get("n") or call["number"] for call in calls}
        row["children"] = [_child_row(child, within, numbers[asked], most) for child, asked in own if asked in numbers]


def _child_row(run: Run, within: Sequence[Run], number: str, most: int | None) -> Row:
    """A run within another one, for ``_child.html``. Its rows are numbered within the row ``number``; its answer is the last row."""
    shown = zip(run.items[:most], run.bars()[:most], strict=True)
    rows = [item_row(run, item, bar, slice(most)) for item, bar in shown]
    if run.answer is not None:
        rows.append(answer_item(run, run.answer))
    for place, row in enumerate(rows, 1):
        row["n"] = f"{number}.{place}"
    nest_children(rows, run, within, most)
    return {
        "id": run.id,
        "ended": run.ended,
        "cut": most is not None and max(len(run.items), *(len(item.calls) for item in run.items), 0) > most,
        "agent": asked_by(run),
        "message": run.message,
        "number": number,
        **{name: header(run)[name] for name in ("status", "word")},
        "duration_ms": run.duration_ms,
        "rows": rows,
    }


def answer_item(run: Run, answer: Answer) -> Row:
    """The answer of a run within another one, as a row like a thought's: only the root's answer is for the reader."""
    return {
        "kind": "thought",
        "seq": answer.seq,
        "bar": run.answer_bar(),
        "iteration": run.iteration,
        "title": _("Answer"),
        "text": answer.text,
        "duration_ms": answer.duration_ms,
        "partial": answer.partial,
    }


def asked_by(run: Run) -> str:
    """The name of the answering agent, with its model if that is known."""
    return _joined(agent_title(run.agent) if run.agent else "", run.model)


def agent_title(name: str) -> str:
    """An agent's name on the pages."""
    return translate_sentence(catalog.title_of(name))


_END_ICONS = {
    "completed": "check",
    "cancelled": "cancelled",
    "failed": "fail",
    "interrupted": "warn",
    "max_iterations": "warn",
}


def item_row(run: Run, item: Item, bar: Bar, shown: slice = slice(None)) -> Row:
    """An item of the outline for ``_step.html``; ``shown`` selects some of its calls."""
    row: Row = {"seq": item.seq, "bar": bar, "iteration": item.iteration}
    if item.kind == "thought":
        return row | {
            "kind": "thought",
            "title": _("Thought for %(time)s") % {"time": humanize.approx_duration(item.duration_ms)}
            if item.duration_ms is not None
            else _("Thought"),
            "text": item.text,
            "duration_ms": item.duration_ms,
            "partial": item.partial,
        }
    if item.kind == "word":
        return row | {
            "kind": "word",
            "title": _("%(name)s · read by the model at step %(n)s")
            % {"name": item.by or _("Somebody"), "n": item.seq},
            "text": item.text,
        }
    calls = [call_row(run, item, call) for call in item.calls[shown]]
    if len(item.calls) == 1:
        return row | {"kind": "call", "call": calls[0], "duration_ms": calls[0]["duration_ms"]}
    span = item.span()
    state = next(
        (state for state in ("wait", "live", "fail", "off") if any(call["state"] == state for call in calls)), ""
    )
    return row | {
        "kind": "calls",
        "calls": calls,
        "title": _calls_title(len(item.calls), shown),
        "state": state,
        "word": humanize.failed(sum(call["state"] == "fail" for call in calls)),
        "duration_ms": None if span is None else round((span[1] - span[0]) * 1000),
    }


def _calls_title(count: int, shown: slice) -> str:
    first, end, _step = shown.indices(count)
    if end - first == count:
        return ngettext("%(n)d call at once", "%(n)d calls at once", count) % {"n": count}
    return _("Calls %(first)d to %(last)d of %(n)d at once") % {"first": first + 1, "last": end, "n": count}


def call_row(run: Run, item: Item, call: Call) -> Row:
    """One tool call with its result."""
    state, word = call_state(run, item, call)
    result = call.result
    content = "" if result is None else result.content
    return {
        "call_id": call.call_id,
        "seq": call.seq,
        "number": str(call.seq or call.step),
        "name": call.name,
        "icon": call.icon,
        "summary": humanize.summarize_arguments(call.arguments),
        "arguments": call.arguments,
        **arguments_row(call.arguments),
        "result": result,
        "duration_ms": None if result is None else result.duration_ms,
        "out": humanize.summarize_result(content) if result is not None and result.ok else "",
        "state": state,
        "word": word,
        "decision": decision_row(call, run.id, run.user),
        "cause": content.strip()[:_CAUSE] if state in ("fail", "off") and not call.denied else "",
        "from_tool": state == "fail",
        "went_on": state == "fail" and run.went_on(item),
        "seqs": "" if result is None or result.seq is None or call.seq is None else f"{call.seq} → {result.seq}",
        "open": not run.ended and (call.request is not None or _has_code(call.arguments)),
    }


def _has_code(arguments: Any) -> bool:
    return isinstance(arguments, dict) and isinstance(arguments.get("code"), str)


def call_state(run: Run, item: Item, call: Call) -> tuple[str, str]:
    """A call's state and the word for it; both are empty for a call that succeeded."""
    if call.result is None and run.ended:
        return ("", "") if call.decision is not None else ("off", _("No result"))
    is_question = call.request is not None and call.request.fields is not None
    if call.result is None:
        what = call.waits_for
        return ("wait", humanize.waiting(what)) if what else ("live", pgettext("a call", "Running"))
    if call.result.ok:
        return "", ""
    if call.denied:
        return "off", _("Not answered") if is_question else _("Denied")
    if run.broken(item, call):
        return "fail", _("Failed")
    return "off", pgettext("a call", "Cancelled") if run.status == "cancelled" else pgettext("a call", "Interrupted")


def arguments_row(arguments: Any) -> Row:
    """An opened call's arguments: code in a block, plain values as pairs, nested values as JSON."""
    if not isinstance(arguments, dict):
        text = arguments if isinstance(arguments, str) else humanize.as_json(arguments)
        return {"code": text, "language": "", "pairs": []}
    code = arguments.get("code")
    rest = {name: value for name, value in arguments.items() if name != "code" or not isinstance(code, str)}
    if any(isinstance(value, dict | list) for value in rest.values()):
        return {"code": humanize.as_json(arguments), "language": "json", "pairs": []}
    return {
        "code": code if isinstance(code, str) else "",
        "language": "python" if isinstance(code, str) else "",
        "pairs": [(name, value if isinstance(value, str) else humanize.as_json(value)) for name, value in rest.items()],
    }


def answer_row(run: Run) -> Row | None:
    """The answer for ``_step.html``."""
    answer = run.answer
    if answer is None:
        return None
    return {"kind": "answer", "seq": answer.seq, "text": answer.text, "partial": answer.partial}


def failure_banner(run: Run) -> Row | None:
    """The banner of a run that did not simply complete: what happened, and why."""
    kept = humanize.steps(run.counts()["steps"])
    if run.removed:
        return None
    match run.status:
        case "failed":
            error: Mapping[str, Any] = run.error or {}
            report = _("Report %(id)s.") % {"id": error["id"][:8]} if error.get("id") else ""
            return {
                "tone": "fail",
                "icon": "fail",
                "title": humanize.cause(error.get("code", "")),
                "text": humanize.sentences(translate_error(error), report),
            }
        case "interrupted":
            return {
                "tone": "wait",
                "icon": "warn",
                "title": _("Interrupted by a restart."),
                "text": _("What was done until then is kept: %(steps)s.") % {"steps": kept},
            }
        case "cancelled":
            return {
                "tone": "",
                "icon": "cancelled",
                "title": _("What was written until then is kept."),
                "text": "",
            }
        case "max_iterations":
            limit = run.limit or run.iteration
            return {
                "tone": "wait",
                "icon": "warn",
                "title": ngettext("The only iteration is used.", "All %(n)d iterations are used.", limit)
                % {"n": limit},
                "text": ngettext("Continue allows %(n)d more.", "Continue allows %(n)d more.", limit) % {"n": limit},
            }
    return None


def run_summary(run: Run, counts: dict[str, int] | None = None) -> str:
    """``Finished · 9 steps · 4 tools · 1 m 12 s · 8.1k in / 1.3k out``."""
    if not run.ended:
        return ""
    if run.removed:
        return humanize.removed(run.cancelled_by)
    counts = counts or run.counts()
    used = run.usage
    return _joined(
        humanize.status(run.status, by=run.cancelled_by, limit=run.limit),
        humanize.steps(counts["steps"]) if run.enable_reasoning else "",
        humanize.tools(counts["tools"]) if counts["tools"] else "",
        humanize.failed(counts["failed"]),
        humanize.approx_duration(run.duration_ms),
        humanize.waited(run.waited_ms),
        humanize.usage(used["input_tokens"], used["output_tokens"], estimated=used["estimated"])
        if used and used["input_tokens"] + used["output_tokens"]
        else "",
    )


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def header(run: Run | None) -> Row:
    """The run header of a page, until its script updates it."""
    if run is None:
        return {"status": "", "word": "", "clock": ""}
    using = [call.name for call in run.calls if call.result is None]
    waits_for = run.waits_for if run.status == "running" else ""
    status = "waiting" if waits_for else run.status
    limit = run.limit or run.iteration
    return {
        "status": status,
        "word": humanize.status(
            status, using=using, begun=bool(run.items), by=run.cancelled_by, limit=limit, waits_for=waits_for
        ),
        "clock": humanize.approx_duration(run.duration_ms),
    }


#: Empty rows that the page's script clones.
BLANK: dict[str, Row] = {
    "run": {"rows": [], "open": True},
    "thought": {"kind": "thought"},
    "growing": {"kind": "growing"},
    "call": {"kind": "call", "call": {"cause": "", "decision": None}},
    "calls": {"kind": "calls", "calls": []},
    "answer": {"kind": "answer", "text": ""},
    "child": {"rows": []},
}
