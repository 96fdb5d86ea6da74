"""The only writer of model calls, their contents, and the daily sums.

It writes in the transactions that store a run's steps, which have locked the session's row: so only one process at a time writes calls of a
session.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple, Self, cast
from uuid import UUID

import orjson
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Max, Sum
from django.utils import timezone

from agents import CallBegun, CallEnded, ModelRequest, Usage
from agents.history import ChatMessage, message_tokens
from agents.text import clean_text, estimate_tokens
from chat.models import Cost, ModelCall, Run
from chat.runtime.db_values import datetime_param, decimal_param, uuid_param
from chat.store.call_pictures import name_pictures

#: How long a chain of calls that refer to one another may be, however short their lists are.
_LEAST_DEPTH = 16
#: Below the number of parameters that databases accept in one statement.
AT_ONCE = 500
INTERRUPTED = "interrupted"

#: New contents of a call with no more characters than this in total are stored in the call's own row, which saves one statement and
#: three pages. When a call ends, its row is written once more, completely.
_IN_ROW = 8_000
#: For how many sessions with calls of this process the last call is remembered.
_REMEMBERED = 500

Refs = list[int]
"""Contents, by their keys, in the order in which they were sent: keys of `ModelContent`, or what `in_row` returns."""
TOOLS = "tools"
#: More messages than any call has.
_PLACES = 1 << 20


class PricedCall(NamedTuple):
    """A call that has ended, and its cost if it is known."""

    ended: CallEnded
    cost: Cost | None


_Wanted = tuple[Mapping[str, Any] | None, str]
"""A message and its JSON; for tool declarations only the JSON."""


class _Known(NamedTuple):
    """The call before, and the keys of all its contents."""

    call_id: int
    refs: Refs
    depth: int


class _Remembered(NamedTuple):
    """A session's last call, contents of it that are known to be stored, and the number of its root run."""

    number: int
    known: _Known
    ids: dict[str, int]


#: By session.
_last_calls: OrderedDict[UUID, _Remembered] = OrderedDict()


# Raw SQL, because it is executed for every model call.
_BEGIN = """INSERT INTO chat_modelcall (session_id, run_id, iteration, attempt, model, provider, agent_version, parameters, tool_names,
    tools_id, base_id, depth, messages, contents, left_out_messages, left_out_tokens, context_limit, started_at,
    duration_ms, first_token_ms, finish_reason, input_tokens, output_tokens, cached_tokens, reasoning_tokens, estimated, cost, currency,
    error) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (run_id, iteration, attempt) DO NOTHING RETURNING id"""
_LATEST = (
    "SELECT id, depth, base_id, tools_id, messages FROM chat_modelcall WHERE session_id = %s ORDER BY id DESC LIMIT %s"
)
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
    """Writes the model calls of one run, in the run's process. It remembers what is stored, to save queries."""

    def __init__(self, run: Run, *, provider: str) -> None:
        self._run = run
        self.provider = provider
        """The name of the model server."""
        self.version: int | None = None
        """The number of the agent's version."""
        self._known: _Known | None = None
        self._ids: dict[str, int] = {}
        # Before the first call of a session's first run nothing is stored, unless the run has waited.
        self._has_looked = run.number == 1 and run.parent_id is None and run.fence <= 1
        last = _last_calls.get(run.session_id)
        # Another process may have continued from an earlier call.
        if last is not None and last.number >= run.number - 1:
            self._known, self._ids, self._has_looked = last.known, last.ids, True

    def write(self, calls: Sequence[CallBegun | PricedCall]) -> None:
        """Store calls that have begun or ended, within the caller's transaction. Calls that are already stored are left unchanged."""
        if not calls:
            return
        before, ids = self._known, self._ids
        ends = {_place(call): call for call in calls if isinstance(call, PricedCall)}
        with connection.cursor() as cursor:
            for call in calls:
                if isinstance(call, CallBegun):
                    asked = _Asked.of(call.request)
                    before, ids = self._read_stored(cursor, asked, before, ids)
                    end = ends.get(_place(call))
                    began = self._begin(cursor, call, asked, end, before, ids)
                    if began is not None:
                        before, ids = began
                        if end is not None:
                            del ends[_place(call)]
                            self._add_up(cursor, end, (self.provider[:100], _model_name(call)))
                elif _place(call) in ends:
                    self._end(cursor, call)
        if before is not self._known:
            # Until it is committed, the transaction may be rolled back.
            transaction.on_commit(lambda: self._remember(before, ids))

    def _read_stored(
        self, cursor: CursorWrapper, asked: "_Asked", before: _Known | None, ids: dict[str, int]
    ) -> tuple[_Known | None, dict[str, int]]:
        """Read what is stored, if another process may have written calls of the session."""
        if self._has_looked or before is not None:
            return before, ids
        before, ids = _newest(self._run.session_id)
        # Most contents of a run's first call were already sent by earlier runs.
        for some in _in_parts([digest for digest in asked.wanted if digest not in ids]):
            places = ", ".join(["%s"] * len(some))
            cursor.execute(_FIND_CONTENTS.format(places=places), [uuid_param(self._run.session_id), *some])
            ids |= dict(cursor.fetchall())
        return before, ids

    def _remember(self, known: _Known | None, ids: dict[str, int]) -> None:
        self._known, self._ids, self._has_looked = known, ids, True
        if known is not None:
            _last_calls.pop(self._run.session_id, None)
            _last_calls[self._run.session_id] = _Remembered(self._run.number, known, ids)
            while len(_last_calls) > _REMEMBERED:
                _last_calls.popitem(last=False)

    def _begin(
        self,
        cursor: CursorWrapper,
        call: CallBegun,
        asked: "_Asked",
        end: PricedCall | None,
        before: _Known | None,
        ids: dict[str, int],
    ) -> tuple[_Known, dict[str, int]] | None:
        """Store a call, with its ``end`` if it has already ended; None if the call is already stored.

        Returns it as the call before the next one, with the contents that are stored now.
        """
        request, session_id = call.request, self._run.session_id
        new = {digest: each for digest, each in asked.wanted.items() if digest not in ids}
        contents = None
        if sum(len(body) for _, body in new.values()) <= _IN_ROW:
            places = {digest: -place for place, digest in enumerate(new, start=1)}
            if new:
                contents = _json([_row_of(session_id, digest, *each) for digest, each in new.items()])
        else:
            places = _store_contents(cursor, session_id, new)
        all_ids = {**ids, **places}
        refs = [all_ids[digest] for digest in asked.digests]
        depth, base, messages = _differing(refs, before)
        values = [
            uuid_param(session_id),
            uuid_param(self._run.pk),
            call.iteration,
            call.attempt,
            _model_name(call),
            self.provider[:100],
            self.version,
            _json(request.parameters),
            _json(list(request.tool_names)),
            all_ids[asked.tools] if asked.tools is not None else None,
            base,
            depth,
            _json(messages),
            contents,
            request.left_out.messages,
            request.left_out.tokens,
            request.limit,
            datetime_param(datetime.fromtimestamp(call.started_at, UTC)),
            *(_OPEN if end is None else _end_values(end)),
        ]
        cursor.execute(_BEGIN, values)
        row = cursor.fetchone()
        if row is None:
            return None
        if contents is not None:
            all_ids |= {digest: in_row(place, row[0]) for digest, place in places.items()}
            refs = [in_row(ref, row[0]) for ref in refs]
        return _Known(row[0], refs, depth), all_ids

    def _end(self, cursor: CursorWrapper, call: PricedCall) -> None:
        cursor.execute(_END, [*_end_values(call), uuid_param(self._run.pk), call.ended.iteration, call.ended.attempt])
        row = cursor.fetchone()
        if row is not None:
            self._add_up(cursor, call, row)

    def _add_up(self, cursor: CursorWrapper, call: PricedCall, asked: tuple[str, str]) -> None:
        """Add a call to the sums of its day; ``asked``: the model server, and the model."""
        usage, cost = call.ended.usage, call.cost
        counts = [usage.input_tokens, usage.output_tokens]
        if not sum(counts):
            return
        amount, currency = (decimal_param(cost.amount), cost.currency) if cost is not None else (0, "")
        whose = [timezone.now().date(), self._run.user_id, self._run.agent_name, *asked, currency]
        cursor.execute(_SUM, [*whose, *counts, usage.cached_tokens or 0, usage.reasoning_tokens or 0, amount])


def _place(call: CallBegun | PricedCall) -> tuple[int, int]:
    place = call if isinstance(call, CallBegun) else call.ended
    return place.iteration, place.attempt


def _model_name(call: CallBegun) -> str:
    return clean_text(call.request.model)[:200]


#: The values of a call that has not ended, in place of `_end_values`.
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


class _Asked(NamedTuple):
    """The contents of a call, by digest."""

    digests: list[str]
    """Digests of the messages, in order."""
    tools: str | None
    wanted: dict[str, _Wanted]

    @classmethod
    def of(cls, request: ModelRequest) -> Self:
        """The digests of a request."""
        bodies = [_json(message) for message in request.messages]
        digests = [sha256(body.encode()).hexdigest() for body in bodies]
        wanted: dict[str, _Wanted] = dict(zip(digests, zip(request.messages, bodies, strict=True), strict=True))
        if not request.tools:
            return cls(digests, None, wanted)
        body = _json(list(request.tools))
        tools = sha256(body.encode()).hexdigest()
        wanted[tools] = (None, body)
        return cls(digests, tools, wanted)


def in_row(ref: int, call_id: int) -> int:
    """The key of a content that is stored in a call's row. A complete key is returned unchanged.

    In that row itself the keys are -1, -2 and so on. Processes of an earlier version treat them as any other key.
    """
    return ref - call_id * _PLACES if -_PLACES < ref < 0 else ref


def place_of(ref: int) -> tuple[int, int]:
    """The call whose row contains a content, and its index there."""
    call_id, place = divmod(-ref, _PLACES)
    return call_id, place - 1


def _row_of(session_id: UUID, digest: str, message: Mapping[str, Any] | None, body: str) -> list[Any]:
    """A content in the format of a call's row."""
    return [digest, *_role_and_tokens(message, body), orjson.Fragment(name_pictures(session_id, body))]


def _store_contents(cursor: CursorWrapper, session_id: UUID, new: Mapping[str, _Wanted]) -> dict[str, int]:
    """Store contents that the session does not have; returns their keys."""
    session = uuid_param(session_id)
    ids: dict[str, int] = {}
    for some in _in_parts(list(new)):
        rows = ", ".join(["(%s, %s, %s, %s, %s)"] * len(some))
        values: list[Any] = []
        for digest in some:
            message, body = new[digest]
            values += [session, digest, *_role_and_tokens(message, body), name_pictures(session_id, body)]
        cursor.execute(_ADD_CONTENTS.format(rows=rows), values)
        ids |= dict(cursor.fetchall())
    return ids


def _role_and_tokens(message: Mapping[str, Any] | None, body: str) -> tuple[str, int]:
    if message is None:
        return TOOLS, estimate_tokens(body)
    return str(message.get("role", ""))[:16], message_tokens(cast(ChatMessage, message))


def _in_parts(digests: Sequence[str]) -> list[Sequence[str]]:
    return [digests[start : start + AT_ONCE] for start in range(0, len(digests), AT_ONCE)]


def _differing(refs: Refs, before: _Known | None) -> tuple[int, int | None, list[Any]]:
    """The depth, the base and the stored list: the difference from the call before, or the whole list."""
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


def whole_list(call_id: int, stored: Iterable[Any], base: Refs) -> Refs:
    """The keys of a call's contents, from its stored list and the whole list of the call that it refers to."""
    refs: Refs = []
    for each in stored:
        refs += [in_row(each, call_id)] if isinstance(each, int) else base[each[0] : each[1]]
    return refs


_Stored = tuple[int, list[Any]]
"""A call, and its stored list."""


def _newest(session_id: UUID) -> tuple[_Known | None, dict[str, int]]:
    """The session's last call, and the keys of its contents that are stored in rows of calls, by digest."""
    with connection.cursor() as cursor:
        cursor.execute(_LATEST, [uuid_param(session_id), _LEAST_DEPTH])
        rows: list[tuple[int, int, int | None, int | None, str]] = cursor.fetchall()
    if not rows:
        return None, {}
    last, depth, _, tools, _ = rows[0]
    chain: list[_Stored] = []
    wanted: int | None = last
    for call_id, _, base, _, stored in rows:
        if call_id == wanted:
            chain.append((call_id, orjson.loads(stored)))
            wanted = base
    refs = _joined(chain) if wanted is None else refs_of(session_id, last)
    ids = {digest: ref for ref, (digest, *_) in contents_in_rows([*refs, in_row(tools or 0, last)]).items()}
    return _Known(last, refs, depth), ids


def contents_in_rows(refs: Iterable[int]) -> dict[int, list[Any]]:
    """Those of the contents that are stored in rows of calls: digest, role, estimated tokens and message of each."""
    wanted = [ref for ref in refs if ref < 0]
    calls = sorted({place_of(ref)[0] for ref in wanted})
    held: dict[int, list[list[Any]]] = {}
    for start in range(0, len(calls), AT_ONCE):
        rows = ModelCall.objects.filter(pk__in=calls[start : start + AT_ONCE]).values_list("pk", "contents")
        held |= {pk: orjson.loads(contents or "[]") for pk, contents in rows}
    found = {}
    for ref in wanted:
        call_id, place = place_of(ref)
        if place < len(held.get(call_id, ())):
            found[ref] = held[call_id][place]
    return found


def refs_of(session_id: UUID, call_id: int) -> Refs:
    """The keys of a call's contents, through the calls that it refers to."""
    chain: list[_Stored] = []
    wanted: int | None = call_id
    while wanted is not None:
        rows = ModelCall.objects.filter(session=session_id, pk__lte=wanted).order_by("-pk")
        found = False
        for pk, base, stored in rows.values_list("pk", "base_id", "messages")[:AT_ONCE]:
            if pk == wanted:
                found, wanted = True, base
                chain.append((pk, orjson.loads(stored)))
        if not found:
            break
    return _joined(chain)


def _joined(chain: Sequence[_Stored]) -> Refs:
    """The keys of a call's contents, from its own stored list and those of the calls that it refers to, in this order."""
    refs: Refs = []
    for call_id, stored in reversed(chain):
        refs = whole_list(call_id, stored, refs)
    return refs


def close_open(run_id: UUID) -> None:
    """Mark the calls that a run was waiting for when its process died as ended without an answer."""
    ModelCall.objects.filter(run=run_id, duration_ms=None, error="").update(error=INTERRUPTED)


def usage_of(run_id: UUID) -> tuple[Usage, Cost | None]:
    """What a run's calls have used and cost, as far as it is stored; for an interrupted call that is not known."""
    calls = ModelCall.objects.filter(run=run_id)
    names = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost")
    sums = calls.aggregate(**{name: Sum(name) for name in names}, currency=Max("currency"))
    usage = Usage(
        sums["input_tokens"] or 0, sums["output_tokens"] or 0, True, sums["cached_tokens"], sums["reasoning_tokens"]
    )
    is_known = sums["cost"] is not None and not calls.filter(cost=None, duration_ms__isnull=False, error="").exists()
    return usage, Cost(sums["cost"], sums["currency"]) if is_known else None
