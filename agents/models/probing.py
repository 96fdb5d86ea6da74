"""Finds out a model server's limits: how strict it is with conversations, and how many tokens it accepts.

What ordinary requests have shown is in `agents.models.server_facts`.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from agents.errors import ModelError
from agents.history import ChatMessage
from agents.json_types import JsonObject
from agents.models import http
from agents.models.openai_stream import stream_completion
from agents.models.refusals import Refused
from agents.models.reply import Reply
from agents.models.request_parts import wants_field
from agents.models.server_facts import ServerFacts, facts_of
from agents.models.server_url import completions_url
from agents.specs import ModelSettings
from agents.text import clean_text

_USER = {"role": "user", "content": "Say yes."}
_TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}},
}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
_CALLED: list[ChatMessage] = [
    _USER,
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
    {"role": "tool", "tool_call_id": "call_1", "name": "look", "content": "yes"},
]
#: A square of 32 pixels.
_RED = {
    "type": "image_url",
    "image_url": {
        "url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAJ0lEQVR42u3NsQkAAAjAsP7/tF7hIASyp6lT"
        "CQQCgUAgEAgEgi/BAjLD/C5w/SM9AAAAAElFTkSuQmCC"
    },
}
#: Keys under which servers report how many tokens they accept: vLLM and SGLang, OpenRouter, Groq, LM Studio, llama.cpp.
_CONTEXT_KEYS = (
    "max_model_len",
    "context_length",
    "context_window",
    "loaded_context_length",
    "max_context_length",
    "n_ctx",
)
_PATIENCE_S = 10.0
_BODY_LIMIT = 4 << 20
_MOST_MODELS, _LONGEST_NAME = 1_000, 200


@dataclass(frozen=True, slots=True)
class ServerTraits:
    """A model server's traits. ``None``: unknown."""

    wants_alternation: bool | None
    """Whether it refuses two consecutive messages of the user."""
    wants_fields_back: bool | None
    """Whether it refuses a call that is sent back without its own fields, such as thoughts or a signature."""
    context: int
    """The number of tokens that it accepts; 0 if it does not report that."""
    facts: ServerFacts
    """What the server has refused so far."""


def server_facts(settings: ModelSettings) -> ServerFacts:
    """What this process knows about the configured server and model."""
    return facts_of(completions_url(settings.server), settings.model)


async def probe_server(settings: ModelSettings) -> ServerTraits:
    """Probe the configured server with a few short requests."""
    facts = server_facts(settings)
    alternation = await _refusal(settings, facts, [_USER, _USER])
    fields = None if facts.refuses_tools else await _refusal(settings, facts, _CALLED, tools=[_TOOL])
    return ServerTraits(
        wants_alternation=None if alternation is None else bool(alternation),
        wants_fields_back=None if fields is None else wants_field(fields),
        context=await _find_context(settings),
        facts=facts,
    )


async def _refusal(settings: ModelSettings, facts: ServerFacts, messages: list[ChatMessage], **more: Any) -> str | None:
    """The message with which it refuses the request: empty if it accepts it, ``None`` if the request fails."""
    body = {"model": settings.model, "messages": messages, "stream": True, **more}
    body = {key: value for key, value in body.items() if key not in facts.left_out}
    has_begun = asyncio.Event()
    reply = Reply(has_begun.set)
    asking = asyncio.create_task(
        stream_completion(
            completions_url(settings.server),
            settings.api_key,
            orjson.dumps(body),
            reply,
            timeout_s=settings.timeout_s,
            public_only=settings.public_only,
        )
    )
    begun = asyncio.create_task(has_begun.wait())
    await asyncio.wait((asking, begun), return_when=asyncio.FIRST_COMPLETED)
    for task in (asking, begun):
        task.cancel()  # the first token is enough
    try:
        await asking
    except asyncio.CancelledError:
        return ""
    except Refused as refusal:
        return refusal.words if refusal.status in (400, 422, 500) and not reply.parts else None
    except ModelError:
        return "" if reply.parts else None
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await begun
    return ""


async def sees_images(settings: ModelSettings) -> bool | None:
    """Whether the model recognises a picture of a red square; ``None`` if it does not answer."""
    question = [{"type": "text", "text": "Which colour is this picture? One word."}, _RED]
    body = {"model": settings.model, "messages": [{"role": "user", "content": question}], "stream": True}
    reply = Reply()
    try:
        await stream_completion(
            completions_url(settings.server),
            settings.api_key,
            orjson.dumps(body),
            reply,
            timeout_s=settings.timeout_s,
            public_only=settings.public_only,
        )
    except Refused as refusal:
        return False if refusal.status in (400, 404, 415, 422, 500) else None
    except ModelError:
        return None
    return "red" in reply.content.lower()


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """A model server's answer to a request for its list of models."""

    status: int = 0
    models: list[str] | None = None
    """``None``: it lists none."""
    problem: str = ""
    """Why the request failed, for people; empty if it did not."""


async def reach_server(settings: ModelSettings) -> ServerAnswer:
    """Ask a server for its list of models; nothing is generated."""
    base = completions_url(settings.server).removesuffix("/chat/completions")
    try:
        status, body = await _ask(f"{base}/models", settings)
    except TimeoutError:
        return ServerAnswer(problem=f"it has not answered within {_PATIENCE_S:g} s")
    except (OSError, ModelError) as error:
        return ServerAnswer(problem=" ".join(str(error).split()) or type(error).__name__)
    models = None
    with contextlib.suppress(ValueError):
        models = _listed(orjson.loads(body) if status == 200 else None)
    return ServerAnswer(status, None if models is None else _names(models))


async def list_models(settings: ModelSettings) -> list[str] | None:
    """The names of the server's models, as it lists them; ``None`` if it does not."""
    models = await _models(settings)
    return None if models is None else _names(models)


def _names(models: list[JsonObject]) -> list[str]:
    return [clean_text(str(each["id"]))[:_LONGEST_NAME] for each in models if each.get("id")]


async def _models(settings: ModelSettings) -> list[JsonObject] | None:
    base = completions_url(settings.server).removesuffix("/chat/completions")
    return _listed(await _get(f"{base}/models", settings))


def _listed(listed: Any) -> list[JsonObject] | None:
    models = listed.get("data") if isinstance(listed, dict) else None
    return [each for each in models if isinstance(each, dict)][:_MOST_MODELS] if isinstance(models, list) else None


async def _find_context(settings: ModelSettings) -> int:
    base = completions_url(settings.server).removesuffix("/chat/completions")
    models = await _models(settings)
    named = [each for each in models or () if each.get("id") == settings.model]
    found = max(_contexts(named or models), default=0)
    return found or max(_contexts(await _get(f"{base.removesuffix('/v1')}/props", settings)), default=0)


def _contexts(answer: Any, depth: int = 0) -> Iterator[int]:
    """All context sizes in the answer."""
    if isinstance(answer, dict) and depth < 4:
        yield from (answer[key] for key in _CONTEXT_KEYS if isinstance(answer.get(key), int))
        for value in answer.values():
            yield from _contexts(value, depth + 1)
    elif isinstance(answer, list) and len(answer) == 1:  # of several models it is unknown which is meant
        yield from _contexts(answer[0], depth + 1)


async def _get(url: str, settings: ModelSettings) -> Any:
    """The JSON at an address; None if there is none."""
    try:
        status, body = await _ask(url, settings)
        return orjson.loads(body) if status == 200 else None
    except (OSError, ValueError):
        return None


async def _ask(url: str, settings: ModelSettings) -> tuple[int, bytes]:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if settings.api_key:
        headers["Authorization"] = f"Bearer {settings.api_key}"
    async with asyncio.timeout(_PATIENCE_S):
        connection = await http.get(url, headers, connect_s=_PATIENCE_S, public_only=settings.public_only)
        with contextlib.closing(connection):
            body = bytearray()
            while (data := await connection.read()) and len(body) < _BODY_LIMIT:
                body += data
            return connection.status, bytes(body)
