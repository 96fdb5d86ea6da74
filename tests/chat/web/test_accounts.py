"""Logging in and out, one's own account, and making one."""

import re
from typing import Any

import pytest
from django.test import Client, override_settings

from chat import protocol
from chat.accounts.models import User
from tests.chat import making
from tests.serving import PASSWORD, Browser, Server

LOGIN = "/accounts/login/"
HOSTILE_NEXT = [
    "https://elsewhere.example/",
    "//elsewhere.example/",
    "/\\elsewhere.example",
    "\\\\elsewhere.example",
    "javascript:alert(1)",
    "http:elsewhere.example",
    "https:///elsewhere.example",
    " https://elsewhere.example",
]


@pytest.fixture
def ada(db: None) -> User:
    return making.user()


def log_in(client: Client, username: str = "ada", password: str = PASSWORD, **more: str) -> tuple[int, str]:
    answer = client.post(LOGIN, {"username": username, "password": password, **more})
    return answer.status_code, answer.get("Location", "")


def test_logging_in_leads_where_one_was_going(client: Client, ada: User) -> None:
    answer = client.get("/sessions/?q=x")
    assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/?next=/sessions/%3Fq%3Dx")
    assert b'value="/sessions/?q=x"' in client.get(answer["Location"]).content
    assert log_in(client, next="/sessions/?q=x") == (302, "/sessions/?q=x")
    assert client.get("/").status_code == 200


def test_without_a_place_to_go_it_leads_home(client: Client, ada: User) -> None:
    assert log_in(client) == (302, "/")


@pytest.mark.parametrize("place", HOSTILE_NEXT)
def test_a_login_never_redirects_to_another_site(client: Client, ada: User, place: str) -> None:
    assert log_in(client, next=place) == (302, "/")
    with override_settings(ALLOW_SIGNUP=True):
        client.logout()
        passwords = {"password1": "correct horse 18", "password2": "correct horse 18"}
        answer = client.post("/accounts/signup/", {"username": "new", **passwords, "next": place})
        assert (answer.status_code, answer["Location"]) == (302, "/")


def test_a_wrong_password_and_an_unknown_name_are_told_alike(client: Client, ada: User) -> None:
    answers = [client.post(LOGIN, {"username": name, "password": "wrong"}) for name in ("ada", "nobody")]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].context["form"].errors == answers[1].context["form"].errors
    assert b'role="alert"' in answers[0].content


def test_after_a_wrong_password_it_is_the_password_that_is_asked_for(client: Client, ada: User) -> None:
    def asked_for(answer: Any) -> list[str]:
        return re.findall(r'<input[^>]* name="(\w+)"[^>]* autofocus', answer.content.decode())

    assert asked_for(client.get(LOGIN)) == ["username"]
    wrong = client.post(LOGIN, {"username": "ada", "password": "wrong"})
    assert asked_for(wrong) == ["password"]
    assert b'aria-describedby="form-error"' in wrong.content
    assert b'id="form-error" role="alert"' in wrong.content
    nameless = client.post(LOGIN, {"username": "", "password": "wrong"})
    assert asked_for(nameless) == ["username"]
    assert b'id="id_username_error" role="alert"' in nameless.content


def test_guessing_passwords_is_limited_with_a_clear_error(client: Client, ada: User) -> None:
    for _ in range(8):
        answer = client.post(LOGIN, {"username": "ada", "password": "wrong"})
    assert answer.status_code == 429
    answer = client.post(LOGIN, {"username": "ada", "password": PASSWORD})
    assert answer.status_code == 429
    assert b"Too many attempts" in answer.content
    assert b"15 minutes" in answer.content
    assert int(answer["Retry-After"]) == 15 * 60


def test_someone_deactivated_cannot_log_in(client: Client, ada: User) -> None:
    User.objects.update(is_active=False)
    assert log_in(client)[0] == 200
    assert client.get("/").status_code == 302


def test_forged_logins_and_logouts_are_refused(ada: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    for path in (LOGIN, "/accounts/logout/", "/accounts/", "/accounts/password_change/"):
        assert client.post(path, {}).status_code == 403, path
    assert client.get("/accounts/logout/").status_code == 405
    assert client.get("/").status_code == 200


def test_logging_out_ends_the_login(client: Client, ada: User) -> None:
    client.force_login(ada)
    assert client.post("/accounts/logout/").status_code == 302
    assert client.get("/").status_code == 302


def test_people_change_their_own_name_and_address_and_nothing_else(client: Client, ada: User) -> None:
    client.force_login(ada)
    assert client.get("/accounts/").status_code == 200
    answer = client.post(
        "/accounts/",
        {"first_name": "Ada", "last_name": "L.", "email": "ada@example.org", "is_staff": "on", "username": "root"},
        follow=True,
    )
    assert "Saved." in answer.content.decode()
    ada.refresh_from_db()
    assert (ada.get_full_name(), ada.email, ada.username, ada.is_staff) == ("Ada L.", "ada@example.org", "ada", False)
    answer = client.post("/accounts/", {"email": "no address"})
    assert answer.status_code == 200
    assert "valid email" in answer.content.decode()


def test_a_new_password_ends_every_other_login(client: Client, ada: User) -> None:
    client.force_login(ada)
    other = Client()
    other.force_login(ada)
    new = {"new_password1": "another horse 19", "new_password2": "another horse 19"}
    assert client.post("/accounts/password_change/", {"old_password": "wrong", **new}).status_code == 200
    answer = client.post("/accounts/password_change/", {"old_password": PASSWORD, **new}, follow=True)
    assert "password was changed" in answer.content.decode()
    assert client.get("/").status_code == 200
    assert other.get("/").status_code == 302
    assert log_in(Client(), password="another horse 19") == (302, "/")


def test_no_account_is_made_where_that_is_not_allowed(client: Client, db: None) -> None:
    assert client.get("/accounts/signup/").status_code == 404
    assert client.post("/accounts/signup/", {"username": "new"}).status_code == 404
    assert b"/accounts/signup/" not in client.get(LOGIN).content


@override_settings(ALLOW_SIGNUP=True)
def test_an_account_is_made_and_logged_in_where_it_is(client: Client, db: None) -> None:
    assert b"/accounts/signup/" in client.get(LOGIN).content
    assert client.get("/accounts/signup/").status_code == 200
    passwords = {"password1": "correct horse 18", "password2": "correct horse 18"}
    weak = client.post("/accounts/signup/", {"username": "new", "password1": "12345", "password2": "12345"})
    assert weak.status_code == 200
    answer = client.post("/accounts/signup/", {"username": "new", "is_staff": "on", **passwords, "next": "/sessions/"})
    assert (answer.status_code, answer["Location"]) == (302, "/sessions/")
    made = User.objects.get()
    assert (made.username, made.is_staff, made.is_superuser, made.email) == ("new", False, False, "")
    assert client.get("/").status_code == 200
    assert client.get("/accounts/signup/")["Location"] == "/"


async def test_open_sockets_close_with_the_login(product: Server) -> None:
    async with Browser.logged_in(product.url, "cy") as here, Browser.logged_in(product.url, "cy") as there:
        session_id = await here.new_session()
        async with here.socket(session_id) as mine, there.socket(session_id) as other:
            await mine.receive()
            await other.receive()
            form = {"csrfmiddlewaretoken": here.cookie("csrftoken")}
            async with here.http.post("/accounts/logout/", data=form, allow_redirects=False) as answer:
                assert answer.status == 302
            assert await mine.closed() == protocol.Close.NOT_LOGGED_IN
            await here.log_in("cy")
            form = {
                "csrfmiddlewaretoken": here.cookie("csrftoken"),
                "old_password": PASSWORD,
                "new_password1": "another horse 19",
                "new_password2": "another horse 19",
            }
            async with here.http.post("/accounts/password_change/", data=form, allow_redirects=False) as answer:
                assert answer.status == 302
            assert await other.closed() == protocol.Close.NOT_LOGGED_IN
