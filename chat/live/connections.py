"""Who stands behind a WebSocket's handshake: its origin, its login, and whether that login still holds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http.cookies import CookieError
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.http.cookie import parse_cookie
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from chat.access import VIEW_SESSIONS, Role, has_right, holders_among, role_of
from chat.models import Connection, Door, Process, Session
from chat.runtime import clock
from chat.runtime.database import key
from chat.security import audit
from chat.security.origins import explain_mismatch, told_causes, warn_once

#: The handshake as ASGI tells it.
Scope = Mapping[str, Any]

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_WEB_SCHEME = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


def header(scope: Scope, name: bytes) -> str | None:
    """A header of the handshake; None where it is missing or sent more than once."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin1") if len(values) == 1 else None


def is_own_origin(scope: Scope) -> bool:
    """Whether the page that opens the socket comes from this very site: scheme, host and port, or from a trusted one."""
    origin = _parsed(header(scope, b"origin") or "")
    if origin is None:
        return False
    trusted = (_parsed(trusted) for trusted in settings.CSRF_TRUSTED_ORIGINS)
    if origin in trusted:
        return True
    host = header(scope, b"host")
    asked_as = f"{_scheme(scope)}://{host}"
    if host is not None and _is_allowed_host(host) and origin == _parsed(asked_as):
        return True
    warn_once(f"A socket was refused. {explain_mismatch(header(scope, b'origin') or '', asked_as)}")
    return False


def _scheme(scope: Scope) -> str:
    if settings.SECURE_PROXY_SSL_HEADER:
        name, secure = settings.SECURE_PROXY_SSL_HEADER
        sent = header(scope, name.removeprefix("HTTP_").replace("_", "-").lower().encode())
        if sent is not None:
            return "https" if sent.split(",")[0].strip() == secure else "http"
    return _WEB_SCHEME.get(scope.get("scheme") or "ws", "http")


def _parsed(origin: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        return None
    if parts.username is not None or parts.query or parts.fragment:
        return None
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme]


def _is_allowed_host(host: str) -> bool:
    parsed = _parsed(f"http://{host}")
    if parsed is None:
        return False
    name = f"[{parsed[1]}]" if ":" in parsed[1] else parsed[1]
    return any(
        pattern in {"*", name} or (pattern.startswith(".") and f".{name}".endswith(pattern))
        for pattern in (allowed.lower() for allowed in settings.ALLOWED_HOSTS)
    )


@dataclass(frozen=True, slots=True)
class Login:
    """A login as it was when the socket opened."""

    user: User
    session_key: str


def login_of(scope: Scope) -> Login | None:
    """The login behind the handshake's session cookie. Reads only: nothing of the login is renewed or thrown away."""
    try:
        cookies = parse_cookie(header(scope, b"cookie") or "")
    except CookieError:
        return None
    session_key = cookies.get(settings.SESSION_COOKIE_NAME)
    return _login(session_key) if session_key else None


# Written out, like what `enter` says: all of it is part of every socket's opening, and took most of its time as querysets.
_USER = "SELECT * FROM auth_user WHERE id = %s"


def _login(session_key: str) -> Login | None:
    stored = import_module(settings.SESSION_ENGINE).SessionStore(session_key).load()
    if stored.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    user = next(iter(get_user_model().objects.raw(_USER, [stored.get(SESSION_KEY)])), None)
    if user is None or not user.is_active:
        return None
    proof = stored.get(HASH_SESSION_KEY, "")
    # A key that was rotated still proves the login, as over HTTP.
    hashes = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    if not any(constant_time_compare(proof, known) for known in hashes):
        return None
    return Login(user, session_key)


@dataclass(frozen=True, slots=True)
class Entrance:
    """A socket let in: its session, the user's role there, and the row that says it is open."""

    session_id: UUID
    role: Role
    connection_id: UUID


#: The rows of the sockets that are open in this process.
_open: set[UUID] = set()


class TooMany(Exception):
    """The user has as many sockets open as one may have."""


_OWNER = "SELECT owner_id FROM chat_session WHERE id = %s AND deleted_at IS NULL"
_COUNT = "SELECT COUNT(*) FROM chat_connection WHERE user_id = %s"
_ENTER = (
    "INSERT INTO chat_connection (id, process, session_id, user_id, role, opened_at) VALUES (%s, %s, %s, %s, %s, {now})"
)


@transaction.atomic
def enter(user: User, session_id: UUID, process: str) -> Entrance | None:
    """Let a user's socket into a session and note that it is open; None where nothing may be told of the session."""
    with connection.cursor() as cursor:
        cursor.execute(_OWNER, [key(session_id)])
        owner = cursor.fetchone()
        role = owner and role_of(
            user.pk, owner[0], is_active=user.is_active, sees_others=lambda: has_right(user, VIEW_SESSIONS)
        )
        if role is None:
            return None
        most = settings.MAX_SOCKETS_PER_USER
        if most:
            cursor.execute(_COUNT, [user.pk])
            if cursor.fetchone()[0] >= most:
                raise TooMany
        entrance = Entrance(session_id, role, uuid4())
        row = [key(entrance.connection_id), process, key(session_id), user.pk, role]
        cursor.execute(_ENTER.format(now=clock.now_expression()), row)
        if role is Role.STAFF:
            audit.note_view(user.pk, session_id, Door.SOCKET)
    _open.add(entrance.connection_id)
    return entrance


def leave(connection_id: UUID) -> None:
    """A socket is gone."""
    _open.discard(connection_id)
    Connection.objects.filter(pk=connection_id).delete()


def beat(process: str) -> None:
    """A process that serves is alive, and so are its sockets; note what it has told the log meanwhile."""
    Process.objects.update_or_create(name=process, defaults={"seen_at": Now(), "noticed": told_causes()})


def forget_process(process: str) -> None:
    """All sockets of a process are gone."""
    Connection.objects.filter(process=process).delete()
    Process.objects.filter(name=process).delete()


@transaction.atomic
def forget_silent(process: str, since: datetime) -> set[UUID]:
    """Forget the sockets of processes without a sign of life since then, and those this process has no more; returns their sessions.

    The moment is by the database's clock. A socket whose row could not be removed when it closed is one of the latter.
    """
    Process.objects.filter(seen_at__lt=since).delete()
    lost = Q(process=process) & ~Q(pk__in=list(_open)) | ~Q(process__in=Process.objects.values("name"))
    gone = Connection.objects.filter(lost, opened_at__lt=since)
    sessions = set(gone.values_list("session_id", flat=True))
    gone.delete()
    return sessions


def forget_all() -> None:
    """No socket is open: called where one process owns all, before it serves."""
    Connection.objects.all().delete()
    Process.objects.all().delete()


def expired(logins: Iterable[Login]) -> set[str]:
    """The session keys among these that prove no login any more: logged out, expired, deactivated, deleted, password changed."""
    from_key = {login.session_key: login for login in logins}
    if settings.SESSION_ENGINE != "django.contrib.sessions.backends.db":
        return {key for key in from_key if _login(key) is None}
    store = import_module(settings.SESSION_ENGINE).SessionStore.get_model_class()
    alive = set(
        store.objects.filter(session_key__in=list(from_key), expire_date__gt=timezone.now()).values_list(
            "session_key", flat=True
        )
    )
    users = {login.user.pk: login.user.password for login in from_key.values()}
    now = dict(get_user_model().objects.filter(pk__in=list(users), is_active=True).values_list("pk", "password"))
    gone = set()
    for known_key, login in from_key.items():
        password = now.get(login.user.pk)
        if (
            known_key not in alive
            or password is None
            or (password != login.user.password and _login(known_key) is None)
        ):
            gone.add(known_key)
    return gone


def withdrawn(seats: Iterable[tuple[UUID, Login]]) -> set[tuple[UUID, int]]:
    """The seats, as session and user, whose user has lost the right to be there. An owner's right can't be lost but with the session."""
    staff = {(session_id, login.user.pk) for session_id, login in seats if login.user.is_staff}
    if not staff:
        return set()
    still = holders_among({user for _, user in staff}, VIEW_SESSIONS)
    demoted = {(session_id, user) for session_id, user in staff if user not in still}
    owners = Session.objects.filter(pk__in={session_id for session_id, _ in demoted}).values_list("id", "owner_id")
    return demoted - set(owners)
