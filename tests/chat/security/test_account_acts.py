"""What users and staff do to accounts, permissions and shared objects: each has its audit entry, in the same transaction."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat.accounts.models import User
from chat.models import NOBODY, Announcement, AuditEntry, Budget, ModelServer, Price, Schedule, Session
from chat.runtime import database
from chat.schedules import commands as schedule_commands
from chat.security import account_acts
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD, NEW = "correct horse 17", "another horse 18"


@dataclass
class World:
    """Root, who has all permissions, and ada, who has a session and a schedule; each in a browser."""

    root: Client
    ada: Client
    nobody: Client

    def post(self, address: str, /, **fields: Any) -> None:
        """Root submits a form of the admin."""
        answer = self.root.post(address, fields)
        assert answer.status_code == 302, answer.content.decode()[-3000:]


@pytest.fixture
def world(settings: Any) -> Iterator[World]:
    settings.ALLOW_SIGNUP = True
    account_acts._noted_lockouts.clear()
    root = making.user("root", is_staff=True, is_superuser=True)
    ada = making.user("ada")
    making.session(ada)
    schedule_commands.make(ada, {"message": "hello", "every_minutes": 60}, timezone.now())
    Group.objects.create(name="readers")
    price()
    made = World(Client(), Client(), Client())
    made.root.force_login(root)
    made.ada.force_login(ada)
    yield made
    database.close()


def price() -> None:
    Price.objects.create(provider="default", model="stub", input=1, output=1, currency="USD")


def the(model: Any, **fields: Any) -> Any:
    return model.objects.get(**fields)


def account(name: str, **fields: Any) -> dict[str, Any]:
    """The admin's form of an account, unchanged but for some fields."""
    user = the(User, username=name)
    joined = timezone.localtime(user.date_joined)
    usual = {"username": name, "date_joined_0": f"{joined:%Y-%m-%d}", "date_joined_1": f"{joined:%H:%M:%S}"}
    return {**usual, "is_active": "on", **fields}


def page(name: str, *args: Any) -> str:
    return reverse(f"admin:{name}", args=args)


def login(client: Client, password: str) -> None:
    client.post("/accounts/login/", {"username": "ada", "password": password})


#: Every action: how it is done, by whom, its word and door in the audit, its object, and the object's owner.
ACTS: dict[str, tuple[Callable[[World], Any], str, str, str, str, str]] = {
    "a login": (lambda world: login(world.nobody, PASSWORD), "ada", "login", "page", "", "ada"),
    "a failed login": (lambda world: login(world.nobody, "wrong"), "", "login_failed", "page", "", "ada"),
    "a failed login as nobody": (
        lambda world: world.nobody.post("/accounts/login/", {"username": PASSWORD, "password": "x"}),
        *("", "login_failed", "page", "", ""),
    ),
    "a logout": (lambda world: world.ada.post("/accounts/logout/"), "ada", "logout", "page", "", "ada"),
    "a password changed": (
        lambda world: world.ada.post(
            "/accounts/password_change/", {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
        ),
        *("ada", "password", "page", "", "ada"),
    ),
    "a session deleted": (
        lambda world: world.ada.delete(f"/api/sessions/{the(Session).pk}/"),
        *("ada", "delete", "api", "", "ada"),
    ),
    "a schedule deleted": (
        lambda world: world.ada.post(f"/schedules/{the(Schedule).pk}/delete/"),
        *("ada", "delete", "page", "schedule *", "ada"),
    ),
    "a schedule deleted by the API": (
        lambda world: world.ada.delete(f"/api/schedules/{the(Schedule).pk}/"),
        *("ada", "delete", "api", "schedule *", "ada"),
    ),
    "a name changed": (
        lambda world: world.post(
            page("accounts_user_change", the(User, username="ada").pk), **account("ada", first_name="Ada")
        ),
        *("root", "change", "admin", "account", "ada"),
    ),
    "rights given": (
        lambda world: world.post(
            page("accounts_user_change", the(User, username="ada").pk), **account("ada", is_staff="on")
        ),
        *("root", "permit", "admin", "account", "ada"),
    ),
    "an account made": (
        lambda world: world.post(
            page("accounts_user_add"), username="bo", usable_password="true", password1=NEW, password2=NEW
        ),
        *("root", "create", "admin", "account", "bo"),
    ),
    "somebody's password": (
        lambda world: world.post(
            page("auth_user_password_change", the(User, username="ada").pk),
            **{"usable_password": "true", "password1": NEW, "password2": NEW, "set-password": "x"},
        ),
        *("root", "password", "admin", "account", "ada"),
    ),
    "an account deleted": (
        lambda world: world.post(page("accounts_user_delete", the(User, username="ada").pk), post="yes"),
        *("root", "delete", "admin", "account", "-"),
    ),
    "a group made": (
        lambda world: world.post(page("auth_group_add"), name="writers"),
        *("root", "create", "admin", "group *", ""),
    ),
    "a group deleted from the list": (
        lambda world: world.post(
            page("auth_group_changelist"), action="delete_selected", _selected_action=the(Group).pk, post="yes"
        ),
        *("root", "delete", "admin", "group *", ""),
    ),
    "a price made": (
        lambda world: world.post(page("chat_price_add"), provider="p", model="m", input=1, output=1, currency="USD"),
        *("root", "create", "admin", "price *", ""),
    ),
    "a price changed": (
        lambda world: world.post(
            page("chat_price_change", the(Price).pk), provider="p", model="stub", input=1, output=1, currency="USD"
        ),
        *("root", "change", "admin", "price *", ""),
    ),
    "a price deleted": (
        lambda world: world.post(page("chat_price_delete", the(Price).pk), post="yes"),
        *("root", "delete", "admin", "price *", ""),
    ),
    "a budget made": (
        lambda world: world.post(
            page("chat_budget_add"), scope="run", user=the(User, username="ada").pk, limit=10, unit="tokens"
        ),
        *("root", "create", "admin", "budget *", "ada"),
    ),
    "an announcement": (
        lambda world: world.post(page("chat_announcement_add"), message="Hello", level="info"),
        *("root", "create", "admin", "announcement *", ""),
    ),
    "an announcement by command": (
        lambda _: call_command("announce", "Hello", verbosity=0),
        *("", "create", "command", "announcement *", ""),
    ),
    "a model server": (
        lambda world: world.post(page("chat_modelserver_add"), name="local", address="http://127.0.0.1:8001/v1"),
        *("root", "save", "admin", "model server local", ""),
    ),
}


@pytest.mark.parametrize("act", ACTS)
def test_each_act_is_noted_once(world: World, act: str, settings: Any) -> None:
    from agents.models.address_list import AddressList  # noqa: PLC0415

    settings.MODEL_SERVER_ADDRESSES = AddressList(("http://127.0.0.1:8001",))
    perform, actor, action, door, about, subject = ACTS[act]
    numbers = dict(User.objects.values_list("username", "pk"))
    perform(world)
    numbers |= dict(User.objects.values_list("username", "pk"))
    (entry,) = AuditEntry.objects.all()
    assert (entry.actor_id, entry.action, entry.door) == (numbers.get(actor, NOBODY), action, door)
    assert entry.about.startswith(about[:-1]) if about.endswith("*") else entry.about == about
    if subject == "-":
        assert entry.subject_id is not None
        assert entry.subject_id < 0, "gone already, and so a pseudonym"
    else:
        assert entry.subject_id == numbers.get(subject)
    for secret in (PASSWORD, NEW, "wrong", "Ada", "Hello"):
        assert secret not in str(AuditEntry.objects.values().get())


def state() -> dict[str, list[Any]]:
    """What the actions change."""
    models: tuple[Any, ...] = (User, Group, Price, Budget, Announcement, Session, Schedule, ModelServer)
    found = {model.__name__: list(model.objects.order_by("pk").values()) for model in models}
    for user in found["User"]:
        del user["last_login"]
    return found


@pytest.mark.parametrize("act", sorted(ACTS.keys() - {"a failed login", "a failed login as nobody", "a logout"}))
def test_an_act_on_accounts_that_cannot_be_audited_is_not_done(world: World, act: str) -> None:
    before = state()
    for client in (world.root, world.ada, world.nobody):
        client.raise_request_exception = False
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER no_audit BEFORE INSERT ON chat_auditentry BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    try:
        with contextlib.suppress(AssertionError, DatabaseError):
            ACTS[act][0](world)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER no_audit")
    assert state() == before
    assert not AuditEntry.objects.exists()
    if act == "a login":
        assert world.nobody.get("/accounts/").status_code == 302


def test_a_change_of_permissions_is_audited_with_their_ids(world: World) -> None:
    group, ada = the(Group), the(User, username="ada")
    world.post(page("accounts_user_change", ada.pk), **account("ada", groups=[group.pk], is_staff="on"))
    assert the(AuditEntry).details == {
        # The form's times have no fractions of a second.
        "fields": ["date_joined", "groups", "is_staff", "last_login"],
        "is_active": True,
        "is_staff": True,
        "is_superuser": False,
        "groups": [group.pk],
        "user_permissions": [],
    }


def test_repeated_lockouts_do_not_fill_the_audit(world: World) -> None:
    for _ in range(20):
        login(world.nobody, "wrong")
    assert 7 <= AuditEntry.objects.count() <= 9
    assert {entry.details["network"] for entry in AuditEntry.objects.all()} == {"127.0.0.0/24"}


def test_saving_what_is_as_it_was_is_no_change(world: World) -> None:
    one = the(Price)
    world.post(
        page("chat_price_change", one.pk), provider="default", model="stub", input="1", output="1", currency="USD"
    )
    assert not AuditEntry.objects.exists()


#: Addresses, and the part of each that is stored.
NETWORKS = {
    "192.0.2.77": "192.0.2.0/24",
    "2001:db8:1:2::7": "2001:db8:1::/48",
    "": "",
    "unix": "",
    "::ffff:192.0.2.77": "::/48",
}


@pytest.mark.parametrize("address", NETWORKS)
def test_only_the_network_of_an_address_is_stored(address: str, rf: Any) -> None:
    assert account_acts.network_of(rf.get("/", REMOTE_ADDR=address)) == NETWORKS[address]
