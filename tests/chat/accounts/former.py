"""``python -m tests.chat.accounts.former ACT PASSWORD``: a process of an earlier version, whose accounts were Django's own users."""

import os
import sys

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.chat.accounts.former_settings"

import django

django.setup()

from django.contrib.admin.models import ADDITION, LogEntry  # noqa: E402
from django.contrib.auth import authenticate  # noqa: E402
from django.contrib.auth.models import Group, Permission, User  # noqa: E402
from django.contrib.contenttypes.models import ContentType  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpRequest  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402

from chat.models import Run, Schedule, Session  # noqa: E402
from tests.chat.accounts import first_release  # noqa: E402

PASSWORD = sys.argv[2]


def make() -> None:
    """Make the tables, and users with rows in all tables that refer to them; print a login's key."""
    call_command("migrate", verbosity=0, skip_checks=True)
    people = {name: User.objects.create_user(name, f"{name}@example.org", PASSWORD) for name in ("ada", "bo", "cy")}
    ada, bo, cy = people.values()
    User.objects.filter(username="ada").update(is_staff=True, is_superuser=True)
    User.objects.filter(username__in=["bo", "cy"]).update(is_staff=True)
    change, view = (Permission.objects.get(codename=name) for name in ("change_user", "view_user"))
    helpers = Group.objects.create(name="helpers")
    helpers.permissions.add(view)
    bo.user_permissions.add(change)
    cy.groups.add(helpers)
    note(ada, bo)
    session = Session.objects.create(owner=bo, title="The flour order", agent_name="assistant")
    Run.objects.create(session=session, number=1, user=bo, message="How much?", cancelled_by=ada)
    Schedule.objects.create(
        owner=cy,
        name="Every morning",
        message="Good morning",
        agent_name="assistant",
        since=timezone.now(),
        cron="0 8 * * *",
    )
    browser = Client()
    browser.force_login(bo, backend="django.contrib.auth.backends.ModelBackend")
    print(browser.cookies["sessionid"].value)


def make_first() -> None:
    """Make a database of the first release, whose process was killed; print the identifier of the session in it."""
    print(first_release.make_first(PASSWORD))


def note(by: User, about: User) -> None:
    """Write an entry into the admin's history."""
    kind = ContentType.objects.get_for_model(User)
    LogEntry.objects.create(
        user=by, content_type=kind, object_id=about.pk, object_repr=str(about), action_flag=ADDITION
    )


def use() -> None:
    """Use a database that a later version has migrated meanwhile."""
    dee = User.objects.create_user("dee", password=PASSWORD)
    assert dee.check_password(PASSWORD)
    assert authenticate(HttpRequest(), username="dee", password=PASSWORD) == dee
    assert {user.username for user in User.objects.raw("SELECT * FROM auth_user")} == {"ada", "bo", "cy", "dee"}
    note(User.objects.get(username="ada"), dee)
    Session.objects.create(owner=dee, title="Meanwhile", agent_name="assistant")


def migrate() -> None:
    """Migrate once more, as after going back to that version, and grant a permission on a new model."""
    call_command("migrate", verbosity=0, skip_checks=True)
    dee = User.objects.get(username="dee")
    dee.user_permissions.add(Permission.objects.get(codename="delete_user", content_type__app_label="auth"))


if __name__ == "__main__":
    {"make": make, "make first": make_first, "use": use, "migrate": migrate}[sys.argv[1]]()
