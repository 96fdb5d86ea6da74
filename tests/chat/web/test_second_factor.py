"""Second factors: set up, required on every way in, shown and removed only after the password was entered recently."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core.cache import cache
from django.test import Client

from chat.accounts.models import User
from chat.models import AuditEntry
from chat.security import second_factor
from chat.security.logins import find_login
from tests.chat import making
from tests.serving import PASSWORD

pytestmark = pytest.mark.django_db
LOGIN, STAGE, SECURITY, APP = (
    "/accounts/login/",
    "/accounts/second-factor/",
    "/accounts/security/",
    "/accounts/security/app/",
)
CODES, CONFIRM = "/accounts/security/codes/", "/accounts/confirm/"


@pytest.fixture
def ada() -> User:
    return making.user()


def give_password(client: Client, going: str = "/sessions/") -> Any:
    return client.post(LOGIN, {"username": "ada", "password": PASSWORD, "next": going})


def code_of(secret: str, periods: int = 0) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + periods))


def set_up(client: Client) -> str:
    """Set an authenticator app up; returns its secret."""
    page = client.get(APP)
    secret = str(page.context["secret"]).replace(" ", "")
    answer = client.post(APP, {"code": code_of(secret, -1)})
    assert answer.status_code == 302, answer.content.decode()
    return secret


@pytest.fixture
def secret(ada: User) -> str:
    """The secret of a user's app."""
    client = Client()
    give_password(client)
    return set_up(client)


def is_in(client: Client) -> bool:
    return client.get("/").status_code == 200


def test_an_app_is_set_up_and_asked_for_from_then_on(client: Client, ada: User) -> None:
    assert give_password(client)["Location"] == "/sessions/"
    page = client.get(APP).content.decode()
    assert "<svg" in page
    assert 'style="' not in page
    secret = set_up(client)
    assert len(client.get(CODES).context["codes"]) == 10
    stored = {factor.type: json.dumps(factor.data) for factor in Authenticator.objects.all()}
    assert set(stored) == {"totp", "recovery_codes"}
    assert secret not in stored["totp"]
    other = Client()
    assert give_password(other)["Location"] == STAGE
    assert not is_in(other)
    assert find_login(other.cookies["sessionid"].value) is None
    assert other.post(STAGE, {"code": "000000"}).status_code == 200
    assert not is_in(other)
    answer = other.post(STAGE, {"code": code_of(secret)})
    assert (answer.status_code, answer["Location"]) == (302, "/sessions/")
    assert is_in(other)
    assert other.get(STAGE).status_code == 302
    acts = list(AuditEntry.objects.filter(actor_id=ada.pk).values_list("action", flat=True))
    assert "factor_added" in acts


def test_a_code_counts_once(client: Client, secret: str) -> None:
    code = code_of(secret)
    for expected in (302, 200):
        browser = Client()
        give_password(browser)
        assert browser.post(STAGE, {"code": code}).status_code == expected


def test_a_code_counts_once_in_all_processes_however_it_is_written(client: Client, secret: str) -> None:
    code = code_of(secret)
    for sent, expected in (
        (code, 302),
        (code, 200),
        (f"{code[:3]}-{code[3:]}", 200),
        (f"{code}.", 200),
        (f" {code[:3]} {code[3:]}", 200),
    ):
        cache.clear()  # another process has no cache
        browser = Client()
        give_password(browser)
        assert browser.post(STAGE, {"code": sent}).status_code == expected, sent


def test_a_code_counts_no_more_behind_a_later_one(client: Client, secret: str) -> None:
    for periods, expected in ((1, 302), (0, 200), (-1, 200)):
        cache.clear()
        browser = Client()
        give_password(browser)
        assert browser.post(STAGE, {"code": code_of(secret, periods)}).status_code == expected, periods


@pytest.mark.parametrize("stage", ["ask", "set up"])
def test_a_password_that_was_changed_meanwhile_lets_nobody_in(
    client: Client, ada: User, settings: Any, request: pytest.FixtureRequest, stage: str
) -> None:
    """An attacker who has the old password waits at the second factor while it is changed."""
    if stage == "ask":
        code = code_of(request.getfixturevalue("secret"))
        give_password(client)
    else:
        settings.MFA_REQUIRED = "all"
        page = client.get(give_password(client)["Location"])
        code = code_of(str(page.context["secret"]).replace(" ", ""))
    ada.set_password("another-Sesame-9")
    ada.save()
    if stage == "ask":
        answer = client.post(STAGE, {"code": code})
    else:
        required = "/accounts/second-factor/required/"
        client.post(required, {"code": code})
        answer = client.post(required, {"seen": "1"})
    assert (answer.status_code, answer["Location"]) == (302, LOGIN)
    assert not is_in(client)
    assert Authenticator.objects.filter(type="totp").exists() is (stage == "ask"), "it has set one up of its own"


def test_a_recovery_code_lets_in_once(client: Client, secret: str) -> None:
    codes = second_factor.Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()
    for code, expected in ((codes[3], 302), (codes[3], 200), (codes[4], 302)):
        browser = Client()
        give_password(browser)
        assert browser.post(STAGE, {"code": code}).status_code == expected


def test_guessing_codes_is_limited_like_guessing_passwords(client: Client, secret: str) -> None:
    give_password(client)
    answers = [client.post(STAGE, {"code": f"{number:06}"}).status_code for number in range(8)]
    assert answers == [200] * 7 + [429]
    assert client.post(STAGE, {"code": code_of(secret)}).status_code == 429
    # Also another login with the right password.
    again = Client()
    assert give_password(again).status_code == 429


#: What leads in without the second factor, or would if there were a gap.
GAPS: dict[str, Callable[[Client], Any]] = {
    "the page one was going to": lambda client: client.get("/sessions/"),
    "the beginning again": lambda client: client.get(LOGIN),
    "the stage of those who have none": lambda client: client.post("/accounts/second-factor/required/", {"seen": "1"}),
    "setting up another app": lambda client: client.post(APP, {"code": "000000"}),
    "removing the one there is": lambda client: client.post("/accounts/security/factors/1/remove/"),
    "the recovery codes": lambda client: client.get(CODES),
    "the admin's login": lambda client: client.post("/admin/login/", {"username": "ada", "password": PASSWORD}),
    "confirming": lambda client: client.post(CONFIRM, {"password": PASSWORD}),
    "an empty code": lambda client: client.post(STAGE, {"code": ""}),
    "no code": lambda client: client.post(STAGE, {}),
    "another password login in between": give_password,
}


@pytest.mark.parametrize("gap", GAPS)
def test_nothing_leads_past_the_second_factor(client: Client, secret: str, gap: str) -> None:
    give_password(client)
    GAPS[gap](client)
    assert not is_in(client)
    assert client.get("/api/sessions/").status_code == 401
    assert Authenticator.objects.filter(type="totp").exists()


@pytest.mark.parametrize(
    "answer",
    [
        "{}",
        "null",
        "[]",
        '"x"',
        "1e999",
        "not json",
        "[" * 20_000,
        '{"id": "AA", "rawId": "AA", "type": "public-key", "response": {}}',
        (
            '{"id": "AA", "rawId": "AA", "type": "public-key", "response": {"clientDataJSON": "AA", "authenticatorData": "AA",'
            ' "signature": "AA"}}'
        ),
        '{"id": "AA", "rawId": "AA", "type": "public-key", "response": {"clientDataJSON": "e30", "authenticatorData": "%s",'
        ' "signature": "AA", "userHandle": "MQ"}}' % ("A" * 50),
    ],
)
def test_an_answer_that_is_none_of_a_browser_s_proves_nothing(client: Client, secret: str, answer: str) -> None:
    give_password(client)
    assert client.post(STAGE, {"credential": answer}).status_code == 200
    assert not is_in(client)
    assert client.post("/accounts/passkey/", {}).json()["options"]["publicKey"]["challenge"]
    sent = client.post("/accounts/passkey/", {"credential": answer})
    assert sent["Location"] == LOGIN
    assert "lets nobody in" in client.get(LOGIN).content.decode()
    assert not is_in(client)


def test_a_change_wants_somebody_who_has_just_proven_to_be_it(client: Client, ada: User) -> None:
    client.force_login(ada)
    assert client.get(SECURITY).status_code == 200
    answer = client.get(APP)
    assert answer["Location"] == f"{CONFIRM}?next=%2Faccounts%2Fsecurity%2Fapp%2F"
    assert "That was not right" in client.post(answer["Location"], {"password": "wrong"}).content.decode()
    assert client.get(APP).status_code == 302
    assert client.post(answer["Location"], {"password": PASSWORD})["Location"] == APP
    assert client.get(APP).status_code == 200


def test_guessing_the_password_there_is_held_off_too(client: Client, ada: User) -> None:
    client.force_login(ada)
    answers = [client.post(CONFIRM, {"password": "wrong"}).status_code for _ in range(8)]
    assert answers[-1] == 429


def test_a_factor_is_removed_and_its_recovery_codes_with_the_last(client: Client, secret: str, ada: User) -> None:
    give_password(client)
    client.post(STAGE, {"code": code_of(secret)})
    factor = Authenticator.objects.get(type="totp")
    answer = client.post(f"{SECURITY}factors/{factor.pk}/remove/", follow=True)
    assert "Removed." in answer.content.decode()
    assert not Authenticator.objects.exists()
    assert give_password(Client())["Location"] == "/sessions/"


def test_a_factor_of_another_user_cannot_be_removed(client: Client, secret: str) -> None:
    making.user("bo")
    client.post(LOGIN, {"username": "bo", "password": PASSWORD})
    factor = Authenticator.objects.get(type="totp")
    assert client.post(f"{SECURITY}factors/{factor.pk}/remove/").status_code == 404
    assert Authenticator.objects.filter(pk=factor.pk).exists()


@pytest.mark.parametrize(
    ("required", "is_staff", "must"), [("staff", True, True), ("staff", False, False), ("all", False, True)]
)
def test_a_required_second_factor_is_set_up_before_getting_in(
    client: Client, ada: User, settings: Any, required: str, is_staff: bool, must: bool
) -> None:
    User.objects.update(is_staff=is_staff)
    before = Client()
    give_password(before)
    settings.MFA_REQUIRED = required
    # A login from before the rule is no longer valid, however it is checked.
    assert is_in(before) is not must
    assert (find_login(before.cookies["sessionid"].value) is None) is must
    where = give_password(client)["Location"]
    assert where == ("/accounts/second-factor/required/" if must else "/sessions/")
    if not must:
        return
    assert not is_in(client)
    assert client.post(where, {"seen": "1"}).status_code == 200
    assert not is_in(client)
    page = client.get(where)
    secret = str(page.context["secret"]).replace(" ", "")
    assert client.post(where, {"code": "000000"}).status_code == 200
    answer = client.post(where, {"code": code_of(secret)})
    assert answer["Location"] == where
    assert not is_in(client)
    assert len(client.get(where).context["codes"]) == 10
    assert client.post(where, {"seen": "1"})["Location"] == "/sessions/"
    assert is_in(client)
    assert find_login(client.cookies["sessionid"].value) is not None
    factor = Authenticator.objects.get(type="totp")
    assert (
        "must have a second factor"
        in client.post(f"{SECURITY}factors/{factor.pk}/remove/", follow=True).content.decode()
    )
    assert Authenticator.objects.filter(pk=factor.pk).exists()


def test_a_new_account_that_must_have_one_sets_it_up_too(client: Client, settings: Any) -> None:
    settings.ALLOW_SIGNUP, settings.MFA_REQUIRED = True, "all"
    form = {"username": "new", "password1": "correct horse 18", "password2": "correct horse 18"}
    assert client.post("/accounts/signup/", form)["Location"] == "/accounts/second-factor/required/"
    assert not is_in(client)


def test_somebody_deactivated_between_password_and_code_does_not_get_in(client: Client, secret: str) -> None:
    give_password(client)
    User.objects.update(is_active=False)
    client.post(STAGE, {"code": code_of(secret)})
    assert not is_in(client)


def test_a_secret_that_no_key_reads_any_more_proves_nothing(client: Client, secret: str, settings: Any) -> None:
    settings.SECRET_KEY = "another key, as long as this one must be at the very least"
    give_password(client)
    assert client.post(STAGE, {"code": code_of(secret)}).status_code == 200
    settings.SECRET_KEY_FALLBACKS = ["the secret of tests, known to everyone, and long enough to please"]
    assert client.post(STAGE, {"code": code_of(secret)}).status_code == 302


def test_staff_help_who_has_lost_theirs(client: Client, secret: str, ada: User) -> None:
    root = User.objects.create_superuser("root", password=PASSWORD)
    client.force_login(root)
    client.post("/admin/accounts/user/", {"action": "remove_second_factors", "_selected_action": [ada.pk]})
    assert not Authenticator.objects.exists()
    assert AuditEntry.objects.filter(actor_id=root.pk, subject_id=ada.pk, action="factor_removed").exists()
    assert give_password(Client())["Location"] == "/sessions/"


def test_the_admin_s_login_is_the_one_there_is(client: Client, ada: User) -> None:
    answer = client.get("/admin/login/?next=/admin/chat/run/")
    assert answer["Location"] == "/accounts/login/?next=%2Fadmin%2Fchat%2Frun%2F"
    assert client.post("/admin/login/", {"username": "ada", "password": PASSWORD})["Location"].startswith(LOGIN)
    assert not is_in(client)
