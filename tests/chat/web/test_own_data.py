"""A user's own data: the archive has all of it and nothing of others', and a deleted account leaves nothing in any table."""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from axes.models import AccessAttempt
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import AsyncClient, Client
from django.utils import timezone

from agents import CallBegun, ModelRequest
from chat.accounts.models import ProviderLogin, User
from chat.models import (
    Act,
    ApiToken,
    AuditEntry,
    Budget,
    Case,
    CaseResult,
    CaseSet,
    ClosedAccount,
    Comment,
    Connection,
    DailyUsage,
    Door,
    Draft,
    ImportedDocument,
    IndexMove,
    Mail,
    Occurrence,
    OwnerOffer,
    RequestKey,
    Run,
    RunStatus,
    Schedule,
    Scope,
    SentAlong,
    Session,
    SetRun,
    SetShare,
    Share,
    ShareJoin,
    StandingApproval,
    SteeringWord,
    StepContent,
    StepOrigin,
    Thread,
    Verdict,
    WaitingCall,
)
from chat.models.webhooks import Webhook, WebhookDelivery
from chat.runs import erasure
from chat.runtime import database
from chat.schedules import commands as schedule_commands
from chat.security import audit
from chat.store import file_texts, own_data
from chat.store import files as stored_files
from chat.store.calls import CallWriter
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "correct horse 17"
#: Tables in which no row belongs to one user, or, for usage, whose sums are kept.
OF_NOBODY = set(
    "Permission Group ContentType Migration Process ToolServer Announcement ModelServerFacts Price Agent AgentVersion ModelServer "
    "McpServer TraceCursor TracedRun Chore AuditPurge AuditEntry AccessLog AccessFailureLog SocialApp".split()
)


@pytest.fixture(autouse=True)
def connections_are_given_back() -> Iterator[None]:
    yield
    database.close()


def fill(name: str) -> User:
    """A user with a row in each table."""
    user = making.user(name, email=f"{name}@example.org", first_name=name.title())
    session = making.session(user, title=f"{name} asks about apples")
    run = making.run(session, message=f"What would {name} eat?")
    making.append(run, making.thought(f"{name} thinks of apples"))
    StepContent.objects.create(step=run.steps.get(), content=f"{name} has it whole")
    StepOrigin.objects.create(step=run.steps.get(), data="{}")
    CallWriter(run, provider="default").write(
        [CallBegun(1, 1, 1.5, ModelRequest("m", [{"role": "user", "content": "? " * 5_000}]))]
    )
    SentAlong.objects.create(run=run, owner=user, agent_name="researcher", messages=f'["{name} said before"]')
    making.end(run)
    live = making.run(session, continues=run)
    Draft.objects.create(run=live, number=2, type="thought", text="and", updated_at=timezone.now())
    Connection.objects.create(process="p", session=session, user=user, role="owner")
    fields = {"message": f"{name} again", "every_minutes": 60, "session_id": str(session.pk)}
    schedule_commands.make(user, fields, timezone.now())
    Occurrence.objects.create(schedule=user.schedules.get(), due_at=timezone.now(), outcome="started", run=live)
    file_texts.prepare(making.file(user, f"{name}'s apples", session))
    secret = {"name": f"{name}'s script", "prefix": "tk_abc", "digest": f"digest of {name}", "scope": Scope.READ}
    ApiToken.objects.create(user=user, **secret)
    DailyUsage.objects.create(day=timezone.now().date(), user=user, agent_name="a", provider="p", model="m", calls=1)
    Budget.objects.create(scope="run", user=user, limit=5, unit="tokens")
    of_users = ContentType.objects.get_for_model(User)
    LogEntry.objects.create(user=user, content_type=of_users, object_id="1", object_repr="x", action_flag=2)
    AccessAttempt.objects.create(username=name, ip_address="192.0.2.1", failures_since_start=1)
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": f"secret of {name}"})
    ProviderLogin.objects.create(user=user, issuer="https://id.example.org", subject=name, confirmed_at=timezone.now())
    ImportedDocument.objects.create(session=session, document=f'{{"agent": "{name} came with it"}}')
    Thread.objects.create(owner=user, name=f"{name} calls it so", session=session)
    RequestKey.objects.create(owner=user, key="k", digest=f"digest of {name}", session_id=session.pk)
    share = Share.objects.create(session=session, link_hash=f"secret of {name}", role="watcher")
    ShareJoin.objects.create(share=share, user=user)
    OwnerOffer.objects.create(session=session, user=user)
    IndexMove.objects.create(session=session)
    Comment.objects.create(session=session, seq=1, user=user, text=f"{name} comments", version=1)
    Verdict.objects.create(session=session, run=run, user=user, word="bad", reason=f"{name} reasons", version=2)
    held = {"tool_call_id": "c", "tool_name": "t", "arguments": f'{{"to": "{name}"}}', "deadline": timezone.now()}
    WaitingCall.objects.create(session=session, run=run, decided_by=user, **held)
    StandingApproval.objects.create(session=session, user=user, tool_name="t", rule="r", made_by=user)
    SteeringWord.objects.create(
        session=session, run=live, user=user, client_message_id="w", message=f"{name} adds", interrupt=False
    )
    hook = Webhook.objects.create(owner=user, url=f"https://{name}.example.org/hook", fingerprint=f"secret of {name}")
    Mail.objects.create(user=user, kind="run.waiting", run_id=run.pk)
    WebhookDelivery.objects.create(webhook=hook, event="run.ended")
    case_set = CaseSet.objects.create(owner=user, name=f"{name}'s set")
    SetShare.objects.create(case_set=case_set, user=user, role="watcher")
    case = Case.objects.create(case_set=case_set, number=1, question=f"{name} is asked again")
    stored_files.attach_to_case(case.pk, user.pk, [making.file(user, f"{name}'s pears").pk])
    set_run = SetRun.objects.create(
        case_set=case_set, number=1, agent_name="researcher", agent_version_id=run.agent_version_id
    )
    CaseResult.objects.create(set_run=set_run, case=case, run=run)
    audit.record_action(user.pk, Act.EXPORT, Door.API, session_id=session.pk)
    return user


def counts() -> dict[str, int]:
    """The number of rows of every table that has rows of this user."""
    found = {model.__name__: model._base_manager.count() for model in apps.get_models(include_auto_created=True)}
    with connection.cursor() as cursor:
        for table in ("chat_search", "chat_search_new"):
            cursor.execute(f"SELECT COUNT(*) FROM {table}")
            found[table] = cursor.fetchone()[0]
    return {name: count for name, count in found.items() if name not in OF_NOBODY}


#: Users have rows in these only through another package, which these tests do not use.
NOT_FILLED = set(
    "User_groups User_user_permissions Group_permissions SocialAccount SocialToken SocialApp_sites EmailAddress EmailConfirmation "
    "ClosedAccount chat_search Agent_groups AccessAttemptExpiration".split()
)


def proven(client: Client) -> None:
    """Enter the password, as before an account can be deleted."""
    assert client.post("/accounts/confirm/", {"password": PASSWORD}).status_code == 302


def erase_all() -> None:
    while erasure.erase_batch(erasure.Pace()) is not None:
        pass


def test_every_table_that_has_something_of_somebody_s_is_looked_at() -> None:
    """A new table is one line of `fill`: its rows are deleted with the account, and whether the archive has them must be decided."""
    before = counts()
    Client().force_login(fill("ada"))
    changed = {name for name, count in counts().items() if count > before[name]}
    assert set(before) - changed - NOT_FILLED == set()


def test_an_account_that_is_deleted_leaves_nothing_in_any_table() -> None:
    fill("bo")
    before = counts()
    ada = fill("ada")
    client = Client()
    client.force_login(ada)
    proven(client)
    answer = client.post("/accounts/data/delete/", {"username": "ada", "password": PASSWORD})
    assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/"), answer.content.decode()[-2000:]
    erase_all()
    after = counts()
    assert after.pop("DailyUsage") == 2, "sums are kept, and nobody's"
    assert not DailyUsage.objects.filter(user=ada.pk).exists()
    del before["DailyUsage"]
    assert after == before
    assert not ClosedAccount.objects.exists()
    assert not AuditEntry.objects.filter(actor_id=ada.pk).exists()
    assert AuditEntry.objects.filter(action=Act.DELETE, actor_id__lt=0, about="account").count() == 1
    assert Client().post("/accounts/login/", {"username": "ada", "password": PASSWORD}).status_code == 200


#: Entered texts that delete nothing, and the error.
REFUSED = {
    "another's name": ({"username": "bo", "password": PASSWORD}, "not your user name"),
    "a wrong password": ({"username": "ada", "password": "wrong"}, "not right"),
    "no password": ({"username": "ada"}, "required"),
    "nothing": ({}, "required"),
}


@pytest.mark.parametrize("typed", REFUSED)
def test_a_wrong_confirmation_deletes_nothing(client: Client, typed: str) -> None:
    client.force_login(making.user("ada"))
    proven(client)
    fields, words = REFUSED[typed]
    answer = client.post("/accounts/data/delete/", fields)
    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert not ClosedAccount.objects.exists()


def test_the_password_is_asked_for_before_an_account_is_deleted(client: Client) -> None:
    client.force_login(making.user("ada"))
    answer = client.post("/accounts/data/delete/", {"username": "ada", "password": PASSWORD})
    assert answer["Location"].startswith("/accounts/confirm/")
    assert not ClosedAccount.objects.exists()


def test_the_only_superuser_stays(client: Client) -> None:
    client.force_login(making.user("ada", is_staff=True, is_superuser=True))
    proven(client)
    answer = client.post("/accounts/data/delete/", {"username": "ada", "password": PASSWORD})
    assert "the only one" in answer.content.decode()
    making.user("root", is_superuser=True)
    assert client.post("/accounts/data/delete/", {"username": "ada", "password": PASSWORD}).status_code == 302


async def test_the_archive_has_all_of_it_and_nothing_of_others() -> None:
    def make() -> tuple[User, User]:
        ada, bo = fill("ada"), fill("bo")
        audit.record_action(bo.pk, Act.VIEW, Door.PAGE, session_id=Session.objects.get(owner=ada).pk)
        return ada, bo

    ada, _ = await database.write(make)
    client = AsyncClient()
    await client.aforce_login(ada)
    answer: Any = await client.get("/data/archive/")
    content = b"".join([part async for part in answer])
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    texts = {name: archive.read(name).decode() for name in archive.namelist()}
    session = await Session.objects.aget(owner=ada)
    for name in (
        "account.json",
        "schedules.json",
        "tokens.json",
        "usage.json",
        "audit.json",
        f"sessions/{session.pk}.json",
    ):
        json.loads(texts[name])
    whole = "\n".join(texts.values())
    for words in (
        "ada asks about apples",
        "What would ada eat?",
        "ada thinks of apples",
        "ada has it whole",
        "ada again",
        "ada's apples",
        "ada's script",
        "ada said before",
        "ada calls it so",
        "ada is asked again",
        "ada's pears",
        "ada comments",
        "ada reasons",
        "ada came with it",
        "ada.example.org",
        "ada@example.org",
    ):
        assert words in whole, words
    for hidden in (
        "bo's",
        "bo asks",
        "bo@example",
        "bo.example",
        "bo again",
        "bo comments",
        "bo reasons",
        "digest of",
        "secret of",
        "argon2",
    ):
        assert hidden not in whole, hidden
    noted = json.loads(texts["audit.json"])
    assert [(entry["action"], entry["by"], entry["yours"]) for entry in noted] == [
        ("export", "you", True),
        ("view", "staff", True),
        ("export", "you", True),
    ]


def test_a_long_session_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_data, "ROWS", 3)
    monkeypatch.setattr(own_data, "PIECE", 1)
    ada = making.user("ada")
    session = making.session(ada)
    run = making.run(session)
    making.append(run, *(making.thought(f"apple {n}", n) for n in range(1, 11)))
    pieces = list(own_data.archive(ada))
    assert len(pieces) > 10
    archive = zipfile.ZipFile(io.BytesIO(b"".join(pieces)))
    events = json.loads(archive.read(f"sessions/{session.pk}.json"))["events"]
    assert [event["data"]["content"] for event in events if event["type"] == "reasoning_step"] == [
        f"apple {n}" for n in range(1, 11)
    ]


#: Names of files, and their names in the archive.
NAMES = {
    "notes.txt": "notes.txt",
    "a b (1).md": "a b (1).md",
    "問題.pdf": "問題.pdf",
    "a:b|c?.txt": "a_b_c_.txt",
    "..": "file",
}


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_archive(name: str) -> None:
    ada = making.user("ada")
    file = making.file(ada, name=name)
    archive = zipfile.ZipFile(io.BytesIO(b"".join(own_data.archive(ada))))
    assert f"files/{file.pk}/{NAMES[name]}" in archive.namelist()


async def test_one_archive_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ada = await database.write(making.user, "ada")
    client = AsyncClient()
    await client.aforce_login(ada)
    first: Any = await client.get("/data/archive/")
    parts = aiter(first)
    await anext(parts)
    assert (await client.get("/data/archive/")).status_code == 429
    async for _ in parts:
        pass
    again: Any = await client.get("/data/archive/")
    assert again.status_code == 200
    assert b"".join([part async for part in again])


@pytest.mark.parametrize("days", [0, 1, 30])
def test_the_page_says_how_long_sessions_are_kept(client: Client, settings: Any, days: int) -> None:
    settings.RETENTION_DAYS = days
    client.force_login(making.user("ada"))
    words = {0: "until you delete them", 1: "for 1 day is", 30: "for 30 days is"}[days]
    assert words in client.get("/accounts/data/").content.decode()


def test_runs_are_stopped_with_the_account(client: Client) -> None:
    ada = making.user("ada")
    run = making.run(making.session(making.user("bo")), user=ada)
    client.force_login(ada)
    proven(client)
    client.post("/accounts/data/delete/", {"username": "ada", "password": PASSWORD})
    run = Run.objects.get(pk=run.pk)
    assert run.status == RunStatus.CANCELLED
    assert not Schedule.objects.exists()
