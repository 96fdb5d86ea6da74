"""Malformed requests to the admin get an error and never a 500, on both databases; each page opens only for those who may see it.

A new page is found automatically.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat.accounts.models import User
from chat.admin.actions import ReadOnlyAdmin
from chat.models import Announcement, Budget, Connection, Price, Process, Schedule
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)
HOSTILE = "<script>alert(1)</script> =1+1"
#: Addresses and the expected answer: the page, its object, its query and the status.
ODD_ADDRESSES: tuple[tuple[str, tuple[Any, ...], dict[str, str], int], ...] = (
    *(("chat_run_changelist", (), {"q": text}, 200) for text in ("'\"", "'", '" OR 1=1 --', "\ud800", HOSTILE)),
    *(("chat_run_figures", (), {"q": text}, 200) for text in ("'\"", "'")),
    *((f"chat_{table}_changelist", (), {"q": "\0"}, 200) for table in ("run", "session", "step", "agent", "price")),
    *(("chat_run_changelist", (), {name: "a\0b"}, 200) for name in ("of", "status", "model", "agent_name", "verdict")),
    *((page, (), {"of": "\0"}, 200) for page in ("chat_run_csv", "chat_run_figures", "chat_schedule_changelist")),
    ("chat_auditentry_changelist", (), {"action": "\0"}, 200),
    ("chat_process_change", ("a\0b",), {}, 404),
    ("chat_run_changelist", (), {"\0": "x"}, 302),
    ("chat_run_changelist", (), {"p": "9" * 40}, 200),
    ("chat_run_changelist", (), {"o": "99.x.-"}, 200),
    ("chat_run_changelist", (), {"session__id__exact": "x"}, 302),
    ("chat_run_changelist", (), {"user__password__startswith": "a"}, 400),
)


def things() -> dict[str, Any]:
    """A row in each table that has a page, with hostile texts; by the name of its table."""
    ada = making.user("ada")
    run = making.run(making.session(ada, title=HOSTILE), message=HOSTILE)
    making.append(run, making.thought(HOSTILE), making.step("final_answer", HOSTILE, step=2))
    made = [
        ada, run, run.session, run.steps.first(),
        Announcement.objects.create(message=HOSTILE),
        Connection.objects.create(process=HOSTILE[:20], session=run.session, user=ada, role="owner"),
        Process.objects.create(name=HOSTILE[:20], seen_at=timezone.now()),
        Price.objects.create(provider="*", model=HOSTILE, input=Decimal(1), output=Decimal(1)),
        Budget.objects.create(scope="run", limit=Decimal(5), unit="tokens"),
        Schedule.objects.create(owner=ada, name=HOSTILE, message=HOSTILE, agent_name="researcher", every_minutes=5, since=timezone.now()),
    ]  # fmt: skip
    return {str(thing._meta.model_name): thing for thing in made if thing is not None}


def pages(there: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The table, the name and the address of each page."""
    for model, page in admin.site._registry.items():
        name = str(model._meta.model_name)
        thing = there.get(name) or model._default_manager.first()
        for pattern in page.get_urls():
            values = {
                "object_id": getattr(thing, "pk", 0), "id": getattr(thing, "pk", 0), "pk": getattr(thing, "pk", 0),
                "agent_id": getattr(thing, "pk", 0), "number": 1, "act": "publish", "name": next(iter(getattr(page, "acts", {})), ""),
            }  # fmt: skip
            if pattern.name:
                wanted = {key: values[key] for key in pattern.pattern.converters}
                yield name, str(pattern.name), reverse(f"admin:{pattern.name}", kwargs=wanted)


def read(client: Client, address: str, query: Any = None) -> tuple[int, str]:
    """The body of an answer."""
    # As bytes: the test client cannot encode invalid text.
    asked = urlencode(query or {}, doseq=True, errors="surrogatepass")
    answer = client.get(f"{address}?{asked}" if asked else address)
    # A file is streamed; the tests of that file read it.
    return answer.status_code, "" if answer.streaming else answer.content.decode()


@pytest.mark.usefixtures("on_each_database")
def test_an_odd_request_is_refused_and_never_a_failure(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    things()
    answered = [
        (page, query, read(client, reverse(f"admin:{page}", args=args), query)[0])
        for page, args, query, _ in ODD_ADDRESSES
    ]
    assert answered == [(page, query, status) for page, _, query, status in ODD_ADDRESSES]
    # A number that only PostgreSQL searches for.
    assert read(client, reverse("admin:accounts_user_changelist"), {"groups": "9" * 40})[0] in (200, 302)
    for person in ("\0", "x", "9" * 40, "", HOSTILE):
        sent = {"scope": "user_day", "user": person, "agent_name": "", "limit": "x", "unit": "tokens"}
        again = client.post(reverse("admin:chat_budget_add"), sent)
        assert again.status_code == 200, person
        assert "<script>alert" not in again.content.decode()
    assert not Budget.objects.filter(scope="user_day").exists()


def test_an_address_may_say_anything_of_what_is_new(client: Client) -> None:
    """The query of an add page may contain initial values of its fields."""
    client.force_login(User.objects.create_superuser("root"))
    refused = {"\0": 400}
    failed = []
    for page in admin.site._registry.values():
        address = reverse(f"admin:{page.opts.app_label}_{page.opts.model_name}_add")
        status = read(client, address)[0]
        assert status in (200, 403)
        fields = [field.name for field in page.opts.fields + page.opts.many_to_many]
        for text in ("x", "\0", "9" * 40, "[", '{"a": 1}'):
            # All fields at once, unless one may refuse the text: those behind it would not be read.
            apart = status == 200 and text in refused
            queries = [{field: text} for field in fields] if apart else [dict.fromkeys(fields, text)]
            failed += [
                (address, query)
                for query in queries
                if read(client, address, query)[0] not in (status, refused.get(text))
            ]
    assert not failed


EVERY = {str(model._meta.model_name) for model in admin.site._registry}
#: Permissions by their beginnings; the tables whose pages open, None for all; and the pages that accept changes.
RIGHTS: dict[str, tuple[tuple[str, ...], set[str] | None, set[str]]] = {
    "nothing": ((), set(), set()),
    "agents alone": (
        ("chat.view_agent", "chat.add_agent", "chat.change_agent"), {"agent"}, {"chat_agent_add", "chat_agent_change"},
    ),
    "looks": (("*.view_",), None, set()),
    # Without the permissions to view runs, users or steps, which these tables refer to.
    "sessions alone": (("chat.view_session",), {"session"}, set()),
    "steps alone": (("chat.view_step",), {"step"}, set()),
}  # fmt: skip


@pytest.mark.usefixtures("on_each_database")
@pytest.mark.parametrize(
    ("on_each_database", "may"),
    [
        # Permissions are checked in the same way on both databases; somebody who sees most pages finds what PostgreSQL refuses.
        pytest.param(kind, may, marks=[pytest.mark.long] * (kind == "postgres" and may != "looks"))
        for kind in ("sqlite", "postgres")
        for may in RIGHTS
    ],
    indirect=["on_each_database"],
)
def test_pages_open_for_whoever_may_see_them_and_change_for_nobody_who_only_looks(may: str, client: Client) -> None:
    permissions, tables, changes = RIGHTS[may]
    opened, changed = what_opens(client, *permissions)
    assert opened == (EVERY if tables is None else tables)
    assert changed == changes
    assert User.objects.filter(username="ada").exists()
    assert Price.objects.exists()


@pytest.mark.usefixtures("on_each_database")
def test_staff_who_may_only_change_see_no_read_only_pages(client: Client) -> None:
    opened, changed = what_opens(client, "*.change_")
    only_shown = {
        str(model._meta.model_name) for model, page in admin.site._registry.items() if isinstance(page, ReadOnlyAdmin)
    }
    # Django also shows an object to those who may change it.
    assert opened == EVERY - only_shown
    assert only_shown >= {"session", "run", "step", "schedule", "auditentry"}
    assert {page.split("_")[1] for page in changed} <= opened


def what_opens(client: Client, *permissions: str) -> tuple[set[str], set[str]]:
    """What opens for staff with these permissions, where `*.` stands for every application: tables, and pages that accept changes."""
    staff, there = making.staff(), things()
    staff.user_permissions.set(
        permission
        for permission in Permission.objects.select_related("content_type")
        if f"{permission.content_type.app_label}.{permission.codename}" in permissions
        or any(permission.codename.startswith(name.removeprefix("*.")) for name in permissions if name[0] == "*")
    )
    client.force_login(staff)
    opened, changed = set(), set()
    for name, page, address in pages(there):
        status, _ = read(client, address)
        assert status < 500, address
        if status == 200:
            opened.add(name)
        sent = client.post(
            address, {"post": "yes", "id": str(getattr(there.get(name), "pk", 0)), "action": "delete_selected"}
        )
        assert sent.status_code < 500, address
        if sent.status_code == 200 and page.endswith(("_add", "_change", "_delete", "_act", "_password_change")):
            changed.add(page)
    return opened, changed
