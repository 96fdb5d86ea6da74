"""Folds a run as the pages do, item by item: items that were written are dropped, and only counted."""

from collections.abc import Iterator
from typing import cast

import orjson

from agents.text import utf16_length
from chat.exports.source import Source
from chat.models import UNFINISHED, Run
from chat.protocol.frames import KeptFrame
from chat.rendering import transcript
from chat.rendering.transcript import Item
from chat.store import log_reader
from chat.store.log_reader import Event


class Folding:
    """One run; ``run`` is what is known of it so far. Each item is returned once, in order, when it is complete."""

    def __init__(self, source: Source, row: Run) -> None:
        self._events = source.events_of(row)
        self._row = row
        self._children: dict[str, list[Run]] | None = None
        self.run = transcript.Run(
            str(row.pk),
            status="running" if row.status in UNFINISHED else row.status,
            started_at=row.started_at.timestamp() if row.started_at else None,
            agent=row.agent_name,
            message=source.masker.mask_text(row.message),
            files=orjson.loads(row.files) if row.files else [],
            user=row.user.get_username() if row.user else "",
        )
        # Its first event contains the question.
        if (first := next(self._events, None)) is not None:
            transcript.apply(self.run, _frame(first))
        # For an unfinished run, the state when the file was made.
        if row.started_at and row.ended_at:
            self.run.duration_ms = round((row.ended_at - row.started_at).total_seconds() * 1000)

    def items(self) -> Iterator[Item]:
        """The thoughts and calls of its outline. After the last one, `run` is complete."""
        for event in self._events:
            transcript.apply(self.run, _frame(event))
            while len(self.run.items) > 1:
                yield from self._next()
        while self.run.items:
            yield from self._next()

    def _next(self) -> Iterator[Item]:
        item = self.run.items[0]
        yield item
        run, outside = self.run, self.run.outside
        counted = {
            "steps": len(item.calls) or 1,
            "thoughts": not item.calls,
            "tools": len(item.calls),
            "failed": sum(run.broken(item, call) for call in item.calls),
        }
        run.outside = {name: outside.get(name, 0) + number for name, number in counted.items()}
        del run.items[0]
        run.open_calls.forget(item)

    def asked_by(self, call_id: str) -> list[Run]:
        """The runs that one of its calls has started."""
        if self._children is None:
            self._children = {}
            for child in log_reader.children_of(self._row.pk):
                self._children.setdefault(child.parent_call_id, []).append(child)
        return self._children.get(call_id, [])


def _frame(event: Event) -> KeptFrame:
    data = event.data
    if event.content is not None:
        data |= {"content": event.content, "content_length": utf16_length(event.content), "truncated": False}
    return cast(
        KeptFrame,
        {"type": event.event, "seq": event.seq, "id": str(event.id), "run_id": str(event.run_id), "data": data},
    )
