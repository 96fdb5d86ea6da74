"""The pages: what they show, to whom, and that viewing changes nothing."""

import json
import re
from html import unescape
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test import Client

from chat import access
from chat.accounts.models import User
from chat.models import Run, RunStatus, Schedule, Session, Step
from chat.runs import state as run_state
from chat.store import selectors
from chat.store.step_log import Entry
from chat.web import conversation
from tests.chat import making

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return making.user("ada")


@pytest.fixture
def page(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


def step(kind: str, **more: Any) -> Entry:
    return making.step(kind, **{"timestamp": 1001.0, **more})


def start(run: Run, **more: Any) -> Entry:
    stored_run = {
        "agent": run.agent_name,
        "model": "small-model",
        "message": run.message,
        "user": "ada",
        "enable_reasoning": True,
        "timestamp": 1000.0,
    }
    return Entry("reasoning_start", stored_run | more)


def complete(status: str = "completed", **more: Any) -> Entry:
    usage = {"input_tokens": 8100, "output_tokens": 1300, "estimated": False}
    stored_run = {"status": status, "total_iterations": 2, "duration_ms": 72_000, "usage": usage}
    return Entry("reasoning_complete", stored_run | more)


def call(number: int, name: str = "python", **more: Any) -> Entry:
    arguments = {"arguments": {"code": "# the sum\nprint(17 * 2340 / 100)"}} | more
    return step("tool_use", step=number, tool_name=name, tool_call_id=f"c{number}", **arguments)


def result(of: int, ok: bool = True, name: str = "python", **more: Any) -> Entry:
    stored_run = {"content": "397.8", "duration_ms": 400, "truncated": False, "content_length": 5} | more
    return step("tool_result", step=of + 1, tool_name=name, tool_call_id=f"c{of}", ok=ok, **stored_run)


def stored_run(owner: User, *entries: Entry, status: RunStatus | None = RunStatus.COMPLETED, **fields: Any) -> Run:
    """A run in a session of its own, with its first event and these entries stored."""
    session = making.session(owner, title=fields.pop("title", "Sums"))
    run = making.run(session, message="What is 17 % of 2,340?", **fields)
    making.append(run, start(run), *entries)
    if status is not None:
        making.end(run, status)
    return run


def whole_run(owner: User) -> Run:
    return stored_run(
        owner,
        step("iteration_start"),
        step("thought", step=1, content="I compute it.", duration_ms=8100),
        call(2),
        result(2),
        step("final_answer", step=4, content="It is **397.8**.", duration_ms=900),
        complete(),
    )


def text_of(answer: Any) -> str:
    """What a reader without scripts sees."""
    html = answer.content.decode()
    html = re.sub(r"(?s)<(script|template|noscript).*?</\1>", " ", html)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def state_of(answer: Any) -> dict[str, Any]:
    """The state that the page's script is given."""
    found = re.search(r'(?s)<script id="page-state" type="application/json">(.*?)</script>', answer.content.decode())
    assert found
    state: dict[str, Any] = json.loads(found[1])
    return state


def test_a_conversation_reads_without_scripts(page: Client, ada: User) -> None:
    run = whole_run(ada)
    answer = page.get(f"/sessions/{run.session_id}/")
    text = text_of(answer)
    for part in (
        "What is 17 % of 2,340?",
        "Ran Python 3 steps · 1 m 12 s",
        "Thought for 8 s",
        "I compute it.",
        "the sum",
        "print(17 * 2340 / 100)",
        "397.8",
        "It is 397.8 .",
        "Finished · 3 steps · 1 tool · 1 m 12 s · 8.1k in / 1.3k out",
    ):
        assert part in text, part
    assert b"<strong>397.8</strong>" in answer.content


def test_a_closing_line_breaks_in_no_figure(page: Client, ada: User) -> None:
    stored_run(ada, call(1), result(1), complete(usage={"input_tokens": 316, "output_tokens": 129, "estimated": True}))
    html = page.get(f"/sessions/{Session.objects.get().pk}/").content.decode()
    figures = re.search(r'data-slot="endline">Finished([^<]*)<', html)
    assert figures
    groups = ["·", "1_step", "·", "1_tool", "·", "1_m_12_s", "·", "about_316_in", "/", "129_out"]
    assert figures[1].split(" ")[1:] == [group.replace("_", "\N{NO-BREAK SPACE}") for group in groups]


def test_the_script_goes_on_from_what_the_page_shows(page: Client, ada: User) -> None:
    run = stored_run(
        ada, step("iteration_start"), call(1, "fetch_page", arguments={"url": "https://a.example"}), status=None
    )
    state = state_of(page.get(f"/sessions/{run.session_id}/"))
    last = Step.objects.get(session=run.session, seq=3)
    assert state["cursor"] == {"seq": 3, "id": str(last.event_id)}
    assert state["live"] is True
    assert state["run"]["id"] == str(run.pk)
    [item] = state["runs"][0]["items"]
    assert item["calls"][0]["result"] is None
    assert item["calls"][0]["arguments"] == {"url": "https://a.example"}


def test_texts_that_the_page_shows_already_are_not_sent_twice(page: Client, ada: User) -> None:
    secret = "once and only once"
    run = stored_run(ada, step("thought", step=1, content=secret, duration_ms=1), complete())
    html = page.get(f"/sessions/{run.session_id}/").content.decode()
    assert secret not in json.dumps(state_of(page.get(f"/sessions/{run.session_id}/")))
    assert html.count(secret) == 2  # the collapsed row and the expanded one


@pytest.mark.parametrize(
    ("status", "entries", "parts"),
    [
        (
            RunStatus.FAILED,
            [
                Entry("error", {"message": "No word for 120 s.", "code": "model_timeout", "id": "7f3a9c1e22"}),
                complete("failed", code="model_timeout"),
            ],
            ["The model stopped answering. No word for 120 s. Report 7f3a9c1e. Continue", "Failed ·"],
        ),
        (
            RunStatus.CANCELLED,
            [call(1), result(1, False, content="Stopped by jonas."), complete("cancelled", cancelled_by="jonas")],
            ["Cancelled", "What was written until then is kept. Continue", "Stopped by jonas · 1 step ·"],
        ),
        (RunStatus.INTERRUPTED, [complete("interrupted")], ["Interrupted by a restart.", "Continue"]),
        (
            RunStatus.MAX_ITERATIONS,
            [step("max_iterations_reached", max_iterations=20), complete("max_iterations")],
            ["All 20 iterations are used.", "Limit of 20 reached ·", "Continue"],
        ),
    ],
)
def test_every_end_is_said_in_words(
    page: Client, ada: User, status: RunStatus, entries: list[Entry], parts: list[str]
) -> None:
    run = stored_run(ada, *entries, status=status)
    text = text_of(page.get(f"/sessions/{run.session_id}/"))
    for part in parts:
        assert part in text, (part, text)


def test_a_failed_call_says_whose_fault_it_was(page: Client, ada: User) -> None:
    run = stored_run(
        ada, call(1), result(1, False, content="The page did not answer."), step("thought", step=3, content="On.")
    )
    text = text_of(page.get(f"/sessions/{run.session_id}/"))
    assert "The page did not answer. From the tool, not from the model. The agent saw this and went on." in text


def test_a_long_result_says_how_much_of_it_is_shown(page: Client, ada: User) -> None:
    run = stored_run(ada, call(1), result(1, content="x" * 2000, truncated=True, content_length=48_213), complete())
    answer = page.get(f"/sessions/{run.session_id}/")
    assert "showing 2 kB of 48 kB" in text_of(answer)
    assert f'href="/api/sessions/{run.session_id}/events/3/content/"'.encode() in answer.content


def test_without_reasoning_only_the_answer_is_shown(page: Client, ada: User) -> None:
    session = making.session(ada)
    run = making.run(session, enable_reasoning=False)
    hidden = step("thought", step=1, content="Kept, not shown.")
    making.append(
        run,
        start(run, enable_reasoning=False),
        Entry(hidden.event, hidden.data, numbered=False),
        Entry("response", {"content": "Forty-two."}),
        complete(),
    )
    making.end(run)
    text = text_of(page.get(f"/sessions/{session.pk}/"))
    assert "Forty-two." in text
    assert "Kept, not shown." not in text
    assert "Kept, not shown." in text_of(page.get(f"/runs/{run.pk}/"))


@pytest.fixture
def long_run(ada: User) -> Run:
    entries = []
    for number in range(1, 301):
        entries += [
            step("iteration_start", iteration=number),
            step("thought", step=number, content=f"Thought number {number}.", duration_ms=1, iteration=number),
        ]
    return stored_run(ada, *entries, complete())


def test_a_page_holds_the_latest_two_hundred_events_and_leads_to_earlier_ones(page: Client, long_run: Run) -> None:
    address = f"/sessions/{long_run.session_id}/"
    seen: list[str] = []
    before = ""
    for _ in range(10):
        answer = page.get(address + before)
        seen = re.findall(r"<p dir=\"auto\">Thought number (\d+)\.", answer.content.decode()) + seen
        link = re.search(r'href="(\?before=\d+)"', answer.content.decode())
        if link is None:
            break
        before = link[1]
    assert seen == [str(number) for number in range(1, 301)]
    first = page.get(address).content.decode()
    assert 95 <= len(re.findall(r"<div class=\"thought\"", re.sub(r"(?s)<template.*?</template>", "", first))) <= 105


def test_numbers_of_a_run_are_of_the_whole_run_wherever_the_page_cuts_it(page: Client, long_run: Run) -> None:
    address = f"/sessions/{long_run.session_id}/"
    for query in ("", "?before=300", "?at=50"):
        text = text_of(page.get(address + query))
        assert "Finished · 300 steps" in text, query
        assert "Researcher · small-model" in text, query


def test_a_page_begins_where_a_model_call_does(page: Client, ada: User) -> None:
    entries: list[Entry] = []
    for number in range(1, 120):
        entries += [step("iteration_start"), call(number), result(number)]
    run = stored_run(ada, *entries, complete())
    html = page.get(f"/sessions/{run.session_id}/").content.decode()
    html = re.sub(r"(?s)<template.*?</template>", "", html)
    calls = re.findall(r'data-call="c(\d+)"\s+data-result="(\d+)"', html)
    assert len(calls) > 60
    assert all(number for number, _ in calls)
    assert html.count("<b>Arguments</b>") == len(calls)


def test_a_link_to_an_early_step_shows_it(page: Client, long_run: Run) -> None:
    answer = page.get(f"/sessions/{long_run.session_id}/?at=20")
    assert b'id="s20"' not in page.get(f"/sessions/{long_run.session_id}/").content
    assert b'id="s21"' in answer.content
    assert state_of(answer)["live"] is False


@pytest.mark.parametrize(
    "query", ["before=x", "before=-1", "before=0", "before=999999999999999999", "at=x", "at=0", "part=side"]
)
def test_odd_addresses_are_pages_too(page: Client, long_run: Run, query: str) -> None:
    assert page.get(f"/sessions/{long_run.session_id}/?{query}").status_code == 200
    assert page.get(f"/sessions/?{query}&page=99&status=zzz&agent=zzz&current=zzz").status_code == 200
    assert page.get(f"/runs/{long_run.pk}/?events={query}").status_code == 200


def test_a_run_is_inspected_with_its_events_as_they_are_stored(page: Client, ada: User) -> None:
    run = whole_run(ada)
    answer = page.get(f"/runs/{run.pk}/")
    text = text_of(answer)
    for part in ("Run 1 of 1", "Iteration 1", "8.1 s", "0.4 s", "Thinking and writing", "Answer It is 397.8."):
        assert part in text, part
    for row in Step.objects.filter(run=run):
        assert str(row.event_id) in text
    assert "reasoning_complete" in text


@pytest.mark.parametrize(("took_ms", "is_shown"), [(400, True), (300, False)])
def test_very_short_durations_are_not_shown(page: Client, ada: User, took_ms: int, is_shown: bool) -> None:
    thought = step("thought", step=1, content="I compute it.", duration_ms=8100)
    run = stored_run(ada, thought, call(2), result(2, timestamp=1001 + took_ms / 1000, duration_ms=took_ms), complete())
    html = page.get(f"/runs/{run.pk}/").content.decode()
    [legend] = re.findall(r'(?s)<ul class="legend">(.*?)</ul>', html)
    parts = ["Thinking and writing", *(["Tools"] if is_shown else []), "Waiting for the model, and the rest"]
    assert re.findall(r"</svg>([^<]+) <b>", legend) == parts


def test_a_waiting_run_is_inspected_too(page: Client, ada: User) -> None:
    session = making.session(ada)
    making.run(session)
    waiting = making.run(session, owned_by="")
    assert "Queued" in text_of(page.get(f"/runs/{waiting.pk}/"))


def test_past_sessions_are_filtered_as_the_address_says(page: Client, ada: User) -> None:
    stored_run(ada, complete(), title="Charging the vans")
    stored_run(ada, complete("failed"), title="Price list", status=RunStatus.FAILED)
    making.session(ada, title="Old tariff", archived=True)
    making.session(ada, title="A letter", agent_name="writer")

    def titles(query: str) -> set[str]:
        html = page.get(f"/sessions/{query}").content.decode()
        listed = html[html.index('class="listing"') :]
        return set(re.findall(r'data-title="([^"]*)"', listed))

    assert titles("") == {"Charging the vans", "Price list", "A letter"}
    assert titles("?status=failed") == {"Price list"}
    assert titles("?agent=writer") == {"A letter"}
    assert titles("?archived=true") == {"Old tariff"}
    assert titles("?q=vans") == {"Charging the vans"}


def test_a_hit_leads_to_its_step(page: Client, ada: User) -> None:
    run = stored_run(ada, step("thought", step=1, content="The tariff begins at midnight, 天氣很好."), complete())
    for words in ("midnight", "天氣"):
        answer = page.get("/sessions/", {"q": words})
        assert f"<mark>{words}</mark>" in answer.content.decode()
        assert f'href="/sessions/{run.session_id}/?at=2#s2"' in answer.content.decode()
    assert "Nothing found for “sunrise”" in text_of(page.get("/sessions/", {"q": "sunrise"}))


def test_the_list_beside_groups_what_runs_and_the_days(page: Client, ada: User) -> None:
    stored_run(ada, title="At work", status=None)
    stored_run(ada, complete(), title="Done")
    text = text_of(page.get("/sessions/?part=side"))
    assert text.startswith("Running At work Live")
    assert "Today Done" in text


def test_times_are_the_readers(page: Client, ada: User) -> None:
    run = stored_run(ada, complete())
    moment = re.compile(r'data-slot="when" datetime="([^"]+)"')
    page.cookies["tz"] = "Asia/Taipei"
    found = moment.search(page.get(f"/sessions/{run.session_id}/").content.decode())
    assert found is not None
    assert found[1].endswith("+08:00")
    for odd in ("Nowhere/Land", "../../etc/passwd", ""):
        page.cookies["tz"] = odd
        assert page.get("/").status_code == 200


@pytest.mark.parametrize(("cookie", "is_chosen"), [("dark", True), ("light", True), ("x onload=1", False)])
def test_the_chosen_look_is_there_from_the_first_paint(page: Client, cookie: str, is_chosen: bool) -> None:
    page.cookies["theme"] = cookie
    assert (f'data-theme="{cookie}"' in page.get("/").content.decode()) is is_chosen


def pages_of(run: Run) -> list[str]:
    return ["/", "/sessions/", f"/sessions/{run.session_id}/", f"/runs/{run.pk}/"]


def test_looking_changes_nothing(page: Client, ada: User) -> None:
    run = whole_run(ada)

    def rows() -> list[Any]:
        tables = (Session, Run, Step)
        return [list(table.objects.order_by("pk").values()) for table in tables]  # type: ignore[attr-defined]

    before = rows()
    for address in pages_of(run):
        assert page.get(address).status_code == 200
        assert page.head(address).status_code == 200
        assert page.post(address).status_code == 405
    assert rows() == before


def test_pages_without_a_login_lead_to_the_login(client: Client, ada: User) -> None:
    for address in pages_of(whole_run(ada)):
        answer = client.get(address)
        assert (answer.status_code, answer["Location"]) == (302, f"/accounts/login/?next={address}")


def test_pages_of_others_do_not_exist(client: Client, ada: User) -> None:
    run = whole_run(ada)
    client.force_login(making.user("bo"))
    foreign = [client.get(address) for address in pages_of(run)[2:]]
    missing = [client.get(f"/sessions/{uuid4()}/"), client.get(f"/runs/{uuid4()}/")]
    assert [answer.status_code for answer in [*foreign, *missing]] == [404] * 4
    # Except what differs in every answer.
    anew = re.compile(r'(?<=csrfmiddlewaretoken" value=")\w+|(?<=nonce=")[^"]+')
    there, nowhere = (anew.sub("", answer.content.decode()) for answer in (foreign[0], missing[0]))
    assert there == nowhere
    for address in pages_of(run)[:2]:
        assert "Sums" not in text_of(client.get(address))
    assert "Nothing found" in text_of(client.get("/sessions/?q=sum"))


def test_staff_read_but_do_not_ask(client: Client, ada: User) -> None:
    run = whole_run(ada)
    client.force_login(making.staff(access.VIEW_SESSIONS))
    answer = client.get(f"/sessions/{run.session_id}/")
    assert "session of ada" in text_of(answer)
    assert state_of(answer)["may"] == {"drive": False, "stop": False, "note": False}
    assert b'id="composer"' not in answer.content


@pytest.mark.odd_events
def test_texts_of_users_and_models_are_escaped(page: Client, ada: User) -> None:
    nasty = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    session = making.session(ada, title=nasty)
    run = making.run(session, message=nasty)
    making.append(
        run,
        start(run),
        step("thought", step=1, content=nasty, duration_ms=1),
        call(2, arguments={"code": nasty, nasty: nasty}),
        result(2, False, content=nasty),
        call(4, nasty, arguments=nasty),
        step("final_answer", step=5, content=nasty),
        Entry("error", {"message": nasty, "code": nasty, "id": nasty}),
    )
    for address in ["/", "/sessions/?q=alert", f"/sessions/{session.pk}/", f"/runs/{run.pk}/"]:
        html = page.get(address).content.decode()
        assert "<script>alert" not in html
        assert "<img src=x" not in html


def test_pages_keep_to_the_policy(page: Client, ada: User) -> None:
    run = whole_run(ada)
    for address in [*pages_of(run), "/accounts/", "/nowhere"]:
        answer = page.get(address)
        html = answer.content.decode()
        assert not re.search(r"\sstyle=", html), address
        assert not re.search(r"\son[a-z]+=", html), address
        for attributes in re.findall(r"<script([^>]*)>", html):
            assert "src=" in attributes or "application/json" in attributes or "importmap" in attributes
        policy = answer["Content-Security-Policy"]
        nonce = re.search(r'type="importmap" nonce="([^"]+)"', html)
        if nonce is not None:
            assert f"'nonce-{nonce[1]}'" in policy


def test_the_queue_and_the_agents_are_told_to_the_script(page: Client, ada: User) -> None:
    session = making.session(ada)
    making.run(session)
    waiting = making.run(session, message="And then?", owned_by="")
    state = state_of(page.get(f"/sessions/{session.pk}/"))
    assert [UUID(item["run_id"]) for item in state["queue"]] == [waiting.pk]
    assert set(state["agents"]) >= {"researcher", "developer", "writer"}
    assert state["max_iterations"] > 0


def test_an_empty_session_begins_with_a_first_sentence(page: Client, ada: User) -> None:
    session = making.session(ada)
    assert "What should we work out?" in text_of(page.get(f"/sessions/{session.pk}/"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"when": "cron", "cron": "0 9 * * 1-5", "time_zone": "Asia/Taipei"}, "every weekday at 09:00, Taipei"),
        ({"when": "every_minutes", "every_minutes": "120"}, "every 2 hours"),
        ({"when": "at", "at": "2999-01-01T09:30"}, "a hundred years ahead"),
        ({"when": "at", "at": "never"}, "Enter a valid date/time."),
        ({"when": "every_minutes", "every_minutes": "-1"}, "whole number"),
        ({"when": "cron", "cron": "* " * 5_000}, "characters"),
        ({"when": "cron", "cron": "0 9 * * *", "time_zone": "Nowhere/At<all>"}, "Nowhere/At&lt;all&gt;"),
        ({"when": "cron", "cron": "\x00"}, "This one has 1."),
        ({"when": "soon"}, "soon is not one of the available choices."),
        ({}, "This field is required."),
    ],
)
def test_when_a_schedule_would_run_or_what_is_wrong_with_that(page: Client, fields: dict[str, str], words: str) -> None:
    answer = page.get("/schedules/preview/", fields)
    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert not Schedule.objects.exists()


def test_when_a_schedule_would_run_is_told_to_people_alone() -> None:
    assert Client().get("/schedules/preview/", {"when": "cron"}).status_code == 302
    assert Client().post("/schedules/preview/").status_code == 405


# Errors of the product


def test_a_database_that_does_not_answer_has_words_of_its_own(page: Client) -> None:
    page.raise_request_exception = False
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE django_session")
    for path in ("/", "/sessions/?q=a"):
        answer = page.get(path)
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        assert "The database does not answer" in answer.text
        assert f'href="{path}"' in answer.text


def test_an_unexpected_error_shows_no_traceback(page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    page.raise_request_exception = False
    monkeypatch.setattr("chat.store.session_lists.listed_sessions", lambda *_, **__: 1 / 0)
    answer = page.get("/")
    assert answer.status_code == 500
    assert "This page could not be shown" in answer.text
    assert "ZeroDivision" not in answer.text


def within(run: Run, asked: str, agent: str, **fields: Any) -> Run:
    """A run within another one, at work."""
    child = Run(agent_name=agent, message=f"For the {agent}", parent_call_id=asked, **fields)
    run_state.begin_within(child, run)
    making.append(child, start(child, agent=agent, parent=selectors.parent_of(child)))
    return child


@pytest.fixture
def nested(ada: User) -> Run:
    """A run whose second call was asked of the developer, who asked the writer."""
    run = making.run(making.session(ada))
    making.append(
        run, start(run), step("iteration_start"), call(1), call(2, "ask_developer", arguments={"message": "Do it"})
    )
    child = within(run, "c2", "developer")
    making.append(child, step("iteration_start"), step("thought", step=1, content="How?"), call(2, "ask_writer"))
    grandchild = within(child, "c2", "writer")
    making.append(grandchild, step("final_answer", step=1, content="Grandly."), complete())
    making.end(grandchild, RunStatus.COMPLETED)
    making.append(child, result(2, name="ask_writer"), step("final_answer", step=4, content="Done."), complete())
    making.end(child, RunStatus.COMPLETED)
    making.append(
        run, result(1), result(2, name="ask_developer"), step("final_answer", step=9, content="All done."), complete()
    )
    making.end(run, RunStatus.COMPLETED)
    return run


@pytest.mark.parametrize("address", ["/sessions/{session}/", "/runs/{run}/"])
def test_runs_within_a_run_stand_in_the_row_of_their_call(page: Client, nested: Run, address: str) -> None:
    html = page.get(address.format(session=nested.session_id, run=nested.pk)).content.decode()
    children = [child for child in Run.objects.order_by("depth") if child.parent_id]
    places = [html.index(f'data-child="{child.pk}"') for child in children]
    assert places == sorted(places)
    numbers = re.findall(r'class="step-n"[^>]*>\s*([\d.]+)</a>', html)
    asked = Step.objects.get(run=nested, tool_name="ask_developer", type="tool_use").seq
    assert [number for number in numbers if "." in number] == [
        f"{asked}.1",
        f"{asked}.2",
        f"{asked}.2.1",
        f"{asked}.3",
    ]
    assert html.count("Grandly.") >= 1
    if address.startswith("/sessions"):
        state = json.loads(re.findall(r'<script id="page-state"[^>]*>(.*?)</script>', html, re.DOTALL)[0])
        assert [run["id"] for run in state["runs"] if run["parent"]] == [str(child.pk) for child in children]


def test_a_run_within_a_run_has_a_page_of_its_own(page: Client, nested: Run) -> None:
    child = Run.objects.get(parent=nested)
    html = page.get(f"/runs/{child.pk}/").content.decode()
    assert "For the developer" in html
    assert "All done." not in html


def test_a_window_that_begins_within_a_child_shows_it_in_its_place(
    nested: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the call is before the window, as in a run whose children have more steps than a page."""
    monkeypatch.setattr(selectors, "PAGE_STEPS", 3)
    window = selectors.window(nested.session_id, before=9, limit=2)
    assert [(stretch.run_id, stretch.first, stretch.last) for stretch in window.stretches] == [(nested.pk, 7, 8)]
    [shown] = conversation.shown_runs(nested.session, window, may_drive=True, may_copy=True)
    child = Run.objects.get(parent=nested)
    assert f'data-child="{child.pk}"' in shown.html
    assert "How?" in shown.html
    assert child.pk in {UUID(state["id"]) for state in shown.within}


def test_a_phones_keyboard_covers_no_part_of_a_page(page: Client) -> None:
    """Android's browsers lay it over the page unless the page says otherwise; the box to write in stands at its end."""
    for address in ("/", "/accounts/", "/nowhere/"):
        assert 'viewport-fit=cover, interactive-widget=resizes-content">' in page.get(address).content.decode()
