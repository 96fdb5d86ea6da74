"""Branches, copies and transfers by forms, without scripts."""

import re
from collections.abc import Iterator

import pytest
from django.test import Client

from chat import access
from chat.accounts.models import User
from chat.models import Act, AuditEntry, Door, OwnerOffer, Run, Session
from chat.runs import registry as run_registry
from chat.runs import sharing
from chat.runs.sharing import ShareTarget
from chat.runtime import database
from tests.chat import making
from tests.chat.exports import stock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nothing_runs_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(run_registry, "executes_runs", lambda: False)
    yield
    database.close()


@pytest.fixture
def source() -> Session:
    ada = making.user("ada")
    making.user("bo")
    session = stock.fill(ada)
    sharing.make_share(ada, session.pk, ShareTarget(user="bo"), access.Role.WATCHER, None, Door.API)
    return session


def client_of(name: str) -> Client:
    client = Client()
    client.force_login(User.objects.get(username=name))
    return client


def post(client: Client, path: str, **form: str) -> str:
    """Submit a form; returns where it redirects to."""
    answer = client.post(path, form)
    assert answer.status_code == 302, answer.content.decode()[-1500:]
    return str(answer["Location"])


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def quiet(source: Session) -> Run:
    return source.runs.get(message="Briefly?")


@pytest.mark.parametrize("name", ["ada", "bo"])
def test_a_question_is_asked_otherwise_and_both_lead_to_each_other(source: Session, name: str) -> None:
    client, run = client_of(name), quiet(source)
    path = f"/runs/{run.pk}/branch/"
    assert f'href="{path}"' in client.get(f"/sessions/{source.pk}/").content.decode()
    form = client.get(path).content.decode()
    assert "Briefly?</textarea>" in form
    key = re.search(r'name="form_key" value="(\w+)"', form)
    assert key is not None
    given = {"message": "At length?", "agent_name": "writer", "form_key": key[1]}
    there = post(client, path, **given)
    assert post(client, path, **given) == there, "sent twice is one session"
    made = Session.objects.get(copied_from=source.pk)
    assert there == f"/sessions/{made.pk}/"
    before = quiet(source).steps.order_by("position").values_list("seq", flat=True)[0] - 1
    assert (made.owner.username, made.parted_after) == (name, before)
    assert list(made.runs.filter(copied_from=None).values_list("message", "agent_name")) == [("At length?", "writer")]
    page = client.get(there).content.decode()
    assert f'id="after-{before}"' in page
    assert "Branch 2 of 2" in words(page)
    back = re.search(r'rel="prev" href="([^"]*)"', page)
    assert back is not None
    assert back[1] == f"/sessions/{source.pk}/?at={before}#after-{before}"
    assert "Branch 1 of 2" in words(client.get(back[1]).content.decode())


def test_branches_of_others_are_not_shown(source: Session) -> None:
    post(client_of("bo"), f"/sessions/{source.pk}/copy/")
    assert "Branch" not in words(client_of("ada").get(f"/sessions/{source.pk}/").content.decode())


def test_a_branch_begins_at_the_end_of_an_earlier_run(source: Session) -> None:
    client, first = client_of("ada"), source.runs.get(number=1, parent=None)
    there = post(client, f"/runs/{first.pk}/branch/", on="1", message="", agent_name="")
    made = Session.objects.get(copied_from=source.pk)
    assert there == f"/sessions/{made.pk}/"
    assert made.last_seq == first.steps.order_by("-position").values_list("seq", flat=True)[0]
    assert made.runs.filter(copied_from=None).count() == 0


ODD = {"no words": ({"message": " "}, 400), "an agent that is none": ({"message": "Why?", "agent_name": "x"}, 400)}


@pytest.mark.parametrize("odd", ODD)
def test_a_refused_branch_says_why_and_keeps_the_typed_text(source: Session, odd: str) -> None:
    form, status = ODD[odd]
    answer = client_of("ada").post(f"/runs/{quiet(source).pk}/branch/", form)
    assert answer.status_code == status
    assert 'role="alert"' in answer.content.decode()
    assert f"{form['message']}</textarea>" in answer.content.decode()
    assert Session.objects.count() == 1


def test_a_session_is_offered_and_taken_over_by_forms(source: Session) -> None:
    ada, bo = client_of("ada"), client_of("bo")
    share = f"/sessions/{source.pk}/share/"
    assert post(ada, share, owner="bo") == share
    assert "You have asked bo to take this session over." in words(ada.get(share).content.decode())
    assert post(ada, share, withdraw_offer="1") == share
    assert not OwnerOffer.objects.exists()
    post(ada, share, owner="bo")
    assert "ada asks you to take over" in words(bo.get("/sessions/").content.decode())
    assert post(bo, f"/sessions/{source.pk}/owner/", decline="1") == "/sessions/"
    post(ada, share, owner="bo")
    assert post(bo, f"/sessions/{source.pk}/owner/", accept="1") == f"/sessions/{source.pk}/"
    source.refresh_from_db()
    assert source.owner.username == "bo"
    assert ada.get(share).status_code == 404
    assert post(ada, f"/sessions/{source.pk}/leave/") == "/sessions/"
    assert ada.get(f"/sessions/{source.pk}/").status_code == 404
    unknown = bo.post(share, {"owner": "nobody"})
    assert unknown.status_code == 400


def test_the_list_shows_a_family_as_one(source: Session) -> None:
    client = client_of("ada")
    post(client, f"/sessions/{source.pk}/copy/")
    post(client, f"/sessions/{source.pk}/copy/")
    listed = client.get("/sessions/").content.decode()
    assert listed.count('class="line-row"') == 1
    assert "3 branches" in words(listed)
    # A search finds each of them.
    assert client.get("/sessions/?status=completed").content.decode().count('class="line-row"') == 3


def test_two_runs_stand_side_by_side(source: Session) -> None:
    client, first = client_of("bo"), source.runs.get(number=1, parent=None)
    second = source.runs.get(message=stock.HOSTILE)
    page = client.get(f"/compare/?a={first.pk}&b={second.pk}").content.decode()
    assert page.count('class="beside') > 2
    assert "<ins>" in page
    # A model's own text is rendered as Markdown, as everywhere.
    assert page.count('<div class="prose"><') > 1
    assert "unrendered" not in page
    assert "<script>alert" not in page
    # Which runs can be compared; an address is accepted; a run that the user may not see does not exist.
    offered = client.get(f"/compare/?a={first.pk}").content.decode()
    assert f"b={second.pk}" in offered
    for address in (
        f"http://x/runs/{second.pk}/",
        f"http://x/sessions/{source.pk}/#run-{second.pk}",
        f" {second.pk}\n",
    ):
        shown = client.get("/compare/", {"a": first.pk, "b": address})
        assert shown.context["right"] == second
    hidden = making.run(making.session(making.user("cy")))
    for odd in (hidden.pk, "x", ""):
        assert client.get("/compare/", {"a": odd, "b": first.pk}).status_code == 404
    assert client.get("/compare/", {"a": first.pk, "b": hidden.pk}).status_code == 404


def test_two_runs_of_one_question_are_told_apart_by_version_and_time(source: Session) -> None:
    client, question = client_of("bo"), "Why is tea hot?"
    runs = []
    for number in range(2):
        runs.append(making.run(source, message=question, client_message_id=f"same{number}"))
        making.end(runs[-1])
    page = client.get(f"/compare/?a={runs[0].pk}&b={runs[1].pk}").content.decode()
    heads = re.findall(r'<h2>\s*(<span class="side">.*?)</h2>', page, re.DOTALL)
    headings = [" ".join(re.sub(r"<[^>]*>", " ", head).split()) for head in heads]
    assert [head.startswith(f"{n} Researcher 1 ·") for n, head in enumerate(headings, start=1)] == [True, True]
    assert page.count(question) == 1


def test_a_user_of_a_share_link_compares_runs_until_it_is_withdrawn(source: Session) -> None:
    making.user("guest")
    first, second = source.runs.get(number=1, parent=None), source.runs.get(message=stock.HOSTILE)
    address, guest = f"/compare/?a={first.pk}&b={second.pk}", client_of("guest")
    assert guest.get(address).status_code == 404
    share, secret = sharing.make_share(
        source.owner, source.pk, sharing.ShareTarget(link=True), access.Role.WATCHER, None, Door.API
    )
    assert guest.post(f"/s/{secret}/").status_code == 302
    assert guest.get(address).status_code == 200
    sharing.withdraw_share(source.owner, share.pk, Door.API)
    assert guest.get(address).status_code == 404


@pytest.mark.parametrize(("name", "may_copy"), [("ada", True), ("bo", True), ("staff", False)])
def test_links_to_branch_are_only_shown_to_those_who_may(source: Session, name: str, may_copy: bool) -> None:
    """Staff view and compare, which is recorded; they cannot copy, so no run has a link to branch."""
    making.staff(access.VIEW_SESSIONS)
    client, run = client_of(name), quiet(source)
    page = client.get(f"/sessions/{source.pk}/").content.decode()
    ways = re.findall(r'<a [^>]*data-slot="branch"[^>]*>', page)
    # For existing runs, and for those that arrive later.
    assert len(ways) > 2
    assert {" hidden" in way for way in ways} == {not may_copy}
    assert client.get(f"/runs/{run.pk}/branch/").status_code == (200 if may_copy else 403)
    assert (f'action="/sessions/{source.pk}/copy/"' in page) == may_copy
    assert f'href="/compare/?a={run.pk}"' in page
    assert client.get(f"/compare/?a={run.pk}").status_code == 200
    looks = AuditEntry.objects.filter(
        actor_id=User.objects.get(username=name).pk, session_id=source.pk, action=Act.VIEW
    )
    assert looks.exists() == (name == "staff")
