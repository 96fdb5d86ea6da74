"""Who is behind a session cookie: the login's own store and the account, asked of the database in one statement.

It is asked at each request and by each socket that opens, so what was ended or withdrawn counts at once.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from chat.accounts.models import User
from chat.runtime.db_values import datetime_param
from chat.runtime.kept import Kept, text_size


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """A login that holds: what is stored for it, and an account that may log in."""

    data: dict[str, Any]
    user: User
    #: Whether it was proven by the key that is in use, and not by one before it.
    is_by_current_key: bool


#: Whose login a key is, which never becomes somebody else's; and what was stored for it, with what it says: as long as that is the same
#: text, its signature need not be proven again.
_known: Kept[str, tuple[str, str, dict[str, Any]]] = Kept(4 << 20)

_LOGIN = f"""SELECT person.*, login.session_data FROM django_session login
    JOIN {User._meta.db_table} person ON person.id = %s
    WHERE login.session_key = %s AND login.expire_date > %s"""  # noqa: S608 - our own table


def find_login(session_key: str) -> StoredLogin | None:
    """The login of a cookie's session key; None where it proves none. Reads only: nothing of it is renewed or thrown away."""
    if not session_key.isascii() or not session_key.isalnum():
        return None  # none that was given out, and nothing to ask a database for
    user_id, known_text, known_data = _known.get(session_key) or (None, "", {})
    if user_id is None:
        user_id = SessionStore(session_key).load().get(SESSION_KEY)
        if user_id is None:
            return None
    user = next(iter(User.objects.raw(_LOGIN, [user_id, session_key, datetime_param(timezone.now())])), None)
    if user is None or not user.may_enter:
        return None
    stored = user.__dict__.pop("session_data")
    data = known_data if stored == known_text else SessionStore().decode(stored)
    if data is not known_data:
        _known.keep(session_key, (user_id, stored, data), 2 * text_size(stored))
    # What is kept stays as it is, whatever becomes of this request's.
    data = deepcopy(data)
    if data.get(SESSION_KEY) != user_id or data.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    if lacks_second_factor(user, data):
        return None
    proof = data.get(HASH_SESSION_KEY, "")
    if _is_proven(proof, [user.get_session_auth_hash()]):
        return StoredLogin(data, user, is_by_current_key=True)
    # A key that was rotated still proves the login.
    if _is_proven(proof, list(user.get_session_auth_fallback_hash())):
        return StoredLogin(data, user, is_by_current_key=False)
    return None


def must_have_second_factor(user: User) -> bool:
    """Whether the installation wants a second factor of this person."""
    return settings.MFA_REQUIRED == "all" or (settings.MFA_REQUIRED == "staff" and user.is_staff)


def lacks_second_factor(user: User, data: Mapping[str, Any]) -> bool:
    """Whether a login, by what is stored for it, was made without the second factor that it must have: it then holds no more."""
    if not must_have_second_factor(user):
        return False
    if data.get("account_authentication_methods_user") != str(user.pk):
        return True
    return not any(record.get("method") == "mfa" for record in data.get("account_authentication_methods", []))


def _is_proven(proof: str, hashes: Sequence[str]) -> bool:
    return any(constant_time_compare(proof, known) for known in hashes)
