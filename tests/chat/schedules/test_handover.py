"""A session gets another owner: who may transfer it, what goes with it, and what each user sees afterwards."""

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from chat.access import Role, may_drive, role_in
from chat.accounts.models import User
from chat.models import Act, AuditEntry, Door, IndexMove, OwnerOffer, Run, RunStatus, Schedule, Session, Share
from chat.runs import erasure, sharing
from chat.runs.admission import Refused
from chat.runs.sharing import ShareTarget, UnknownName
from chat.runtime import database
from chat.schedules import commands, handover
from chat.store import search
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def connections_are_given_back() -> Iterator[None]:
    yield
    database.close()


def people() -> tuple[User, User, User]:
    return making.user("ada"), making.user("bo"), making.user("cy")


def session_with_steps(owner: User, steps: int = 5) -> Session:
    session = making.session(owner, title="Tea", archived=True)
    run = making.run(session)
    making.append(run, *(making.thought(f"oolong {n}", n) for n in range(1, steps + 1)))
    return session


def hand_over(session: Session, owner: User, to: User) -> None:
    handover.offer_session(owner, session.pk, to.username, Door.API)
    handover.accept_offer(to, session.pk, Door.API)
    async_to_sync(handover.move_index)()


def found(user: User) -> int:
    return len(search.find(user, "oolong", 1_000))


def test_another_owner_has_all_of_it_and_the_old_one_drives(on_each_database: None) -> None:
    ada, bo, cy = people()
    # More than one batch, and more than a segment of SQLite's index, with entries of others between them.
    session, other = session_with_steps(ada, 450), session_with_steps(cy)
    fields = {"message": "?", "every_minutes": 60, "session_id": str(session.pk)}
    commands.make(ada, fields, timezone.now())
    sharing.make_share(ada, session.pk, ShareTarget(user="bo"), Role.WATCHER, None, Door.API)
    handover.offer_session(ada, session.pk, "bo", Door.API)
    assert [offer.session for offer in handover.offers_to(bo)] == [session]
    assert role_in(bo, session) is Role.WATCHER, "asked is not owned"
    handover.accept_offer(bo, session.pk, Door.API)
    # Nobody is shown what is not theirs, also while the index is being updated.
    assert found(ada) == 0
    async_to_sync(handover.move_index)()
    session.refresh_from_db()
    assert (role_in(bo, session), role_in(ada, session), role_in(cy, session)) == (Role.OWNER, Role.DRIVER, None)
    assert (found(ada), found(bo), found(cy)) == (0, 450, 5)
    assert search.Search(bo, "oolong").sessions(Session.objects.filter(owner=bo)).get() == session
    assert not session.archived
    schedule = Schedule.objects.get()
    assert (schedule.enabled, schedule.paused_because) == (False, "handed_over")
    assert not OwnerOffer.objects.exists()
    assert not IndexMove.objects.exists()
    assert Share.objects.get(session=session).user == ada
    acts = AuditEntry.objects.filter(action__in=(Act.OFFER, Act.HAND_OVER)).order_by("id")
    assert [(entry.action, entry.actor_id, entry.subject_id) for entry in acts] == [
        (Act.OFFER, ada.pk, bo.pk),
        (Act.HAND_OVER, bo.pk, ada.pk),
    ]
    # New texts are the new owner's at once; transferred again to another user, before and after a batch.
    making.append(session.runs.get(), making.thought("oolong again", 451))
    assert found(bo) == 451
    hand_over(session, bo, cy)
    assert (found(ada), found(bo), found(cy)) == (0, 0, 456)
    assert other.owner == cy


def test_a_session_that_is_removed_takes_its_offer_and_its_move_along() -> None:
    ada, bo, cy = people()
    session = session_with_steps(ada)
    handover.offer_session(ada, session.pk, "bo", Door.API)
    handover.accept_offer(bo, session.pk, Door.API)
    handover.offer_session(bo, session.pk, "cy", Door.API)
    erasure.hide_session(session.pk)
    assert not handover.offers_to(cy)
    assert not OwnerOffer.objects.exists()
    assert not IndexMove.objects.exists()


def offered(ada: User, session: Session) -> None:
    handover.offer_session(ada, session.pk, "bo", Door.API)


#: Who does what with an offer that is made to bo, and the error; "" if it succeeds.
ACTS: list[tuple[str, str, str]] = [
    ("ada", "accept", "not_found"),
    ("cy", "accept", "not_found"),
    ("bo", "accept", ""),
    ("cy", "withdraw", "not_found"),
    ("bo", "withdraw", ""),
    ("ada", "withdraw", ""),
    ("bo", "offer", "not_found"),
    ("cy", "offer", "not_found"),
    ("dan", "offer", "not_allowed"),
    ("ada", "offer", ""),
]


@pytest.mark.parametrize(("name", "act", "code"), ACTS)
def test_the_rights_to_act_on_an_offer(name: str, act: str, code: str) -> None:
    ada, _bo, _cy = people()
    dan = making.user("dan")
    session = session_with_steps(ada)
    sharing.make_share(ada, session.pk, ShareTarget(user=dan.username), Role.DRIVER, None, Door.API)
    offered(ada, session)
    who = User.objects.get(username=name)
    acts: dict[str, Any] = {
        "accept": lambda: handover.accept_offer(who, session.pk, Door.API),
        "withdraw": lambda: handover.withdraw_offer(who, session.pk, Door.API),
        "offer": lambda: handover.offer_session(who, session.pk, "cy", Door.API),
    }
    if not code:
        acts[act]()
        assert OwnerOffer.objects.filter(user__username="bo").count() == 0
        return
    with pytest.raises(Refused) as refused:
        acts[act]()
    assert refused.value.code == code
    assert OwnerOffer.objects.get().user.username == "bo"
    session.refresh_from_db()
    assert session.owner == ada


def test_an_offer_cannot_be_accepted_while_its_owners_account_is_not_active() -> None:
    ada, bo, _cy = people()
    session = session_with_steps(ada)
    offered(ada, session)
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert not handover.offers_to(bo)
    with pytest.raises(Refused) as refused:
        handover.accept_offer(bo, session.pk, Door.API)
    assert refused.value.code == "not_found"
    User.objects.filter(pk=ada.pk).update(is_active=True)
    handover.accept_offer(bo, session.pk, Door.API)
    session.refresh_from_db()
    assert session.owner == bo


@pytest.mark.parametrize(("name", "code"), [("ada", "bad_frame"), ("nobody", "not_found"), ("gone", "not_found")])
def test_an_offer_needs_somebody_else(name: str, code: str) -> None:
    ada, *_ = people()
    making.user("gone", is_active=False)
    session = session_with_steps(ada)
    with pytest.raises(Refused) as refused:
        handover.offer_session(ada, session.pk, name, Door.API)
    assert refused.value.code == code
    assert not OwnerOffer.objects.exists()
    if name == "nobody":
        for _ in range(sharing.MOST_UNKNOWN - 1):
            with pytest.raises(UnknownName):
                handover.offer_session(ada, session.pk, name, Door.API)
        with pytest.raises(Refused) as refused:
            handover.offer_session(ada, session.pk, name, Door.API)
        assert refused.value.code == "rate_limited"


def test_a_user_leaves_a_shared_session() -> None:
    ada, bo, cy = people()
    session = session_with_steps(ada)
    sharing.make_share(ada, session.pk, ShareTarget(user="bo"), Role.DRIVER, None, Door.API)
    for who, code in ((ada, "not_allowed"), (cy, "not_found")):
        with pytest.raises(Refused) as refused:
            sharing.leave_session(who, session.pk, Door.API)
        assert refused.value.code == code
    sharing.leave_session(bo, session.pk, Door.API)
    assert role_in(bo, session) is None
    assert AuditEntry.objects.get(action=Act.LEAVE).actor_id == bo.pk


# While a run is at work in it


def at_work(session: Session) -> Run:
    return making.run(session)


def queued(session: Session) -> Run:
    making.run(session)
    return making.run(session, owned_by="")


def waiting(session: Session) -> Run:
    run = making.run(session)
    Run.objects.filter(pk=run.pk).update(status=RunStatus.WAITING, waiting_since=timezone.now(), owner="")
    run.refresh_from_db()
    return run


UNDER_WAY = {"at work": at_work, "in the queue": queued, "waiting for people": waiting}


@pytest.mark.parametrize("what", UNDER_WAY)
def test_a_run_under_way_stays_whose_it_is_and_is_the_new_owners_to_stop(what: str) -> None:
    """It goes on for the user who asked; the new owner decides in it and may stop it, and so may the old one, who is a driver."""
    ada, bo, _cy = people()
    session = making.session(ada)
    run = UNDER_WAY[what](session)
    before = (run.status, run.user_id, run.owner, run.fence)
    hand_over(session, ada, bo)
    run.refresh_from_db()
    assert (run.status, run.user_id, run.owner, run.fence) == before
    session.refresh_from_db()
    assert session.owner == bo
    for person in (bo, ada):
        role = role_in(person, session)
        assert role is not None
        assert may_drive(role)
    # When the account of the user who asked is deleted, the session stays, because it is another's by now, with all its content.
    erasure.close_account(ada.pk)
    while erasure.erase_batch(erasure.Pace()) is not None:
        pass
    assert Session.objects.get() == session
    assert session.runs.filter(pk=run.pk).exists()


def test_an_offer_of_or_to_a_deactivated_user_has_no_effect() -> None:
    """The user who was offered it, or who has offered it, is deactivated before it is accepted: the owner does not change."""
    ada, bo, cy = people()
    first, second = session_with_steps(ada), session_with_steps(cy)
    handover.offer_session(ada, first.pk, "bo", Door.API)
    handover.offer_session(cy, second.pk, "bo", Door.API)
    User.objects.filter(pk=cy.pk).update(is_active=False)
    assert [offer.session for offer in handover.offers_to(bo)] == [first]
    User.objects.filter(pk=bo.pk).update(is_active=False)
    with pytest.raises(Refused) as refused:
        handover.accept_offer(bo, first.pk, Door.API)
    assert refused.value.code == "not_found"
    first.refresh_from_db()
    assert first.owner == ada
    with pytest.raises(Refused):
        handover.offer_session(ada, first.pk, "bo", Door.API)


def test_the_owner_cannot_leave_a_session_and_a_former_one_can() -> None:
    """A session always has an owner: to leave it, the owner transfers it first."""
    ada, bo, _cy = people()
    session = session_with_steps(ada)
    with pytest.raises(Refused) as refused:
        sharing.leave_session(ada, session.pk, Door.API)
    assert refused.value.code == "not_allowed"
    hand_over(session, ada, bo)
    sharing.leave_session(ada, session.pk, Door.API)
    session.refresh_from_db()
    assert (role_in(ada, session), role_in(bo, session)) == (None, Role.OWNER)
    # Transferred while nobody else sees it, and back again.
    sharing.make_share(bo, session.pk, ShareTarget(user="ada"), Role.WATCHER, None, Door.API)
    hand_over(session, bo, ada)
    session.refresh_from_db()
    assert (role_in(ada, session), role_in(bo, session)) == (Role.OWNER, Role.DRIVER)


@pytest.mark.parametrize("is_paused", [False, True], ids=["at work", "paused before"])
def test_schedules_go_along_paused_and_only_their_owner_starts_them(is_paused: bool) -> None:
    ada, bo, _cy = people()
    session = session_with_steps(ada)
    fields = {"message": "?", "every_minutes": 60, "session_id": str(session.pk)}
    made = commands.make(ada, fields, timezone.now())
    other = commands.make(ada, {"message": "?", "every_minutes": 60}, timezone.now())
    if is_paused:
        Schedule.objects.filter(pk=made.pk).update(enabled=False, next_at=None)
    hand_over(session, ada, bo)
    schedule = Schedule.objects.get(pk=made.pk)
    assert (schedule.enabled, schedule.owner) == (False, ada)
    assert schedule.next_at is None
    # A schedule for other sessions is not affected.
    assert Schedule.objects.get(pk=other.pk).enabled
