"""The rows of a run's own page: what took its time, what it was given, and each of its events."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from chat import models
from chat.protocol.frames import KeptFrame
from chat.rendering import humanize
from chat.rendering.rows import failure_banner, item_row, nest_children, run_summary
from chat.rendering.template_row import Row
from chat.rendering.transcript import Item, Run


class Piece(NamedTuple):
    """A row of a run's page: an item of its outline, or some of an item's calls if it has many."""

    item: Item
    calls: slice


def pages_of(run: Run, most: int) -> list[list[Piece]]:
    """The outline in pages of at most so many thoughts and calls, however many calls a turn has."""
    pages: list[list[Piece]] = [[]]
    left = most
    for item in run.items:
        count = len(item.calls) or 1
        for first in range(0, count, _CALLS_OF_ROW):
            calls = slice(first, min(first + _CALLS_OF_ROW, count))
            left -= calls.stop - first
            if left < 0:
                pages.append([])
                left = most - (calls.stop - first)
            pages[-1].append(Piece(item, calls))
    return pages


#: How many calls one row of a run's page has at most; further calls of the turn are in the next rows.
_CALLS_OF_ROW = 50


def inspection(run: Run, row: models.Run) -> Row:
    """The page of one run: what took its time, and how it ended."""
    began = run.started_at or row.created_at.timestamp()
    waited_ms = max(0, round((began - row.created_at.timestamp()) * 1000))
    total_ms = run.whole_ms or round(_last_moment(run, began) * 1000)
    counts = run.counts()
    return {
        "run": run,
        "cost": humanize.run_cost(row),
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
        "last_iteration": run.items[-1].iteration if run.items else None,
        "answer": run.answer,
        "answer_bar": run.answer_bar(total_ms),
        "ticks": _ticks(total_ms),
        "trouble": failure_banner(run) if run.ended and run.status != "cancelled" else None,
        "endline": run_summary(run, counts),
    }


def step_rows(run: Run, pieces: Sequence[Piece], within: Sequence[Run], total_ms: int, most: int) -> list[Row]:
    """The rows for a page of a run's steps, and at most ``most`` rows of the runs within it, in total."""
    rows = [
        item_row(run, piece.item, run.bar_of(piece.item, total_ms), piece.calls)
        | {"seq": piece.item.calls[piece.calls.start].seq if piece.item.calls else piece.item.seq}
        for piece in pieces
    ]
    nest_children(rows, run, within, max(_ROWS_WITHIN, most // max(1, len(within))))
    return rows


#: How many rows each run within another one has at least; all its rows are on a page of its own.
_ROWS_WITHIN = 5


def _last_moment(run: Run, began: float) -> float:
    moments = [item.at for item in run.items] + [call.result.at for call in run.calls if call.result is not None]
    return max([0.0, *(moment - began for moment in moments)])


def _why(run: Run, waited_ms: int, total_ms: int) -> list[Row]:
    """What took the whole run's time, without very small parts, as segments of a bar of width 1,000."""
    calls = [item for item in run.items if item.kind == "calls"]
    spans = {item.seq: item.span() for item in calls}
    lengths = {key: round((span[1] - span[0]) * 1000) for key, span in spans.items() if span is not None}
    failed = sum(lengths.get(item.seq, 0) for item in calls if any(run.broken(item, call) for call in item.calls))
    tools = sum(lengths.values()) - failed
    model = sum(item.duration_ms or 0 for item in run.items if item.kind == "thought")
    model += (run.answer.duration_ms or 0) if run.answer is not None else 0
    people = run.waited_ms or 0
    other = max(0, total_ms - model - tools - failed - people)
    parts = [
        ("wait", _("Waiting in the queue"), waited_ms),
        ("model", _("Thinking and writing"), model),
        ("tool", _("Tools"), tools),
        ("wait", _("Waiting for people"), people),
        ("fail", _("Failed tools"), failed),
        ("model2", _("Waiting for the model, and the rest"), other),
    ]
    whole = sum(ms for _fill, _label, ms in parts)
    segments: list[Row] = []
    x = 0.0
    for fill, label, ms in parts:
        if ms and ms * _SHARES >= whole:
            width = ms * 1000 / whole
            segments.append(
                {"fill": fill, "words": label, "ms": ms, "x": round(x, 1), "width": round(max(2.0, width - 2), 1)}
            )
            x += width
    return segments


#: Parts below this share (one in so many) are left out.
_SHARES = 200

#: Possible distances of a time axis's ticks, in milliseconds.
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
        {
            "x": round(mark * 100 / total_ms, 1),
            "words": humanize.duration(mark) if mark else humanize.nbsp(_("%(n)s s") % {"n": 0}),
        }
        for mark in list(marks)[:60]
    ]


def event_row(frame: KeptFrame) -> Row:
    """One stored event as it was sent."""
    # Every type has some of these fields.
    data = cast(Mapping[str, Any], frame["data"])
    text = (
        data.get("content")
        or data.get("message")
        or data.get("tool_name")
        or data.get("status")
        or data.get("error")
        or ""
    )
    return {
        "seq": frame["seq"],
        "name": data.get("type") if frame["type"] in ("reasoning_step", "child_step") else frame["type"],
        "run_id": frame["run_id"],
        "summary": humanize.first_line(text if isinstance(text, str) else humanize.as_json(text)),
        "at": data.get("timestamp"),
        "json": humanize.as_json(dict(frame)),
    }
