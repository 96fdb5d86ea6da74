"""The handshake of a socket or stream: its origin and its login; and whether the login is still valid later."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.cookies import CookieError
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.http.cookie import parse_cookie
from django.utils import timezone

from chat.access import VIEW_SESSIONS, Role, holders_among, shared_roles_of
from chat.accounts.models import User
from chat.models import Scope as TokenScope
from chat.models import Session
from chat.protocol import Close
from chat.security.logins import find_login
from chat.security.origins import explain_mismatch, warn_once
from chat.security.tokens import BadToken, Token, is_bearer, read_token, still_holding

#: The ASGI scope of the handshake.
Scope = Mapping[str, Any]

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_WEB_SCHEME = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


def request_header(scope: Scope, name: bytes) -> str | None:
    """A header of the handshake; None if it is missing or occurs more than once."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin1") if len(values) == 1 else None


def is_own_origin(scope: Scope) -> bool:
    """Whether the page that opens the socket is this site's (same scheme, host and port) or a trusted one's."""
    origin = _parsed(request_header(scope, b"origin") or "")
    if origin is None:
        return False
    trusted = (_parsed(trusted) for trusted in settings.CSRF_TRUSTED_ORIGINS)
    if origin in trusted:
        return True
    host = request_header(scope, b"host")
    asked_as = f"{_scheme(scope)}://{host}"
    if host is not None and _is_allowed_host(host) and origin == _parsed(asked_as):
        return True
    warn_once(f"A socket was refused. {explain_mismatch(request_header(scope, b'origin') or '', asked_as)}")
    return False


def _scheme(scope: Scope) -> str:
    if settings.SECURE_PROXY_SSL_HEADER:
        name, secure = settings.SECURE_PROXY_SSL_HEADER
        sent = request_header(scope, name.removeprefix("HTTP_").replace("_", "-").lower().encode())
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
    """The user who has opened a socket or a stream, by a login on the pages or by a token."""

    user: User
    session_key: str
    token: Token | None = None

    @property
    def key(self) -> str:
        """Identifies the login or token."""
        return self.session_key if self.token is None else str(self.token.id)

    def may(self, needed: TokenScope) -> bool:
        """Whether the token's scope allows this; a login on the pages may do all that its account may."""
        return self.token is None or self.token.scope.holds(needed)


def bearer_of(scope: Scope) -> str | None:
    """The handshake's ``Authorization`` header, if it is a bearer token; else None."""
    header = ",".join(value.decode("latin1") for name, value in scope["headers"] if name == b"authorization")
    return header if is_bearer(header) else None


def login_of(scope: Scope) -> Login | None:
    """The login of the handshake's token, else of its session cookie. Only reads: nothing is renewed or deleted."""
    bearer = bearer_of(scope)
    if bearer is not None:
        try:
            token = read_token(bearer, (scope.get("client") or ("", 0))[0])
        except BadToken:
            return None
        return Login(token.user, "", token)
    try:
        cookies = parse_cookie(request_header(scope, b"cookie") or "")
    except CookieError:
        return None
    session_key = cookies.get(settings.SESSION_COOKIE_NAME)
    return _login(session_key) if session_key else None


def _login(session_key: str) -> Login | None:
    found = find_login(session_key)
    return Login(found.user, session_key) if found else None


def expired_logins(logins: Iterable[Login]) -> set[str]:
    """The keys of logins that are not valid any more: logged out, revoked, expired, deactivated, refused, deleted, password changed."""
    known = {login.key: login for login in logins}
    token_ids = {login.token.id for login in known.values() if login.token is not None}
    ended = {str(token_id) for token_id in token_ids - still_holding(token_ids)} if token_ids else set()
    return ended | _ended_sessions({key: login for key, login in known.items() if login.token is None})


def _ended_sessions(from_key: dict[str, Login]) -> set[str]:
    alive = set(
        SessionStore.get_model_class()
        .objects.filter(session_key__in=list(from_key), expire_date__gt=timezone.now())
        .values_list("session_key", flat=True)
    )
    users = {login.user.pk: login.user.password for login in from_key.values()}
    now = dict(User.objects.filter(pk__in=list(users), is_active=True, refused_at=None).values_list("pk", "password"))
    ended = set()
    for known_key, login in from_key.items():
        password = now.get(login.user.pk)
        if (
            known_key not in alive
            or password is None
            or (password != login.user.password and _login(known_key) is None)
        ):
            ended.add(known_key)
    return ended


def current_roles(places: Sequence[tuple[UUID, Login]]) -> list[Role | int]:
    """The role that each login now has in its session; the close code if it has none."""
    if not places:
        return []
    owners = dict(Session.objects.filter(pk__in={key for key, _ in places}).values_list("pk", "owner_id"))
    shared = shared_roles_of({(key, login.user.pk) for key, login in places})
    staff = {login.user.pk for _, login in places if login.user.is_staff and login.token is None}
    seeing = holders_among(staff, VIEW_SESSIONS)

    def role(session_id: UUID, login: Login) -> Role | int:
        if session_id not in owners:
            return Close.NO_SUCH_SESSION
        if owners[session_id] == login.user.pk:
            return Role.OWNER
        sees_all = login.user.pk in seeing and login.token is None
        return shared.get((session_id, login.user.pk), Role.STAFF if sees_all else Close.WITHDRAWN)

    return [role(session_id, login) for session_id, login in places]
