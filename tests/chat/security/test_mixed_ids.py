"""Requests about one's own objects that contain the id of another user's: each is answered as if that did not exist."""

import json
from typing import Any
from uuid import UUID

import pytest
from django.core import serializers
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from chat.access import Role
from chat.accounts.models import User
from chat.cases import commands as case_commands
from chat.cases import sharing as set_sharing
from chat.cases.commands import CaseFields
from chat.models import (
    Case,
    CaseSet,
    Comment,
    Door,
    File,
    Run,
    Schedule,
    Session,
    SessionFile,
    SetShare,
    Share,
    StandingApproval,
    SteeringWord,
    Verdict,
)
from chat.runs import notes, sharing
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "the okapi is at the quay"


class Things:
    """One object of each kind that a user has."""

    def __init__(self, name: str, words: str) -> None:
        self.user = making.user(name)
        making.user(f"{name}-friend")
        self.session = making.session(self.user, title=words)
        self.run = making.run(self.session, message=words)
        making.append(self.run, making.thought(words))
        making.end(self.run)
        self.file = making.file(self.user, words, self.session)
        target = sharing.ShareTarget(user=f"{name}-friend")
        self.share = sharing.make_share(self.user, self.session.pk, target, Role.WATCHER, None, Door.API)
        self.comment = notes.write_comment(self.user, self.session.pk, 1, words)
        self.set = case_commands.make_set(self.user, words)
        self.case = case_commands.add_case(self.user, self.set.pk, CaseFields(words), Door.API)
        approval = {"user": self.user, "tool_name": "python", "rule": "python"}
        self.approval = StandingApproval.objects.create(session=self.session, **approval)
        self.word = SteeringWord.objects.create(
            session=self.session,
            run=self.run,
            user=self.user,
            client_message_id=f"{name}'s",
            message=words,
            interrupt=False,
        )
        self.set_share = set_sharing.make_share(self.user, self.set.pk, target, Role.WATCHER, None, Door.API)

    def ids(self, prefix: str) -> dict[str, str]:
        """The identifiers, by kind."""
        found: dict[str, str] = {}
        rows: dict[str, Any] = {
            "session": self.session,
            "run": self.run,
            "file": self.file,
            "share": Share.objects.get(session=self.session),
            "comment": Comment.objects.get(session=self.session),
            "set": self.set,
            "approval": self.approval,
            "case": Case.objects.get(case_set_id=self.set.pk),
            "set_share": SetShare.objects.get(case_set_id=self.set.pk),
        }
        for kind, row in rows.items():
            found[f"{prefix}_{kind}"] = str(row if isinstance(row, UUID) else row.pk)
        return {**found, f"{prefix}_word": self.word.client_message_id}


def rows() -> dict[str, tuple[str, str, Any]]:
    """For each request: method, address and body, with ``my_…`` and ``their_…`` for identifiers."""
    asked = {"message": "hello", "client_message_id": "c1"}
    decided = {"interruptId": "{their_run}.call_1", "status": "resolved", "payload": {"decision": "allow"}}
    agui = {
        "threadId": "t",
        "runId": "r",
        "messages": [{"id": "m", "role": "user", "content": "hello"}],
        "resume": [decided],
    }
    branched = {"after_seq": 0, "message": "hello"}
    return {
        "their file with my question": ("POST", "/api/sessions/{my_session}/messages/", {**asked, "files": ["{their_file}"]}),
        "their file with my case": ("POST", "/api/sets/{my_set}/cases/", {"question": "q", "files": ["{their_file}"]}),
        "their file with a case of mine": ("PATCH", "/api/sets/{my_set}/cases/{my_case}/", {"files": ["{their_file}"]}),
        "their case in my set": ("PATCH", "/api/sets/{my_set}/cases/{their_case}/", {"question": "mine"}),
        "their case out of my set": ("DELETE", "/api/sets/{my_set}/cases/{their_case}/", None),
        "their case's page in my set": ("GET", "/sets/{my_set}/cases/{their_case}/", None),
        "my case in their set": ("PATCH", "/api/sets/{their_set}/cases/{my_case}/", {"question": "mine"}),
        "their set's share by my set": ("PATCH", "/api/sets/{my_set}/shares/{their_set_share}/", {"role": "driver"}),
        "their set's share away by my set": ("DELETE", "/api/sets/{my_set}/shares/{their_set_share}/", None),
        "their share": ("PATCH", "/api/shares/{their_share}/", {"role": "driver"}),
        "their share away": ("DELETE", "/api/shares/{their_share}/", None),
        "their session's share for a set's": ("PATCH", "/api/sets/{my_set}/shares/{their_share}/", {"role": "driver"}),
        "their comment": ("PATCH", "/api/comments/{their_comment}/", {"text": "mine"}),
        "their comment away": ("DELETE", "/api/comments/{their_comment}/", None),
        "my schedule into their session": (
            "POST",
            "/api/schedules/",
            {"message": "m", "every_minutes": 60, "session_id": "{their_session}"},
        ),
        "my schedule of their set": ("POST", "/api/schedules/", {"every_minutes": 60, "set_id": "{their_set}"}),
        "my schedule led into their session": ("PATCH", "/api/schedules/{my_schedule}/", {"session_id": "{their_session}"}),
        "my schedule led to their set": ("PATCH", "/api/schedules/{my_schedule}/", {"set_id": "{their_set}"}),
        "their run as a case of mine": ("POST", "/api/runs/{their_run}/case/", {"set_id": "{my_set}"}),
        "my run as a case of theirs": ("POST", "/api/runs/{my_run}/case/", {"set_id": "{their_set}"}),
        "my run beside theirs": ("GET", "/compare/?a={my_run}&b={their_run}", None),
        "my run beside theirs, by other names": ("GET", "/compare/?runs={my_run},{their_run}", None),
        "an upload into their session": ("UPLOAD", "/api/files/", {"session_id": "{their_session}"}),
        "a decision about their run by mine": (
            "POST",
            "/api/runs/{their_run}/approve/",
            {"tool_call_id": "call_1", "decision": "allow"},
        ),
        "their run stopped by my session": ("POST", "/api/sessions/{my_session}/cancel/", {"run_id": "{their_run}"}),
        "a verdict on theirs": ("PUT", "/api/runs/{their_run}/verdict/", {"verdict": "bad"}),
        "their run's first call": ("GET", "/api/runs/{their_run}/calls/1/messages/", None),
        "their file's text": ("GET", "/api/files/{their_file}/text/", None),
        "their run's file": ("GET", "/api/runs/{their_run}/export/?mask=false", None),
        "my session handed over by them": ("POST", "/api/sessions/{their_session}/owner/accept/", None),
        "a decision about their run, over AG-UI": ("POST", "/api/agui/researcher/", agui),
        "their file with my branch": ("POST", "/api/sessions/{my_session}/branch/", {**branched, "files": ["{their_file}"]}),
        "my branch of their session": ("POST", "/api/sessions/{their_session}/branch/", branched),
        "their approval out of my session": ("DELETE", "/api/sessions/{my_session}/approvals/{their_approval}/", None),
        "their word out of my session": ("POST", "/api/sessions/{my_session}/unsteer/", {"client_message_id": "{their_word}"}),
        "my answer to their run": ("POST", "/api/runs/{their_run}/answer/", {"tool_call_id": "call_1", "answers": {}}),
        "their share by my session's page": ("FORM", "/sessions/{my_session}/share/", {"share": "{their_share}", "role": "driver"}),
        "their share away by my session's page": ("FORM", "/sessions/{my_session}/share/", {"share": "{their_share}", "withdraw": "1"}),
        "their set's share by my set's page": ("FORM", "/sets/{my_set}/share/", {"share": "{their_set_share}", "role": "driver"}),
        "their set's share away by my set's page": ("FORM", "/sets/{my_set}/share/", {"share": "{their_set_share}", "withdraw": "1"}),
        "my session led to be offered theirs": ("FORM", "/sessions/{their_session}/owner/", {"accept": "1"}),
    }  # fmt: skip


@pytest.fixture
def world() -> dict[str, str]:
    theirs, mine = Things("ada", SECRET), Things("bo", "mine")
    schedule = Client()
    schedule.force_login(mine.user)
    made = schedule.post(
        "/api/schedules/", json.dumps({"message": "m", "every_minutes": 60}), content_type="application/json"
    )
    assert made.status_code == 201, made.content
    return {**theirs.ids("their"), **mine.ids("my"), "my_schedule": made.json()["id"]}


def kept() -> str:
    """All rows of the other user."""
    ada = User.objects.get(username="ada")
    sessions = Session.objects.filter(owner=ada)
    sets = CaseSet.objects.filter(owner=ada)
    queries: list[Any] = [
        sessions,
        Run.objects.filter(session__in=sessions),
        Share.objects.filter(session__in=sessions),
        Comment.objects.filter(session__in=sessions),
        Verdict.objects.filter(run__session__in=sessions),
        StandingApproval.objects.filter(session__in=sessions),
        SteeringWord.objects.filter(session__in=sessions),
        SessionFile.objects.filter(file__owner=ada),
        File.objects.filter(owner=ada),
        sets,
        Case.objects.filter(case_set__in=sets),
        SetShare.objects.filter(case_set__in=sets),
        Schedule.objects.filter(session__in=sessions) | Schedule.objects.filter(case_set__in=sets),
    ]
    return "".join(serializers.serialize("json", query.order_by("pk")) for query in queries)


def ask(client: Client, method: str, address: str, body: Any) -> Any:
    if method == "UPLOAD":
        return client.post(address, {**body, "file": SimpleUploadedFile("a.txt", b"hello", "text/plain")})
    if method == "FORM":
        return client.post(address, body)
    return client.generic(method, address, "" if body is None else json.dumps(body), content_type="application/json")


def test_an_id_of_another_user_is_as_one_that_does_not_exist(world: dict[str, str]) -> None:
    client = Client()
    client.force_login(User.objects.get(username="bo"))
    nobodys = {name: "0" * 8 + value[8:] if name.startswith("their_") else value for name, value in world.items()}
    before = kept()
    for case, (method, address, body) in rows().items():
        answer = ask(client, method, filled_in(address, world), filled_in(body, world))
        content = b"".join(answer.streaming_content) if answer.streaming else answer.content
        assert answer.status_code in (400, 404, 409), f"{case}: {answer.status_code} {content[:300]!r}"
        assert SECRET not in content.decode(), case
        assert kept() == before, case
        same = ask(client, method, filled_in(address, nobodys), filled_in(body, nobodys))
        assert same.status_code == answer.status_code, f"{case} is told from what does not exist"


def filled_in(template: Any, world: dict[str, str]) -> Any:
    """The address or body with the identifiers."""
    text = json.dumps(template)
    for name, value in world.items():
        text = text.replace("{" + name + "}", value)
    return json.loads(text)
