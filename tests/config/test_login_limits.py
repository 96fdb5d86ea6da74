"""Guessing passwords is slowed down, without locking the user out for ever or everywhere."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.db.models import F
from django.test import Client, RequestFactory

from chat.accounts.models import User
from config.login_limits import LIMITS, client_address

pytestmark = pytest.mark.django_db
LOGIN = "/accounts/login/"
BOTH, ADDRESS, NAME = LIMITS.values()


@pytest.fixture
def admin() -> User:
    return User.objects.create_superuser("admin", password="the right one")


def log_in(password: str, address: str = "192.0.2.1", name: str = "admin", page: str = LOGIN) -> Any:
    return Client(REMOTE_ADDR=address).post(page, {"username": name, "password": password})


def sign_up(number: int, address: str) -> Any:
    password = "correct horse 17"
    form = {"username": f"new{number}", "password1": password, "password2": password}
    return Client(REMOTE_ADDR=address).post("/accounts/signup/", form)


def lock() -> None:
    for _ in range(BOTH):
        log_in("a guess")


def time_passes(time: timedelta) -> None:
    """Let the recorded failures be that much older."""
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - time)


def test_too_many_guesses_are_answered_with_a_wait(admin: User) -> None:
    assert log_in("a guess").status_code == 200
    lock()
    refused = log_in("the right one")
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "900"
    assert "15 minutes" in refused.content.decode()


def test_someone_elses_guesses_lock_nobody_out(admin: User) -> None:
    lock()
    assert log_in("the right one", address="192.0.2.2").status_code == 302


def test_the_wait_ends_also_for_who_keeps_trying(admin: User) -> None:
    lock()
    time_passes(timedelta(minutes=14))
    assert log_in("the right one").status_code == 429
    time_passes(timedelta(minutes=2))
    assert log_in("the right one").status_code == 302


def test_a_right_password_forgets_the_wrong_ones(admin: User) -> None:
    for _ in range(3):
        for _ in range(BOTH - 1):
            assert log_in("a guess").status_code == 200
        assert log_in("the right one").status_code == 302


#: What is tried again and again, how often it is accepted, and what is refused after that.
FLOODS: dict[str, tuple[Callable[[int], Any], int, Callable[[], Any]]] = {
    "made-up names from one address": (
        lambda n: log_in("x", name=f"nobody{n}"),
        ADDRESS,
        lambda: log_in("x", name="another"),
    ),
    "the same on the people's page": (
        lambda n: log_in("x", name=f"nobody{n}", page=LOGIN),
        ADDRESS,
        lambda: log_in("x", name="another"),
    ),
    "made-up names from one network of IPv6": (
        lambda n: log_in("x", name=f"nobody{n}", address=f"2001:db8:1:2::{n + 1:x}"),
        ADDRESS,
        lambda: log_in("x", name="another", address="2001:db8:1:2:ffff::1"),
    ),
    "one name from everywhere": (
        lambda n: log_in("x", address=f"198.51.100.{n}"),
        NAME,
        lambda: log_in("the right one", address="203.0.113.1"),
    ),
    "accounts from one address": (
        lambda n: sign_up(n, "192.0.2.1"),
        ADDRESS,
        lambda: sign_up(999, "192.0.2.1"),
    ),
    "accounts, then logins": (
        lambda n: sign_up(n, "192.0.2.1"),
        ADDRESS,
        lambda: log_in("x", name="another"),
    ),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_ends_by_whatever_it_has_in_common(admin: User, settings: Any, flood: str) -> None:
    settings.ALLOW_SIGNUP = True
    attempt, limit, after = FLOODS[flood]
    statuses = [attempt(number).status_code for number in range(limit)]
    assert set(statuses[:-1]) <= {200, 302}, "let through up to the limit"
    assert after().status_code == 429
    assert log_in("the right one", name="admin2", address="203.0.113.77").status_code == 200, "others are not held up"


def test_an_own_account_does_not_wash_an_address_clean(admin: User) -> None:
    for number in range(ADDRESS - 1):
        log_in("x", name=f"nobody{number}")
    assert log_in("the right one").status_code == 302
    log_in("x", name="another")
    assert log_in("x", name="one more").status_code == 429


def test_no_password_is_kept_of_who_makes_an_account(settings: Any) -> None:
    settings.ALLOW_SIGNUP = True
    sign_up(1, "192.0.2.1")
    assert "horse" not in AccessAttempt.objects.get().post_data


def test_behind_a_proxy_the_client_is_whom_the_proxy_names(rf: RequestFactory, settings: Any) -> None:
    request = rf.get("/", REMOTE_ADDR="10.0.0.1", headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.7"})
    assert client_address(request) == "10.0.0.1"
    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]
    assert client_address(request) == "198.51.100.7"
    assert client_address(rf.get("/", REMOTE_ADDR="10.0.0.1")) == "10.0.0.1"
