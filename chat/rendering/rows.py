"""Folded runs dressed for the templates: every word, number and drawing that a row shows."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

import agents
from chat import models
from chat.rendering import humanize
from chat.rendering.transcript import Call, Item, Run

Row = dict[str, Any]

#: Characters of a failed call's result that are told as its cause.
_CAUSE = 400


def run_row(run: Run) -> Row:
    """A run as ``_run.html`` takes it."""
    counts = run.counts()
    bars = run.bars()
    rows = [item_row(run, item, bar) for item, bar in zip(run.items, bars, strict=True)]
    return {
        "id": run.id,
        "status": run.status,
        "ended": run.ended,
        "started_at": run.started_at,
        "agent": run.agent,
        "message": run.message,
        "is_long": humanize.is_long(run.message),
        "user": run.user,
        "continues": run.continues,
        "by": asked_by(run),
        "cut": bool(run.outside.get("steps")),
        "removed": run.removed,
        "rows": rows,
        "open": not run.ended or run.status == "failed",
        "what": humanize.did((call.name for call in run.calls), counts["thoughts"]) or humanize.at_work(),
        "fact": _joined(humanize.steps(counts["steps"]) if counts["steps"] else "", humanize.roughly(run.duration_ms)),
        "failed_words": humanize.failed(counts["failed"]),
        "strip": [*bars, run.answer_bar()] if run.ended else [],
        "answer": run.answer,
        "answer_row": answer_row(run),
        "trouble": trouble(run) if run.ended else None,
        "end_icon": _END_ICONS.get(run.status, "check"),
        "endline": endline(run, counts),
    }


def asked_by(run: Run) -> str:
    """Who answers: the agent, and the model that it asks where that is known."""
    return _joined(agent_title(run.agent) if run.agent else "", run.model)


def agent_title(name: str) -> str:
    """How an agent is called on the pages."""
    spec = agents.AGENTS.get(name)
    return spec.title if spec else name


_END_ICONS = {
    "completed": "check",
    "cancelled": "cancelled",
    "failed": "fail",
    "interrupted": "warn",
    "max_iterations": "warn",
}


def item_row(run: Run, item: Item, bar: Row) -> Row:
    """One item of the outline as ``_step.html`` takes it."""
    row: Row = {"seq": item.seq, "bar": bar, "iteration": item.iteration}
    if item.kind == "thought":
        return row | {
            "kind": "thought",
            "title": _("Thought for %(time)s") % {"time": humanize.roughly(item.duration_ms)}
            if item.duration_ms is not None
            else _("Thought"),
            "text": item.text,
            "duration_ms": item.duration_ms,
            "partial": item.partial,
        }
    calls = [call_row(run, item, call) for call in item.calls]
    if len(calls) == 1:
        return row | {"kind": "call", "call": calls[0], "duration_ms": calls[0]["duration_ms"]}
    span = item.span()
    state = next((state for state in ("live", "fail", "off") if any(call["state"] == state for call in calls)), "")
    return row | {
        "kind": "calls",
        "calls": calls,
        "title": _("%(n)d calls at once") % {"n": len(calls)},
        "state": state,
        "word": humanize.failed(sum(call["state"] == "fail" for call in calls)),
        "duration_ms": None if span is None else round((span[1] - span[0]) * 1000),
    }


def call_row(run: Run, item: Item, call: Call) -> Row:
    """One tool call with its result."""
    state, word = _state(run, item, call)
    result = call.result
    content = "" if result is None else result.content
    return {
        "call_id": call.call_id,
        "seq": call.seq,
        "name": call.name,
        "icon": call.icon,
        "telling": humanize.telling(call.arguments),
        "arguments": call.arguments,
        **inside(call.arguments),
        "result": result,
        "duration_ms": None if result is None else result.duration_ms,
        "out": humanize.returned(content) if result is not None and result.ok else "",
        "state": state,
        "word": word,
        "cause": content.strip()[:_CAUSE] if state in ("fail", "off") else "",
        "from_tool": state == "fail",
        "went_on": state == "fail" and run.went_on(item),
        "seqs": "" if result is None or result.seq is None or call.seq is None else f"{call.seq} → {result.seq}",
        "open": not run.ended and isinstance(call.arguments, dict) and isinstance(call.arguments.get("code"), str),
    }


def _state(run: Run, item: Item, call: Call) -> tuple[str, str]:
    """A call's state and its word; a call that worked has neither."""
    if call.result is None:
        return ("off", _("No result")) if run.ended else ("live", _("Running"))
    if call.result.ok:
        return "", ""
    if run.broken(item, call):
        return "fail", _("Failed")
    return "off", _("Cancelled") if run.status == "cancelled" else _("Interrupted")


def inside(arguments: Any) -> Row:
    """What an opened call shows of its arguments: code in a block, plain values as pairs, anything deeper as JSON."""
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
    """The answer as ``_step.html`` takes it."""
    answer = run.answer
    if answer is None:
        return None
    return {"kind": "answer", "seq": answer.seq, "text": answer.text, "partial": answer.partial}


def trouble(run: Run) -> Row | None:
    """What an end that was not a plain one says, and whose fault it was."""
    kept = humanize.steps(run.counts()["steps"])
    if run.removed:
        return None
    match run.status:
        case "failed":
            error = run.error or {}
            report = _("Report %(id)s.") % {"id": error["id"][:8]} if error.get("id") else ""
            return {
                "tone": "fail",
                "icon": "fail",
                "title": humanize.cause(error.get("code", "")),
                "text": " ".join(part for part in (error.get("message", ""), report) if part),
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
                "title": _("All %(n)d iterations are used.") % {"n": limit},
                "text": _("Continue allows %(n)d more.") % {"n": limit},
            }
    return None


def endline(run: Run, counts: dict[str, int] | None = None) -> str:
    """``Finished · 9 steps · 4 tools · 1 m 12 s · 8.1k in / 1.3k out``."""
    if not run.ended:
        return ""
    if run.removed:
        return humanize.removed(run.cancelled_by)
    counts = counts or run.counts()
    used = run.usage or {}
    spent = used.get("input_tokens", 0) + used.get("output_tokens", 0)
    return _joined(
        humanize.status(run.status, by=run.cancelled_by, limit=run.limit),
        humanize.steps(counts["steps"]) if run.enable_reasoning else "",
        humanize.tools(counts["tools"]) if counts["tools"] else "",
        humanize.failed(counts["failed"]),
        humanize.roughly(run.duration_ms),
        humanize.usage(used["input_tokens"], used["output_tokens"], estimated=bool(used.get("estimated")))
        if spent
        else "",
    )


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def header(run: Run | None) -> Row:
    """The run header of a page, before its script takes over."""
    if run is None:
        return {"status": "", "word": "", "clock": ""}
    using = [call.name for call in run.calls if call.result is None]
    return {
        "status": run.status,
        "word": humanize.status(
            run.status, using=using, begun=bool(run.items), by=run.cancelled_by, limit=run.limit or run.iteration
        ),
        "clock": humanize.roughly(run.duration_ms),
    }


def inspection(run: Run, row: models.Run) -> Row:
    """One run for the page that inspects it: where its time went, and its steps over time."""
    began = run.started_at or row.created_at.timestamp()
    waited_ms = max(0, round((began - row.created_at.timestamp()) * 1000))
    total_ms = run.duration_ms or round(_last_moment(run, began) * 1000)
    counts = run.counts()
    rows = run_row(run)["rows"]
    for item, bar in zip(rows, run.bars(total_ms), strict=True):
        item["bar"] = bar
    return {
        "run": run,
        "ended": run.ended,
        "counts": counts,
        "facts": [
            fact
            for fact in (
                ngettext("%(n)d iteration", "%(n)d iterations", run.iteration) % {"n": run.iteration}
                if run.iteration
                else "",
                humanize.steps(counts["steps"]),
                humanize.tools(counts["tools"]) if counts["tools"] else "",
            )
            if fact
        ],
        "failed": humanize.failed(counts["failed"]),
        "usage": humanize.usage(row.input_tokens, row.output_tokens, estimated=row.usage_estimated)
        if row.input_tokens + row.output_tokens
        else "",
        "total_ms": total_ms,
        "why": _why(run, waited_ms, total_ms),
        "rows": rows,
        "answer": run.answer,
        "answer_bar": run.answer_bar(total_ms),
        "ticks": _ticks(total_ms),
        "trouble": trouble(run) if run.ended and run.status != "cancelled" else None,
        "endline": endline(run, counts),
    }


def _last_moment(run: Run, began: float) -> float:
    moments = [item.at for item in run.items] + [call.result.at for call in run.calls if call.result is not None]
    return max([0.0, *(moment - began for moment in moments)])


def _why(run: Run, waited_ms: int, total_ms: int) -> list[Row]:
    """Where the time of the whole run went, but for trifles, as segments of a bar a thousand wide."""
    calls = [item for item in run.items if item.kind == "calls"]
    spans = {item.seq: item.span() for item in calls}
    lengths = {key: round((span[1] - span[0]) * 1000) for key, span in spans.items() if span is not None}
    failed = sum(lengths.get(item.seq, 0) for item in calls if any(run.broken(item, call) for call in item.calls))
    tools = sum(lengths.values()) - failed
    model = sum(item.duration_ms or 0 for item in run.items if item.kind == "thought")
    model += (run.answer.duration_ms or 0) if run.answer is not None else 0
    other = max(0, total_ms - model - tools - failed)
    parts = [
        ("wait", _("Waiting in line"), waited_ms),
        ("model", _("Thinking and writing"), model),
        ("tool", _("Tools"), tools),
        ("fail", _("Failed tools"), failed),
        ("model2", _("Waiting for the model, and the rest"), other),
    ]
    whole = sum(ms for _fill, _words, ms in parts)
    segments: list[Row] = []
    x = 0.0
    for fill, told, ms in parts:
        if ms and ms * _SHARES >= whole:
            width = ms * 1000 / whole
            segments.append(
                {"fill": fill, "words": told, "ms": ms, "x": round(x, 1), "width": round(max(2.0, width - 2), 1)}
            )
            x += width
    return segments


#: What took a smaller share of the whole is not told: one in so many.
_SHARES = 200

#: Steps of a time axis, in milliseconds.
_TICKS = (
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    1_800_000,
    3_600_000,
)


def _ticks(total_ms: int) -> list[Row]:
    step = next((tick for tick in _TICKS if total_ms <= tick * 5), _TICKS[-1])
    if total_ms <= 0:
        return []
    marks = range(0, total_ms, step)
    return [
        {"x": round(mark * 100 / total_ms, 1), "words": humanize.duration(mark) if mark else humanize.bound("0 s")}
        for mark in list(marks)[:60]
    ]


def event_row(frame: Mapping[str, Any]) -> Row:
    """One stored event as it was sent."""
    data = frame["data"]
    told = (
        data.get("content")
        or data.get("message")
        or data.get("tool_name")
        or data.get("status")
        or data.get("error")
        or ""
    )
    return {
        "seq": frame["seq"],
        "name": data.get("type") if frame["type"] == "reasoning_step" else frame["type"],
        "told": humanize.gist(told if isinstance(told, str) else humanize.as_json(told)),
        "at": data.get("timestamp"),
        "json": humanize.as_json(dict(frame)),
    }


#: Empty rows from which the page's script clones.
BLANK: dict[str, Row] = {
    "run": {"rows": [], "open": True},
    "thought": {"kind": "thought"},
    "growing": {"kind": "growing"},
    "call": {"kind": "call", "call": {"cause": ""}},
    "calls": {"kind": "calls", "calls": []},
    "answer": {"kind": "answer", "text": ""},
}
