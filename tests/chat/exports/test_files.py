"""Sessions and runs as files: the content of each format, what is masked, and the file's name."""

import json
import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any
from urllib.parse import unquote

import pytest
from atif import Trajectory
from django.test import AsyncClient

from chat.exports.files import FORMATS
from chat.models import Act, AuditEntry, Door, Run, Session, Step
from chat.runtime import database
from tests.chat import making
from tests.chat.exports import stock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    made = AsyncClient()
    await made.aforce_login(await database.write(making.user))
    yield made
    database.close()


@pytest.fixture
async def session(client: AsyncClient) -> Session:
    def fill() -> Session:
        owner = making.User.objects.get()
        return stock.fill(owner)

    return await database.write(fill)


async def saved(client: AsyncClient, address: str) -> tuple[str, Any]:
    answer = await client.get(f"/api/{address}")
    assert answer.status_code == 200, await text_of(answer)
    return await text_of(answer), answer


async def text_of(answer: Any) -> str:
    if not answer.streaming:
        return str(answer.content.decode())
    return b"".join([piece async for piece in answer.streaming_content]).decode()


@pytest.mark.parametrize("kind", FORMATS)
async def test_no_format_tells_a_secret_unless_asked_to(client: AsyncClient, session: Session, kind: str) -> None:
    text, answer = await saved(client, f"sessions/{session.pk}/export/?format={kind}")
    for secret in (stock.KEY, stock.KEY[:12], "hunter2"):
        assert secret not in text
    assert "[hidden key]" in text
    assert "[hidden password]" in text
    assert answer["Content-Type"] == FORMATS[kind].media_type
    assert answer["X-Content-Type-Options"] == "nosniff"
    whole, _ = await saved(client, f"sessions/{session.pk}/export/?format={kind}&mask=false")
    assert whole.count(stock.KEY) >= 3
    assert "hunter2" in whole
    assert "[hidden " not in whole


@pytest.mark.parametrize("kind", FORMATS)
async def test_everything_that_was_said_is_in_each_format(client: AsyncClient, session: Session, kind: str) -> None:
    text, _ = await saved(client, f"sessions/{session.pk}/export/?format={kind}")
    for words in (
        "both",
        "ask_writer",
        "A child's thought" if kind != "html" else "A child",
        "Oolong",
        "y" * 500,
        "It failed.",
        "a quiet thought",
    ):
        assert words in text, words


async def test_json_has_every_event_as_it_was_sent(client: AsyncClient, session: Session) -> None:
    text, _ = await saved(client, f"sessions/{session.pk}/export/?format=json&mask=false")
    document = json.loads(text)
    sent = (await client.get(f"/api/sessions/{session.pk}/events/?limit=1000")).json()["events"]
    events = [event for event in document["events"] if event["seq"] is not None]
    wholes = [event.pop("full_content") for event in events if "full_content" in event]
    assert events == sent
    assert wholes == [stock.LONG]
    # A step that is stored without a number is in its run.
    kept = [event for event in document["events"] if event["seq"] is None]
    assert [event["data"]["type"] for event in kept] == ["thought", "final_answer"]
    assert document["session"]["title"] == session.title


async def test_a_run_is_told_with_those_within_it_alone(client: AsyncClient, session: Session) -> None:
    run = await database.read(lambda: Run.objects.get(session=session, number=1, parent=None))
    text, answer = await saved(client, f"runs/{run.pk}/export/?format=json")
    exported = json.loads(text)
    assert {event["run_id"] for event in exported["events"]} == {
        str(pk) for pk in await database.read(lambda: list(Run.objects.filter(number=1).values_list("pk", flat=True)))
    }
    assert exported["run_id"] == str(run.pk)
    assert [event["seq"] for event in exported["events"]] == list(range(1, len(exported["events"]) + 1))
    assert unquote(answer["Content-Disposition"]).endswith(" 1.json")


async def test_atif_is_valid_and_its_children_are_subagents(client: AsyncClient, session: Session) -> None:
    text, _ = await saved(client, f"sessions/{session.pk}/export/?format=atif&mask=false")
    trajectory = Trajectory.model_validate_json(text)
    assert trajectory.to_json_dict() == json.loads(text)
    asked, first, second, *_ = trajectory.steps
    assert asked.source == "user"
    assert first.reasoning_content == "I look at *both*."
    assert [call.function_name for call in first.tool_calls or ()] == ["python", "ask_writer"]
    results = first.observation.results if first.observation else []
    assert [result.content for result in results] == [stock.LONG, "Oolong."]
    (child,) = trajectory.subagent_trajectories or ()
    assert [ref.trajectory_id for ref in results[1].subagent_trajectory_ref or ()] == [child.trajectory_id]
    assert [step.source for step in child.steps] == ["user", "agent"]
    assert child.steps[1].message == "Oolong."
    assert second.message == "Take **Oolong**."
    broken = next(step for step in trajectory.steps if step.tool_calls and step.tool_calls[0].extra)
    assert broken.tool_calls
    assert broken.tool_calls[0].arguments == {}
    run = await database.read(lambda: Run.objects.get(session=session, status="failed"))
    Trajectory.model_validate_json((await saved(client, f"runs/{run.pk}/export/?format=atif"))[0])


async def test_markdown_keeps_what_tools_said_in_its_fence(client: AsyncClient, session: Session) -> None:
    text, _ = await saved(client, f"sessions/{session.pk}/export/?format=markdown&mask=false")
    # The fence has more backticks than the text.
    assert f"````\n{stock.HOSTILE}\n````" in text
    assert "> > **Answer" not in text
    assert "> Oolong." in text


async def test_html_has_nothing_that_runs_but_its_own_script(client: AsyncClient, session: Session) -> None:
    text, _ = await saved(client, f"sessions/{session.pk}/export/?format=html")
    assert text.count("<script") == 1
    assert "&lt;script&gt;alert(1)" in text
    assert "\u202e" not in text
    for loads in ("<img src=x", 'src="http', 'href="/', "@import", "url(http"):
        assert loads not in text
    assert "default-src &#x27;none&#x27;; img-src data:" in text


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("茶", "茶.json"),
        ("", "session.json"),
        ("../../etc/passwd", "etc passwd.json"),
        ('a<b>:"c|d?*', "a b c d.json"),
        ("CON", "session CON.json"),
        ("nul.txt", "session nul.txt.json"),
        ("tab\tline", "tab line.json"),
        ("…" * 200, "…" * 60 + ".json"),
        ("\u202egpj.exe", "gpj.exe.json"),
        ("...", "file.json"),
    ],
)
async def test_every_file_system_takes_its_name(client: AsyncClient, title: str, name: str) -> None:
    made = await database.write(lambda: making.session(making.User.objects.get(), title=title))
    answer = await client.get(f"/api/sessions/{made.pk}/export/?format=json")
    kind, _, encoded = answer["Content-Disposition"].partition("; filename*=UTF-8''")
    assert kind.startswith('attachment; filename="')
    assert kind.isascii()
    assert unquote(encoded) == name


@pytest.mark.parametrize("query", ["format=pdf", "format=", "mask=perhaps", "format=html&mask="])
async def test_an_unknown_format_is_refused_with_an_error(client: AsyncClient, session: Session, query: str) -> None:
    answer = await client.get(f"/api/sessions/{session.pk}/export/?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_frame"


async def test_a_preview_tells_what_is_hidden_and_where(client: AsyncClient, session: Session) -> None:
    answer = (await client.get(f"/api/sessions/{session.pk}/export/preview/")).json()
    assert answer["count"] == sum(answer["kinds"].values()) == len(answer["places"])
    assert {
        "seq": 1,
        "what": "reasoning_start",
        "tool": "",
        "kind": "key",
        "excerpt": "Which tea? My key is [hidden key].",
    } in answer["places"]
    assert any(place["tool"] == "python" and place["kind"] == "password" for place in answer["places"])
    assert stock.KEY not in json.dumps(answer)
    run = await database.read(lambda: Run.objects.get(session=session, status="failed"))
    assert (await client.get(f"/api/runs/{run.pk}/export/preview/")).json() == {"count": 0, "kinds": {}, "places": []}


@pytest.mark.parametrize("sees", [True, False], ids=["the original is seen", "the original is another's now"])
async def test_a_branch_says_what_was_copied_and_from_where(client: AsyncClient, session: Session, sees: bool) -> None:
    """Which session was copied is only shown to those who may see that one; that it is a copy, to everybody."""
    end = (await database.read(Session.objects.get, pk=session.pk)).last_seq
    answer = await client.post(
        f"/api/sessions/{session.pk}/branch/", {"after_seq": end}, content_type="application/json"
    )
    assert answer.status_code == 201, answer.content
    copy_id = answer.json()["id"]
    if not sees:
        await database.write(lambda: Session.objects.filter(pk=session.pk).update(owner=making.user("bo")))
    exported = json.loads((await saved(client, f"sessions/{copy_id}/export/?format=json"))[0])
    original = await database.read(
        lambda: list(Step.objects.filter(session=session).values_list("event_id", flat=True))
    )
    assert exported["session"]["branched_from"] == {"session_id": str(session.pk) if sees else None, "after_seq": end}
    assert {event["copied_from"] for event in exported["events"]} == {str(event_id) for event_id in original}
    text, _ = await saved(client, f"sessions/{copy_id}/export/?format=atif")
    trajectory = Trajectory.model_validate_json(text)
    assert trajectory.to_json_dict() == json.loads(text)
    assert (trajectory.extra or {})["branched_from"] == exported["session"]["branched_from"]
    assert all(step.is_copied_context for step in trajectory.steps)
    if sees:
        plain, _ = await saved(client, f"sessions/{session.pk}/export/?format=atif")
        assert "is_copied_context" not in plain
        assert "branched_from" not in plain


async def test_the_menu_s_events_are_the_whole_file_and_not_what_the_page_shows(
    client: AsyncClient, session: Session
) -> None:
    def make_long() -> None:
        run = making.run(session, message="And now?")
        making.append(run, *(making.thought("so", number) for number in range(1, 401)))

    await database.write(make_long)
    page = (await client.get(f"/sessions/{session.pk}/")).content.decode()
    (address,) = re.findall(r'href="([^"]+)" download>(?:(?!</a>).)*Events as JSON', page, re.DOTALL)
    text, _ = await saved(client, unescape(address).removeprefix("/api/"))
    document = json.loads(text)
    stored = await database.read(lambda: list(session.steps.exclude(seq=None).values_list("seq", flat=True)))
    assert sorted(event["seq"] for event in document["events"] if event["seq"] is not None) == sorted(stored)
    assert len(stored) > 400


async def test_an_export_is_in_the_audit_with_its_masking(client: AsyncClient, session: Session) -> None:
    run = await database.read(session.runs.first)
    assert run is not None
    for address in (f"sessions/{session.pk}", f"runs/{run.pk}"):
        for query in ("format=json", "format=html&mask=false"):
            await saved(client, f"{address}/export/?{query}")
    entries = AuditEntry.objects.filter(action=Act.EXPORT).order_by("pk")
    exports = [(entry.session_id, entry.run_id, entry.door, entry.details) async for entry in entries]
    hidden, shown = {"format": "json", "mask": True}, {"format": "html", "mask": False}
    assert exports == [(session.pk, of, Door.API, details) for of in (None, run.pk) for details in (hidden, shown)]
