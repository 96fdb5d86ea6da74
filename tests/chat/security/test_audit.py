"""What staff see of others' data: only with the permission, and recorded before it is sent."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group, Permission
from django.db import DatabaseError, connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat import access
from chat.accounts.models import User
from chat.consumers import SessionConsumer
from chat.live import connections, handshake
from chat.models import MANY_SESSIONS, Act, AuditEntry, Door, Run, RunStatus, Schedule, Session
from chat.runs import admission
from chat.runs import commands as run_commands
from chat.runtime import background, database
from chat.security import audit
from tests.chat import making

pytestmark = pytest.mark.django_db
SECRET = "the okapi is at the quay"


@pytest.fixture(autouse=True)
def nothing_noted() -> Iterator[None]:
    """Forget what an earlier test's database had recorded."""
    audit._noted.clear()
    yield
    audit._noted.clear()
    database.close()


@pytest.fixture
def run() -> Run:
    """A user's run at work, whose log contains a secret."""
    session = making.session(making.user("ada"), title=SECRET)
    made = making.run(session, message=SECRET)
    making.append(made, making.thought(SECRET))
    return made


def by_nobody(user: User) -> None:
    """Staff without permissions."""


def directly(user: User) -> None:
    making.permit(user, access.VIEW_SESSIONS)


def by_group(user: User) -> None:
    group = Group.objects.create(name="lookers")
    group.permissions.add(Permission.objects.get(content_type__app_label="chat", codename="view_session"))
    user.groups.add(group)


def as_superuser(user: User) -> None:
    user.is_superuser = True
    user.save()


def by_another_permission(user: User) -> None:
    making.permit(user, "chat.change_session", "chat.delete_session", "chat.view_schedule", access.STOP_RUNS)


def without_being_staff(user: User) -> None:
    directly(user)
    user.is_staff = False
    user.save()


def no_longer_active(user: User) -> None:
    directly(user)
    user.is_active = False
    user.save()


RIGHTS: dict[str, tuple[Callable[[User], None], bool]] = {
    "staff alone": (by_nobody, False),
    "permitted": (directly, True),
    "permitted by a group": (by_group, True),
    "superuser": (as_superuser, True),
    "permitted something else": (by_another_permission, False),
    "permitted, but no staff": (without_being_staff, False),
    "permitted, but not active": (no_longer_active, False),
}


@pytest.mark.parametrize("right", RIGHTS)
def test_the_permission_decides(run: Run, right: str) -> None:
    give, sees = RIGHTS[right]
    user = making.staff()
    give(user)
    user = User.objects.get(pk=user.pk)
    session = Session.objects.get()
    assert (access.role_in(user, session) is access.Role.STAFF) is sees
    assert (audit.find_session(user, session.pk) is not None) is sees
    assert (connections.find_grant(user, session.pk, "process") is not None) is sees
    assert access.has_right_now(user.pk, access.VIEW_SESSIONS) is sees
    assert (access.holders_among({user.pk}, access.VIEW_SESSIONS) == {user.pk}) is sees


#: Every way to see others' data: the door (page, API …), the request, and the object of the audit entry.
LOOKS: dict[str, tuple[Door, Callable[[Run], str], bool, Act]] = {
    "the session's page": (Door.PAGE, lambda run: f"/sessions/{run.session_id}/", True, Act.VIEW),
    "the run's page": (Door.PAGE, lambda run: f"/runs/{run.pk}/", True, Act.VIEW),
    "the session": (Door.API, lambda run: f"/api/sessions/{run.session_id}/", True, Act.VIEW),
    "its events": (Door.API, lambda run: f"/api/sessions/{run.session_id}/events/", True, Act.VIEW),
    "a step's text": (Door.API, lambda run: f"/api/sessions/{run.session_id}/events/1/content/", True, Act.VIEW),
    "the run": (Door.API, lambda run: f"/api/runs/{run.pk}/", True, Act.VIEW),
    **{
        f"the admin's list of {model}s": (
            Door.ADMIN,
            lambda _, model=model: reverse(f"admin:chat_{model}_changelist"),  # type: ignore[misc]
            False,
            Act.VIEW,
        )
        for model in ("session", "run", "step", "schedule", "connection")
    },
    **{
        f"a search among the admin's {model}s": (
            Door.ADMIN,
            lambda _, model=model: reverse(f"admin:chat_{model}_changelist") + "?q=okapi",  # type: ignore[misc]
            False,
            Act.SEARCH,
        )
        for model in ("session", "run", "step", "schedule")
    },
    "a session in the admin": (
        Door.ADMIN,
        lambda run: reverse("admin:chat_session_change", args=[run.session_id]),
        True,
        Act.VIEW,
    ),
    "a session's history in the admin": (
        Door.ADMIN,
        lambda run: reverse("admin:chat_session_history", args=[run.session_id]),
        True,
        Act.VIEW,
    ),
    "a run in the admin": (Door.ADMIN, lambda run: reverse("admin:chat_run_change", args=[run.pk]), True, Act.VIEW),
    "what may be done to a run": (
        Door.ADMIN,
        lambda run: reverse("admin:chat_run_act", args=["stop"]) + f"?id={run.pk}",
        True,
        Act.VIEW,
    ),
    "a step in the admin": (
        Door.ADMIN,
        lambda run: reverse("admin:chat_step_change", args=[run.steps.get().pk]),
        True,
        Act.VIEW,
    ),
}
ALL = [f"chat.view_{model}" for model in ("session", "run", "step", "schedule", "connection")]


@pytest.fixture
def staff(client: Client) -> User:
    """A member of staff who may see everything, logged in."""
    user = making.staff(*ALL, access.STOP_RUNS)
    client.force_login(user)
    return user


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("look", LOOKS)
def test_each_look_is_noted_once(client: Client, staff: User, run: Run, look: str) -> None:
    door, address, is_one, action = LOOKS[look]
    for _ in range(3):
        assert client.get(address(run)).status_code == 200
        audit._noted.clear()  # as another process would
    entry = AuditEntry.objects.get()
    about = run.session_id if is_one else MANY_SESSIONS
    assert (entry.actor_id, entry.session_id, entry.door, entry.action) == (staff.pk, about, door, action)
    assert SECRET not in json.dumps(AuditEntry.objects.values().get(), default=str), "identifiers, no contents"


@pytest.fixture
def unwritable(transactional_db: None) -> Iterator[None]:
    """The audit table accepts no rows."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER no_audit BEFORE INSERT ON chat_auditentry BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER no_audit")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("look", LOOKS)
def test_a_look_that_cannot_be_audited_shows_nothing(
    client: Client, staff: User, run: Run, unwritable: None, look: str
) -> None:
    _, address, _, _ = LOOKS[look]
    client.raise_request_exception = False
    answer = client.get(address(run))
    assert answer.status_code == 503
    assert SECRET not in answer.content.decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("look", LOOKS)
def test_a_refused_look_shows_nothing_and_is_not_audited(client: Client, run: Run, look: str) -> None:
    _, address, _, _ = LOOKS[look]
    client.force_login(making.staff())
    answer = client.get(address(run))
    assert answer.status_code in {403, 404}
    assert SECRET not in answer.content.decode()
    assert not AuditEntry.objects.exists()


async def opened(user: User, run: Run) -> list[str]:
    """What somebody is sent who opens a socket on the session of a run."""
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    consumer = SessionConsumer()
    consumer.base_send = send
    consumer.scope = cast(
        Any, {"headers": [], "url_route": {"kwargs": {"session_id": str(run.session_id)}}, "query_string": b""}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handshake, "login_of", lambda _scope: handshake.Login(user, "key"))
        try:
            await consumer._enter()
        finally:
            await consumer._leave()
            await background.drain(5)
    return sent


@pytest.mark.django_db(transaction=True)
def test_a_socket_of_staff_is_noted_with_its_opening(staff: User, run: Run) -> None:
    assert async_to_sync(opened)(staff, run)[:2] == ["websocket.accept", "websocket.send"]
    entry = AuditEntry.objects.get()
    assert (entry.actor_id, entry.session_id, entry.door) == (staff.pk, run.session_id, Door.SOCKET)


@pytest.mark.django_db(transaction=True)
def test_a_socket_that_cannot_be_noted_is_not_opened(staff: User, run: Run, unwritable: None) -> None:
    with pytest.raises(DatabaseError):
        async_to_sync(opened)(staff, run)
    assert not connections.open_here


@pytest.mark.django_db(transaction=True)
def test_viewing_own_data_is_not_audited(client: Client, staff: User) -> None:
    own = making.run(making.session(staff))
    for address in (f"/sessions/{own.session_id}/", f"/runs/{own.pk}/", f"/api/sessions/{own.session_id}/events/"):
        assert client.get(address).status_code == 200
    assert client.get(reverse("admin:chat_run_change", args=[own.pk])).status_code == 200
    assert async_to_sync(opened)(staff, own)[:2] == ["websocket.accept", "websocket.send"]
    assert not AuditEntry.objects.exists()


def test_doors_sessions_people_and_windows_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = making.session(making.user("ada")).pk, making.session(making.user("bo")).pk
    clock = 1_000_000 * audit.WINDOW_S
    monkeypatch.setattr(audit.time, "time", lambda: clock)
    for actor, session, door in ((1, one, Door.PAGE), (1, other, Door.PAGE), (2, one, Door.PAGE), (1, one, Door.API)):
        audit.record_view(actor, session, door)
    assert AuditEntry.objects.count() == 4
    clock += audit.WINDOW_S - 1
    audit.record_view(1, one, Door.PAGE)
    assert AuditEntry.objects.count() == 4
    clock += 1
    audit.record_view(1, one, Door.PAGE)
    assert AuditEntry.objects.count() == 5


def test_an_entry_outlives_the_account(client: Client, staff: User, run: Run) -> None:
    client.get(f"/sessions/{run.session_id}/")
    key = staff.pk
    staff.delete()
    making.user("root", is_staff=True, is_superuser=True)
    client.force_login(User.objects.get(username="root"))
    shown = client.get(reverse("admin:chat_auditentry_changelist"), {"person": str(key)}).content.decode()
    assert f"account {key}, deleted" in shown
    assert str(run.session_id) in shown


def test_entries_are_read_by_those_who_may_and_changed_by_nobody(client: Client, staff: User, run: Run) -> None:
    client.get(f"/sessions/{run.session_id}/")
    entry = AuditEntry.objects.get()
    changelist, change = (
        reverse("admin:chat_auditentry_changelist"),
        reverse("admin:chat_auditentry_change", args=[entry.pk]),
    )
    assert client.get(changelist).status_code == 403
    making.permit(staff, "chat.view_auditentry")
    assert str(run.session_id) in client.get(changelist).content.decode()
    assert client.get(change).status_code == 200
    making.user("root", is_staff=True, is_superuser=True)
    client.force_login(User.objects.get(username="root"))
    for address in (
        change,
        reverse("admin:chat_auditentry_add"),
        reverse("admin:chat_auditentry_delete", args=[entry.pk]),
    ):
        assert client.post(address, {"actor_id": 1, "post": "yes"}).status_code == 403
    assert AuditEntry.objects.get(pk=entry.pk).actor_id == staff.pk


#: Who stops another user's run, and the result.
STOPS = {
    "may stop": ((access.STOP_RUNS,), None),
    "may see and stop": ((access.VIEW_SESSIONS, access.STOP_RUNS), None),
    "may see": ((access.VIEW_SESSIONS,), "not_allowed"),
    "may nothing": ((), "not_found"),
    "may change runs": (("chat.change_run",), "not_found"),
}


@pytest.mark.parametrize("right", STOPS)
def test_stopping_has_a_permission_of_its_own(run: Run, right: str) -> None:
    permissions, code = STOPS[right]
    user = making.staff(*permissions)
    if code is None:
        assert run_commands.cancel_atomically(user, run.session_id, run.pk, everything=False)[0].running == [run.pk]
        return
    with pytest.raises(admission.Refused) as refused:
        run_commands.cancel_atomically(user, run.session_id, run.pk, everything=False)
    assert refused.value.code == code


def by_api(client: Client, run: Run) -> None:
    assert client.post(f"/api/runs/{run.pk}/cancel/", {}, content_type="application/json").status_code == 202


def by_socket(client: Client, run: Run) -> None:
    """As by a socket, which the page sends its stop command on."""
    user = User.objects.get(username="staff")
    async_to_sync(run_commands.cancel)(user, run.session_id, door=Door.SOCKET)


def in_admin(model: str, act: str) -> Callable[[Client, Run], None]:
    def post(client: Client, run: Run) -> None:
        key = run.pk if model == "run" else run.session_id
        if model == "schedule":
            key = _schedule(run, enabled=act != "resume").pk
        assert client.post(reverse(f"admin:chat_{model}_act", args=[act]), {"id": str(key)}).status_code == 302

    return post


def _schedule(run: Run, *, enabled: bool) -> Schedule:
    """A schedule of the same user's, into the same session."""
    fields = {"owner": run.session.owner, "session": run.session, "keeps_session": True, "agent_name": "researcher"}
    now = timezone.now()
    return Schedule.objects.create(
        name="s",
        message="Why?",
        every_minutes=5,
        since=now,
        next_at=now + timedelta(hours=1),
        enabled=enabled,
        **fields,
    )


#: Every way to change others' data: the door (page, API …), how it is done, and the word in the audit.
ACTS: dict[str, tuple[Door, Callable[[Client, Run], None], Act]] = {
    "a stop by the API": (Door.API, by_api, Act.STOP),
    "a stop by a socket": (Door.SOCKET, by_socket, Act.STOP),
    "a stop in the admin": (Door.ADMIN, in_admin("run", "stop"), Act.STOP),
    "an interruption": (Door.ADMIN, in_admin("run", "interrupt"), Act.INTERRUPT),
    "a deletion": (Door.ADMIN, in_admin("session", "delete"), Act.DELETE),
    "a pause": (Door.ADMIN, in_admin("schedule", "pause"), Act.PAUSE),
    "a resumption": (Door.ADMIN, in_admin("schedule", "resume"), Act.RESUME),
    "a run of a schedule": (Door.ADMIN, in_admin("schedule", "run"), Act.RUN_NOW),
}
MAY_ACT = (*ALL, access.STOP_RUNS, "chat.change_run", "chat.change_schedule", access.DELETE_SESSIONS)


def acts_noted() -> list[AuditEntry]:
    return list(AuditEntry.objects.exclude(action__in=[Act.VIEW, Act.SEARCH]))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ACTS)
def test_each_act_is_noted(client: Client, staff: User, run: Run, act: str) -> None:
    door, perform, action = ACTS[act]
    making.permit(staff, *MAY_ACT)
    perform(client, run)
    (entry,) = acts_noted()
    assert (entry.actor_id, entry.session_id, entry.door, entry.action) == (staff.pk, run.session_id, door, action)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ACTS)
def test_an_act_on_others_data_that_cannot_be_audited_is_not_done(
    client: Client, staff: User, run: Run, unwritable: None, act: str
) -> None:
    making.permit(staff, *MAY_ACT)
    client.raise_request_exception = False
    with contextlib.suppress(AssertionError, DatabaseError):
        ACTS[act][1](client, run)
    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING
    assert Session.objects.get().deleted_at is None
    assert Run.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_each_of_many_stops_is_noted_and_none_that_stops_nothing_or_what_is_one_s_own(staff: User, run: Run) -> None:
    async_to_sync(run_commands.cancel)(staff, run.session_id, run.pk, door=Door.SOCKET)
    async_to_sync(run_commands.cancel)(staff, run.session_id, run.pk, door=Door.SOCKET)
    assert len(acts_noted()) == 2
    making.end(Run.objects.get(pk=run.pk), RunStatus.CANCELLED)
    with pytest.raises(admission.Refused):
        async_to_sync(run_commands.cancel)(staff, run.session_id, run.pk, door=Door.SOCKET)
    own = making.run(making.session(staff))
    async_to_sync(run_commands.cancel)(staff, own.session_id, own.pk, door=Door.SOCKET)
    assert len(acts_noted()) == 2


@pytest.mark.parametrize("may", [False, True])
def test_the_page_offers_stopping_to_those_who_may(client: Client, run: Run, may: bool) -> None:
    client.force_login(making.staff(access.VIEW_SESSIONS, *([access.STOP_RUNS] if may else [])))
    state = re.search(r'"may": ?\{[^}]*\}', client.get(f"/sessions/{run.session_id}/").content.decode())
    assert state is not None
    assert f'"stop": {str(may).lower()}' in state.group()
