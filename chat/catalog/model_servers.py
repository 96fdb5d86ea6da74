"""Which model an agent's version uses, and where: at the environment's server, or at one that staff have entered."""

import time
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from django.conf import settings

from agents import AgentError, ModelSettings, Sentence
from chat.catalog.agents import Version
from chat.catalog.sealed import BadSecret, unseal_secret
from chat.catalog.server_addresses import addresses_for
from chat.models import ModelServer

#: Seconds for which a server is cached.
_FRESH_S = 1.0
#: The name of the model that answers if no server is configured, and the name of the server from the environment.
DEMO, ENVIRONMENT = "demo", "default"


@dataclass(slots=True)
class _Read:
    row: ModelServer
    until: float


_read: dict[int, _Read] = {}


def forget() -> None:
    """Read the servers again."""
    _read.clear()


def names_of(version: Version) -> tuple[str, str]:
    """The model of a version, and the name of its server."""
    if version.server_id is not None:
        return version.spec.model, _server(version.server_id).name
    configured: ModelSettings = settings.AGENT_MODEL
    if not configured.server:
        return DEMO, DEMO
    return version.spec.model or configured.model, ENVIRONMENT


def settings_for(version: Version) -> ModelSettings:
    """The settings of a version's model. Raises `AgentError` if its server may not be used any more, or its key cannot be decrypted."""
    configured: ModelSettings = settings.AGENT_MODEL
    if version.server_id is None:
        is_other = configured.server and version.spec.model
        return replace(configured, model=version.spec.model) if is_other else configured
    return settings_at(_server(version.server_id), version.spec.model)


def installation_settings() -> ModelSettings:
    """The settings of the environment's server. Raises `AgentError` if there is none."""
    configured: ModelSettings = settings.AGENT_MODEL
    if not configured.server:
        raise AgentError("model_error", Sentence("No model server is configured: the built-in demo model answers."))
    return configured


def settings_at(server: ModelServer, model: str) -> ModelSettings:
    """The settings of a model on a server. Raises `AgentError` if the server may not be used, or its key cannot be decrypted."""
    configured: ModelSettings = settings.AGENT_MODEL
    if server.archived_at is not None:
        raise AgentError("model_unreachable", Sentence("The model server “%(name)s” was closed.", name=server.name))
    allowed = addresses_for(ModelServer)
    if not allowed.allows(server.address):
        raise AgentError(
            "model_unreachable",
            Sentence("The address of the model server “%(name)s” is not allowed any more.", name=server.name),
        )
    try:
        key = unseal_secret(server.key)
    except BadSecret as bad:
        raise AgentError(
            "model_auth",
            Sentence("The key of the model server “%(name)s”: %(reason)s", name=server.name, reason=bad.message),
        ) from bad
    return ModelSettings(
        server.address,
        model,
        key,
        configured.timeout_s,
        max_input_tokens=configured.max_input_tokens,
        public_only=not allowed.names_host(server.address),
    )


def sees_images(version: Version) -> bool:
    """Whether the version's model accepts pictures, by its server's configuration."""
    model, _ = names_of(version)
    seeing = settings.LLM_SEEING_MODELS if version.server_id is None else _server(version.server_id).seeing_models
    return any(fnmatchcase(model, pattern) for pattern in seeing)


def _server(pk: int) -> ModelServer:
    known = _read.get(pk)
    if known is None or time.monotonic() >= known.until:
        known = _read[pk] = _Read(ModelServer.objects.get(pk=pk), time.monotonic() + _FRESH_S)
    return known.row
