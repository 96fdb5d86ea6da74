"""Logins written to the database as the product stores them: checking a password is slow on purpose."""

import sqlite3
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.utils.crypto import get_random_string

from chat.accounts.models import User
from chat.security.login_stages import BACKEND


def write_logins(file: sqlite3.Connection, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Write a new login by password for each of these users; returns the cookies of their browsers."""
    return {name: _write_login(file, name) for name in names}


def _write_login(file: sqlite3.Connection, name: str) -> dict[str, str]:
    (user_id, password) = file.execute("SELECT id, password FROM auth_user WHERE username = ?", (name,)).fetchone()
    proof = User(password=password).get_session_auth_hash()
    data = {
        SESSION_KEY: str(user_id),
        BACKEND_SESSION_KEY: BACKEND,
        HASH_SESSION_KEY: proof,
        "login_proven_by": proof,
        "account_authentication_methods": [{"method": "password", "at": time.time(), "username": name}],
        "account_authentication_methods_user": str(user_id),
    }
    key = get_random_string(32).lower()
    file.execute(
        "INSERT INTO django_session (session_key, session_data, expire_date) VALUES (?, ?, ?)",
        (key, SessionStore().encode(data), f"{datetime.now(UTC) + timedelta(days=1):%F %T}"),
    )
    return {"sessionid": key, "csrftoken": get_random_string(32)}
