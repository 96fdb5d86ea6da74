"""The page on which a session is shared, by forms without scripts, and the page behind a share link."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from chat.accounts.models import User
from chat.models import Session, Share
from chat.runs.sharing import MOST_SHARES
from tests.chat import making

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return making.user("ada")


@pytest.fixture
def session(ada: User) -> Session:
    return making.session(ada, title="Apples")


@pytest.fixture
def client(ada: User) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def made_link(client: Client, session: Session) -> str:
    """The path of a new link that shares a session."""
    shown = client.post(f"/sessions/{session.pk}/share/", {"kind": "link"})
    match = re.search(r'value="http://testserver(/s/[\w-]+/)"', shown.content.decode())
    assert match is not None
    return match[1]


def test_a_session_is_shared_changed_and_withdrawn_by_forms(client: Client, session: Session, ada: User) -> None:
    making.user("bo")
    ada.groups.add(Group.objects.create(name="team"))
    page = f"/sessions/{session.pk}/share/"
    form = {"kind": "user", "user": " bo ", "role": "driver", "days": "7"}
    assert client.post(page, form).headers["Location"] == page
    assert client.post(page, {"kind": "group", "group": "team", "role": "watcher", "days": ""}).status_code == 302
    by_name = {str(share.user or share.group): share for share in Share.objects.select_related("user", "group")}
    assert {name: share.role for name, share in by_name.items()} == {"bo": "driver", "team": "watcher"}
    assert by_name["bo"].expires_at is not None
    assert by_name["team"].expires_at is None
    client.post(page, {"share": str(by_name["team"].pk), "role": "driver"})
    client.post(page, {"share": str(by_name["bo"].pk), "withdraw": "1"})
    assert list(Share.objects.values_list("group__name", "role")) == [("team", "driver")]


def test_a_link_is_shown_once_and_joins_by_a_button(client: Client, session: Session) -> None:
    page = f"/sessions/{session.pk}/share/"
    link = made_link(client, session)
    assert link not in client.get(page).content.decode()
    assert client.get(link).headers["Location"] == f"/sessions/{session.pk}/", "its owner is there already"
    bo = Client()
    bo.force_login(making.user("bo"))
    assert "Join as a watcher" in bo.get(link).content.decode()
    assert bo.get(f"/sessions/{session.pk}/").status_code == 404
    assert bo.post(link).headers["Location"] == f"/sessions/{session.pk}/"
    assert "You are watching" in bo.get(f"/sessions/{session.pk}/").content.decode()
    assert "Apples" in bo.get("/sessions/?shared=true").content.decode()
    assert "Apples" not in bo.get("/sessions/").content.decode()


def test_an_expired_share_opens_nothing_and_counts_for_no_limit(client: Client, session: Session) -> None:
    page = f"/sessions/{session.pk}/share/"
    link = made_link(client, session)
    bo = Client()
    bo.force_login(making.user("bo"))
    over = timezone.now() - timedelta(seconds=1)
    Share.objects.update(expires_at=over)
    assert [bo.get(link).status_code, bo.post(link).status_code] == [404, 404]
    Share.objects.bulk_create(
        Share(session=session, role="watcher", link_hash=str(number), expires_at=over) for number in range(MOST_SHARES)
    )
    assert client.post(page, {"kind": "user", "user": "bo", "role": "watcher"}).status_code == 302
    assert [share.user_id for share in Share.objects.all()] == [User.objects.get(username="bo").pk]


def test_a_link_lets_nobody_in_while_its_owners_account_is_not_active(
    client: Client, session: Session, ada: User
) -> None:
    link = made_link(client, session)
    bo, cy = Client(), Client()
    bo.force_login(making.user("bo"))
    cy.force_login(making.user("cy"))
    bo.post(link)
    ada.is_active = False
    ada.save()
    assert [cy.get(link).status_code, cy.post(link).status_code] == [404, 404]
    # Who has joined before still watches, as those whom the owner has named do.
    assert [each.get(f"/sessions/{session.pk}/").status_code for each in (cy, bo)] == [404, 200]
    ada.is_active = True
    ada.save()
    assert cy.post(link).status_code == 302, "it is the same link again"


def test_a_refused_share_shows_the_error_and_the_typed_text(client: Client, session: Session) -> None:
    page = f"/sessions/{session.pk}/share/"
    refused = client.post(page, {"kind": "user", "user": "<b>nobody", "role": "driver", "days": "7"})
    assert refused.status_code == 400
    words = refused.content.decode()
    assert 'value="driver" selected' in words
    assert 'value="7" selected' in words
    assert "&lt;b&gt;nobody" in words
    assert "<b>nobody" not in words
    assert client.post(page, {"share": str(session.pk), "role": "driver"}).status_code == 404
