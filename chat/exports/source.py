"""The source of an exported file: a session or a run, with its events masked."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict

from django.db.models import Count, Max, Min, Q, Sum
from django.utils import timezone

from chat.exports.masking import Masker
from chat.models import IS_UNPRICED, Run, Session
from chat.store import log_reader
from chat.store.log_reader import Event


class Totals(TypedDict):
    """The totals of all runs of a file, by ATIF's names; null if not known."""

    total_prompt_tokens: int
    total_completion_tokens: int
    total_cached_tokens: int | None
    total_cost_usd: float | None
    """Also null if costs are in another currency, or one of them is not known."""


class Original(TypedDict):
    """The session that this one was copied from."""

    session_id: str | None
    """Null if the reader may not see it."""
    after_seq: int | None
    """The last event that was copied."""


class BranchedFrom(TypedDict, total=False):
    """For a session that began as a copy: its original. Empty for others."""

    branched_from: Original


@dataclass(slots=True)
class Source:
    """A session, or one run of it, that is written into a file. It is read from the database piece by piece."""

    session: Session
    run: Run | None = None
    masker: Masker = field(default_factory=Masker)
    made_at: datetime = field(default_factory=timezone.now)
    sees_original: bool = False
    """Whether the user may see the session that this one was copied from, if any."""
    _title: str | None = None

    @property
    def title(self) -> str:
        """The session's title, masked."""
        if self._title is None:
            self._title = self.masker.mask_text(self.session.title)
        return self._title

    @property
    def branched_from(self) -> BranchedFrom:
        """For a copied session: its original, and up to which event it was copied. Only users who may see the original get its id."""
        if self.session.copied_from is None:
            return {}
        return {
            "branched_from": {
                "session_id": str(self.session.copied_from) if self.sees_original else None,
                "after_seq": self.session.parted_after,
            }
        }

    def events(self) -> Iterator[Event]:
        """All events in the order of the log."""
        if self.run is not None:
            return self.masker.mask_events(log_reader.tree_events(self.run))
        return self.masker.mask_events(log_reader.session_events(self.session.pk, self.session.last_seq))

    def runs(self) -> Iterator[Run]:
        """Its root runs."""
        return iter([self.run]) if self.run is not None else log_reader.root_runs(self.session.pk)

    def events_of(self, run: Run) -> Iterator[Event]:
        """The run's own events, in order."""
        return self.masker.mask_events(log_reader.run_events(run.pk))

    def totals(self) -> Totals:
        """Tokens and cost of all its runs; those of runs within a run are part of that run's."""
        runs = Run.objects.filter(pk=self.run.pk) if self.run else Run.objects.filter(session=self.session, parent=None)
        priced = Q(cost__isnull=False)
        sums = runs.aggregate(
            *(Sum(name) for name in ("input_tokens", "output_tokens", "cached_tokens", "cost")),
            first=Min("currency", filter=priced),
            last=Max("currency", filter=priced),
            unpriced=Count("pk", filter=IS_UNPRICED),
        )
        is_known = sums["first"] == sums["last"] == "USD" and not sums["unpriced"]
        return {
            "total_prompt_tokens": sums["input_tokens__sum"] or 0,
            "total_completion_tokens": sums["output_tokens__sum"] or 0,
            "total_cached_tokens": sums["cached_tokens__sum"],
            "total_cost_usd": float(sums["cost__sum"]) if is_known else None,
        }
