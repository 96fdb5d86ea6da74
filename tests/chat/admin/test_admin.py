"""The operators' view: read-only, complete and fast; its actions say what they have done."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from chat.accounts.models import User
from chat.admin import actions, runs
from chat.models import (
    Act,
    Announcement,
    AuditEntry,
    Connection,
    Door,
    Origin,
    PauseReason,
    Run,
    RunStatus,
    Schedule,
    Session,
    Step,
    Verdict,
)
from chat.runs import notes
from chat.schedules import commands as schedule_commands
from chat.store import step_log
from chat.store.step_log import Entry
from tests.chat import making
from tests.serving import Browser, Server

pytestmark = pytest.mark.django_db(transaction=True)
MODELS = ("session", "run", "step", "connection", "announcement")


@pytest.fixture
def root(client: Client) -> User:
    """A superuser, logged in."""
    user = making.user("root", is_staff=True, is_superuser=True)
    client.force_login(user)
    return user


@pytest.fixture
def ada() -> User:
    return making.user()


def page(client: Client, name: str, *args: Any, **query: Any) -> str:
    answer = client.get(reverse(f"admin:{name}", args=args), query)
    assert answer.status_code == 200, answer.get("Location")
    return answer.content.decode()


def rows(client: Client, model: str, **query: Any) -> list[Any]:
    answer = client.get(reverse(f"admin:chat_{model}_changelist"), query)
    assert answer.status_code == 200, (query, answer.get("Location"))
    return list(answer.context["cl"].result_list)


def talk(owner: User, title: str = "Zoo") -> Run:
    """A run with a thought, a call, its long result, and an answer."""
    run = making.run(making.session(owner, title=title), message="Which animals are shy?")
    start = {
        "agent": "researcher",
        "message": run.message,
        "user": owner.username,
        "enable_reasoning": True,
        "timestamp": 1.5,
    }
    making.append(
        run,
        Entry("reasoning_start", start),
        making.thought("Perhaps <b>okapis</b>."),
        making.step("tool_use", step=2, arguments={"code": "1 + 1"}),
        making.step("tool_result", "z" * 2000, full="z" * 3_000 + "the end of it", step=3, ok=False, duration_ms=1234),
        making.step("final_answer", "Quaggas.", step=4),
    )
    return run


def test_every_list_and_page_opens_and_nothing_can_be_edited(client: Client, root: User, ada: User) -> None:
    run = talk(ada)
    Connection.objects.create(process="p:1:abc", session=run.session, user=ada, role="owner")
    Announcement.objects.create(message="Back at noon.")
    objects = {
        "session": run.session,
        "run": run,
        "step": run.steps.first(),
        "connection": Connection.objects.get(),
        "announcement": Announcement.objects.get(),
    }
    for model, thing in objects.items():
        assert thing is not None
        assert len(rows(client, model)) >= 1
        content = page(client, f"chat_{model}_change", thing.pk)
        assert 'name="_save"' not in content, model
        assert client.post(reverse(f"admin:chat_{model}_change", args=[thing.pk]), {}).status_code == 403, model
        if model != "announcement":
            assert client.get(reverse(f"admin:chat_{model}_add")).status_code == 403, model
            assert (
                client.post(reverse(f"admin:chat_{model}_delete", args=[thing.pk]), {"post": "yes"}).status_code == 403
            )
    assert "p:1:abc" in page(client, "chat_connection_changelist")


def test_pages_run_no_script_of_their_own(client: Client, root: User, ada: User) -> None:
    run = talk(ada)
    for content in (
        page(client, "chat_run_change", run.pk),
        page(client, "chat_run_changelist"),
        page(client, "index"),
    ):
        scripts = re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", content)
        assert all("application/json" in script for script in scripts), scripts
        assert not re.search(r"<[^>]+\son\w+=", content)
        assert not re.search(r"<[^>]+\sstyle=", content)


def test_every_page_names_the_icon(client: Client, root: User) -> None:
    for name in ("index", "chat_run_changelist", "accounts_user_add"):
        [icon] = re.findall(r'<link rel="icon"[^>]* href="([^"]+)"', page(client, name))
        assert icon.startswith("/static/chat/favicon/done")
    client.logout()
    assert 'rel="icon"' in client.get("/admin/login/", follow=True).content.decode()
    assert client.get("/favicon.ico")["Location"] == "/static/chat/favicon/done.svg"


def test_a_run_s_steps_are_read_in_order_with_what_they_say_and_took(client: Client, root: User, ada: User) -> None:
    run = talk(ada)
    content = page(client, "chat_run_change", run.pk)
    texts = ["Which animals", "Perhaps &lt;b&gt;okapis", "1 + 1", "zzzz", "Quaggas."]
    places = [content.index(words, content.index('id="steps"')) for words in texts]
    assert places == sorted(places)
    assert "1.2\N{NO-BREAK SPACE}s" in content
    assert "the end of it" not in content
    result = run.steps.get(type="tool_result")
    address = reverse("admin:chat_step_change", args=[result.pk])
    assert f'href="{address}"' in content
    assert "the end of it" in page(client, "chat_step_change", result.pk)
    assert reverse("run", args=[run.pk]) in content


def test_a_run_links_to_its_public_page_and_back(client: Client, ada: User) -> None:
    run = talk(ada)
    here, there = reverse("admin:chat_run_change", args=[run.pk]), reverse("run", args=[run.pk])
    for rights, leads_there, leads_back in (
        (("chat.view_run",), False, False),
        (("chat.view_session",), False, False),
        (("chat.view_run", "chat.view_session"), True, True),
    ):
        who = making.staff(*rights, name="-".join(rights))
        client.force_login(who)
        answer, people = client.get(here), client.get(there)
        assert (answer.status_code == 200 and there in answer.content.decode()) == leads_there, rights
        assert (people.status_code == 200) == ("chat.view_session" in rights)
        assert (people.status_code == 200 and here in people.content.decode()) == leads_back, rights
        looks = AuditEntry.objects.filter(action=Act.VIEW, session_id=run.session_id, actor_id=who.pk)
        assert {look.door for look in looks} >= ({Door.ADMIN, Door.PAGE} if leads_there else set()), rights
    client.force_login(ada)
    assert here not in client.get(there).content.decode()


def test_a_run_of_many_steps_comes_by_page(
    client: Client, root: User, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_RUN_STEPS", 10)
    run = making.run(making.session(ada))
    making.append(run, *[making.thought(f"thought number {n};", n) for n in range(1, 26)])
    seen: list[str] = []
    after: Any = 0
    while after is not None:
        answer = client.get(reverse("admin:chat_run_change", args=[run.pk]), {"after": after})
        seen += re.findall(r"thought number (\d+);", answer.content.decode())
        after = answer.context["next"]
    assert seen == [str(n) for n in range(1, 26)]
    for odd in ("x", "-1", "9" * 30, "٣"):
        assert client.get(reverse("admin:chat_run_change", args=[run.pk]), {"after": odd}).status_code == 200


def test_runs_are_filtered(client: Client, root: User, ada: User) -> None:
    bob = making.user("bob")
    now = timezone.now()
    made: dict[str, Run] = {}
    for name, owner, fields in (
        ("quick", ada, {"status": RunStatus.COMPLETED, "ended_at": now, "started_at": now - timedelta(seconds=2)}),
        ("slow", ada, {"status": RunStatus.COMPLETED, "ended_at": now, "started_at": now - timedelta(seconds=90)}),
        ("failed", bob, {"status": RunStatus.FAILED, "ended_at": now, "code": "model_auth", "origin": Origin.API}),
        ("silent", bob, {"heartbeat_at": now - timedelta(seconds=99), "agent_name": "writer"}),
        ("old", bob, {"created_at": now - timedelta(days=60), "status": RunStatus.CANCELLED, "ended_at": now}),
    ):
        made[name] = making.run(making.session(owner), message=name)
        Run.objects.filter(pk=made[name].pk).update(**fields)
    made["waiting"] = making.run(making.session(ada), message="waiting", owned_by="")

    def shown(**query: Any) -> set[str]:
        return {run.message for run in rows(client, "run", **query)}

    assert shown() == set(made)
    assert shown(status="unfinished") == {"silent", "waiting"}
    assert shown(status="failed") == {"failed"}
    assert shown(trouble="failed") == {"failed"}
    assert shown(trouble="silent") == {"silent"}
    assert shown(slow="10") == {"slow"}
    assert shown(slow="300") == set()
    assert shown(agent_name="writer") == {"silent"}
    assert shown(origin="api") == {"failed"}
    assert shown(of="ada") == {"quick", "slow", "waiting"}
    assert shown(created_at__gte=(now - timedelta(days=7)).isoformat()) == set(made) - {"old"}
    assert shown(q="slow") == {"slow"}
    assert shown(q="bob") == {"failed", "silent", "old"}
    assert shown(q=str(made["old"].pk)) == {"old"}
    assert shown(q=str(made["quick"].session_id)) == {"quick"}
    assert shown(slow="evil") == set(made)
    Run.objects.filter(message="slow").update(started_at=now - timedelta(seconds=400), ended_at=None)
    assert shown(slow="300") == {"slow"}, "what is still at work counts too"


def test_runs_are_filtered_by_what_people_say_of_them(client: Client, root: User, ada: User) -> None:
    bob = making.user("bob")
    runs = {name: making.run(making.session(ada), message=name) for name in ("bad", "split", "commented", "quiet")}
    for run in runs.values():
        making.append(run, making.thought("hm"))
    for name, user, word in (("bad", ada, "bad"), ("split", ada, "good"), ("split", bob, "bad"), ("quiet", bob, "")):
        run = runs[name]
        Verdict.objects.create(session=run.session, run=run, user=user, word=word, version=1)
    for text in ("Why?", "So?", "Gone"):
        made, _ = notes.write_comment(ada, runs["commented"].session_id, 1, text)
    notes.delete_comment(ada, UUID(made["id"]), Door.API)
    # In the same session, a run without comments.
    making.end(runs["commented"])
    runs["beside"] = making.run(runs["commented"].session, message="beside")
    making.append(runs["beside"], making.thought("hm"))

    def shown(**query: Any) -> set[str]:
        return {run.message for run in rows(client, "run", **query)}

    assert shown() == set(runs)
    assert shown(verdict="bad") == {"bad", "split"}
    assert shown(verdict="good") == {"split"}
    assert shown(verdict="both") == {"split"}
    assert shown(verdict="evil") == set()
    assert shown(comments="some") == {"commented"}
    content = page(client, "chat_run_changelist")
    assert [words in content for words in ("1 good · 1 bad", "2 comments", "3 comments")] == [True, True, False]


def test_unfinished_runs_tell_their_process_and_its_last_sign_of_life(client: Client, root: User, ada: User) -> None:
    run = making.run(making.session(ada), owned_by="host:42:cafe")
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=33))
    content = page(client, "chat_run_changelist", status="unfinished")
    assert "host:42:cafe" in content
    assert re.search(r"3[34] s ago", content)
    making.end(run)
    assert "host:42:cafe" not in page(client, "chat_run_changelist")


def test_sessions_are_filtered_and_lead_to_their_runs(client: Client, root: User, ada: User) -> None:
    zoo = talk(ada, "Zoo").session
    moon = making.session(making.user("bob"), title="Moon", agent_name="writer", archived=True)
    assert rows(client, "session", q="Zoo") == [zoo]
    assert rows(client, "session", of="bob") == [moon]
    assert rows(client, "session", agent_name="writer") == [moon]
    assert rows(client, "session", status="unfinished") == [zoo]
    assert rows(client, "session", archived__exact="1") == [moon]
    content = page(client, "chat_session_change", zoo.pk)
    assert f"?session__id__exact={zoo.pk}" in content
    assert [run.session for run in rows(client, "run", session__id__exact=str(zoo.pk))] == [zoo]


def test_steps_are_searched_by_their_words_and_filtered_by_type(client: Client, root: User, ada: User) -> None:
    talk(ada)
    making.append(making.run(making.session(making.user("bob"))), making.thought("天氣 and okapis"))
    assert {step.type for step in rows(client, "step", q="okapis")} == {"thought"}
    assert len(rows(client, "step", q="okapis")) == 2
    assert [step.type for step in rows(client, "step", q="天氣")] == ["thought"]
    assert [step.type for step in rows(client, "step", q="end of it")] == ["tool_result"]
    assert rows(client, "step", q="quokka") == []
    assert rows(client, "step", q='" *') == []
    assert {step.type for step in rows(client, "step", kind="final_answer")} == {"final_answer"}
    assert {step.type for step in rows(client, "step", kind="failed")} == {"tool_result"}


def test_no_list_counts_the_log(client: Client, root: User, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "_COUNTED", 7)
    run = making.run(making.session(ada))
    making.append(run, *[making.thought("x", n) for n in range(20)])
    for model in ("step", "run", "session"):
        with CaptureQueriesContext(connection) as captured:
            page(client, f"chat_{model}_changelist")
        counts = [query["sql"] for query in captured if "COUNT(" in query["sql"]]
        # The comments on the rows of one page are counted exactly.
        counts = [sql for sql in counts if not re.search(r"FROM .chat_(verdict|comment)\b", sql)]
        assert counts
        # It counts one more than it shows, to know that there are more.
        assert all("LIMIT 8" in sql for sql in counts), counts
        assert len(captured) < 12, "rows bring what they show with them"
    assert rows(client, "step", p=1) != []
    assert "more than 7 steps" in page(client, "chat_step_changelist")


#: How many rows there are, where seven are counted at most; the language; and the texts beside the search and below the list.
COUNTS = [
    (6, "en", "6 results", "6 steps"),
    (7, "en", "7 results", "7 steps"),
    (8, "en", "more than 7 results", "more than 7 steps"),
    (8, "zh-hant", "結果超過 7 筆", "步驟超過 7 筆"),
    (8, "zh-hans", "结果超过 7 条", "步骤超过 7 条"),
]


@pytest.mark.parametrize(("n", "language", "beside", "below"), COUNTS)
def test_a_list_says_where_its_counting_stops(
    client: Client,
    root: User,
    ada: User,
    monkeypatch: pytest.MonkeyPatch,
    n: int,
    language: str,
    beside: str,
    below: str,
) -> None:
    monkeypatch.setattr(actions, "_COUNTED", 7)
    run = making.run(making.session(ada))
    making.append(run, *[making.thought("okapi", place) for place in range(n)])
    root.language = language
    root.save()
    content = client.get(
        reverse("admin:chat_step_changelist"), {"q": "okapi"}, headers={"Accept-Language": language}
    ).content.decode()
    assert beside in content
    pagination = " ".join(re.sub("<[^>]+>", " ", content[content.index('class="paginator"') :]).split())
    assert below in pagination
    assert f"{n} results" in content or n > 7


def permit(user: User, *names: str) -> None:
    user.user_permissions.set(Permission.objects.filter(codename__in=names))


def test_staff_without_permission_see_nothing(client: Client, ada: User) -> None:
    run = talk(ada)
    staff = making.user("staff", is_staff=True)
    client.force_login(staff)
    for model in MODELS:
        assert client.get(reverse(f"admin:chat_{model}_changelist")).status_code == 403, model
    for act, model in (("stop", "run"), ("interrupt", "run"), ("delete", "session")):
        address = reverse(f"admin:chat_{model}_act", args=[act])
        key = run.pk if model == "run" else run.session_id
        assert client.get(address, {"id": key}).status_code == 403
        assert client.post(address, {"id": key}).status_code == 403
    assert "chat_run" not in page(client, "index")
    permit(staff, "view_run", "view_session")
    content = page(client, "chat_run_change", run.pk)
    assert "Quaggas." in content
    assert reverse("admin:chat_run_act", args=["stop"]) not in content
    assert client.post(reverse("admin:chat_run_act", args=["stop"]), {"id": run.pk}).status_code == 403
    assert client.post(reverse("admin:chat_session_act", args=["delete"]), {"id": run.session_id}).status_code == 403
    assert Session.objects.exists()
    permit(staff, "view_run", "stop_run")
    assert reverse("admin:chat_run_act", args=["stop"]) in page(client, "chat_run_change", run.pk)
    making.end(run)
    assert reverse("admin:chat_run_act", args=["stop"]) not in page(client, "chat_run_change", run.pk)
    client.force_login(ada)
    assert client.get(reverse("admin:chat_run_changelist")).status_code == 302


def do(client: Client, model: str, name: str, *things: Any) -> str:
    """Run an admin action on rows of a list, confirm it, and return the message."""
    chosen = {"action": name, "_selected_action": [str(thing.pk) for thing in things]}
    asked = client.post(reverse(f"admin:chat_{model}_changelist"), chosen, follow=True)
    content = asked.content.decode()
    assert asked.status_code == 200
    keys = re.findall(r'name="id" value="([^"]+)"', content)
    assert keys == [str(thing.pk) for thing in things]
    answer = client.post(asked.request["PATH_INFO"], {"id": keys}, follow=True)
    return "\n".join(str(message) for message in answer.context["messages"])


def test_runs_are_stopped_after_asking(client: Client, root: User, ada: User) -> None:
    session = making.session(ada)
    at_work, waiting = making.run(session, message="one"), making.run(session, message="two", owned_by="")
    asked = client.get(reverse("admin:chat_run_act", args=["stop"]), {"id": [at_work.pk, "x"]})
    assert asked.status_code == 200
    at_work.refresh_from_db()
    assert at_work.status == RunStatus.RUNNING, "asking does nothing"
    for run, words, status in (
        (waiting, "removed from the queue", RunStatus.CANCELLED),
        (at_work, "is being stopped", RunStatus.CANCELLING),
    ):
        assert words in do(client, "run", "stop", run)
        run.refresh_from_db()
        assert run.status == status
    assert waiting.cancelled_by == root
    assert list(waiting.steps.values_list("event", flat=True)) == ["reasoning_start", "reasoning_complete"]


def test_runs_are_interrupted_after_asking(client: Client, root: User, ada: User) -> None:
    run = talk(ada)
    as_carried = Run.objects.get(pk=run.pk)
    assert "was interrupted" in do(client, "run", "interrupt", run)
    run.refresh_from_db()
    assert run.status == RunStatus.INTERRUPTED
    assert run.steps.latest("position").event == "reasoning_complete"
    with pytest.raises(step_log.Fenced):
        making.append(as_carried, making.thought("still there"))
    assert message_of_action(client, "interrupt", run) == "This run had ended already, or not begun."


def message_of_action(client: Client, name: str, *chosen: Run) -> str:
    """Run an admin action that has no effect on these runs; returns the message, which comes without a confirmation."""
    fields = {"action": name, "_selected_action": [str(run.pk) for run in chosen]}
    answer = client.post(reverse("admin:chat_run_changelist"), fields, follow=True)
    assert answer.request["PATH_INFO"] == reverse("admin:chat_run_changelist")
    return "\n".join(str(message) for message in answer.context["messages"])


def test_an_act_is_done_only_where_it_does_something(client: Client, root: User, ada: User) -> None:
    at_work = making.run(making.session(ada), message="one")
    ended = [making.run(making.session(ada), message=words) for words in ("two", "three")]
    for run in ended:
        making.end(run)
    assert message_of_action(client, "stop", *ended) == "2 of 2 runs had ended already."
    stop = reverse("admin:chat_run_act", args=["stop"])
    keys = {"id": [str(run.pk) for run in (at_work, *ended)]}
    asked = client.get(stop, keys).content.decode()
    assert "2 of 3 runs had ended already." in asked
    assert re.findall(r'name="id" value="([^"]+)"', asked) == [str(at_work.pk)]
    answer = client.post(stop, keys, follow=True)
    assert [str(message) for message in answer.context["messages"]] == [
        "one · run 1: is being stopped.",
        "2 of 3 runs had ended already.",
    ]
    gone = client.get(stop, {"id": "00000000-0000-4000-8000-000000000000"}, follow=True)
    assert [str(message) for message in gone.context["messages"]] == ["There is nothing of that kind any more."]


def test_a_run_is_called_by_what_was_asked(client: Client, root: User, ada: User) -> None:
    long = making.run(making.session(ada), message="Which  animals\nare shy? " * 20)
    assert str(long) == "Which animals are shy? Which animals are shy? Which animals… · run 1"
    assert str(making.run(long.session, message="", owned_by="")) == "Run 2"
    Run.objects.filter(pk=long.pk).update(created_at=datetime(2031, 3, 1, 12, 34, 56, tzinfo=UTC))
    for content in (page(client, "chat_run_changelist"), page(client, "chat_run_change", long.pk)):
        assert "Which animals are shy? Which animals are shy? Which animals…" in content
        assert "1 Mar 2031, 12:34:56" in content


def test_sessions_are_deleted_whole_after_asking(client: Client, root: User, ada: User) -> None:
    gone, kept = talk(ada).session, talk(ada).session
    assert "was deleted" in do(client, "session", "delete", gone)
    assert list(Session.objects.all()) == [kept]
    assert set(Step.objects.values_list("session_id", flat=True)) == {kept.pk}


def test_a_user_is_deleted_with_everything(client: Client, root: User, ada: User) -> None:
    talk(ada)
    bob = making.user("bob")
    kept = talk(bob)
    address = reverse("admin:accounts_user_delete", args=[ada.pk])
    asked = client.get(address)
    assert "ada, with 1 session" in asked.content.decode()
    assert client.post(address, {"post": "yes"}).status_code == 302
    assert ">ada<" not in client.get(reverse("admin:accounts_user_changelist")).content.decode()
    assert set(User.objects.values_list("username", flat=True)) == {"root", "bob"}
    assert list(Run.objects.all()) == [kept]
    chosen = {"action": "delete_selected", "_selected_action": [bob.pk], "post": "yes"}
    assert client.post(reverse("admin:accounts_user_changelist"), chosen).status_code == 302
    assert not Step.objects.exists()
    permit(root, "view_user")
    User.objects.filter(pk=root.pk).update(is_superuser=False)
    assert client.post(reverse("admin:accounts_user_delete", args=[root.pk]), {"post": "yes"}).status_code == 403


def test_an_announcement_is_added_and_never_changed(client: Client, root: User) -> None:
    added = client.post(reverse("admin:chat_announcement_add"), {"message": "Back at noon.", "level": "warning"})
    assert added.status_code == 302
    assert Announcement.objects.values_list("message", "level").get() == ("Back at noon.", "warning")
    assert client.post(reverse("admin:chat_announcement_add"), {"message": "", "level": "loud"}).status_code == 200
    assert Announcement.objects.count() == 1


async def test_an_operator_stops_a_run_at_work_and_deletes_its_session(product: Server, bo: Browser) -> None:
    session_id = await bo.new_session()
    async with bo.socket(session_id) as socket, Browser.logged_in(product.url, "ada") as operator:
        await socket.receive()
        await socket.send("chat", message="Count [tokens=400 every=25]")
        delta = await socket.until_type("reasoning_delta")

        async def post(address: str, **fields: str) -> str:
            form = {"csrfmiddlewaretoken": operator.cookie("csrftoken"), **fields}
            async with operator.http.post(address, data=form, headers={"Referer": operator.url}) as answer:
                assert answer.status == 200
                return await answer.text()

        async with operator.http.get("/admin/chat/connection/") as answer:
            assert session_id in await answer.text()
        assert "is being stopped" in await post("/admin/chat/run/act/stop/", id=delta["run_id"])
        complete = await socket.until_type("reasoning_complete")
        assert (complete["data"]["status"], complete["data"]["cancelled_by"]) == ("cancelled", "ada")
        await post("/admin/chat/announcement/add/", message="Back at noon.", level="info")
        assert (await socket.until_type("announcement", 2.0))["data"]["message"] == "Back at noon."
        assert "was deleted" in await post("/admin/chat/session/act/delete/", id=session_id)
        assert await socket.closed() == 4404


# Schedules


def scheduled(owner: User, now: datetime | None = None, **fields: Any) -> Schedule:
    when = {"cron": "0 9 * * 1-5", "time_zone": "Asia/Taipei"}
    return schedule_commands.make(
        owner, {"name": "Prices", "message": "What does flour cost?", **when, **fields}, now or timezone.now()
    )


def test_schedules_show_their_health(client: Client, root: User, ada: User) -> None:
    bob = making.user("bob")
    made = {
        "well": scheduled(ada, name="well"),
        "failing": scheduled(ada, name="failing"),
        "tired": scheduled(bob, name="tired", agent_name="writer"),
        "late": scheduled(bob, name="late"),
        "off": scheduled(bob, name="off", enabled=False),
    }
    Schedule.objects.filter(name="failing").update(failures=3)
    Schedule.objects.filter(name="tired").update(failures=5, enabled=False, paused_because=PauseReason.FAILURES)
    Schedule.objects.filter(name="late").update(next_at=timezone.now() - timedelta(minutes=5))

    def shown(**query: Any) -> set[str]:
        return {schedule.name for schedule in rows(client, "schedule", **query)}

    assert shown() == set(made)
    assert shown(health="failing") == {"failing", "tired"}
    assert shown(health="paused") == {"tired"}
    assert shown(health="late") == {"late"}
    assert shown(health="off") == {"tired", "off"}
    assert shown(agent_name="writer") == {"tired"}
    assert shown(of="bob") == {"tired", "late", "off"}
    assert shown(q="bob") == {"tired", "late", "off"}
    content = page(client, "chat_schedule_changelist")
    for words in ("every weekday at 09:00, Taipei", "Paused after 5 failures in a row.", "3 of 5"):
        assert words in content
    content = page(client, "chat_schedule_change", made["well"].pk)
    assert content.count("09:00 +0800") == 5
    assert "It pauses after 5 failures in a row." in content
    assert 'name="_save"' not in content
    assert client.get(reverse("admin:chat_schedule_add")).status_code == 403


def test_schedules_are_paused_resumed_and_run_by_operators(client: Client, root: User, ada: User) -> None:
    schedule = scheduled(ada, enabled=True)

    def act(name: str) -> str:
        address = reverse("admin:chat_schedule_act", args=[name])
        answer = client.post(address, {"id": [str(schedule.pk)]}, follow=True)
        schedule.refresh_from_db()
        return answer.content.decode()

    assert (
        "Prices" in client.get(reverse("admin:chat_schedule_act", args=["pause"]), {"id": schedule.pk}).content.decode()
    )
    assert "is paused; its owner sees that an operator did it." in act("pause")
    assert (schedule.enabled, schedule.paused_because, schedule.next_at) == (False, PauseReason.OPERATOR, None)
    assert "ran no more already" in act("pause")
    assert "runs again" in act("resume")
    assert schedule.enabled
    assert schedule.next_at is not None
    assert "is run now" in act("run")
    run = Run.objects.get()
    assert (run.user, run.origin) == (ada, Origin.SCHEDULE)
    assert "has not ended yet" in act("run")
    assert reverse("admin:chat_run_change", args=[run.pk]) in page(client, "chat_schedule_change", schedule.pk)


def test_schedules_cannot_be_changed_by_staff_who_may_only_view_them(client: Client, ada: User) -> None:
    looker = making.user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_schedule"))
    client.force_login(looker)
    schedule = scheduled(ada)
    assert len(rows(client, "schedule")) == 1
    for name in ("pause", "run"):
        address = reverse("admin:chat_schedule_act", args=[name])
        assert client.post(address, {"id": [str(schedule.pk)]}).status_code == 403
    schedule.refresh_from_db()
    assert schedule.enabled


def test_accounts_are_found_where_they_were_in_earlier_versions(client: Client) -> None:
    answer = client.get("/admin/auth/user/7/change/?_popup=1")
    assert (answer.status_code, answer["Location"]) == (301, "/admin/accounts/user/7/change/?_popup=1")
