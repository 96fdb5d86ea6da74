"""The runs of a session's page. An ended run is rendered once and cached, because its events never change again.

The cache's key includes the run's last event, which only a reader of the session has: after the session is deleted, nothing finds it. The
HTML depends on the run's events and on the key alone; whatever else is to be shown in a run has to be part of the key.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from uuid import UUID

import orjson
from django.conf import settings
from django.utils.safestring import SafeString

from agents.json_types import JsonObject
from chat import models
from chat.catalog import agents as catalog
from chat.models import Session
from chat.rendering import fragments, markdown, rows, transcript
from chat.rendering.template_row import Row
from chat.runtime.kept import Kept, text_size
from chat.store import selectors
from chat.store.selectors import Stretch
from chat.web.page import run_from_row


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run on a page, rendered."""

    id: str
    html: SafeString
    #: Its part of the page's header.
    head: Row
    #: The folded run and those within it, for the page's script, which continues from there.
    state: JsonObject
    within: list[JsonObject]
    #: Whether it was removed from the queue before it began.
    removed: bool


_kept: Kept[Hashable, ShownRun] = Kept(32 << 20)


def shown_runs(session: Session, window: selectors.Window, *, may_drive: bool, may_copy: bool) -> list[ShownRun]:
    """The runs in a page's part of a session, in the reader's language and time zone."""
    # Agents' titles are part of the HTML.
    common = fragments.reader_key(), may_drive, may_copy, catalog.all_titles()
    keys = {stretch.run_id: (stretch.last_id, stretch.first, common) for stretch in window.stretches}
    shown = {run_id: None if settings.DEBUG else _kept.get(key) for run_id, key in keys.items()}
    missing = [stretch for stretch in window.stretches if shown[stretch.run_id] is None]
    if missing:
        trees = _folded(session, missing)
        is_whole = _prepare_texts([run for tree in trees.values() for run in tree])
        ended = {stretch.run_id for stretch in missing if stretch.ends}
        for run_id, tree in trees.items():
            made = shown[run_id] = _make(session, tree, {"may_drive": may_drive, "may_copy": may_copy})
            if run_id in ended and all(map(is_whole, tree)):
                _kept.keep(keys[run_id], made, text_size(made.html) + len(orjson.dumps([made.state, made.within])))
    return [run for run in shown.values() if run is not None]


def _make(session: Session, tree: Sequence[transcript.Run], may: dict[str, bool]) -> ShownRun:
    run, *within = tree
    values = {"run": rows.run_row(run, within), "session": {"id": session.pk}} | may
    html = fragments.render_fragment("chat/_run.html", values)
    return ShownRun(run.id, html, rows.header(run), _outlined(run), list(map(_outlined, within)), run.removed)


def _prepare_texts(runs: Sequence[transcript.Run]) -> Callable[[transcript.Run], bool]:
    """Have the Markdown of these runs rendered. Returns a function that says whether all Markdown of a run was rendered."""
    thoughts = [item.text for run in runs for item in run.items if item.kind in ("thought", "word")]
    # Answers of runs within runs are shown as rows, like thoughts.
    thoughts += [run.answer.text for run in runs if run.parent is not None and run.answer is not None]
    answers = [run.answer.text for run in runs if run.parent is None and run.answer is not None]
    made = markdown.prepare_markdown([*answers, *markdown.newest_thoughts(thoughts)])
    undone = {text for text, html in made.items() if html is None}
    return lambda run: undone.isdisjoint({run.answer.text if run.answer else "", *(item.text for item in run.items)})


def _folded(session: Session, stretches: Sequence[Stretch]) -> dict[UUID, list[transcript.Run]]:
    """The runs of these stretches, each with those within it; for a run that the page cuts, with counts of the rest of its log."""
    # A run's first event has the question, its user and the model.
    begun = [selectors.beginning_of(stretch.run_id) for stretch in stretches if not stretch.begins]
    last = max(stretch.last for stretch in stretches)
    frames = [*chain(*begun), *selectors.frames_between(session.pk, stretches[0].first, last)]
    numbers = models.Run.objects.filter(pk__in=[stretch.run_id for stretch in stretches]).values("number")
    # A run within another one has its root's number.
    found = models.Run.objects.filter(session=session, number__in=numbers).select_related("user", "cancelled_by")
    known = {str(run.pk): run for run in found}
    folded = transcript.fold(
        (frame for frame in frames if frame["run_id"] in known),
        known={key: run_from_row(row) for key, row in known.items()},
    )
    by_number: dict[int, list[transcript.Run]] = {}
    for run in folded:
        by_number.setdefault(known[run.id].number, []).append(run)
    trees: dict[UUID, list[transcript.Run]] = {}
    for stretch in stretches:
        row = known.get(str(stretch.run_id))
        if row is None or row.number not in by_number:
            continue
        tree = trees[stretch.run_id] = by_number[row.number]
        for run in tree:
            _complete(run, known[run.id], stretch)
    return trees


def _complete(run: transcript.Run, row: models.Run, stretch: Stretch) -> None:
    """Add to a folded run the counts of its events that are not on the page."""
    ends_elsewhere = not run.ended and row.is_finished
    if (not stretch.begins and run.parent is None) or ends_elsewhere:
        run.outside = selectors.steps_outside(row.pk, stretch.first, stretch.last)
    if ends_elsewhere:
        _end(run, row)


def _end(run: transcript.Run, row: models.Run) -> None:
    """End a folded run from its row, if its last event is not on the page."""
    run.status = row.status
    run.iteration = row.iterations
    run.cancelled_by = row.cancelled_by.get_username() if row.cancelled_by else None
    run.usage = {
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "estimated": row.usage_estimated,
    }
    if row.started_at and row.ended_at:
        run.duration_ms = round((row.ended_at - row.started_at).total_seconds() * 1000)


def _outlined(run: transcript.Run) -> JsonObject:
    """A folded run for the page's script, without the texts that the page already shows and that no later event changes."""
    state = asdict(run)
    for item in state["items"]:
        item["text"] = ""
        if any(call["result"] is None for call in item["calls"]):
            continue
        for call in item["calls"]:
            call["arguments"] = None
            if call["result"]["ok"]:
                call["result"]["content"] = ""
    if state["answer"] is not None:
        state["answer"]["text"] = ""
    return state
