"""The only writer of model calls, their contents and the sums of a day.

What is written rides in the transactions that store a run's steps, which hold the session's row: of one session, one writes at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple, cast
from uuid import UUID

import orjson
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Max, Sum
from django.utils import timezone

from agents import CallBegun, CallEnded, Usage
from agents.history import ChatMessage, message_tokens
from agents.text import clean_text, estimate_tokens
from chat.models import Cost, ModelCall, Run
from chat.runtime.db_values import datetime_param, decimal_param, uuid_param
from chat.store.call_pictures import name_pictures

#: Fewer calls than this may stand on one another, however short their lists.
_LEAST_DEPTH = 16
#: Within what databases take as values of one statement.
AT_ONCE = 500
INTERRUPTED = "interrupted"

Refs = list[int]
"""Contents, by their keys, in the order in which they were sent."""
TOOLS = "tools"


class PricedCall(NamedTuple):
    """A call that has ended, and what it cost as far as that is known."""

    ended: CallEnded
    cost: Cost | None


_Wanted = tuple[Mapping[str, Any] | None, str]
"""A message and its JSON; of declared tools the JSON alone."""


class _Known(NamedTuple):
    """The call before, and the whole list of what it was asked with."""

    call_id: int
    refs: Refs
    depth: int


# Written out, because they run for every model call.
_BEGIN = """INSERT INTO chat_modelcall (session_id, run_id, iteration, attempt, model, provider, agent_version, parameters, tool_names,
    tools_id, base_id, depth, messages, left_out_messages, left_out_tokens, context_limit, started_at,
    duration_ms, first_token_ms, finish_reason, input_tokens, output_tokens, cached_tokens, reasoning_tokens, estimated, cost, currency,
    error) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (run_id, iteration, attempt) DO NOTHING RETURNING id"""
_LATEST = "SELECT id, depth, base_id, messages FROM chat_modelcall WHERE session_id = %s ORDER BY id DESC LIMIT %s"
_FIND_CONTENTS = "SELECT sha256, id FROM chat_modelcontent WHERE session_id = %s AND sha256 IN ({places})"
_ADD_CONTENTS = """INSERT INTO chat_modelcontent (session_id, sha256, role, tokens, body) VALUES {rows}
    ON CONFLICT (session_id, sha256) DO UPDATE SET tokens = excluded.tokens RETURNING sha256, id"""
_END = """UPDATE chat_modelcall SET duration_ms = %s, first_token_ms = %s, finish_reason = %s, input_tokens = %s, output_tokens = %s,
    cached_tokens = %s, reasoning_tokens = %s, estimated = %s, cost = %s, currency = %s, error = %s
    WHERE run_id = %s AND iteration = %s AND attempt = %s AND duration_ms IS NULL RETURNING provider, model"""
_SUM = """INSERT INTO chat_dailyusage AS sums (day, user_id, agent_name, provider, model, currency, calls, input_tokens, output_tokens,
    cached_tokens, reasoning_tokens, cost) VALUES (%s, %s, %s, %s, %s, %s, 1, %s, %s, %s, %s, %s)
    ON CONFLICT (day, user_id, agent_name, provider, model, currency) DO UPDATE SET calls = sums.calls + 1,
    input_tokens = sums.input_tokens + excluded.input_tokens, output_tokens = sums.output_tokens + excluded.output_tokens,
    cached_tokens = sums.cached_tokens + excluded.cached_tokens,
    reasoning_tokens = sums.reasoning_tokens + excluded.reasoning_tokens, cost = sums.cost + excluded.cost"""


class CallWriter:
    """Writes the model calls of one run, whose process holds one of these. What it has seen stored it need not look up."""

    def __init__(self, run: Run, *, provider: str) -> None:
        self._run = run
        self.provider = provider
        """The name of the model server."""
        self.version: int | None = None
        """The number of the agent's version."""
        # Before the first call of a session's first run nothing is stored that could be asked for.
        self._is_first = run.number == 1 and run.parent_id is None
        self._known: _Known | None = None
        self._ids: dict[str, int] = {}

    def write(self, calls: Sequence[CallBegun | PricedCall]) -> None:
        """Store what has begun and ended, within the caller's transaction; what is stored already is left as it is."""
        if not calls:
            return
        before, ids = self._known, dict(self._ids)
        ends = {_place(call): call for call in calls if isinstance(call, PricedCall)}
        with connection.cursor() as cursor:
            for call in calls:
                if isinstance(call, CallBegun):
                    end = ends.get(_place(call))
                    known = self._begin(cursor, call, end, before or self._before(), ids)
                    before = known or before
                    if known is not None and end is not None:
                        del ends[_place(call)]
                        self._add_up(cursor, end, (self.provider[:100], _model_name(call)))
                elif _place(call) in ends:
                    self._end(cursor, call)
        # Until it is committed it may be taken back.
        transaction.on_commit(lambda: self._remember(before, ids))

    def _before(self) -> _Known | None:
        return None if self._is_first else _newest(self._run.session_id)

    def _remember(self, known: _Known | None, ids: dict[str, int]) -> None:
        self._known, self._ids = known, ids
        self._is_first = self._is_first and known is None

    def _begin(
        self, cursor: CursorWrapper, call: CallBegun, end: PricedCall | None, before: _Known | None, ids: dict[str, int]
    ) -> _Known | None:
        """Store a call, with its ``end`` where it has ended by now; None where it is stored already."""
        request = call.request
        bodies = [_json(message) for message in request.messages]
        digests = [sha256(body.encode()).hexdigest() for body in bodies]
        wanted: dict[str, _Wanted] = dict(zip(digests, zip(request.messages, bodies, strict=True), strict=True))
        tools_digest = None
        if request.tools:
            body = _json(list(request.tools))
            tools_digest = sha256(body.encode()).hexdigest()
            wanted[tools_digest] = (None, body)
        _store_contents(cursor, self._run.session_id, wanted, ids, is_first=self._is_first)
        refs = [ids[digest] for digest in digests]
        depth, base, messages = _differing(refs, before)
        values = [
            uuid_param(self._run.session_id),
            uuid_param(self._run.pk),
            call.iteration,
            call.attempt,
            _model_name(call),
            self.provider[:100],
            self.version,
            _json(request.parameters),
            _json(list(request.tool_names)),
            ids[tools_digest] if tools_digest is not None else None,
            base,
            depth,
            _json(messages),
            request.left_out.messages,
            request.left_out.tokens,
            request.limit,
            datetime_param(datetime.fromtimestamp(call.started_at, UTC)),
            *(_OPEN if end is None else _end_values(end)),
        ]
        cursor.execute(_BEGIN, values)
        row = cursor.fetchone()
        return None if row is None else _Known(row[0], refs, depth)

    def _end(self, cursor: CursorWrapper, call: PricedCall) -> None:
        cursor.execute(_END, [*_end_values(call), uuid_param(self._run.pk), call.ended.iteration, call.ended.attempt])
        row = cursor.fetchone()
        if row is not None:
            self._add_up(cursor, call, row)

    def _add_up(self, cursor: CursorWrapper, call: PricedCall, asked: tuple[str, str]) -> None:
        """Add a call to its day; ``asked``: the model server, and the model."""
        usage, cost = call.ended.usage, call.cost
        counts = [usage.input_tokens, usage.output_tokens]
        if not sum(counts):
            return
        amount, currency = (decimal_param(cost.amount), cost.currency) if cost is not None else (0, "")
        whose = [timezone.now().date(), self._run.user_id, self._run.agent_name, *asked, currency]
        cursor.execute(_SUM, [*whose, *counts, usage.cached_tokens or 0, usage.reasoning_tokens or 0, amount])


def _place(call: CallBegun | PricedCall) -> tuple[int, int]:
    told = call if isinstance(call, CallBegun) else call.ended
    return told.iteration, told.attempt


def _model_name(call: CallBegun) -> str:
    return clean_text(call.request.model)[:200]


#: What a call has in place of `_end_values` until it has ended.
_OPEN = (None, None, "", 0, 0, None, None, False, None, "", "")


def _end_values(call: PricedCall) -> list[Any]:
    ended, usage, cost = call.ended, call.ended.usage, call.cost
    amount, currency = (decimal_param(cost.amount), cost.currency) if cost is not None else (None, "")
    return [
        *(ended.duration_ms, ended.first_token_ms, clean_text(ended.finish_reason)[:64]),
        *(usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens, usage.estimated),
        *(amount, currency, clean_text(ended.error)[:2_000]),
    ]


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _store_contents(
    cursor: CursorWrapper,
    session_id: UUID,
    wanted: Mapping[str, _Wanted],
    ids: dict[str, int],
    *,
    is_first: bool,
) -> None:
    """Store the contents that the session has not, and put the keys of all of them into ``ids``; ``is_first``: it has none."""
    session = uuid_param(session_id)
    unknown = [digest for digest in wanted if digest not in ids]
    if not ids and not is_first:
        # The first call of a run: most of what it is asked with was said before.
        for some in _in_parts(unknown):
            places = ", ".join(["%s"] * len(some))
            cursor.execute(_FIND_CONTENTS.format(places=places), [session, *some])
            ids |= dict(cursor.fetchall())
        unknown = [digest for digest in unknown if digest not in ids]
    for some in _in_parts(unknown):
        rows = ", ".join(["(%s, %s, %s, %s, %s)"] * len(some))
        values: list[Any] = []
        for digest in some:
            message, body = wanted[digest]
            values += [session, digest, *_role_and_tokens(message, body), name_pictures(session_id, body)]
        cursor.execute(_ADD_CONTENTS.format(rows=rows), values)
        ids |= dict(cursor.fetchall())


def _role_and_tokens(message: Mapping[str, Any] | None, body: str) -> tuple[str, int]:
    if message is None:
        return TOOLS, estimate_tokens(body)
    return str(message.get("role", ""))[:16], message_tokens(cast(ChatMessage, message))


def _in_parts(digests: Sequence[str]) -> list[Sequence[str]]:
    return [digests[start : start + AT_ONCE] for start in range(0, len(digests), AT_ONCE)]


def _differing(refs: Refs, before: _Known | None) -> tuple[int, int | None, list[Any]]:
    """The depth, the base and the list as it is stored: as what differs from the call before, or whole."""
    if before is None or before.depth + 1 >= max(_LEAST_DEPTH, len(refs)):
        return 0, None, list(refs)
    places = {ref: place for place, ref in enumerate(before.refs)}
    stored: list[Any] = []
    for ref in refs:
        place = places.get(ref)
        if place is None:
            stored.append(ref)
        elif stored and isinstance(stored[-1], list) and stored[-1][1] == place:
            stored[-1][1] = place + 1
        else:
            stored.append([place, place + 1])
    return before.depth + 1, before.call_id, stored


def whole_list(stored: Iterable[Any], base: Refs) -> Refs:
    """What a call was asked with, from what is stored of it and the list of the call that it stands on."""
    refs: Refs = []
    for each in stored:
        refs += [each] if isinstance(each, int) else base[each[0] : each[1]]
    return refs


def _newest(session_id: UUID) -> _Known | None:
    """The session's last call."""
    with connection.cursor() as cursor:
        cursor.execute(_LATEST, [uuid_param(session_id), _LEAST_DEPTH])
        rows: list[tuple[int, int, int | None, str]] = cursor.fetchall()
    if not rows:
        return None
    last, depth, *_ = rows[0]
    chain: list[list[Any]] = []
    wanted: int | None = last
    for call_id, _, base, stored in rows:
        if call_id == wanted:
            chain.append(orjson.loads(stored))
            wanted = base
    return _Known(last, _joined(chain) if wanted is None else refs_of(session_id, last), depth)


def refs_of(session_id: UUID, call_id: int) -> Refs:
    """What a call was asked with, from the calls that it stands on."""
    chain: list[list[Any]] = []
    wanted: int | None = call_id
    while wanted is not None:
        rows = ModelCall.objects.filter(session=session_id, pk__lte=wanted).order_by("-pk")
        found = False
        for pk, base, stored in rows.values_list("pk", "base_id", "messages")[:AT_ONCE]:
            if pk == wanted:
                found, wanted = True, base
                chain.append(orjson.loads(stored))
        if not found:
            break
    return _joined(chain)


def _joined(chain: Sequence[Sequence[Any]]) -> Refs:
    """What a call was asked with, from its own list as it is stored and those of the calls that it stands on, in this order."""
    refs: Refs = []
    for stored in reversed(chain):
        refs = whole_list(stored, refs)
    return refs


def close_open(run_id: UUID) -> None:
    """Say of what a run was asking, when its process went, that it has no answer."""
    ModelCall.objects.filter(run=run_id, duration_ms=None, error="").update(error=INTERRUPTED)


def usage_of(run_id: UUID) -> tuple[Usage, Cost | None]:
    """What a run's calls used and cost, as far as they are stored; what one that was cut short used is not known."""
    calls = ModelCall.objects.filter(run=run_id)
    names = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost")
    sums = calls.aggregate(**{name: Sum(name) for name in names}, currency=Max("currency"))
    usage = Usage(
        sums["input_tokens"] or 0, sums["output_tokens"] or 0, True, sums["cached_tokens"], sums["reasoning_tokens"]
    )
    is_known = sums["cost"] is not None and not calls.filter(cost=None, duration_ms__isnull=False, error="").exists()
    return usage, Cost(sums["cost"], sums["currency"]) if is_known else None
