"""Logging in by an identity provider that others wrote: who gets in, with which groups, and when the login ends."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
import requests
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from chat.accounts.models import ProviderLogin, User
from chat.security.logins import find_login
from chat.security.oidc import provider as provider_module
from chat.security.oidc import rechecks
from chat.security.sealing import decrypt_text
from tests import oidc
from tests.chat import making
from tests.oidc import OidcProvider, log_in, use_provider
from tests.serving import PASSWORD

pytestmark = pytest.mark.django_db
WHO = {"preferred_username": "grace", "name": "Grace H", "email": "grace@example.org", "email_verified": True}


@pytest.fixture(scope="module")
def running() -> Iterator[OidcProvider]:
    with oidc.providing("http://testserver") as provider:
        yield provider


@pytest.fixture
def provider(running: OidcProvider, settings: Any) -> OidcProvider:
    provider_module.forget_documents()
    use_provider(settings, running.issuer)
    return running


def make_due() -> None:
    ProviderLogin.objects.update(next_check_at=timezone.now() - timedelta(seconds=1))


def is_in(client: Client) -> bool:
    return client.get("/").status_code == 200


def test_somebody_whom_the_provider_knows_gets_an_account_and_is_led_where_they_were_going(
    provider: OidcProvider, client: Client
) -> None:
    provider.know("g-1", **WHO, groups=["a"])
    page = client.get("/accounts/login/?next=/schedules/").content.decode()
    assert "Continue with Example ID" in page
    assert "/accounts/oidc/login/?next=%2Fschedules%2F" in page
    answer = log_in(client, "?next=%2Fschedules%2F")
    assert (answer.status_code, answer["Location"]) == (302, "/schedules/")
    user = User.objects.get()
    assert (user.username, user.first_name, user.email) == ("grace", "Grace", "grace@example.org")
    assert not user.has_usable_password()
    assert not user.is_staff
    assert not user.groups.exists()
    assert is_in(client)
    account = SocialAccount.objects.get()
    assert (account.provider, account.uid, account.extra_data) == (provider.issuer, "g-1", {})
    assert find_login(client.cookies["sessionid"].value) is not None


def test_no_token_of_the_provider_is_stored_in_the_clear(provider: OidcProvider, client: Client) -> None:
    provider.know("g-2", **WHO)
    log_in(client)
    row = ProviderLogin.objects.get()
    assert row.access_token == ""
    refresh = decrypt_text(row.refresh_token)
    assert refresh
    assert refresh not in str(dict(client.session))
    assert row.refresh_token != refresh


def test_a_renamed_user_of_the_provider_gets_the_same_account(provider: OidcProvider) -> None:
    provider.know("g-3", **WHO)
    log_in(Client())
    provider.know("g-3", **{**WHO, "preferred_username": "hopper", "email": "other@example.org"})
    log_in(Client())
    assert User.objects.get().username == "grace"


def test_accounts_are_never_joined_by_name_or_address(provider: OidcProvider, client: Client) -> None:
    local = making.user("grace", email="grace@example.org")
    provider.know("g-4", **WHO)
    log_in(client)
    made = User.objects.exclude(pk=local.pk).get()
    assert made.username == "grace-2"
    assert client.get("/accounts/").context["user"] == made


def test_the_same_sub_of_another_issuer_is_another_account(provider: OidcProvider, client: Client) -> None:
    other = making.user("root")
    SocialAccount.objects.create(user=other, provider="https://elsewhere.example", uid="g-5")
    provider.know("g-5", **WHO)
    log_in(client)
    assert client.get("/accounts/").context["user"].username == "grace"


@pytest.mark.parametrize(
    ("claimed", "groups", "is_staff"),
    [
        (["idp-a"], {"team"}, False),
        (["idp-a", "idp-b", "unknown"], {"team", "others"}, False),
        (["idp-boss"], set(), True),
        (["admin", "staff", "is_staff"], set(), False),
        ([], set(), False),
        ("idp-a", {"team"}, False),
        ({"idp-a": True}, set(), False),
        ([["idp-a"], 7, None], set(), False),
    ],
)
def test_claims_become_the_groups_that_a_rule_names_and_staff_only_by_one(
    provider: OidcProvider, settings: Any, client: Client, claimed: Any, groups: set[str], is_staff: bool
) -> None:
    use_provider(
        settings, provider.issuer, OIDC_GROUPS={"idp-a": "team", "idp-b": "others"}, OIDC_STAFF_GROUPS=["idp-boss"]
    )
    provider.know("g-6", **WHO, groups=claimed)
    log_in(client)
    user = User.objects.get()
    assert set(user.groups.values_list("name", flat=True)) == groups
    assert (user.is_staff, user.is_superuser) == (is_staff, False)


def test_groups_are_read_again_at_each_login_and_those_given_by_hand_stay(
    provider: OidcProvider, settings: Any
) -> None:
    use_provider(
        settings, provider.issuer, OIDC_GROUPS={"idp-a": "team", "idp-b": "others"}, OIDC_STAFF_GROUPS=["idp-b"]
    )
    provider.know("g-7", **WHO, groups=["idp-a", "idp-b"])
    log_in(Client())
    user = User.objects.get()
    user.groups.add(Group.objects.create(name="by hand"))
    assert user.is_staff
    provider.know("g-7", **WHO, groups=["idp-a"])
    log_in(Client())
    user.refresh_from_db()
    assert set(user.groups.values_list("name", flat=True)) == {"team", "by hand"}
    assert not user.is_staff


def test_a_user_in_no_allowed_group_is_refused(provider: OidcProvider, settings: Any, client: Client) -> None:
    use_provider(settings, provider.issuer, OIDC_ALLOWED_GROUPS=["staff-of-ours"])
    provider.know("g-8", **WHO, groups=["visitors"])
    answer = log_in(client)
    assert answer.status_code == 403
    assert "none of the groups" in answer.content.decode()
    assert not User.objects.exists()
    assert not is_in(client)


def test_turning_back_is_told(provider: OidcProvider, client: Client) -> None:
    provider.cancel_next()
    answer = log_in(client)
    assert answer.status_code == 403
    assert "You did not log in at Example ID" in answer.content.decode()


#: How a logged-in user loses access at the provider.
ENDS: dict[str, Callable[[OidcProvider, Any], Any]] = {
    "the provider knows them no more": lambda provider, settings: provider.forget("g-9"),
    "they have left the groups that are let in": lambda provider, settings: (
        setattr(settings, "OIDC_ALLOWED_GROUPS", ["ours"]),
        provider.know("g-9", **WHO, groups=["others"]),
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_user_refused_by_a_recheck_is_logged_out_everywhere(provider: OidcProvider, settings: Any, end: str) -> None:
    provider.know("g-9", **WHO, groups=["ours"])
    one, two = Client(), Client()
    log_in(one)
    log_in(two)
    user = User.objects.get()
    make_due()
    assert not rechecks.check_due(), "all is well, and nothing has changed"
    assert is_in(one)
    ENDS[end](provider, settings)
    assert not rechecks.check_due(), "it is not time yet"
    make_due()
    assert rechecks.is_due()
    assert rechecks.check_due()
    assert not is_in(one)
    assert not is_in(two)
    assert find_login(one.cookies["sessionid"].value) is None
    user.refresh_from_db()
    assert user.is_active, "that is for staff to say"
    assert not user.may_enter
    # A password does not let them in either.
    user.set_password(PASSWORD)
    user.save()
    answer = two.post("/accounts/login/", {"username": "grace", "password": PASSWORD})
    assert answer.status_code == 403
    # When access is restored, they log in again; ended logins stay ended.
    settings.OIDC_ALLOWED_GROUPS = []
    provider.know("g-9", **WHO)
    log_in(three := Client())
    assert is_in(three)
    assert not is_in(one)


def test_groups_and_standing_are_read_again_while_one_is_in(
    provider: OidcProvider, settings: Any, client: Client
) -> None:
    use_provider(settings, provider.issuer, OIDC_GROUPS={"idp-a": "team"}, OIDC_STAFF_GROUPS=["boss"])
    provider.know("g-10", **WHO, groups=["idp-a", "boss"])
    log_in(client)
    for claimed, groups, is_staff in ([], set(), False), (["idp-a"], {"team"}, False):
        provider.know("g-10", **WHO, groups=claimed)
        make_due()
        assert rechecks.check_due()
        user = User.objects.get()
        assert (set(user.groups.values_list("name", flat=True)), user.is_staff) == (groups, is_staff)
    assert is_in(client)


def test_while_the_provider_is_away_its_last_answer_holds(provider: OidcProvider, client: Client) -> None:
    provider.know("g-11", **WHO)
    log_in(client)
    provider.stop()
    try:
        for kept in (True, False):
            if not kept:
                provider_module.forget_documents()
            make_due()
            assert not rechecks.check_due()
            assert is_in(client)
            assert ProviderLogin.objects.get().next_check_at is not None
        answer = Client().get("/accounts/oidc/login/")
        assert answer.status_code == 503
        assert "does not answer as it should" in answer.content.decode()
    finally:
        provider.start()
    # It has forgotten all users: its tokens are invalid now, and it says so.
    provider_module.forget_documents()
    make_due()
    assert rechecks.check_due()
    assert not is_in(client)


def test_an_account_that_staff_have_deactivated_stays_out(provider: OidcProvider, client: Client) -> None:
    provider.know("g-12", **WHO)
    log_in(Client())
    User.objects.update(is_active=False)
    answer = log_in(client)
    assert answer.status_code == 403
    assert "lets nobody in" in answer.content.decode()
    assert not is_in(client)


def test_the_second_factor_is_asked_for_after_the_provider_too(provider: OidcProvider, client: Client) -> None:
    provider.know("g-15", **WHO)
    log_in(Client())
    secret = generate_totp_secret()
    TOTP.activate(User.objects.get(), secret)
    assert log_in(client, "?next=/schedules/")["Location"] == "/accounts/second-factor/"
    assert not is_in(client)
    refresh = decrypt_text(ProviderLogin.objects.get().refresh_token)
    assert refresh
    assert refresh not in str(dict(client.session))
    code = format_hotp_value(hotp_value(secret, int(time.time()) // 30))
    assert client.post("/accounts/second-factor/", {"code": code})["Location"] == "/schedules/"
    assert is_in(client)


def test_a_required_second_factor_is_set_up_after_the_provider_too(
    provider: OidcProvider, settings: Any, client: Client
) -> None:
    settings.MFA_REQUIRED = "all"
    provider.know("g-16", **WHO)
    assert log_in(client)["Location"] == "/accounts/second-factor/required/"
    assert not is_in(client)


def test_an_account_without_a_password_confirms_by_the_provider(provider: OidcProvider, client: Client) -> None:
    provider.know("g-17", **WHO)
    log_in(client)
    assert client.get("/accounts/password_change/").status_code == 404
    assert client.get("/accounts/security/app/").status_code == 200, "they have just logged in"
    session = client.session
    session["account_authentication_methods"][0]["at"] -= 3600
    session.save()
    where = client.get("/accounts/security/app/")["Location"]
    page = client.get(where).content.decode()
    assert 'type="password"' not in page
    assert "/accounts/oidc/login/?again=1&amp;next=%2Faccounts%2Fsecurity%2Fapp%2F" in page
    begun = client.get("/accounts/oidc/login/?again=1&next=%2Faccounts%2Fsecurity%2Fapp%2F")
    assert "prompt=login" in begun["Location"]
    assert log_in(client, "?next=%2Faccounts%2Fsecurity%2Fapp%2F")["Location"] == "/accounts/security/app/"
    assert client.get("/accounts/security/app/").status_code == 200


@pytest.mark.parametrize(
    "place", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "javascript:alert(1)"]
)
def test_a_login_by_the_provider_never_redirects_to_another_site(
    provider: OidcProvider, client: Client, place: str
) -> None:
    provider.know("g-13", **WHO)
    assert log_in(client, f"?next={place}")["Location"] == "/"


def test_another_site_cannot_have_somebody_logged_in(provider: OidcProvider, client: Client) -> None:
    answer = client.get("/accounts/oidc/login/?next=/schedules/", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer["Location"] == "/accounts/login/?next=%2Fschedules%2F"


def test_the_answer_to_somebody_else_s_question_is_none(provider: OidcProvider) -> None:
    """A login that an attacker has begun cannot be completed in another browser, nor twice."""
    provider.know("g-14", **WHO)
    attacker, victim = Client(), Client()
    back = oidc.walk(attacker.get("/accounts/oidc/login/")["Location"], "http://testserver").removeprefix(
        "http://testserver"
    )
    victim.get("/accounts/oidc/login/")
    assert victim.get(back).status_code == 403
    assert not is_in(victim)
    assert attacker.get(back).status_code == 302
    assert Client().get(back).status_code == 403


def test_the_request_to_the_provider_is_bound_to_the_session(provider: OidcProvider, client: Client) -> None:
    asked = client.get("/accounts/oidc/login/?scope=admin&process=connect&auth_params=x%3Dy")["Location"]
    for part in ("state=", "nonce=", "code_challenge=", "code_challenge_method=S256", "response_type=code"):
        assert part in asked
    assert "admin" not in asked
    assert "x=y" not in asked


def test_without_a_provider_there_is_no_such_page(client: Client) -> None:
    assert client.get("/accounts/oidc/login/").status_code == 404
    assert client.get("/accounts/oidc/callback/?code=x&state=y").status_code == 404
    assert b"Continue with" not in client.get("/accounts/login/").content


def test_a_logout_leads_to_the_logout_of_the_provider(provider: OidcProvider, client: Client) -> None:
    provider.know("g-20", **WHO)
    with requests.Session() as browser:
        log_in(client, own=browser)
        left = client.post("/accounts/logout/")
        assert (left.status_code, left["Location"]) == (302, "/accounts/oidc/logout/")
        assert not is_in(client)
        page = client.get("/accounts/oidc/logout/").content.decode()
        (address,) = re.findall(r'href="([^"]+)" rel="noreferrer"', page)
        asked = browser.get(unescape(address))
        confirmed = dict(re.findall(r'name="(xsrf)" value="([^"]+)"', asked.text))
        (there,) = re.findall(r'action="([^"]+)"', asked.text)
        back = browser.post(there, {**confirmed, "logout": "yes"}, allow_redirects=False)
        assert back.headers["Location"].startswith("http://testserver/accounts/login/")
        # Another user does not get in with the cookies that are left.
        provider.cancel_next()
        assert log_in(Client(), own=browser).status_code == 403


def test_a_logout_leads_to_the_login_after_a_password(provider: OidcProvider, client: Client) -> None:
    client.force_login(making.user("ada"))
    assert client.post("/accounts/logout/")["Location"] == "/accounts/login/"


#: What a provider may say about its logout page.
OFFERS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no address": {"end_session_endpoint": 7},
    "not by https": {"end_session_endpoint": "ftp://example.org/"},
}


@pytest.mark.parametrize("offer", OFFERS)
def test_a_logout_leads_to_the_login_where_the_provider_has_none(
    provider: OidcProvider, client: Client, monkeypatch: pytest.MonkeyPatch, offer: str
) -> None:
    endpoints = {
        name: value for name, value in provider_module.find_endpoints().items() if name != "end_session_endpoint"
    }
    provider_module.forget_documents()
    monkeypatch.setattr(provider_module, "_as_object", lambda _: endpoints | OFFERS[offer])
    assert client.get("/accounts/oidc/logout/")["Location"] == "/accounts/login/"
    provider_module.forget_documents()


def test_the_page_after_a_logout_is_not_shown_to_logged_in_users(provider: OidcProvider, client: Client) -> None:
    client.force_login(making.user("ada"))
    assert client.get("/accounts/oidc/logout/")["Location"] == "/"
