"""Reads a run's model calls for the API and for pages: what each was sent, with or without the messages in full."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from agents.history import ChatMessage
from agents.json_types import JsonObject
from chat.models import ModelCall, ModelContent, Run
from chat.protocol.model_calls import CallData, SentMessageData
from chat.store.call_pictures import show_pictures
from chat.store.calls import AT_ONCE, Refs, contents_in_rows, in_row, refs_of, whole_list


@dataclass(frozen=True, slots=True)
class FullCall:
    """A call with everything that was sent: messages and tool declarations, unchanged."""

    data: CallData
    messages: list[ChatMessage]
    tools: list[JsonObject]


def rows_of(run: Run, after: int = 0, most: int | None = None) -> list[ModelCall]:
    """The rows of a run's model calls, in order: at most ``most`` of those after the call number ``after``; numbers begin with 1."""
    found = ModelCall.objects.filter(run=run).defer("contents").order_by("pk")
    return list(found[after:] if most is None else found[after : after + most])


def places_of(run: Run) -> list[tuple[int, int]]:
    """The primary keys of a run's model calls, in order, each with its iteration."""
    return list(ModelCall.objects.filter(run=run).order_by("pk").values_list("pk", "iteration"))


def rows_at(keys: set[int]) -> dict[int, ModelCall]:
    """The rows of model calls, by their primary keys."""
    return {row.pk: row for some in _in_parts(keys) for row in ModelCall.objects.defer("contents").filter(pk__in=some)}


def hides_instructions(run: Run) -> bool:
    """Whether only staff may see the instructions of the run's agent."""
    return run.agent_version is not None and not run.agent_version.instructions_shown


def calls_of(run: Run, after: int = 0, most: int | None = None) -> list[CallData]:
    """A run's model calls as the API returns them, in order: at most ``most`` of those after the call number ``after``."""
    rows = rows_of(run, after, most)
    lists = _lists(run, rows)
    sent = _sent({ref for refs in lists for ref in refs})
    return [call_data(row, [sent[ref] for ref in refs if ref in sent]) for row, refs in zip(rows, lists, strict=True)]


def full_call(run: Run, number: int) -> FullCall | None:
    """The run's call of that number, from 1 on, in full; None if there is none."""
    rows = rows_of(run, number - 1, 1) if number > 0 else []
    if not rows:
        return None
    row, refs = rows[0], _lists(run, rows)[0]
    declared = in_row(row.tools_id or 0, row.pk)
    bodies = _bodies(run, {*refs, declared})
    tools, sent = bodies.get(declared), _sent(set(refs))
    data = call_data(row, [sent[ref] for ref in refs])
    return FullCall(data, [orjson.loads(bodies[ref]) for ref in refs], orjson.loads(tools) if tools else [])


def sent_messages(run: Run, rows: Sequence[ModelCall]) -> list[list[ChatMessage]]:
    """The full messages of each of these model calls, which must be the first ones of a run."""
    lists = _lists(run, rows)
    bodies = {ref: orjson.loads(body) for ref, body in _bodies(run, {ref for refs in lists for ref in refs}).items()}
    return [[bodies[ref] for ref in refs if ref in bodies] for refs in lists]


def call_data(row: ModelCall, messages: list[SentMessageData]) -> CallData:
    """A call as the API returns it, with the messages that it was sent."""
    data: CallData = {
        "iteration": row.iteration,
        "attempt": row.attempt,
        "model": row.model,
        "provider": row.provider,
        "agent_version": row.agent_version,
        "parameters": orjson.loads(row.parameters),
        "tools": orjson.loads(row.tool_names),
        "messages": messages,
        "left_out": {"messages": row.left_out_messages, "tokens_estimated": row.left_out_tokens}
        if row.left_out_messages or row.left_out_tokens
        else None,
        "started_at": row.started_at.timestamp(),
        "first_token_ms": row.first_token_ms,
        "duration_ms": row.duration_ms,
        "finish_reason": row.finish_reason or None,
        "usage": {
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "estimated": row.estimated,
        },
    }
    if row.cached_tokens is not None:
        data["usage"]["cached_tokens"] = row.cached_tokens
    if row.reasoning_tokens is not None:
        data["usage"]["reasoning_tokens"] = row.reasoning_tokens
    if row.cost is not None:
        data["cost"] = {"amount": float(row.cost), "currency": row.currency}
    if row.error:
        data["error"] = row.error
    return data


def _lists(run: Run, rows: Sequence[ModelCall]) -> list[Refs]:
    """The keys of the messages that each of a run's calls was sent."""
    known: dict[int, Refs] = {}
    for row in rows:
        if row.base_id is not None and row.base_id not in known:
            known[row.base_id] = refs_of(run.session_id, row.base_id)
        known[row.pk] = whole_list(row.pk, orjson.loads(row.messages), known.get(row.base_id or 0, []))
    return [known[row.pk] for row in rows]


def _sent(refs: set[int]) -> dict[int, SentMessageData]:
    heads = [(ref, *head) for ref, (*head, _) in contents_in_rows(refs).items()]
    for some in _in_parts(refs):
        heads += ModelContent.objects.filter(pk__in=some).values_list("pk", "sha256", "role", "tokens")
    return {ref: {"role": role, "sha256": digest, "tokens_estimated": tokens} for ref, digest, role, tokens in heads}


def _bodies(run: Run, refs: set[int]) -> dict[int, str]:
    found = {ref: orjson.dumps(message).decode() for ref, (*_, message) in contents_in_rows(refs).items()}
    for some in _in_parts(refs):
        found |= dict(ModelContent.objects.filter(pk__in=some).values_list("pk", "body"))
    return {ref: show_pictures(run.session_id, body) for ref, body in found.items()}


def _in_parts(refs: set[int]) -> list[list[int]]:
    """Primary keys in batches that fit into one statement."""
    keys = sorted(ref for ref in refs if ref > 0)
    return [keys[start : start + AT_ONCE] for start in range(0, len(keys), AT_ONCE)]
