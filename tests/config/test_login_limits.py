"""Guessing passwords is held off, without shutting the person out for ever or from everywhere."""

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client, RequestFactory

from config.login_limits import client_address

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"


@pytest.fixture
def admin() -> User:
    return User.objects.create_superuser("admin", password="the right one")


def log_in(password: str, address: str = "192.0.2.1") -> Any:
    return Client(REMOTE_ADDR=address).post(LOGIN, {"username": "admin", "password": password})


def lock(settings: Any) -> None:
    for _ in range(settings.AXES_FAILURE_LIMIT):
        log_in("a guess")


def time_passes(time: timedelta) -> None:
    """Let what was noted of failed logins be that much older."""
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - time)


def test_too_many_guesses_are_answered_with_a_wait(admin: User, settings: Any) -> None:
    assert log_in("a guess").status_code == 200
    lock(settings)
    refused = log_in("the right one")
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "900"
    assert "15 minutes" in refused.content.decode()


def test_someone_elses_guesses_lock_nobody_out(admin: User, settings: Any) -> None:
    lock(settings)
    assert log_in("the right one", address="192.0.2.2").status_code == 302


def test_the_wait_ends_also_for_who_keeps_trying(admin: User, settings: Any) -> None:
    lock(settings)
    time_passes(timedelta(minutes=14))
    assert log_in("the right one").status_code == 429
    time_passes(timedelta(minutes=2))
    assert log_in("the right one").status_code == 302


def test_a_right_password_forgets_the_wrong_ones(admin: User, settings: Any) -> None:
    for _ in range(3):
        for _ in range(settings.AXES_FAILURE_LIMIT - 1):
            assert log_in("a guess").status_code == 200
        assert log_in("the right one").status_code == 302


def test_behind_a_proxy_the_client_is_whom_the_proxy_names(rf: RequestFactory, settings: Any) -> None:
    request = rf.get("/", REMOTE_ADDR="10.0.0.1", headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.7"})
    assert client_address(request) == "10.0.0.1"
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert client_address(request) == "198.51.100.7"
    assert client_address(rf.get("/", REMOTE_ADDR="10.0.0.1")) == "10.0.0.1"
