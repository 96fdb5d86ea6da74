"""The logins that these tests write to the database are those that the product would have written."""

from typing import Any

from django.contrib.sessions.backends.db import SessionStore

from tests.e2e.conftest import READER, Logins
from tests.serving import Browser, Server


async def test_a_written_login_is_as_one_by_password(server: Server, logins: Logins) -> None:
    async with Browser.logged_in(server.url, READER) as by_password:
        written, real = (read_login(server, cookies) for cookies in (logins[READER], by_password.cookies))
    assert written.keys() == real.keys()
    for login in (written, real):
        for record in login["account_authentication_methods"]:
            assert isinstance(record.pop("at"), float)
    assert written == real


def read_login(server: Server, cookies: dict[str, str]) -> dict[str, Any]:
    """What the product has stored of a login."""
    with server.open_database() as file:
        (stored,) = file.execute(
            "SELECT session_data FROM django_session WHERE session_key = ?", [cookies["sessionid"]]
        ).fetchone()
    return SessionStore().decode(stored)
