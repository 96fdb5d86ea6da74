"""Confirming a mail address: by a link that only its account can use, and only where mail is configured."""

import re
from typing import Any

import pytest
from allauth.account.models import EmailConfirmation
from django.core import mail
from django.test import Client
from django.utils import timezone

from chat.accounts import addresses
from chat.accounts.addresses import confirmed_address
from chat.accounts.models import User
from config.mail_address import parse_mail
from tests.chat import making

pytestmark = pytest.mark.django_db
SEND = "/accounts/email/"


@pytest.fixture
def ada(settings: Any, client: Client) -> User:
    settings.EMAIL_URL = parse_mail("smtp://localhost/?from=chat@example.org")
    user = making.user(email="Ada@example.org")
    client.force_login(user)
    return user


def link() -> str:
    found = re.search(r"http://testserver(/accounts/email/\w+/)", str(mail.outbox[-1].body))
    assert found
    return found[1]


def test_an_address_is_confirmed_by_the_link_that_was_mailed_there(client: Client, ada: User) -> None:
    assert confirmed_address(ada) is None
    assert "is not confirmed" in client.get("/accounts/").content.decode()
    client.post(SEND)
    assert mail.outbox[0].to == ["Ada@example.org"]
    place = link()
    assert client.get(place).status_code == 200
    assert confirmed_address(ada) is None, "a program that opens links confirms nothing"
    assert client.post(place)["Location"] == "/accounts/"
    assert confirmed_address(ada) == "Ada@example.org"
    assert "is not confirmed" not in client.get("/accounts/").content.decode()
    assert client.post(place).status_code == 404


def test_another_address_has_to_be_confirmed_anew(client: Client, ada: User) -> None:
    client.post(SEND)
    place = link()
    client.post("/accounts/", {"email": "other@example.org"})
    assert client.post(place).status_code == 404
    ada.refresh_from_db()
    assert confirmed_address(ada) is None


def test_a_confirmation_link_is_for_its_account_only(client: Client, ada: User) -> None:
    client.post(SEND)
    place = link()
    assert Client().get(place)["Location"].startswith("/accounts/login/")
    bo = making.user("bo", email="Ada@example.org")
    other = Client()
    other.force_login(bo)
    assert other.get(place).status_code == other.post(place).status_code == 404
    assert confirmed_address(bo) is None


def test_a_link_works_for_a_day(client: Client, ada: User) -> None:
    client.post(SEND)
    EmailConfirmation.objects.update(sent=timezone.now() - addresses.WORKS_FOR)
    assert client.post(link()).status_code == 404


def test_confirmation_mails_per_hour_are_limited(client: Client, ada: User) -> None:
    for _ in range(addresses.MOST_MAILS + 2):
        answer = client.post(SEND, follow=True)
    assert len(mail.outbox) == addresses.MOST_MAILS
    assert "Too many mails" in answer.content.decode()


def test_a_mail_server_that_is_away_is_told(client: Client, ada: User, settings: Any) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_PORT = "django.core.mail.backends.smtp.EmailBackend", 1
    assert "could not be sent" in client.post(SEND, follow=True).content.decode()


@pytest.mark.parametrize(("url", "email"), [(None, "ada@example.org"), ("smtp://localhost/?from=a@b.example", "")])
def test_without_a_server_or_an_address_there_is_nothing_to_confirm(
    client: Client, settings: Any, url: str | None, email: str
) -> None:
    settings.EMAIL_URL = parse_mail(url) if url else None
    client.force_login(making.user(email=email))
    assert "is not confirmed" not in client.get("/accounts/").content.decode()
    assert client.post(SEND).status_code == 404
    assert mail.outbox == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtps://u%40x:p%2F@mail.example.org/?from=a@b.example", ("mail.example.org", 465, "u@x", "p/", True, False)),
        ("smtp://u:p@mail.example.org/?from=a@b.example", ("mail.example.org", 587, "u", "p", False, True)),
        ("smtp://127.0.0.1:1025?from=a@b.example", ("127.0.0.1", 1025, "", "", False, False)),
    ],
)
def test_an_address_of_a_server_says_how_it_is_spoken_to(url: str, expected: tuple[Any, ...]) -> None:
    found = parse_mail(url)
    assert (found.host, found.port, found.user, found.password, found.use_ssl, found.use_starttls) == expected
    assert found.sender == "a@b.example"
