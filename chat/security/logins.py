"""The login behind a session cookie: Django's session and the account, read in one query.

It is read for each request and for each socket that opens, so an ended login is refused at once.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from chat.accounts.models import User
from chat.runtime.db_values import datetime_param
from chat.runtime.kept import Kept, text_size


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """A valid login: its session's data, and an account that may log in."""

    data: dict[str, Any]
    user: User
    #: Whether it was proven by the present key, and not by an earlier one.
    is_by_current_key: bool


@dataclass(frozen=True, slots=True)
class _Known:
    """A cached login: as long as its row is the same, it need not be decoded or verified again."""

    #: The user's id, which never changes.
    user_id: str
    #: The account's columns as they were read, followed by the session's encoded data.
    row: tuple[Any, ...]
    #: The account's columns as `User` takes them.
    fields: tuple[Any, ...]
    data: dict[str, Any]
    #: The keys when it was verified, the present one first, and whether it was proven by that one.
    keys: tuple[Any, ...]
    is_by_current_key: bool


#: About twice the size of an account's columns, in bytes.
_ACCOUNT_BYTES = 2_000
_known: Kept[str, _Known] = Kept(4 << 20)

_FIELDS = User._meta.concrete_fields
_NAMES = [field.attname for field in _FIELDS]
_LOGIN = f"""SELECT {", ".join(f"person.{field.column}" for field in _FIELDS)}, login.session_data FROM django_session login
    JOIN {User._meta.db_table} person ON person.id = %s
    WHERE login.session_key = %s AND login.expire_date > %s"""  # noqa: S608 - our own table


def find_login(session_key: str) -> StoredLogin | None:
    """The login of a cookie's session key; None if it is not valid. Only reads: nothing is renewed or deleted."""
    if not session_key.isascii() or not session_key.isalnum():
        return None  # no valid key looks like this, so no query is needed
    known = _known.get(session_key)
    user_id = known.user_id if known else SessionStore(session_key).load().get(SESSION_KEY)
    if user_id is None:
        return None
    with connection.cursor() as cursor:
        cursor.execute(_LOGIN, [user_id, session_key, datetime_param(timezone.now())])
        row = cursor.fetchone()
    if row is None:
        return None
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    if known is None or known.row != row or known.keys != keys:
        known = _prove(user_id, row, keys)
        if known is None:
            return None
        _known.keep(session_key, known, 2 * text_size(row[-1]) + _ACCOUNT_BYTES)
    user = User.from_db(connection.alias, _NAMES, known.fields)
    # A copy: the cached data must stay the same, whatever this request changes.
    data = deepcopy(known.data)
    if not user.may_enter or data.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    if lacks_second_factor(user, data):
        return None
    return StoredLogin(data, user, known.is_by_current_key)


def _prove(user_id: str, row: tuple[Any, ...], keys: tuple[Any, ...]) -> _Known | None:
    """The login of a row; None if it is not valid."""
    fields = tuple(map(_converted, _FIELDS, row[:-1]))
    user, data = User.from_db(connection.alias, _NAMES, fields), SessionStore().decode(row[-1])
    proof = data.get(HASH_SESSION_KEY, "")
    is_by_current_key = _is_proven(proof, [user.get_session_auth_hash()])
    # An earlier key still proves the login.
    if data.get(SESSION_KEY) != user_id or not (
        is_by_current_key or _is_proven(proof, list(user.get_session_auth_fallback_hash()))
    ):
        return None
    return _Known(user_id, row, fields, data, keys, is_by_current_key)


def _converted(field: Any, value: Any) -> Any:
    """A column's value as its field converts it."""
    column = field.get_col(User._meta.db_table)
    for convert in (*connection.ops.get_db_converters(column), *field.get_db_converters(connection)):
        value = convert(value, column, connection)
    return value


def must_have_second_factor(user: User) -> bool:
    """Whether the installation requires a second factor of this user."""
    return settings.MFA_REQUIRED == "all" or (settings.MFA_REQUIRED == "staff" and user.is_staff)


def lacks_second_factor(user: User, data: Mapping[str, Any]) -> bool:
    """Whether a login, by its session's data, was made without a second factor that it must have; then it is not valid any more."""
    if not must_have_second_factor(user):
        return False
    if data.get("account_authentication_methods_user") != str(user.pk):
        return True
    return not any(record.get("method") == "mfa" for record in data.get("account_authentication_methods", []))


def _is_proven(proof: str, hashes: Sequence[str]) -> bool:
    return any(constant_time_compare(proof, known) for known in hashes)
