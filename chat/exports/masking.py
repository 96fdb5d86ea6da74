"""The events of a log with secrets masked, and where something was masked."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from agents import masking
from agents.masking import Kind
from agents.steps import CONTENT_LIMIT
from agents.text import utf16_cut
from chat.store.log_reader import Event

#: How many places a preview lists, and how many characters around each.
MOST_PLACES = 100
_AROUND = 40


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is masked: the event's number and type, the tool, and the text around it, masked."""

    seq: int | None
    what: str
    tool: str
    kind: Kind
    excerpt: str


@dataclass(slots=True)
class Masker:
    """Hides secrets in the texts that pass through it, and counts them. One that is switched off changes nothing."""

    is_on: bool = True
    counts: Counter[str] = field(default_factory=Counter)
    places: list[Place] = field(default_factory=list)
    _at: tuple[int | None, str, str] = (None, "", "")

    def mask_events(self, events: Iterable[Event]) -> Iterator[Event]:
        """Events, masked."""
        return map(self.mask_event, events) if self.is_on else iter(events)

    def mask_event(self, event: Event) -> Event:
        """An event, masked. A cut result is masked as a whole, so that no half of a secret is left at its end."""
        if not (masking.may_hold_secret(event.body) or (event.content and masking.may_hold_secret(event.content))):
            return event
        data = event.data
        self._at = (event.seq, event.type or event.event, data.get("tool_name", ""))
        if event.content is not None:
            event.content = self.mask_text(event.content)
            data["content"] = ""
        data = self.mask_json(data)
        if event.content is not None:
            data["content"] = utf16_cut(event.content, CONTENT_LIMIT)
        event.body = orjson.dumps(data).decode()
        return event

    def mask_text(self, text: str) -> str:
        """A text, masked."""
        if not self.is_on:
            return text
        masked, secrets = masking.mask_with_places(text)
        for secret in secrets:
            self._add_place(secret.kind, masked[max(0, secret.start - _AROUND) : secret.end + _AROUND])
        return masked

    def mask_json(self, value: Any, kind: Kind | None = None) -> Any:
        """A JSON value, masked; ``kind``: the kind of secret that its name stands for."""
        if not self.is_on:
            return value
        match value:
            case str():
                if kind is not None and masking.is_secret_value(value, is_password=kind == "password"):
                    return self._hide(kind)
                return self.mask_text(value)
            case dict():
                return {
                    self.mask_text(name): self.mask_json(each, masking.name_kind(name) or kind)
                    for name, each in value.items()
                }
            case list():
                return [self.mask_json(each, kind) for each in value]
            case int() | float() if kind == "password" and not isinstance(value, bool):
                return self._hide(kind)
        return value

    def _hide(self, kind: Kind) -> str:
        placeholder = masking.placeholder_for(kind)
        self._add_place(kind, placeholder)
        return placeholder

    def _add_place(self, kind: Kind, excerpt: str) -> None:
        self.counts[kind] += 1
        if len(self.places) < MOST_PLACES:
            seq, what, tool = self._at
            self.places.append(Place(seq, what, tool, kind, " ".join(excerpt.split())))
