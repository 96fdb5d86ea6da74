"""An account's tokens are revoked with its password, with its right to log in, and by nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat.accounts.models import User
from chat.models import ApiToken, AuditEntry, Scope
from chat.security import tokens
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD, NEW = "correct horse 17", "battery staple 18"


class World:
    """Ada, who has a token, and staff who may change accounts."""

    def __init__(self) -> None:
        self.ada = making.user("ada")
        self.own, self.admin = Client(), Client()
        self.own.force_login(self.ada)
        self.staff = making.user("root", is_staff=True, is_superuser=True)
        self.admin.force_login(self.staff)
        tokens.make_token(self.ada, "script", Scope.MANAGE, None)
        tokens.make_token(making.user("cy"), "theirs", Scope.READ, None)

    def change_account(self, **fields: Any) -> None:
        joined = timezone.localtime(self.ada.date_joined)
        usual = {"username": "ada", "date_joined_0": f"{joined:%Y-%m-%d}", "date_joined_1": f"{joined:%H:%M:%S}"}
        answer = self.admin.post(reverse("admin:accounts_user_change", args=[self.ada.pk]), {**usual, **fields})
        assert answer.status_code == 302, answer.content.decode()[-500:]


def change_own(old: str = PASSWORD, new: str = NEW) -> Callable[[World], Any]:
    fields = {"old_password": old, "new_password1": new, "new_password2": new}
    return lambda world: world.own.post("/accounts/password_change/", fields)


def set_by_staff(new: str, again: str = NEW) -> Callable[[World], Any]:
    fields = {"usable_password": "true", "password1": new, "password2": again}
    return lambda world: world.admin.post(f"/admin/accounts/user/{world.ada.pk}/password/", fields)


def by_command(world: World) -> None:
    user = User.objects.get(pk=world.ada.pk)
    user.set_password(NEW)
    user.save()


def hash_anew(world: World) -> None:
    User.objects.filter(pk=world.ada.pk).update(password=PBKDF2PasswordHasher().encode(PASSWORD, "salt"))
    assert Client().post("/accounts/login/", {"username": "ada", "password": PASSWORD}).status_code == 302
    assert not User.objects.get(pk=world.ada.pk).password.startswith("pbkdf2"), "it was hashed anew"


#: What is done, and by whom and through which door her token was revoked then; None: it was not.
CASES: dict[str, tuple[Callable[[World], Any], tuple[str, str] | None]] = {
    "she changes her password": (change_own(), ("ada", "page")),
    "she mistypes the old one": (change_own(old="wrong"), None),
    "staff set it": (set_by_staff(NEW), ("root", "admin")),
    "staff mistype it": (set_by_staff(NEW, again="other 12345"), None),
    "a program sets it": (by_command, ("", "command")),
    "its hash is made anew": (hash_anew, None),
    "staff deactivate her": (lambda world: world.change_account(), ("root", "admin")),
    "staff change her name": (lambda world: world.change_account(is_active="on", first_name="Ada"), None),
    "a program deactivates her": (
        lambda world: User(**{**vars_of(world.ada), "is_active": False}).save(force_update=True),
        ("", "command"),
    ),
    "she logs out": (lambda world: world.own.post("/accounts/logout/"), None),
}


def vars_of(user: User) -> dict[str, Any]:
    return {field.attname: getattr(user, field.attname) for field in User._meta.concrete_fields}


@pytest.mark.parametrize("case", CASES)
def test_the_events_that_revoke_tokens(case: str) -> None:
    act, ended = CASES[case]
    world = World()
    act(world)
    token = ApiToken.objects.get(user=world.ada)
    assert (token.revoked_at is not None) == (ended is not None)
    noted = AuditEntry.objects.filter(action="token_revoked").values_list("actor_id", "subject_id", "door")
    number = {"ada": world.ada.pk, "root": world.staff.pk, "": 0}
    assert list(noted) == ([(number[ended[0]], world.ada.pk, ended[1])] if ended else [])
    assert ApiToken.objects.get(name="theirs").revoked_at is None
