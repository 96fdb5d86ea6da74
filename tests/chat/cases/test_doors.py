"""Sets by their pages and by the API: the same actions, the same errors, and files that are imported as they were exported."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from chat.accounts.models import User
from chat.cases import commands, formats, set_runs
from chat.cases.commands import CaseFields
from chat.catalog import agents
from chat.models import Act, AuditEntry, Case, CaseResult, CaseSet, CaseVerdict, File, Run, SetRun
from chat.runs.admission import Refused
from chat.runtime import database
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def connections_are_given_back() -> Iterator[None]:
    yield
    database.close()


@pytest.fixture
def ada() -> User:
    return making.user()


@pytest.fixture
def web(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


def filled(owner: User, cases: int = 3, runs: int = 2) -> CaseSet:
    """A set that was run, with a run for each result."""
    made = commands.make_set(owner, "Prices")
    commands.add_cases(owner, made.pk, [CaseFields(f"question {n}") for n in range(cases)])
    session = making.session(owner)
    for _ in range(runs):
        set_run = set_runs.begin(owner, made.pk)
        run = making.run(session)
        making.end(run)
        CaseResult.objects.filter(set_run=set_run).update(verdict=CaseVerdict.FAILED, run=run, duration_ms=1_500)
        SetRun.objects.filter(pk=set_run.pk).update(state="done")
    return made


def test_a_case_is_made_of_a_run_and_the_set_asked_and_deleted_on_its_pages(web: Client, ada: User) -> None:
    run = making.run(making.session(ada), message="What is flour?")
    making.end(run)
    shown = web.get(f"/runs/{run.pk}/case/").content.decode()
    assert "What is flour?" in shown
    fields = {"question": "What is flour?", "expected": "wheat\r\nground", "set_id": "", "set_name": "Food"}
    answer = web.post(f"/runs/{run.pk}/case/", fields)
    made = CaseSet.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"/sets/{made.pk}/")
    case = Case.objects.get()
    assert (case.expected, case.source_run, made.name) == ("wheat\nground", run.pk, "Food")
    assert web.post(f"/sets/{made.pk}/run/", {"agent_name": "researcher"}).status_code == 302
    assert "0 of 1 done" in web.get(f"/sets/{made.pk}/").content.decode()
    assert web.post(f"/sets/{made.pk}/runs/1/stop/").status_code == 302
    acts = list(AuditEntry.objects.filter(actor_id=ada.pk).order_by("pk").values_list("action", flat=True))
    assert acts == [Act.COPY, Act.RUN_NOW, Act.STOP]
    assert web.post(f"/sets/{made.pk}/delete/").status_code == 302
    assert not CaseSet.objects.exists()
    assert Run.objects.filter(pk=run.pk).exists()


def test_the_table_leads_to_runs_and_to_comparisons_with_the_column_beside(web: Client, ada: User) -> None:
    made = filled(ada)
    older, newer = Run.objects.order_by("number")
    shown = web.get(f"/sets/{made.pk}/").content.decode()
    assert shown.count(f"/compare/?a={older.pk}&amp;b={newer.pk}") == 3
    assert shown.count(f'href="/runs/{newer.pk}/"') == 3
    assert web.get(f"/compare/?a={older.pk}&b={newer.pk}").status_code == 200


def test_a_page_of_a_thousand_cases_asks_as_much_as_one_of_ten(web: Client, ada: User) -> None:
    counted = []
    for number in (10, 1_000):
        made = filled(ada, cases=number)
        web.get(f"/sets/{made.pk}/")
        agents.forget()  # as if the second for which they are cached were over
        with CaptureQueriesContext(connection) as asked:
            shown = web.get(f"/sets/{made.pk}/").content.decode()
        counted.append(len(asked))
        assert shown.count("<tr>") == 1 + min(number, 50)
    assert counted[0] == counted[1]


def call(client: Client, method: str, path: str, body: Any = None) -> Any:
    sent = "" if body is None else json.dumps(body)
    return client.generic(method, f"/api/{path}", sent, content_type="application/json")


def test_the_api_has_the_same_acts(web: Client, ada: User) -> None:
    set_id = call(web, "POST", "sets/", {"name": "Prices"}).json()["id"]
    made = call(web, "POST", f"sets/{set_id}/cases/", {"question": "What is flour?", "expected": ["wheat", "a  grain"]})
    assert (made.status_code, made.json()["expected"]) == (201, ["wheat", "a grain"])
    case_id = made.json()["id"]
    assert call(web, "PATCH", f"sets/{set_id}/cases/{case_id}/", {"rule": "True"}).json()["rule"] == "True"
    begun = call(web, "POST", f"sets/{set_id}/runs/", {})
    assert (begun.status_code, begun.json()["state"], begun.json()["totals"]["counts"]) == (
        202,
        "running",
        {"waiting": 1},
    )
    assert call(web, "POST", f"sets/{set_id}/runs/", {}).json()["error"]["code"] == "conflict"
    assert call(web, "POST", f"sets/{set_id}/runs/1/stop/").json()["state"] == "stopped"
    results = call(web, "GET", f"sets/{set_id}/runs/1/results/").json()
    assert [each["verdict"] for each in results["items"]] == ["stopped"]
    assert call(web, "GET", f"sets/{set_id}/runs/1/csv/").content.startswith(b"case,question,verdict")
    exported = call(web, "GET", f"sets/{set_id}/export/").content
    assert call(web, "POST", f"sets/{set_id}/import/", json.loads(exported)).status_code == 201
    assert Case.objects.count() == 2
    assert call(web, "DELETE", f"sets/{set_id}/cases/{case_id}/").status_code == 204
    assert call(web, "DELETE", f"sets/{set_id}/").status_code == 204


def test_staff_make_a_case_of_another_s_run_with_a_copy_of_its_files(client: Client, ada: User) -> None:
    session = making.session(ada)
    file = making.file(ada, "pears", session)
    run = making.run(session, files=f'[{{"id": "{file.pk}", "name": "n", "media_type": "text/plain", "size": 5}}]')
    staff = making.staff("chat.view_session")
    client.force_login(staff)
    made = call(client, "POST", f"runs/{run.pk}/case/", {"set_name": "Bad ones"})
    assert made.status_code == 201
    (copied,) = made.json()["files"]
    assert copied["id"] != str(file.pk)
    assert Case.objects.get().used_files.get().file.owner == staff
    assert AuditEntry.objects.filter(action=Act.COPY, actor_id=staff.pk, run_id=run.pk).exists()


NOBODY_S = "6f9619ff-8b86-4d01-b42d-00c04fc964ff"
#: What programs send, and the code of the error.
BAD: dict[str, tuple[str, str, Any, str]] = {
    "a set without a name": ("POST", "sets/", {"name": " "}, "bad_frame"),
    "a long name": ("POST", "sets/", {"name": "x" * 201}, "bad_frame"),
    "no body": ("POST", "sets/", None, "bad_frame"),
    "a case without a question": ("POST", "sets/SET/cases/", {"rule": "True"}, "empty_message"),
    "words that are no list": ("POST", "sets/SET/cases/", {"question": "x", "expected": "wheat"}, "bad_frame"),
    "a rule that is no Python": ("POST", "sets/SET/cases/", {"question": "x", "rule": "no Python"}, "bad_frame"),
    "a rule without its module": ("PATCH", "sets/SET/cases/CASE/", {"rule": "import numpy"}, "bad_frame"),
    "a rule for a case of a run": ("POST", "runs/RUN/case/", {"set_name": "x", "rule": "("}, "bad_frame"),
    "files of a case of a run": ("POST", "runs/RUN/case/", {"set_name": "x", "files": []}, "bad_frame"),
    "files of nobody": ("POST", "sets/SET/cases/", {"question": "x", "files": [NOBODY_S]}, "not_found"),
    "files that are none": ("POST", "sets/SET/cases/", {"question": "x", "files": ["notes.txt"]}, "bad_frame"),
    "what a case has not": ("POST", "sets/SET/cases/", {"question": "x", "tags": ["y"]}, "bad_frame"),
    "nor to be changed": ("PATCH", "sets/SET/cases/CASE/", {"Question": "x"}, "bad_frame"),
    "a number that is none": ("GET", "sets/SET/runs/x/", None, "bad_frame"),
    "a run that there is not": ("GET", "sets/SET/runs/9/", None, "not_found"),
    "a cursor of others": ("GET", "sets/SET/runs/1/results/?cursor=-1", None, "bad_frame"),
    "a version that is none": ("POST", "sets/SET/runs/", {"version": 99}, "not_found"),
    "an agent that is none": ("POST", "sets/SET/runs/", {"agent_name": "nobody"}, "unknown_agent"),
    "a set that is none": ("GET", "sets/x/", None, "not_found"),
    "a case of no run": ("POST", "runs/x/case/", {"set_name": "x"}, "not_found"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_by_the_api_is_refused(web: Client, ada: User, kind: str) -> None:
    method, path, body, code = BAD[kind]
    made = filled(ada)
    named = {"SET": made.pk, "CASE": made.cases.all()[0].pk, "RUN": Run.objects.all()[0].pk}
    for word, key in named.items():
        path = path.replace(word, str(key))
    before = Case.objects.count()
    answer = call(web, method, path, body)
    assert answer.json()["error"]["code"] == code
    assert Case.objects.count() == before


#: Files that contain no cases, and the error.
BAD_FILES = {
    "nothing": (b"", "no cases"),
    "no JSON": (b'{"question": "a"}\nso', "Line 2: it is no JSON object"),
    "no object": (b"[1]", "Line 1: it is no JSON object"),
    "no question": (b'{"rule": "True"}', "Line 1: question"),
    "an empty question": (b'{"question": " "}', "Line 1: The message is empty"),
    "a question that is no text": (b'{"question": 1}', "Line 1: question"),
    "words that are no list": (b'{"question": "a", "expected": "b"}', "Line 1: expected"),
    "bytes that are no text": (b"\xff\xfe{}", "Line 1: it is no JSON object"),
    "what a case has not": (
        b'{"question": "a"}\n\n{"question": "a", "tags": []}',
        "Line 3: tags: a case has no such field",
    ),
    "files that are none": (b'{"question": "a", "files": ["x.txt"]}', "Line 1: files.0"),
    "a rule that cannot run": (
        b'{"question": "a"}\n{"question": "a", "rule": "\\n("}',
        "Line 2: .* Line 2: SyntaxError",
    ),
    "too many": (b'{"question": "a"}\n' * 1_001, "1,000 cases"),
    "nested without end": (b"[" * 100_000, "Line 1: it is no JSON object"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_refused_by_its_line(kind: str) -> None:
    content, words = BAD_FILES[kind]
    with pytest.raises(Refused, match=words):
        formats.read_lines(content)


def test_a_case_s_files_are_one_s_own_and_go_out_and_come_in_by_their_names(web: Client, ada: User) -> None:
    made, other = commands.make_set(ada, "Prices"), commands.make_set(ada, "Others")
    files = [making.file(ada, text, name=f"{text}.txt") for text in ("pears", "plums")]
    first, second = (str(each.pk) for each in files)
    added = call(web, "POST", f"sets/{made.pk}/cases/", {"question": "How much?", "files": [first, second, first]})
    assert [each["name"] for each in added.json()["files"]] == ["pears.txt", "plums.txt"]
    changed = call(web, "PATCH", f"sets/{made.pk}/cases/{added.json()['id']}/", {"files": [second]})
    assert [each["id"] for each in changed.json()["files"]] == [second]
    assert [each.is_used for each in File.objects.order_by("created_at")] == [False, True]
    lines = call(web, "GET", f"sets/{made.pk}/export/").content
    assert call(web, "POST", f"sets/{other.pk}/import/", json.loads(lines)).status_code == 201
    assert [each.file_id for each in other.cases.get().used_files.all()] == [files[1].pk]
    assert call(web, "PATCH", f"sets/{made.pk}/cases/{added.json()['id']}/", {"files": []}).json()["files"] == []
    assert made.cases.get().files == ""

    # Another user does not have these files: nothing is imported.
    bo = making.user("bo")
    theirs = commands.make_set(bo, "Mine")
    web.force_login(bo)
    answer = call(web, "POST", f"sets/{theirs.pk}/import/", json.loads(lines))
    assert answer.json()["error"]["code"] == "not_found"
    assert not theirs.cases.exists()


def test_a_rule_that_cannot_run_is_told_at_its_field(web: Client, ada: User) -> None:
    made = commands.make_set(ada, "Prices")
    answer = web.post(f"/sets/{made.pk}/cases/new/", {"question": "Why?", "rule": "x = (\nx"})
    assert answer.status_code == 400
    assert "rule" in answer.context["form"].errors
    assert "Line 2: SyntaxError" in answer.content.decode()
    assert not made.cases.exists()


def test_a_case_s_files_are_sent_and_let_go_on_its_page(web: Client, ada: User) -> None:
    made = commands.make_set(ada, "Prices")
    fields = {"question": "How much?", "has_files": "1"}
    sent = [SimpleUploadedFile(f"{name}.txt", name.encode()) for name in ("pears", "plums")]
    assert web.post(f"/sets/{made.pk}/cases/new/", {**fields, "files": sent}).status_code == 302
    case = made.cases.get()
    page = f"/sets/{made.pk}/cases/{case.pk}/"
    kept = [each["id"] for each in commands.files_in(case)]
    assert all(f'name="kept" value="{each}" checked' in web.get(page).content.decode() for each in kept)
    assert web.post(page, {**fields, "kept": kept[1:]}).status_code == 302
    case.refresh_from_db()
    assert [each["name"] for each in commands.files_in(case)] == ["plums.txt"]
    refused = web.post(page, {**fields, "files": [SimpleUploadedFile("x.bin", b"\0\1\2")]})
    assert (refused.status_code, case.used_files.count()) == (400, 1)
