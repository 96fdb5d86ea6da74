"""The page of a user's own tokens, and the operators' page of all tokens."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from chat.accounts.models import User
from chat.models import ApiToken, AuditEntry, Scope
from chat.security import tokens
from tests.chat import making

pytestmark = pytest.mark.django_db

FORM = {"name": "nightly", "scope": "ask", "days": "30"}


@pytest.fixture
def bo(client: Client) -> User:
    user = making.user("bo")
    client.force_login(user)
    return user


def test_a_token_is_shown_in_the_answer_that_makes_it_and_never_again(client: Client, bo: User) -> None:
    answer = client.post("/accounts/tokens/", FORM)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    (text,) = re.findall(r">(tk_[0-9A-Za-z]{49})<", answer.content.decode())
    token = tokens.read_token(f"Bearer {text}", "192.0.2.1")
    assert (token.user, token.scope) == (bo, Scope.ASK)
    row = ApiToken.objects.get()
    assert row.expires_at is not None
    assert abs(row.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    again = client.get("/accounts/tokens/").content.decode()
    assert text not in again
    assert f"{row.prefix}…" in again


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "\u200b"},
        {"name": "x" * 101},
        {"scope": "admin"},
        {"scope": ""},
        {"days": "5"},
        {"days": "-1"},
    ],
)
def test_a_form_that_describes_none_makes_none(client: Client, bo: User, wrong: dict[str, str]) -> None:
    answer = client.post("/accounts/tokens/", {**FORM, **wrong})
    assert answer.status_code == 400
    assert not ApiToken.objects.exists()
    assert 'role="alert"' in answer.content.decode()


def test_a_name_is_text_and_nothing_else(client: Client, bo: User) -> None:
    answer = client.post("/accounts/tokens/", {**FORM, "name": "<script>alert(1)</script>"})
    assert "<script>alert(1)" not in answer.content.decode()


def test_a_user_revokes_only_own_tokens(client: Client, bo: User) -> None:
    own, text = tokens.make_token(bo, "mine", Scope.READ, None)
    other, _ = tokens.make_token(making.user("cy"), "theirs", Scope.READ, None)
    assert client.post(f"/accounts/tokens/{other.pk}/revoke/").status_code == 404
    assert client.post(f"/accounts/tokens/{own.pk}/revoke/").status_code == 302
    assert client.post(f"/accounts/tokens/{own.pk}/revoke/").status_code == 404
    with pytest.raises(tokens.BadToken):
        tokens.read_token(f"Bearer {text}", "192.0.2.1")
    page = client.get("/accounts/tokens/").content.decode()
    assert "theirs" not in page
    assert f"/accounts/tokens/{own.pk}/revoke/" not in page, "what has ended can't be revoked"


#: Permissions, and whether staff with them may revoke.
STAFF: list[tuple[tuple[str, ...], bool]] = [
    (("chat.view_apitoken", "chat.change_apitoken"), True),
    (("chat.view_apitoken",), False),
    ((), False),
]


@pytest.mark.parametrize(("permissions", "may"), STAFF)
def test_staff_revoke_tokens_of_others_by_permission_and_never_see_what_proves_one(
    client: Client, permissions: tuple[str, ...], may: bool
) -> None:
    staff: Any = making.staff(*permissions)
    client.force_login(staff)
    owner = making.user("bo")
    token, text = tokens.make_token(owner, "their own words", Scope.MANAGE, None)
    listed = client.get("/admin/chat/apitoken/")
    assert listed.status_code == (200 if permissions else 403)
    one = client.get(f"/admin/chat/apitoken/{token.pk}/change/")
    for page in (listed.content.decode(), one.content.decode()):
        assert (token.prefix in page) == bool(permissions)
        assert text not in page
        assert token.digest not in page
        assert "their own words" not in page
    client.post("/admin/chat/apitoken/", {"action": "revoke", "_selected_action": [str(token.pk)]})
    token.refresh_from_db()
    assert (token.revoked_at is not None) == may
    noted = AuditEntry.objects.filter(action="token_revoked").values_list("actor_id", "subject_id", "door")
    assert list(noted) == ([(staff.pk, owner.pk, "admin")] if may else [])
