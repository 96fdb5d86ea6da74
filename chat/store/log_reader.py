"""Reads the whole log of a run or a session page by page: however long it is, only one page is in memory."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db.models import QuerySet

from agents.json_types import JsonObject
from chat.models import IS_ROOT, ModelCall, Run, Step, StepContent
from chat.store import selectors

#: Events of a page.
_PAGE = 100


@dataclass(slots=True)
class Event:
    """A stored event. ``body`` is the JSON of its ``data``; ``content`` is the full text of a result that is cut in there.

    ``copied_from``: the id of the event that it is a copy of.
    """

    pk: int
    seq: int | None
    id: UUID
    run_id: UUID
    event: str
    type: str
    body: str
    copied_from: UUID | None = None
    content: str | None = None

    @property
    def data(self) -> JsonObject:
        """Its data, decoded."""
        data: JsonObject = orjson.loads(self.body)
        return data


_COLUMNS = ("pk", "seq", "event_id", "run_id", "event", "type", "body", "copied_from")


def _events(rows: list[Any]) -> Iterator[Event]:
    for row in rows:
        event = Event(*row)
        if event.type == "tool_result" and event.data.get("truncated"):
            # One by one: each may be long.
            event.content = StepContent.objects.filter(step=event.pk).values_list("content", flat=True).first()
        yield event


def run_events(run_id: UUID, *, numbered: bool | None = None) -> Iterator[Event]:
    """A run's own events in order; ``numbered`` selects those with a number, or those without."""
    steps = Step.objects.filter(run=run_id).order_by("position")
    if numbered is not None:
        steps = steps.filter(seq__isnull=not numbered)
    after = 0
    while rows := list(steps.filter(position__gt=after).values_list(*_COLUMNS, "position")[:_PAGE]):
        after = rows[-1][-1]
        yield from _events([row[:-1] for row in rows])


def tree_events(run: Run, *, numbered: bool | None = None) -> Iterator[Event]:
    """The events of a run and of those within it, in the order of the log."""
    ids = [run.pk, *(child.pk for child in selectors.runs_within(run))]
    return heapq.merge(*(run_events(each, numbered=numbered) for each in ids), key=lambda event: event.pk)


def session_events(session_id: UUID, up_to: int) -> Iterator[Event]:
    """A session's events up to a number. Events without a number come after the beginning of their run."""
    steps: QuerySet[Step] = Step.objects.filter(session=session_id, seq__lte=up_to).order_by("seq")
    after = 0
    while rows := list(steps.filter(seq__gt=after).values_list(*_COLUMNS)[:_PAGE]):
        after = rows[-1][1]
        for event in _events(rows):
            yield event
            if event.event == "reasoning_start" and event.data.get("enable_reasoning") is False:
                yield from tree_events(Run(pk=event.run_id), numbered=False)


def root_runs(session_id: UUID) -> Iterator[Run]:
    """A session's root runs, in order."""
    runs = Run.objects.filter(IS_ROOT, session=session_id).select_related("agent_version", "user").order_by("number")
    after = 0
    while page := list(runs.filter(number__gt=after)[:_PAGE]):
        after = page[-1].number
        yield from page


def children_of(run_id: UUID) -> list[Run]:
    """The runs that a run's calls have started, in order."""
    return list(Run.objects.filter(parent=run_id).select_related("agent_version", "user").order_by("created_at", "pk"))


class UsedCall(NamedTuple):
    """What a model call has used, as far as it is known."""

    iteration: int
    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int | None
    reasoning_tokens: int | None
    estimated: bool
    cost: float | None
    currency: str


def used_calls(run_id: UUID) -> dict[int, UsedCall]:
    """A run's model calls by iteration; if one was requested several times, the last request."""
    fields = UsedCall._fields
    rows = ModelCall.objects.filter(run=run_id).order_by("pk").values_list(*fields)
    return {row[0]: UsedCall(*row) for row in rows}
