"""The page of what is at work now: complete, bounded, and only with the permission; and the figures on the admin's first page."""

import re
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from chat.accounts.models import User
from chat.models import Act, AuditEntry, Connection, ModelCall, Process, Run, RunStatus, Session
from chat.store import at_work
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)
NOW = "admin:chat_run_now"


@pytest.fixture
def ada() -> User:
    return making.user("ada")


def read(client: Client, **query: str) -> str:
    answer = client.get(reverse(NOW), query)
    assert answer.status_code == 200
    return answer.content.decode()


def at(run: Run, **fields: Any) -> Run:
    Run.objects.filter(pk=run.pk).update(**fields)
    run.refresh_from_db()
    return run


def called(session: Session, run: Run, provider: str, *errors: str) -> None:
    for number, error in enumerate(errors, 1):
        ModelCall.objects.create(
            session=session, run=run, iteration=number, attempt=1, model="m", provider=provider, parameters="{}",
            tool_names="[]", depth=0, messages="[]", started_at=timezone.now(), error=error,
        )  # fmt: skip


@pytest.mark.usefixtures("on_each_database")
def test_the_page_of_current_runs_shows_what_is_at_work(client: Client) -> None:
    ada = making.user("ada")
    client.force_login(making.staff("chat.view_run"))
    now = timezone.now()
    session = making.session(ada)
    busy = at(making.run(session, message="busy one", owned_by="web:1:a"), heartbeat_at=now)
    making.append(busy, making.step("iteration_start"))
    making.run(session, message="queued behind", owned_by="")
    hung = making.run(making.session(ada), message="hung one", owned_by="web:2:b")
    at(hung, heartbeat_at=now - timedelta(seconds=settings.RUN_LEASE_S))
    at(making.run(making.session(ada), message="over"), status=RunStatus.COMPLETED, ended_at=now)
    at(
        making.run(
            making.session(ada),
            message="broken",
        ),
        status=RunStatus.FAILED,
        code="model_timeout",
        ended_at=now,
    )
    at(making.run(making.session(ada), message="long ago"), status=RunStatus.FAILED, ended_at=now - timedelta(hours=3))
    hidden = making.session(ada)
    making.run(hidden, message="deleted")
    Session.objects.filter(pk=hidden.pk).update(deleted_at=now)
    Process.objects.create(name="web:1:a", seen_at=now, noticed="The clock is wrong.")
    Process.objects.create(name="web:2:b", seen_at=now - timedelta(minutes=5))
    Connection.objects.create(process="web:1:a", session=session, user=ada, role="owner")
    called(session, busy, "cluster", "", "refused: overloaded", "stopped")
    content = read(client)
    for words in ("busy one", "queued behind", "hung one", "broken", "model_timeout", "web:2:b", "The clock is wrong."):
        assert words in content, words
    for words in ("over · ", "long ago", "deleted"):
        assert words not in content, words
    rows = {row["run"].message: row for row in client.get(reverse(NOW)).context["runs"]}
    assert {name: row["is_stuck"] for name, row in rows.items()} == {
        "busy one": False, "hung one": True, "queued behind": False,
    }  # fmt: skip
    assert (rows["busy one"]["iteration"], rows["queued behind"]["iteration"]) == (1, None)
    context = client.get(reverse(NOW)).context
    assert [(each.name, each.runs, each.sockets, each.is_silent) for each in context["processes"]] == [
        ("web:1:a", 1, 1, False),
        ("web:2:b", 1, 0, True),
    ]
    [server] = context["servers"]
    assert (server.name, server.calls, server.failed, server.last_error) == ("cluster", 3, 1, "refused: overloaded")


#: Somebody's permissions, and the actions that are offered for a run at work and for a failed one.
MAY: dict[str, tuple[tuple[str, ...], set[str], set[str]]] = {
    "look": (("chat.view_run",), set(), set()),
    "stop": (("chat.view_run", "chat.stop_run"), {"stop"}, set()),
    "change": (("chat.view_run", "chat.change_run"), {"interrupt"}, {"continue"}),
}


@pytest.mark.parametrize("name", MAY)
def test_acts_are_offered_and_done_by_permission(name: str, client: Client, ada: User) -> None:
    permissions, while_live, when_ended = MAY[name]
    client.force_login(making.staff(*permissions))
    live = making.run(making.session(ada), message="live one")
    failed = at(making.run(making.session(ada), message="failed one"), status=RunStatus.FAILED, ended_at=timezone.now())
    offered = set(re.findall(r"/act/(\w+)/\?id=([0-9a-f-]+)&amp;back=now", read(client)))
    assert offered == {(act, str(live.pk)) for act in while_live} | {(act, str(failed.pk)) for act in when_ended}
    for act, run in (("stop", live), ("interrupt", live), ("continue", failed)):
        address = reverse("admin:chat_run_act", args=[act])
        if (act, str(run.pk)) in offered:
            asked = client.get(address, {"id": run.pk, "back": "now"}).content.decode()
            assert f'href="{reverse(NOW)}"' in asked
        answer = client.post(address, {"id": run.pk, "back": "now"})
        expected = (302, reverse(NOW)) if (act, str(run.pk)) in offered else (403, None)
        assert (answer.status_code, answer.get("Location")) == expected, act
        entries = AuditEntry.objects.filter(action=act, session_id=run.session_id)
        assert entries.count() == (1 if expected[0] == 302 else 0), act


def test_an_interrupted_run_is_continued_for_the_user_who_asked(client: Client, ada: User) -> None:
    staff = making.staff("chat.view_run", "chat.change_run")
    client.force_login(staff)
    run = at(making.run(making.session(ada)), status=RunStatus.INTERRUPTED, ended_at=timezone.now())
    page = client.post(reverse("admin:chat_run_act", args=["continue"]), {"id": run.pk}, follow=True)
    assert ["is continued, as a new run." in str(message) for message in page.context["messages"]] == [True]
    again = Run.objects.get(continues=run)
    assert (again.user, again.session_id) == (ada, run.session_id)
    entry = AuditEntry.objects.get(action=Act.CONTINUE)
    assert (entry.actor_id, entry.subject_id, entry.run_id) == (staff.pk, ada.pk, run.pk)
    page = client.post(reverse("admin:chat_run_act", args=["continue"]), {"id": run.pk}, follow=True)
    assert ["latest run" in str(message) for message in page.context["messages"]] == [True]
    for odd in ("elsewhere", "https://evil.example/", "now\n"):
        answer = client.post(reverse("admin:chat_run_act", args=["continue"]), {"id": run.pk, "back": odd})
        assert answer["Location"] == reverse("admin:chat_run_changelist")


def test_a_part_is_asked_for_by_few_statements_however_much_there_is(client: Client, ada: User) -> None:
    client.force_login(making.staff("chat.view_run", "chat.stop_run"))
    asked = []
    for more in (1, 12):
        for _ in range(more):
            making.run(making.session(ada))
        read(client, part="1")
        with CaptureQueriesContext(connection) as queries:
            content = read(client, part="1")
        asked.append(len(queries))
    assert asked[0] == asked[1] <= 16, asked
    assert "<html" not in content
    assert content.count("/act/stop/") == 13


def test_the_page_of_current_runs_is_bounded(client: Client, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_work, "MOST", 3)
    client.force_login(making.staff("chat.view_run"))
    for n in range(4):
        making.run(making.session(ada), message=f"number {n}")
    content = read(client)
    assert [f"number {n}" in content for n in range(4)] == [True, True, True, False]
    assert "The first 3 of them." in content


def test_only_those_who_may_see_runs_get_there_and_their_look_is_noted(client: Client, ada: User) -> None:
    for who, status in ((making.staff(name="bare"), 403), (ada, 302), (making.staff("chat.view_run"), 200)):
        client.force_login(who)
        assert client.get(reverse(NOW)).status_code == status
        assert client.get(reverse(NOW), {"part": "1"}).status_code == status
        assert (reverse(NOW) in client.get(reverse("admin:index")).content.decode()) is (status == 200)
    assert AuditEntry.objects.get(action=Act.VIEW).actor_id == User.objects.get(username="staff").pk


def test_the_first_page_counts_today_and_leads_to_what_it_counts(client: Client, ada: User) -> None:
    client.force_login(making.staff("chat.view_run"))
    now = timezone.now()
    for status, code, ended_at in (
        (RunStatus.FAILED, "model_auth", now),
        (RunStatus.FAILED, "model_auth", now),
        (RunStatus.FAILED, "internal", now - timedelta(days=2)),
        (RunStatus.INTERRUPTED, "", now),
    ):
        at(making.run(making.session(ada)), status=status, code=code, ended_at=ended_at)
    making.run(making.session(ada))
    answer = client.get(reverse("admin:index"))
    tiles = {words: (number, page) for words, number, page, _ in answer.context["tiles"]}
    counted = {words: number for words, (number, _) in tiles.items()}
    assert counted == {
        "At work": 1, "In the queue": 0, "Failed today": 2, "Interrupted today": 1, "Silent processes": 0,
    }  # fmt: skip
    assert answer.context["codes"] == [("model_auth", 2)]
    for words, rows in (("Failed today", 2), ("Interrupted today", 1), ("In the queue", 0)):
        shown = client.get(tiles[words][1])
        assert len(shown.context["cl"].result_list) == rows, words


def test_a_run_s_page_has_its_audit_for_those_who_may_see_that(client: Client, ada: User) -> None:
    run = making.run(making.session(ada))
    client.force_login(making.staff("chat.view_run", "chat.stop_run"))
    client.post(reverse("admin:chat_run_act", args=["stop"]), {"id": run.pk})
    address = reverse("admin:chat_run_change", args=[run.pk])
    assert 'id="audit"' not in client.get(address).content.decode()
    client.force_login(making.staff("chat.view_run", "chat.view_auditentry", name="auditor"))
    answer = client.get(address)
    assert [row["act"] for row in answer.context["audit"]] == ["Stopped", "Looked at"]
    assert 'id="audit"' in answer.content.decode()


def test_failed_logins_are_shown_without_what_was_sent_and_one_may_be_let_in_again(client: Client) -> None:
    attempt = AccessAttempt.objects.create(
        username="ada", ip_address="192.0.2.7", path_info="/accounts/login/", post_data="secret=1", get_data="secret=2",
        failures_since_start=9,
    )  # fmt: skip
    client.force_login(making.staff("axes.view_accessattempt", "axes.view_accessfailurelog"))
    page = reverse("admin:axes_accessattempt_change", args=[attempt.pk])
    for address in (page, reverse("admin:axes_accessattempt_changelist")):
        content = client.get(address).content.decode()
        assert "192.0.2.7" in content
        assert "secret" not in content
    assert client.get(reverse("admin:axes_accessfailurelog_changelist")).status_code == 200
    delete = reverse("admin:axes_accessattempt_delete", args=[attempt.pk])
    assert client.post(delete, {"post": "yes"}).status_code == 403
    client.force_login(making.staff("axes.view_accessattempt", "axes.delete_accessattempt", name="opener"))
    assert client.post(delete, {"post": "yes"}).status_code == 302
    assert not AccessAttempt.objects.exists()
    assert AuditEntry.objects.get(action=Act.DELETE).about == f"accessattempt {attempt.pk}"
