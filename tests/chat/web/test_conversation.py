"""Cached parts of a conversation's page are the same as newly rendered ones, and never another user's or another day's."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.accounts.models import User
from chat.catalog import agents as catalog
from chat.models import AgentVersion, Run, RunStatus, Session
from chat.rendering import markdown
from chat.store import step_log
from chat.store.step_log import Entry
from tests.chat import making

pytestmark = pytest.mark.django_db

#: What differs in each answer.
OWN = re.compile(r'nonce="[^"]+"|name="csrfmiddlewaretoken" value="[^"]+"|"now": [\d.]+')


@pytest.fixture
def ada() -> User:
    return making.user("ada")


@pytest.fixture
def page(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


def start(run: Run, **more: Any) -> Entry:
    ended_run = {
        "agent": run.agent_name,
        "model": "small-model",
        "message": run.message,
        "user": "ada",
        "enable_reasoning": True,
        "timestamp": timezone.now().timestamp(),
    }
    return Entry("reasoning_start", ended_run | more)


def complete(status: str = "completed", **more: Any) -> Entry:
    usage = {"input_tokens": 8100, "output_tokens": 1300, "estimated": False}
    ended_run = {"status": status, "total_iterations": 2, "duration_ms": 72_000, "usage": usage}
    return Entry("reasoning_complete", ended_run | more)


def steps() -> list[Entry]:
    return [
        making.step("iteration_start"),
        making.step("thought", "I *compute* it.", step=1),
        making.step("tool_use", step=2, tool_call_id="c2", arguments={"code": "# the sum\nprint(1)"}),
        making.step("tool_result", "x" * 2_000, full="x" * 5_000, step=3, tool_call_id="c2"),
        making.step("tool_use", step=4, tool_call_id="c4", iteration=2, arguments={"a": [1]}),
        making.step("tool_use", step=5, tool_call_id="c5", iteration=2, arguments={"query": "tea"}),
        making.step("tool_result", "no <such> thing", step=6, tool_call_id="c4", iteration=2, ok=False),
        making.step("tool_result", "[1, 2]", step=7, tool_call_id="c5", iteration=2),
    ]


def ended_run(session: Session, *entries: Entry, status: RunStatus = RunStatus.COMPLETED, **fields: Any) -> Run:
    """A run that has ended, with its first event, these, and its last."""
    run = making.run(session, message="What is **17** % of 2,340?", **fields)
    making.append(run, start(run), *entries, complete(str(status)))
    making.end(run, status)
    return run


ANSWER = making.step("final_answer", "It is **397.8**.", step=8)
#: Conversations, each with the query of the part in question.
CONVERSATIONS: dict[str, tuple[Callable[[Session], Any], str]] = {
    "one run": (lambda session: ended_run(session, *steps(), ANSWER), ""),
    "several": (lambda session: [ended_run(session, *steps(), ANSWER) for _ in range(3)], ""),
    "failed": (
        lambda session: ended_run(
            session,
            *steps(),
            making.step("error", error="The model is away.", code="model_unreachable"),
            status=RunStatus.FAILED,
        ),
        "",
    ),
    "stopped": (lambda session: ended_run(session, *steps()[:3], status=RunStatus.CANCELLED), ""),
    "without its steps": (lambda session: ended_run(session, Entry("response", {"content": "So **it** is."})), ""),
    "cut at its beginning": (lambda session: ended_run(session, *(steps() * 40), ANSWER), ""),
    "cut at its end": (lambda session: ended_run(session, *(steps() * 40), ANSWER), "?before=60"),
    "after one that was removed": (
        lambda session: (ended_run(session, ANSWER), ended_run(session, status=RunStatus.CANCELLED)),
        "",
    ),
}


def looked_at(page: Client, address: str) -> str:
    """The page, without what differs in each answer."""
    answer = page.get(address)
    assert answer.status_code == 200
    return OWN.sub("", answer.content.decode())


@pytest.mark.parametrize("language", ["en", "zh-hant"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_cached_parts_are_as_newly_rendered_ones(
    page: Client, ada: User, settings: Any, name: str, language: str
) -> None:
    session = making.session(ada, title="Sums <1>")
    make, query = CONVERSATIONS[name]
    make(session)
    page.cookies["language"] = language
    page.cookies["tz"] = "Asia/Taipei"
    address = f"/sessions/{session.pk}/{query}"
    first, again = looked_at(page, address), looked_at(page, address)
    settings.DEBUG = True
    assert first == again == looked_at(page, address)


def test_a_run_that_has_ended_is_read_once(page: Client, ada: User) -> None:
    session = making.session(ada)
    for _ in range(3):
        ended_run(session, *steps(), ANSWER)
    page.get(f"/sessions/{session.pk}/")
    with CaptureQueriesContext(
        connection,
    ) as asked:
        page.get(f"/sessions/{session.pk}/")
    assert len(asked) > 0
    assert not [query["sql"] for query in asked if '"body"' in query["sql"]]
    ended_run(session, *steps(), ANSWER)
    with CaptureQueriesContext(connection) as asked:
        page.get(f"/sessions/{session.pk}/")
    [log] = [query["sql"] for query in asked if '"body"' in query["sql"]]
    assert "BETWEEN 34 AND 44" in log, log


def test_a_run_at_work_is_shown_as_far_as_it_is(page: Client, ada: User) -> None:
    session = making.session(ada)
    ended_run(session, *steps(), ANSWER)
    run = making.run(session, message="And then?")
    making.append(run, start(run))
    for number in range(1, 4):
        making.append(run, making.step("thought", f"Thought number {number}.", step=number))
        assert f"Thought number {number}." in looked_at(page, f"/sessions/{session.pk}/")
    making.append(run, complete())
    making.end(run)
    assert looked_at(page, f"/sessions/{session.pk}/").count("Finished ·") == 2


def test_viewers_are_not_shown_the_actions_of_the_owner(page: Client, ada: User) -> None:
    run = ended_run(making.session(ada), *steps(), status=RunStatus.CANCELLED)
    address = f"/sessions/{run.session_id}/"
    staff = Client()
    staff.force_login(making.staff("chat.view_session"))

    def hides(client: Client) -> bool:
        html = re.sub(r"(?s)<template.*?</template>", "", looked_at(client, address))
        [button] = re.findall(r'data-slot="continue"( hidden)?>', html)
        return bool(button)

    hidden = [hides(client) for client in (page, staff, page, staff)]
    assert hidden == [False, True, False, True], "a page is another reader's"


def test_cached_parts_are_not_shown_to_users_without_the_right(page: Client, ada: User) -> None:
    session = making.session(ada)
    ended_run(session, *steps(), ANSWER)
    address = f"/sessions/{session.pk}/"
    assert "397.8" in looked_at(page, address)
    another = Client()
    another.force_login(making.user("bo"))
    assert another.get(address).status_code == 404
    assert Client().get(address).status_code == 302
    session.delete()
    gone = page.get(address)
    assert gone.status_code == 404
    assert "397.8" not in gone.content.decode()


def test_times_are_the_readers_and_of_the_day(page: Client, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ended_run(making.session(ada, title="Tea"), ANSWER)
    address = f"/sessions/{run.session_id}/"
    now = timezone.now()

    def times(zone: str) -> list[str]:
        page.cookies["tz"] = zone
        return re.findall(
            r'<time (?:data-slot="when"|class="when num") datetime="[^"]+">([^<]+)<', looked_at(page, address)
        )

    here, there = times("Etc/GMT+1"), times("Etc/GMT-3")
    assert here != there
    assert times("Etc/GMT+1") == here
    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(days=5))
    later = times("Etc/GMT+1")
    assert len(here) == len(later) > 1
    assert not set(here) & set(later)


def test_a_title_that_changed_shows_at_once(page: Client, ada: User) -> None:
    session = making.session(ada, title="Tea")
    ended_run(session, ANSWER)
    looked_at(page, f"/sessions/{session.pk}/")
    Session.objects.filter(pk=session.pk).update(title="Coffee")
    html = looked_at(page, f"/sessions/{session.pk}/")
    assert html.count("Coffee") >= 3
    assert "Tea" not in html
    AgentVersion.objects.filter(agent__name="researcher").update(title="The new one")
    catalog.forget()
    assert "The new one · small-model" in looked_at(page, f"/sessions/{session.pk}/")


def test_a_text_that_was_not_rendered_in_time_is_rendered_the_next_time(
    page: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ended_run(making.session(ada), making.step("final_answer", "It is **in time**.", step=1))
    with monkeypatch.context() as busy:
        busy.setattr(markdown, "prepare_markdown", dict.fromkeys)
        assert "It is **in time**." in looked_at(page, f"/sessions/{run.session_id}/")
    assert "<strong>in time</strong>" in looked_at(page, f"/sessions/{run.session_id}/")


def test_no_part_that_is_kept_has_what_belongs_to_one_answer(page: Client, ada: User) -> None:
    """The nonce and the CSRF token differ in every answer, and are only in the places made for them."""
    session = making.session(ada)
    ended_run(session, *steps(), ANSWER)
    answers = [page.get(f"/sessions/{session.pk}/") for _ in range(2)]
    nonces, tokens = [
        [re.findall(pattern, answer.content.decode()) for answer in answers]
        for pattern in (r'nonce="([^"]+)"', r'name="csrfmiddlewaretoken" value="([^"]+)"')
    ]
    assert all(nonces)
    assert all(tokens)
    assert not set(nonces[0]) & set(nonces[1])
    assert not set(tokens[0]) & set(tokens[1])
    for answer, [nonce, *_] in zip(answers, nonces, strict=True):
        assert f"'nonce-{nonce}'" in answer["Content-Security-Policy"]


def test_a_run_within_which_another_was_removed_from_the_queue_is_whole(page: Client, ada: User) -> None:
    session = making.session(ada)
    run = making.run(session, message="Count")
    making.append(run, start(run), making.step("iteration_start"))
    removed = making.run(session, message="Later", owned_by="")
    step_log.append_unowned(removed, [start(removed), complete("cancelled", removed=True)])
    Run.objects.filter(pk=removed.pk).update(status=RunStatus.CANCELLED)
    making.append(run, ANSWER, complete("cancelled"))
    making.end(run, RunStatus.CANCELLED)
    content = looked_at(page, f"/sessions/{session.pk}/")
    assert "397.8" in content
    assert re.search(r'"cursor": \{"seq": 6,', content), "what has been shown would be sent again"
