"""Rows that are written to the database before something is broken. Run inside the product by ``manage.py shell``."""

from django.db import transaction

from chat.accounts.models import User
from tests.chat import making
from tests.serving import Server


@transaction.atomic
def long_session(username: str, steps: int, characters: int) -> None:
    """Make a session of one finished run with this many steps of reasoning of this many characters; prints its identifier."""
    session = making.session(User.objects.get(username=username))
    run = making.run(session)
    text = ("The tide follows the moon. " * (characters // 27 + 1))[:characters]
    for first in range(1, steps + 1, 500):
        making.append(run, *[making.thought(text, step) for step in range(first, min(first + 500, steps + 1))])
    making.end(run)
    print(session.pk)  # noqa: T201 - how the test learns it


def make_long_session(server: Server, username: str, steps: int, characters: int = 3_000) -> str:
    """Make such a session in a server's database; returns its identifier."""
    command = f"from tests.faults import rows\nrows.long_session({username!r}, {steps}, {characters})"
    return server.manage("shell", "--no-imports", "--command", command).strip()
