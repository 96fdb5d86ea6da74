"""The user of a session cookie: found in one statement, and never by outdated cached data."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session as StoredSession
from django.db import OperationalError, connection
from django.test import AsyncClient, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.accounts.models import User
from chat.runtime import database
from chat.security import logins
from chat.security.logins import find_login
from config import middleware
from tests.chat import making

BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture(autouse=True)
def nobody_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what an earlier test's database had."""
    monkeypatch.setattr(logins, "_known", logins.Kept(1 << 20))
    yield
    database.close()


def log_in(user: User, **changes: Any) -> str:
    """Log in; returns the session key."""
    store = SessionStore()
    proof = {
        SESSION_KEY: str(user.pk),
        BACKEND_SESSION_KEY: BACKEND,
        HASH_SESSION_KEY: user.get_session_auth_hash(),
        **changes,
    }
    store.update({name: value for name, value in proof.items() if value is not None})
    store.create()
    assert store.session_key
    return store.session_key


@pytest.mark.django_db
def test_a_cached_login_takes_one_statement() -> None:
    ada, bo = making.user("ada"), making.user("bo")
    keys = {log_in(user, seen=user.username): user for user in (ada, bo)}
    for key in keys:
        find_login(key)
    for key, user in keys.items():
        with CaptureQueriesContext(connection) as asked:
            found = find_login(key)
        assert len(asked) == 1
        assert found is not None
        assert (found.user, found.user.username, found.data["seen"]) == (user, user.username, user.username)
        assert found.is_by_current_key
        assert found.user.date_joined == user.date_joined
        assert {field.attname for field in User._meta.concrete_fields} == set(vars(found.user)) - {
            "_state",
            "_password",
        }


def change(**fields: Any) -> Callable[[User, str], Any]:
    return lambda user, key: User.objects.filter(pk=user.pk).update(**fields)


#: What ends a login.
ENDS: dict[str, Callable[[User, str], Any]] = {
    "logged out": lambda user, key: SessionStore(key).delete(),
    "expired": lambda user, key: StoredSession.objects.update(expire_date=timezone.now() - timedelta(seconds=1)),
    "deactivated": change(is_active=False),
    "another password": change(password="other"),
    "deleted": lambda user, key: user.delete(),
    "the session is somebody else's": lambda user, key: StoredSession.objects.filter(pk=key).update(
        session_data=SessionStore().encode({**SessionStore(key).load(), SESSION_KEY: str(making.user("bo").pk)})
    ),
    "the session is nobody's": lambda user, key: StoredSession.objects.filter(pk=key).update(
        session_data=SessionStore().encode({})
    ),
    "it cannot be read": lambda user, key: StoredSession.objects.filter(pk=key).update(session_data="rubbish"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("is_known", [False, True], ids=["asked for the first time", "known"])
@pytest.mark.parametrize("end", ENDS)
def test_a_login_ends_at_once(end: str, is_known: bool) -> None:
    user = making.user()
    key = log_in(user)
    if is_known:
        assert find_login(key) is not None
    ENDS[end](user, key)
    assert find_login(key) is None
    assert find_login(key) is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    "proof", [{HASH_SESSION_KEY: "x"}, {HASH_SESSION_KEY: None}, {BACKEND_SESSION_KEY: "os.path"}, {SESSION_KEY: "99"}]
)
def test_a_session_that_proves_no_login_is_none(proof: dict[str, Any]) -> None:
    assert find_login(log_in(making.user(), **proof)) is None


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "nothing", "\x00", "a" * 300, "水", "' OR 1=1 --"])
def test_an_invalid_session_key_is_no_login(key: str) -> None:
    making.user()
    assert find_login(key) is None


@pytest.mark.django_db
def test_rights_are_those_of_now() -> None:
    user = making.user(is_staff=True, is_superuser=True)
    key = log_in(user)
    for is_staff in (True, False, True):
        User.objects.update(is_staff=is_staff, is_superuser=is_staff)
        found = find_login(key)
        assert found is not None
        assert found.user.has_perm("chat.view_session") is is_staff


@pytest.mark.django_db
def test_a_key_that_was_rotated_still_proves_it_but_is_not_the_one_in_use() -> None:
    user = making.user()
    with override_settings(SECRET_KEY="the one before"):
        key = log_in(user)
    assert find_login(key) is None
    with override_settings(SECRET_KEY_FALLBACKS=["the one before"]):
        found = find_login(key)
    assert found is not None
    assert not found.is_by_current_key


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("path", "code"), [("/", b"does not answer"), ("/api/sessions/", b'"code":"storage"')])
async def test_a_database_that_is_away_is_told_in_the_words_of_the_place(
    monkeypatch: pytest.MonkeyPatch, path: str, code: bytes
) -> None:
    client = AsyncClient(raise_request_exception=False)
    await client.aforce_login(await sync_to_async(making.user)())

    def fail(_key: str) -> None:
        raise OperationalError("the disk is away")

    monkeypatch.setattr(middleware, "find_login", fail)
    answer = await client.get(path)
    assert answer.status_code == 503
    assert code in answer.content


@pytest.mark.django_db(transaction=True)
async def test_a_login_that_has_to_be_renewed_is_renewed() -> None:
    client = AsyncClient()
    user = await sync_to_async(making.user)()
    with override_settings(SECRET_KEY="the one before"):
        key = await sync_to_async(log_in)(user)
    with override_settings(SECRET_KEY_FALLBACKS=["the one before"]):
        client.cookies["sessionid"] = key
        answer = await client.get("/")
        assert answer.status_code == 200
        assert answer.cookies["sessionid"].value != key
