"""Sessions that were copied from each other: how much of a session can be copied, and the place of each in its family."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from chat.access import VIEW_SESSIONS, Role, has_right, role_in, set_shares_with, shares_with
from chat.accounts.models import User
from chat.models import HAS_NOT_ENDED, IS_ROOT, Run, Session, Share, Step
from chat.protocol.frame_data import BranchData

#: The most steps that are copied.
MOST_STEPS = 20_000
#: The most parameters of one statement, and the most sessions of a family that are read.
_AT_ONCE = 500
_MOST_MEMBERS = 1_000


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """The part of a session to copy: the runs that have ended up to an event, runs within others last, and the number of events.

    ``status`` is the newest run's.
    """

    source_id: UUID
    after_seq: int
    status: str
    runs: Sequence[UUID]
    step_ids: Sequence[int]
    is_too_long: bool = False


def plan_copy(source: Session, after_seq: int | None) -> CopyPlan | None:
    """Everything up to an event, or up to the end of the last run that has ended; None if no run ends there."""
    end = _last_end(source) if after_seq is None else after_seq
    if not _ends_at(source, end):
        return None
    if end > MOST_STEPS:
        return CopyPlan(source.pk, end, "", [], [], is_too_long=True)
    ends = Step.objects.filter(session=source, seq__lte=end, event="reasoning_complete")
    roots = Run.objects.filter(IS_ROOT, pk__in=ends.values("run_id")).order_by("number")
    numbers = list(roots.values_list("number", "status"))
    runs: list[tuple[int, int, UUID]] = []
    step_ids: list[int] = []
    for start in range(0, len(numbers), _AT_ONCE):
        # A run within another one has its root's number.
        some = Run.objects.filter(
            session=source, number__in=[number for number, _ in numbers[start : start + _AT_ONCE]]
        )
        runs += some.values_list("depth", "number", "pk")
        # Including events without a number.
        step_ids += Step.objects.filter(run__in=some.order_by().values("pk")).order_by().values_list("pk", flat=True)
    status = numbers[-1][1] if numbers else ""
    is_too_long = len(step_ids) > MOST_STEPS
    return CopyPlan(source.pk, end, status, [pk for *_, pk in sorted(runs)], sorted(step_ids), is_too_long)


def _last_end(source: Session) -> int:
    """The last event before those of the unfinished run, whose events are the log's last."""
    at_work = Step.objects.filter(
        run__in=Run.objects.filter(HAS_NOT_ENDED & IS_ROOT, session=source), seq__isnull=False
    )
    first = at_work.order_by("seq").values_list("seq", flat=True).first()
    return source.last_seq if first is None else first - 1


def _ends_at(source: Session, seq: int) -> bool:
    """Whether no run is unfinished at this event."""
    if seq == 0:
        return True
    before = Step.objects.filter(session=source, seq__lte=seq).order_by("-seq")
    last = before.filter(seq=seq).values_list("event", "run__started_at").first()
    if last is None or last[0] != "reasoning_complete":
        return False
    if last[1] is not None:
        return True
    # Not one that was removed from the queue: another run may be in progress around it.
    begun = before.filter(run__started_at__isnull=False).values_list("event", flat=True).first()
    return begun in (None, "reasoning_complete")


def steps_stored(session_id: UUID) -> int:
    """How many events a session has, including those without a number."""
    return Step.objects.filter(session=session_id).count()


def executed_run(user: User, run: Run) -> Run:
    """The run whose model calls are shown for a copy: the original, if the user owns or drives its session; else the copy itself."""
    if run.copied_from is None:
        return run
    executed = Run.objects.select_related("session", "agent_version").filter(pk=run.copied_from).first()
    role = None if executed is None else role_in(user, executed.session)
    return executed if executed is not None and role in (Role.OWNER, Role.DRIVER) else run


def parts_from(source: Session, after_seq: int) -> UUID:
    """The session whose own events a copy up to this event continues: the source, or a session that it was copied from."""
    at = source
    while at.parted_from is not None and at.parted_after is not None and at.parted_after >= after_seq:
        before = Session.objects.filter(pk=at.parted_from).first()
        if before is None or at.parted_after == after_seq:
            return at.parted_from
        at = before
    return at.pk


class Member(NamedTuple):
    """A session of a family."""

    pk: UUID
    family: UUID
    copied_from: UUID | None
    parted_from: UUID | None
    parted_after: int | None
    created_at: datetime
    title: str = ""


class Place(NamedTuple):
    """An event after which sessions of a family continue differently, and those sessions; the original is the first."""

    after_seq: int
    members: list[Member]
    number: int
    """The open session's place among them, from 1 on."""


def seen_by(user: User) -> QuerySet[Session]:
    """The sessions that a user may see."""
    if has_right(user, VIEW_SESSIONS):
        return Session.objects.all()
    shared = Share.objects.filter(shares_with(user.pk)).values("session_id")
    sets = set_shares_with(user.pk).values("case_set_id")
    return Session.objects.filter(Q(owner=user) | Q(pk__in=shared) | Q(for_set__in=sets))


def branches_of(user: User, session_ids: Collection[UUID]) -> dict[UUID, BranchData]:
    """For each of these sessions, which the user may see, its place among the sessions of its family that the user may see."""
    if not session_ids:
        return {}
    session_ids = set(session_ids)
    own = Session.objects.filter(pk__in=session_ids, family__isnull=False)
    families = _families(user, set(own.values_list("family", flat=True)))
    found = {}
    for members in families.values():
        family = _Family(members)
        for member in members:
            if member.pk in session_ids and (data := _branch_data(member, family)) is not None:
                found[member.pk] = data
    return found


def family_sizes(user: User, sessions: Collection[Session]) -> dict[UUID, int]:
    """How many sessions of its family the user owns, for those of these sessions that have a family."""
    keys = {session.family for session in sessions if session.family is not None}
    if not keys:
        return {}
    rows = Session.objects.filter(owner=user, family__in=keys).order_by().values_list("family")
    return {family: count for family, count in rows.annotate(count=Count("pk")) if family is not None and count > 1}


def _families(user: User, keys: Collection[UUID | None]) -> dict[UUID, list[Member]]:
    """The sessions of these families that a user may see, oldest first."""
    found: dict[UUID, list[Member]] = {}
    if keys:
        rows = seen_by(user).filter(family__in=keys).order_by("created_at", "pk")
        for row in rows.values_list(*Member._fields)[:_MOST_MEMBERS]:
            member = Member(*row)
            found.setdefault(member.family, []).append(member)
    return found


class _Family:
    """The members of a family that a user may see, by the event after which they continue differently; one pass over all of them."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.known = {each.pk: each for each in members}
        self._parted: dict[UUID, dict[int | None, list[Member]]] = {}
        for each in members:
            if each.parted_from is not None:
                self._parted.setdefault(each.parted_from, {}).setdefault(each.parted_after, []).append(each)

    def parting(self, parted_from: UUID, after_seq: int | None) -> list[Member]:
        """The sessions that continue differently from a session after an event, with that session itself first, if the user may see it."""
        first = [self.known[parted_from]] if parted_from in self.known else []
        return first + self._parted.get(parted_from, {}).get(after_seq, [])

    def places(self, parted_from: UUID) -> list[int]:
        """The events of a session after which others continue differently."""
        return [after for after in self._parted.get(parted_from, {}) if after is not None]


def _branch_data(member: Member, family: _Family) -> BranchData | None:
    if member.parted_from is None:
        count = len(family.known)
        if count < 2:
            return None
        return {"family": str(member.family), "of": None, "after_seq": None, "number": 1, "count": count}
    beside = family.parting(member.parted_from, member.parted_after)
    return {
        "family": str(member.family),
        "of": str(member.copied_from) if member.copied_from in family.known else None,
        "after_seq": member.parted_after,
        "number": beside.index(member) + 1,
        "count": len(beside),
    }


def places_in(user: User, session: Session) -> list[Place]:
    """The events after which others of the family continue differently from a session, or it from them, in order."""
    if session.family is None:
        return []
    family = _Family(_families(user, [session.family]).get(session.family, []))
    at, limit = family.known.get(session.pk), None
    places: dict[int, Place] = {}
    while at is not None:
        for after in family.places(at.pk):
            if limit is None or after < limit:
                places[after] = Place(after, family.parting(at.pk, after), 1)
        if at.parted_from is None or at.parted_after is None:
            break
        limit = at.parted_after
        beside = family.parting(at.parted_from, limit)
        places[limit] = Place(limit, beside, beside.index(at) + 1)
        at = family.known.get(at.parted_from)
    return [place for _, place in sorted(places.items()) if len(place.members) > 1]
