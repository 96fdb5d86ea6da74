"""The servers that this installation uses over the network: Redis, the broker, model servers, tool servers."""

import asyncio
import time
from collections.abc import Iterator

from django.conf import settings

import agents
from agents import AgentError, ModelSettings, mask_text
from agents.models.probing import reach_server
from chat.catalog import mcp_servers, model_servers
from chat.catalog import sealed as sealing
from chat.doctor.findings import Finding
from chat.models import AgentVersion, McpServer, ModelServer, Process
from chat.runtime import redis_check

_SLOW_MS = 20
#: How long MCP servers have to connect.
_CONNECTED_WITHIN_S, _LOOK_EVERY_S = 15.0, 0.2


def check_channel_layer() -> Iterator[Finding]:
    """Whether the Redis of the channel layer works."""
    if not settings.REDIS_URL:
        yield Finding.ok("in this process's memory (REDIS_URL is not set): only one process can serve")
        return
    yield from _check_redis("REDIS_URL", redis_check.try_channel_layer, "clients see steps up to a second later")


def check_broker() -> Iterator[Finding]:
    """Whether the broker's Redis works."""
    if not settings.BROKER_URL:
        yield Finding.ok("none is configured (BROKER_URL is not set): the process that serves executes the runs")
        return
    yield from _check_redis("BROKER_URL", redis_check.try_broker, "runs start up to a second later")


def _check_redis(name: str, attempt: "redis_check.Attempt", otherwise: str) -> Iterator[Finding]:
    began = time.perf_counter()
    try:
        attempt()
    except redis_check.AWAY as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        lasting = redis_check.lasting_reason(error)
        action = (
            f"Correct {name}, or the server that it names."
            if lasting
            else f"Check that the Redis of {name} runs. Until then {otherwise}."
        )
        yield Finding.fail(f"cannot be used: {lasting or reason}", action)
        return
    took_ms = (time.perf_counter() - began) * 1000
    yield Finding.ok(f"works, answers in {took_ms:.0f} ms")


def check_processes() -> Iterator[Finding]:
    """Which processes run, and which problems they have reported."""
    alive = list(Process.objects.order_by("name"))
    if not alive:
        yield Finding.warn("none is running", "Start one: make run, or manage.py serve.")
        return
    yield Finding.ok(f"{len(alive)} running")
    for process in alive:
        for line in filter(None, process.noticed.split("\n")):
            yield Finding.warn(f"{process.name} reports: {line}", "Correct that, then restart the process.")


def check_model_servers() -> Iterator[Finding]:
    """Whether each model server answers, accepts its key, and has the models that agents use."""
    configured: ModelSettings = settings.AGENT_MODEL
    if configured.server:
        yield from _check_model_server("LLM_MODEL_SERVER", configured)
    else:
        yield Finding.warn(
            "LLM_MODEL_SERVER is not set: the built-in demo model answers, which is no language model",
            "Set LLM_MODEL_SERVER, then run: manage.py check_llm",
        )
    for server in ModelServer.objects.filter(archived_at=None).order_by("name"):
        asked = AgentVersion.objects.filter(model_server=server, agent__current_id__isnull=False)
        names = asked.order_by("model").values_list("model", flat=True).distinct()
        for model in list(names) or [""]:
            try:
                yield from _check_model_server(server.name, model_servers.settings_at(server, model))
            except AgentError as problem:
                yield Finding.fail(f"{server.name}: {problem.message}", "Change it in the admin, under Model servers.")


def _check_model_server(name: str, asked: ModelSettings) -> Iterator[Finding]:
    where = f"{name} ({mask_text(asked.server)})"
    began = time.perf_counter()
    reached = asyncio.run(reach_server(asked))
    took_ms = (time.perf_counter() - began) * 1000
    if reached.problem:
        yield Finding.fail(
            f"{where}: {reached.problem}",
            "Check that it runs, and can be reached from here, through HTTPS_PROXY if that is set.",
        )
    elif reached.status in (401, 403):
        yield Finding.fail(
            f"{where} does not accept the key ({reached.status})", "Set LLM_API_KEY, or the server's key in the admin."
        )
    elif reached.models is None:
        yield Finding.warn(f"{where} answers, but lists no models ({reached.status})", "Test it: manage.py check_llm")
    elif asked.model and asked.model not in reached.models:
        known = ", ".join(reached.models[:5]) or "none"
        yield Finding.warn(
            f"{where} does not list {asked.model}; it has {known}", "Set LLM_MODEL, or the agent's model."
        )
    else:
        yield Finding.ok(f"{where} answers in {took_ms:.0f} ms{f', and has {asked.model}' if asked.model else ''}")


def check_tool_servers() -> Iterator[Finding]:
    """Whether this machine can connect to each MCP server."""
    configured = mcp_servers.all_configured()
    if not configured:
        yield Finding.ok("none is configured (MCP_SERVERS, or in the admin)")
        return
    agents.preload(configured)
    until = time.monotonic() + _CONNECTED_WITHIN_S
    while time.monotonic() < until:
        states = agents.server_states()
        if len(states) >= len(configured) and all(state.state != "connecting" for state in states):
            break
        time.sleep(_LOOK_EVERY_S)
    for state in agents.server_states():
        if state.state == "connected":
            yield Finding.ok(f"{state.name} ({state.transport}) has {state.tools} tools")
        else:
            why = mask_text(state.last_error) or "it does not answer"
            yield Finding.fail(
                f"{state.name} ({state.transport}): {why}",
                "Check that it runs, and its entry in MCP_SERVERS or in the admin.",
            )


def check_secrets() -> Iterator[Finding]:
    """Whether `FIELD_KEY` is set, and decrypts the stored keys."""
    sealed = [
        server
        for kind in (ModelServer, McpServer)
        for server in kind.objects.filter(archived_at=None, key__startswith=sealing.SEALED)
    ]
    if not settings.FIELD_KEY:
        if sealed:
            yield Finding.fail(
                "FIELD_KEY is not set, and keys are encrypted with one", "Set the FIELD_KEY that they were made with."
            )
        else:
            yield Finding.ok("FIELD_KEY is not set: keys are named as env:AGENT_…, none is in the database")
        return
    unread = [server.name for server in sealed if not sealing.can_unseal(server.key)]
    for name in unread:
        yield Finding.fail(
            f"the key of {name} was encrypted with another FIELD_KEY",
            "Set that FIELD_KEY again, or enter the key again.",
        )
    if not unread:
        yield Finding.ok(f"FIELD_KEY is set{f', and decrypts the keys of {len(sealed)} servers' if sealed else ''}")
