"""Model servers, entered and changed by staff who were permitted just that. Every change is in the audit."""

from collections.abc import Sequence

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.catalog import model_servers
from chat.catalog.sealed import seal
from chat.models import Act, Door, ModelServer
from chat.security import audit


def refusal_of_address(address: str) -> str:
    """Why a model server may not be at this address, as a sentence; empty where it may."""
    if not settings.MODEL_SERVER_ADDRESSES:
        return Sentence(
            "The operator has allowed no addresses of model servers: MODEL_SERVER_ADDRESSES names those that may be entered."
        )
    if not settings.MODEL_SERVER_ADDRESSES.allows(address):
        return Sentence(
            "The operator has not allowed this address. MODEL_SERVER_ADDRESSES names those that may be entered."
        )
    return ""


@transaction.atomic
def save_server(
    server: ModelServer, by: User, *, name: str, address: str, key: str | None, seeing_models: Sequence[str]
) -> ModelServer:
    """Enter a server, or change one. ``key``: a new one, empty for none, None to keep it; another address empties one that is kept.

    Raises `chat.catalog.sealed.BadSecret`. Whether the address is allowed is looked at by whoever calls, and at each use.
    """
    moved = bool(server.pk) and ModelServer.objects.select_for_update().get(pk=server.pk).address != address
    if key is not None:
        server.key = seal(key)
    elif moved:
        server.key = ""
    server.name, server.address, server.seeing_models = name, address, list(seeing_models)
    server.changed_at, server.changed_by = timezone.now(), by
    server.save()
    _changed(by, Act.SAVE, server)
    return server


@transaction.atomic
def close_server(server: ModelServer, by: User, *, closed: bool) -> None:
    """Have nobody ask a server any more, or again."""
    server.archived_at = timezone.now() if closed else None
    server.save(update_fields=["archived_at"])
    _changed(by, Act.ARCHIVE if closed else Act.RESTORE, server)


def _changed(by: User, act: Act, server: ModelServer) -> None:
    audit.note_act(by.pk, act, Door.ADMIN, about=f"model server {server.name}")
    transaction.on_commit(model_servers.forget)
