"""Audits logins, failed logins and logouts, on all ways; and revokes an account's tokens when they must end."""

import ipaddress
import time
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_save
from django.http import HttpRequest

from chat.accounts.models import User
from chat.models import NOBODY, Act, Door
from chat.security import audit, tokens

#: Blocked accounts that were audited already, each with the time window.
_noted_lockouts: dict[int | None, int] = {}


def watch_logins() -> None:
    """Have every login, failure and logout audited from now on, whichever page or backend is used."""
    user_logged_in.connect(_logged_in, dispatch_uid="audit")
    user_login_failed.connect(_failed, dispatch_uid="audit")
    user_logged_out.connect(_logged_out, dispatch_uid="audit")


def watch_accounts() -> None:
    """Revoke an account's tokens when its password changes, or when it may not log in any more, whatever changes it."""
    post_save.connect(_saved, sender=User, dispatch_uid="tokens")


def _saved(sender: Any, instance: User, created: bool, **_: Any) -> None:
    # Set by Django if the password was changed, but not if the same one is only hashed again.
    is_new_password = instance._password is not None  # type: ignore[attr-defined]  # noqa: SLF001
    if not created and (is_new_password or not instance.may_enter):
        # Pages and the admin have already done it, in their user's name.
        tokens.revoke_all(instance.pk, by=NOBODY, door=Door.COMMAND)


def network_of(request: HttpRequest) -> str:
    """The network of a request's client, too wide to identify anybody; empty if it is not known."""
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return ""
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))


def _is_of_program(request: HttpRequest | None) -> bool:
    """Whether there is no real request: tests and commands log users in like that."""
    return request is None or request.method is None


def _door(request: HttpRequest) -> Door:
    return Door.ADMIN if request.path_info.startswith("/admin/") else Door.PAGE


def _logged_in(sender: Any, request: HttpRequest | None, user: User, **_: Any) -> None:
    if request is not None and not _is_of_program(request):
        audit.record_action(user.pk, Act.LOGIN, _door(request), subject_id=user.pk, network=network_of(request))


def _logged_out(sender: Any, request: HttpRequest | None, user: User | None, **_: Any) -> None:
    if user is not None and request is not None and not _is_of_program(request):
        audit.record_action(user.pk, Act.LOGOUT, _door(request), subject_id=user.pk)


def _failed(sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Audit a failed login with its account, if there is one. A name that is none is not stored: it may be a password."""
    if request is None or _is_of_program(request):
        return
    name = credentials.get("username")
    subject_id = User.objects.filter(username=name, closed=None).values_list("pk", flat=True).first() if name else None
    if getattr(request, "axes_locked_out", False) and not _is_news(subject_id):
        return
    audit.record_action(NOBODY, Act.LOGIN_FAILED, _door(request), subject_id=subject_id, network=network_of(request))


def _is_news(subject_id: int | None) -> bool:
    """Whether this is the first time within ten minutes: a blocked client may try very often."""
    window = int(time.time() // audit.WINDOW_S)
    for known in [known for known, noted_in in _noted_lockouts.items() if noted_in != window]:
        del _noted_lockouts[known]
    if subject_id in _noted_lockouts:
        return False
    _noted_lockouts[subject_id] = window
    return True
