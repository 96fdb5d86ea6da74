"""A set is shared with users and groups: what each role may do, and that it ends at once. A further action is one line."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from chat import access
from chat.access import Role
from chat.accounts.models import User
from chat.cases import commands, set_runs, sharing
from chat.cases import files as case_files
from chat.cases import selectors as case_selectors
from chat.cases.commands import CaseFields
from chat.models import Act, AuditEntry, CaseSet, Door, Run, Schedule, Session, SetRun, SetShare
from chat.runs.admission import Refused
from chat.runs.sharing import ShareTarget
from chat.schedules import commands as schedule_commands
from chat.store import branches
from tests.chat import making
from tests.chat.cases.test_set_runs import execute, look, verdicts

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return making.user()


@pytest.fixture
def case_set(ada: User) -> CaseSet:
    made = commands.make_set(ada, "Prices")
    commands.add_cases(ada, made.pk, [CaseFields("What does flour cost?")])
    return made


def shared(case_set: CaseSet, name: str, role: Role, **fields: Any) -> User:
    """A user with whom the set is shared."""
    user = making.user(name)
    sharing.make_share(case_set.owner, case_set.pk, ShareTarget(name), role, fields.get("expires_at"), Door.API)
    return user


def a_case(case_set: CaseSet) -> Any:
    return case_set.cases.get().pk


#: What can be done with a set, and by whom; an owner may do all of it.
ACTS: dict[str, tuple[Callable[[User, CaseSet], Any], bool]] = {
    "adds a case": (lambda user, of: commands.add_case(user, of.pk, CaseFields("x"), Door.API), True),
    "adds many": (lambda user, of: commands.import_cases(user, of.pk, [CaseFields("x")], Door.API), True),
    "changes a case": (
        lambda user, of: commands.change_case(user, of.pk, a_case(of), CaseFields(notes="x"), Door.API),
        True,
    ),
    "deletes a case": (lambda user, of: commands.remove_case(user, of.pk, a_case(of), Door.API), True),
    "asks it": (lambda user, of: set_runs.begin(user, of.pk), True),
    "stops it": (lambda user, of: (set_runs.begin(of.owner, of.pk), set_runs.stop(user, of.pk, 1, Door.API)), True),
    "asks it by the clock": (
        lambda user, of: schedule_commands.make(user, {"set_id": str(of.pk), "every_minutes": 9}, timezone.now()),
        True,
    ),
    "names it": (lambda user, of: commands.rename_set(user, of.pk, "Mine"), False),
    "deletes it": (lambda user, of: commands.remove_set(user, of.pk, Door.API), False),
    "sees its shares": (lambda user, of: sharing.list_shares(user, of.pk), False),
    "shares it": (
        lambda user, of: sharing.make_share(user, of.pk, ShareTarget("cy"), Role.WATCHER, None, Door.API),
        False,
    ),
    "withdraws a share": (
        lambda user, of: sharing.withdraw_share(user, of.pk, SetShare.objects.get(user=user).pk, Door.API),
        False,
    ),
}


#: A stranger has no share that could be withdrawn.
TRIED = [(act, role) for act in ACTS for role in (Role.WATCHER, Role.DRIVER, None) if role or "a share" not in act]


@pytest.mark.parametrize(("act", "role"), TRIED)
def test_the_rights_of_each_role_of_a_set(case_set: CaseSet, act: str, role: Role | None) -> None:
    do, drivers_may = ACTS[act]
    making.user("cy")
    bo = shared(case_set, "bo", role) if role else making.user("bo")
    if role is Role.DRIVER and drivers_may:
        do(bo, case_set)
        return
    with pytest.raises(Refused) as refused:
        do(bo, case_set)
    assert refused.value.code == ("not_allowed" if role else "not_found")


def test_a_group_s_members_see_it_the_highest_role_holds_and_the_end_of_a_share_is_one(case_set: CaseSet) -> None:
    group = Group.objects.create(name="kitchen")
    bo, cy, dee = shared(case_set, "bo", Role.WATCHER), making.user("cy"), shared(case_set, "dee", Role.DRIVER)
    for member in (case_set.owner, bo, cy):
        member.groups.add(group)
    made = sharing.make_share(case_set.owner, case_set.pk, ShareTarget(group="kitchen"), Role.DRIVER, None, Door.API)

    def roles() -> list[Role | None]:
        listed = {each.pk for each in (bo, cy, dee) if case_set in case_selectors.shared_sets(each)}
        found = [access.role_in_set(each.pk, case_set) for each in (bo, cy, dee)]
        assert listed == {each.pk for each, role in zip((bo, cy, dee), found, strict=True) if role}
        return found

    assert roles() == ["driver", "driver", "driver"]
    sharing.change_share(case_set.owner, case_set.pk, made.pk, {"role": "watcher"}, Door.API)
    assert roles() == ["watcher", "watcher", "driver"]
    cy.groups.clear()
    SetShare.objects.filter(user=dee).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert roles() == ["watcher", None, None]
    sharing.withdraw_share(case_set.owner, case_set.pk, made.pk, Door.API)
    assert roles() == ["watcher", None, None]
    sharing.leave_set(bo, case_set.pk, Door.API)
    assert roles() == [None, None, None]


def test_an_expired_share_of_a_set_counts_for_no_limit(case_set: CaseSet) -> None:
    over = timezone.now() - timedelta(seconds=1)
    people = [making.user(f"was{number}") for number in range(sharing.MOST_SHARES)]
    SetShare.objects.bulk_create(
        SetShare(case_set=case_set, role="watcher", user=each, expires_at=over) for each in people
    )
    bo = shared(case_set, "bo", Role.WATCHER)
    assert [share.user for share in SetShare.objects.all()] == [bo]


#: With whom a set cannot be shared, and the error.
BAD_SHARES: dict[str, tuple[ShareTarget, str]] = {
    "oneself": (ShareTarget("ada"), "bad_frame"),
    "nobody": (ShareTarget(), "bad_frame"),
    "an unknown name": (ShareTarget("nemo"), "not_found"),
    "a group of others": (ShareTarget(group="others"), "not_found"),
    "them again": (ShareTarget("bo"), "conflict"),
}


@pytest.mark.parametrize("kind", BAD_SHARES)
def test_an_invalid_share_of_a_set_is_refused(case_set: CaseSet, kind: str) -> None:
    Group.objects.create(name="others")
    shared(case_set, "bo", Role.WATCHER)
    target, code = BAD_SHARES[kind]
    with pytest.raises(Refused) as refused:
        sharing.make_share(case_set.owner, case_set.pk, target, Role.WATCHER, None, Door.API)
    assert refused.value.code == code
    assert SetShare.objects.count() == 1


def test_a_driver_of_a_set_asks_in_their_own_name_until_it_is_withdrawn(case_set: CaseSet) -> None:
    ada = case_set.owner
    file = making.file(ada, "pears")
    commands.add_case(ada, case_set.pk, CaseFields("And pears?", files=[file.pk]), Door.API)
    commands.add_cases(ada, case_set.pk, [CaseFields("And tea?")])
    bo = shared(case_set, "bo", Role.DRIVER)
    set_run = set_runs.begin(bo, case_set.pk)
    look()
    asked = Run.objects.order_by("created_at", "pk")
    assert {(run.user, run.session.owner) for run in asked} == {(bo, ada)}
    assert sum(bool(run.files) for run in asked) == 1
    execute()
    sharing.withdraw_share(ada, case_set.pk, SetShare.objects.get().pk, Door.API)
    for _ in range(3):
        look()
    assert verdicts(set_run) == ["answered", "answered", "error"]
    assert "There is no such set." in set_run.results.get(verdict="error").why["message"]
    set_run.refresh_from_db()
    assert set_run.state == "done"
    assert (set_run.asked_by, SetRun.objects.count()) == (bo, 1)


def test_a_shared_set_shows_its_own_sessions_and_nothing_else(case_set: CaseSet) -> None:
    ada = case_set.owner
    set_runs.begin(ada, case_set.pk)
    look()
    session, other = Session.objects.get(for_set=case_set.pk), making.session(ada)
    assert not access.is_shared(session.pk)
    bo, cy, dee = shared(case_set, "bo", Role.WATCHER), shared(case_set, "cy", Role.DRIVER), making.user("dee")
    assert access.is_shared(session.pk), "so an agent searches nobody's history in it"
    assert not access.is_shared(other.pk)
    roles = [access.role_in(user, session) for user in (ada, bo, cy, dee)]
    assert roles == ["owner", "watcher", "driver", None]
    assert [access.role_in(user, other) for user in (bo, cy)] == [None, None]
    pairs = {(each.pk, user.pk) for each in (session, other) for user in (bo, cy, dee)}
    assert access.shared_roles_of(pairs) == {(session.pk, bo.pk): "watcher", (session.pk, cy.pk): "driver"}
    assert [user for user in (bo, dee) if session in branches.seen_by(user)] == [bo]
    for share in SetShare.objects.all():
        sharing.withdraw_share(ada, case_set.pk, share.pk, Door.API)
    assert access.shared_roles_of(pairs) == {}
    assert access.role_in(bo, session) is None


def test_roles_are_found_on_each_database(on_each_database: None) -> None:
    ada = making.user()
    case_set = commands.make_set(ada, "Prices")
    session = making.session(ada, for_set=case_set.pk)
    bo = shared(case_set, "bo", Role.DRIVER)
    assert access.shared_roles(bo.pk, [session.pk]) == {session.pk: "driver"}
    assert [case_selectors.role_of(bo, each) for each in case_selectors.shared_sets(bo)] == ["driver"]
    assert case_selectors.driven_sets(bo) == [case_set]


def test_a_case_of_one_s_own_run_in_another_s_set_has_copies_of_its_files_and_staff_put_none_there(
    case_set: CaseSet,
) -> None:
    bo = shared(case_set, "bo", Role.DRIVER)
    session = making.session(bo)
    file = making.file(bo, "pears", session)
    asked = making.run(session, files=f'[{{"id": "{file.pk}", "name": "n", "media_type": "text/plain", "size": 5}}]')
    file_ids = case_files.files_for(bo, asked.pk, case_set.pk)
    made = commands.add_case_of_run(bo, asked.pk, case_set.pk, CaseFields("Why?"), file_ids, Door.API)
    used = made.used_files.get().file
    assert (used.owner, used.pk == file.pk) == (case_set.owner, False)
    assert case_selectors.is_in_a_set(bo, used.pk)
    assert not case_selectors.is_in_a_set(making.user("cy"), used.pk)
    staff = making.staff("chat.view_session")
    sharing.make_share(case_set.owner, case_set.pk, ShareTarget("staff"), Role.DRIVER, None, Door.API)
    with pytest.raises(Refused, match="Only the set's owner"):
        case_files.files_for(staff, asked.pk, case_set.pk)


def test_each_act_on_another_s_set_is_in_the_audit(case_set: CaseSet) -> None:
    ada = case_set.owner
    bo = shared(case_set, "bo", Role.DRIVER)
    (share,) = SetShare.objects.all()
    commands.add_case(bo, case_set.pk, CaseFields("x"), Door.API)
    set_runs.begin(bo, case_set.pk)
    set_runs.stop(bo, case_set.pk, 1, Door.API)
    sharing.change_share(ada, case_set.pk, share.pk, {"role": "watcher"}, Door.API)
    sharing.leave_set(bo, case_set.pk, Door.API)
    entries = [(e.actor_id, e.action, e.subject_id) for e in AuditEntry.objects.order_by("pk")]
    a, b = ada.pk, bo.pk
    acts = [(b, Act.CHANGE), (b, Act.RUN_NOW), (b, Act.STOP), (a, Act.SHARE), (b, Act.LEAVE)]
    subjects = [a, a, a, b, a]
    assert entries == [(a, Act.SHARE, b), *((*act, subject) for act, subject in zip(acts, subjects, strict=True))]
    assert all(str(case_set.pk) in e.about for e in AuditEntry.objects.exclude(action=Act.CHANGE))


def test_a_schedule_of_who_lost_the_set_is_paused_by_it(case_set: CaseSet) -> None:
    bo = shared(case_set, "bo", Role.DRIVER)
    now = timezone.now()
    schedule_commands.make(bo, {"set_id": str(case_set.pk), "every_minutes": 30}, now)
    sharing.withdraw_share(case_set.owner, case_set.pk, SetShare.objects.get().pk, Door.API)
    from tests.chat.schedules.test_occurrences import tick  # noqa: PLC0415 - brings fixtures of its own

    tick(now + timedelta(minutes=31))
    schedule = Schedule.objects.get()
    assert (schedule.enabled, schedule.paused_words) == (False, "There is no such set.")


def test_the_pages_offer_what_one_may(client: Client, case_set: CaseSet) -> None:
    owner, path = case_set.owner, f"/sets/{case_set.pk}/"
    client.force_login(owner)
    making.user("bo")
    assert client.post(f"{path}share/", {"kind": "user", "user": "nemo"}).status_code == 400
    answer = client.post(f"{path}share/", {"kind": "user", "user": "bo", "role": "watcher", "days": "7"})
    assert answer["Location"] == f"{path}share/"
    assert "bo" in client.get(f"{path}share/").content.decode()
    bo = User.objects.get(username="bo")
    client.force_login(bo)
    assert "of ada" in client.get("/sets/").content.decode()
    acts = ("Ask the set", "Delete the set…", "cases/new/", "/rename/", "Add them", "Leave this set")
    shown = client.get(path).content.decode()
    assert [act in shown for act in acts] == [False] * 5 + [True]
    assert 'name="delete"' not in client.get(f"{path}cases/{a_case(case_set)}/").content.decode()
    SetShare.objects.update(role="driver")
    shown = client.get(path).content.decode()
    assert [act in shown for act in acts] == [True, False, True, False, True, True]
    assert client.post(f"{path}leave/")["Location"] == "/sets/"
    assert client.get(path).status_code == 404
