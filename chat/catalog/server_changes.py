"""Servers of models and tools, entered and changed by staff with that permission. Every change is written to the audit log."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from chat.accounts.models import User
from chat.catalog import mcp_servers, model_servers, tool_servers
from chat.catalog.sealed import seal_secret
from chat.models import Act, Door, EnteredServer, McpServer, ModelServer
from chat.security import audit

S = TypeVar("S", bound=EnteredServer)


@transaction.atomic
def save_server(server: S, by: User, *, name: str, address: str, key: str | None, **more: Any) -> S:
    """Add or change a server. ``key``: a new one, empty for none, None to keep the stored one; a changed address removes a stored key.

    ``more`` are fields of its kind. Raises `chat.catalog.sealed.BadSecret`. Whether the address is allowed is looked at by whoever
    calls, and at each use.
    """
    kind = type(server)._default_manager  # noqa: SLF001 - of whichever kind it is
    before = kind.select_for_update().filter(pk=server.pk).first()
    if key is not None:
        server.key = seal_secret(key)
    elif before is not None and before.address != address:
        server.key = ""
    for field, value in {"name": name, "address": address, **more}.items():
        setattr(server, field, value)
    server.changed_at, server.changed_by = timezone.now(), by
    server.save()
    _changed(by, Act.SAVE, server, *([before.name] if before is not None else []))
    return server


@transaction.atomic
def close_server(server: EnteredServer, by: User, *, closed: bool) -> None:
    """Archive a server, so that it is not used any more; or restore it."""
    server.archived_at = timezone.now() if closed else None
    server.save(update_fields=["archived_at"])
    _changed(by, Act.ARCHIVE if closed else Act.RESTORE, server)


def keep_offer(server: McpServer, offered: Mapping[str, str]) -> None:
    """Keep which tools a trial has found."""
    McpServer.objects.filter(pk=server.pk).update(offered=dict(offered))


def _changed(by: User, act: Act, server: EnteredServer, *former: str) -> None:
    kind, publish = _KINDS[type(server)]
    audit.record_action(by.pk, act, Door.ADMIN, about=f"{kind} server {server.name}")
    names = dict.fromkeys([server.name, *former])
    transaction.on_commit(lambda: publish(names))


def _publish_model_servers(_names: Mapping[str, None]) -> None:
    model_servers.forget()


def _publish_tool_servers(names: Mapping[str, None]) -> None:
    """Have all processes connect to it again; one that misses the message does so at the next run that has the server."""
    mcp_servers.forget()
    for name in names:
        async_to_sync(tool_servers.restart)(name)


_KINDS: dict[type[EnteredServer], tuple[str, Callable[[Mapping[str, None]], None]]] = {
    ModelServer: ("model", _publish_model_servers),
    McpServer: ("tool", _publish_tool_servers),
}
