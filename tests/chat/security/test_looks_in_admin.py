"""Every page or file of the admin that shows others' texts or names their owners writes an audit entry. Pages are found automatically."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.contrib import admin
from django.db.models import QuerySet
from django.test import AsyncClient
from django.urls import reverse
from django.utils import timezone

from chat.accounts.models import User
from chat.models import LOOKS, MANY_SESSIONS, Act, AuditEntry, Connection, Door, Run, Schedule
from chat.runtime import database
from chat.security import audit
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "the okapi is at the quay"
#: Tables whose rows belong to sessions: each of their pages counts as a view, whatever it shows at the moment.
PRIVATE = {"session", "run", "step", "schedule", "connection"}
#: Pages that are recorded as actions of their own.
FILES = {"chat_run_csv"}


def things() -> dict[str, Any]:
    """A row in each table that belongs to somebody's session, by the name of the table."""
    ada = making.user("ada")
    run = making.run(making.session(ada, title=SECRET), message=SECRET)
    making.append(run, making.thought(SECRET))
    fields = {"owner": ada, "session": run.session, "keeps_session": True, "agent_name": "researcher"}
    schedule = Schedule.objects.create(name=SECRET, message=SECRET, every_minutes=5, since=timezone.now(), **fields)
    connected = Connection.objects.create(process="p", session=run.session, user=ada, role="owner")
    return {"session": run.session, "run": run, "step": run.steps.get(), "schedule": schedule, "connection": connected}


def pages(there: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The table, the name and the address of each page, with each of its queries that shows something else."""
    for model, page in admin.site._registry.items():
        table = str(model._meta.model_name)
        key = getattr(there.get(table), "pk", 0)
        for pattern, act in product(page.get_urls(), getattr(page, "acts", None) or [""]):
            values = {"object_id": key, "id": key, "pk": key, "agent_id": 1, "number": 1, "act": "publish", "name": act}
            if pattern.name:
                address = reverse(
                    f"admin:{pattern.name}", kwargs={each: values[each] for each in pattern.pattern.converters}
                )
                yield from ((table, pattern.name, address + query) for query in ("", "?q=okapi", f"?id={key}"))


def forget_looks() -> None:
    """Let the next view write an entry, although it would be one of the same ten minutes."""
    QuerySet(AuditEntry).delete()
    audit._noted.clear()


async def test_every_page_that_shows_what_is_another_s_leaves_an_entry() -> None:
    there = await database.write(things)
    root = await database.write(lambda: User.objects.create_superuser("root"))
    client = AsyncClient()
    await client.aforce_login(root)
    run: Run = there["run"]
    shown = set()
    for table, name, address in await database.read(lambda: list(pages(there))):
        await database.write(forget_looks)
        answer: Any = await client.get(address)
        content = b"".join([part async for part in answer]) if answer.streaming else answer.content
        if answer.status_code == 200 and (SECRET.encode() in content or table in PRIVATE):
            shown.add(name)
            about = run.session_id if name.endswith(("_change", "_history", "_act")) else MANY_SESSIONS
            acts = (Act.EXPORT,) if name in FILES else LOOKS
            entries = AuditEntry.objects.filter(actor_id=root.pk, door=Door.ADMIN, session_id=about, action__in=acts)
            assert await entries.acount() == 1, address
    database.close()
    lists = {f"chat_{table}_{kind}" for table in PRIVATE for kind in ("changelist", "change", "history")}
    assert shown >= lists | FILES | {"chat_run_now", "chat_run_figures", "chat_run_act"}
