"""Full-text search over messages, thoughts, tool calls, results and answers; its hits are steps.

Texts are split into words here, not by the database, so that SQLite and PostgreSQL find the same: case and accents are ignored, and
Chinese, Japanese and Korean text becomes pairs of characters. All words of a query must occur in a step; its last word may be the
beginning of a word. Each entry also contains its owner and its session as words, so that the index itself leaves out other users'
steps. When a step is deleted, a trigger deletes its entry.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Left

from agents.tools.tool import HistoryHit
from chat.accounts.models import User
from chat.models import Session, Step, StepContent
from chat.runtime.database import ask_patiently
from chat.store.search.postgresql import PostgreSQLIndex
from chat.store.search.sqlite import SQLiteIndex, execute_sql
from chat.store.search.text import INDEXED_CHARACTERS, SearchQuery, index_terms, indexed_text
from chat.strip_markdown import strip_markdown

#: Lists of sessions use at most so many of the newest hits; for a word with more, older sessions are not found.
_MOST_HITS = 5_000
#: Titles are not indexed: those of at most so many latest sessions are read. A title made from the first message is found by that anyway.
_MOST_TITLES = 5_000

#: Kinds of steps that models write as Markdown, and how far around a word it is read, in widths of an excerpt: much of it may be markup.
MARKDOWN = ("thought", "final_answer", "response")
_AROUND = 4
_SPACE = re.compile(r"\s+")


def _index() -> SQLiteIndex | PostgreSQLIndex:
    return SQLiteIndex() if connection.vendor == "sqlite" else PostgreSQLIndex()


class Indexed(NamedTuple):
    """A stored step to be indexed. ``is_sent``: it has a number, so clients know it."""

    step_id: int
    event: str
    type: str
    body: str
    is_sent: bool
    full_content: str | None = None


def index(session_id: UUID, steps: Iterable[Indexed]) -> None:
    """Index stored steps of a session. To be called in the transaction that stores them."""
    entries = [
        (step.step_id, terms)
        for step in steps
        if (terms := index_terms(indexed_text(step.event, step.type, step.body, step.is_sent, step.full_content)))
    ]
    if entries:
        _index().add(session_id, entries)


def forget(step_ids: Sequence[int]) -> None:
    """Remove steps that are about to be deleted from the index, in one statement. For other deletions a trigger does it."""
    _index().forget(step_ids)


def move(session_id: UUID, step_ids: Sequence[int]) -> None:
    """Let a session's steps be found by its new owner."""
    if step_ids:
        _index().move(session_id, step_ids)


@dataclass(frozen=True, slots=True)
class Hit:
    """A step in which all the words occur. ``seq`` is None for a step that is stored with its run but never sent."""

    session_id: UUID
    session_title: str
    run_id: UUID
    seq: int | None
    step: int | None
    type: str
    tool_name: str
    at: datetime
    #: Pieces of the text around the first word, each with whether it is one of the words of the query.
    excerpt: list[tuple[str, bool]]


class _Found(NamedTuple):
    """The columns of a step that was found."""

    pk: int
    session_id: UUID
    session_title: str
    run_id: UUID
    seq: int | None
    number: int | None
    event: str
    type: str
    tool_name: str
    created_at: datetime
    body: str


_READ = ("pk", "session_id", "session__title", *_Found._fields[3:])


def find(
    user: User,
    text: str,
    limit: int = 30,
    *,
    width: int = 160,
    apart_from: UUID | None = None,
    with_marks: bool = False,
) -> list[Hit]:
    """The newest steps of the user's own sessions in which all words of ``text`` occur.

    ``with_marks``: excerpts are Markdown, for a model; without it they are plain text, for people.
    """
    query = SearchQuery(text)
    if not query or limit < 1:
        return []
    ids = _index().newest(query, user.pk, limit, apart_from)
    return _hits(query, ids, user, width, () if with_marks else MARKDOWN)


def _hits(
    query: SearchQuery, ids: Sequence[int], user: User, width: int, stripped: Sequence[str] = MARKDOWN
) -> list[Hit]:
    steps = (
        Step.objects.filter(pk__in=ids, session__owner=user, session__deleted_at=None)
        .order_by("-pk")
        .values_list(*_READ)
    )
    texts = _texts(query, [_Found(*step) for step in steps])
    return [
        Hit(
            step.session_id,
            step.session_title,
            step.run_id,
            step.seq,
            step.number,
            step.type or ("message" if step.event == "reasoning_start" else step.event),
            step.tool_name,
            step.created_at,
            _excerpt(query, _readable(query, text, width) if (step.type or step.event) in stripped else text, width),
        )
        for step, text in texts
    ]


def _texts(query: SearchQuery, steps: Sequence[_Found]) -> list[tuple[_Found, str]]:
    """Each step with the text in which the words occur: that of its event or, if that is cut before them, the full text."""
    texts = {
        step.pk: indexed_text(step.event, step.type, step.body, numbered=True)[:INDEXED_CHARACTERS] for step in steps
    }
    cut = [step.pk for step in steps if step.type == "tool_result" and not query.stands_in(texts[step.pk])]
    if cut:
        whole = StepContent.objects.filter(pk__in=cut).values_list("pk", Left("content", INDEXED_CHARACTERS))
        texts.update(whole)
    return [(step, texts[step.pk]) for step in steps]


def _readable(query: SearchQuery, text: str, width: int) -> str:
    """The plain text of a Markdown text around the first word; the Markdown itself if the word is within markup, such as an address."""
    first = next(query.spans(text), (0, 0))[0]
    begin = max(0, first - _AROUND * width)
    excerpt = strip_markdown(text[begin : first + _AROUND * width])
    return excerpt if query.stands_in(excerpt) else text


def _excerpt(query: SearchQuery, text: str, width: int) -> list[tuple[str, bool]]:
    spans = list(query.spans(text))
    start = max(0, spans[0][0] - width // 3) if spans else 0
    if start and (space := text.find(" ", start, spans[0][0])) >= 0:
        start = space + 1
    end = min(len(text), start + width)
    pieces = [("…", False)] if start else []
    at = start
    for begin, stop in spans:
        if begin >= end:
            break
        # A match may be one word as long as the text.
        pieces += [(text[at:begin], False), (text[begin : min(stop, end)], True)]
        at = stop
    pieces.append((text[at:end], False))
    if end < len(text):
        pieces.append(("…", False))
    return [(_SPACE.sub(" ", piece), marked) for piece, marked in pieces if piece]


class Search:
    """A search in a user's own sessions. The index is queried once for all results. False if the query has no words."""

    def __init__(self, user: User, text: str) -> None:
        self._user = user
        self._query = SearchQuery(text)

    def __bool__(self) -> bool:
        return bool(self._query)

    @cached_property
    def _ids(self) -> list[int]:
        return _index().newest(self._query, self._user.pk, _MOST_HITS) if self else []

    def _steps(self, columns: str) -> tuple[str, list[Any]]:
        # Passed as one value: thousands of values in a condition would cost more than the search.
        ids, value = _index().listed(self._ids, "bigint")
        return f"SELECT {columns} FROM chat_step WHERE id IN ({ids})", [value]  # noqa: S608 - our own names

    def sessions(self, among: QuerySet[Session]) -> QuerySet[Session]:
        """The sessions among these with all words in one of their steps or, for the latest ones, in their title."""
        if not self:
            return among.none()
        latest = among.order_by("-active_at", "-id").values_list("pk", "title")[:_MOST_TITLES]
        titled = [pk for pk, title in latest if self._query.occurs_in(title)]
        named, keys = _index().listed(titled, "uuid")
        return among.filter(Q(pk__in=RawSQL(*self._steps("session_id"))) | Q(pk__in=RawSQL(named, [keys])))  # noqa: S611

    def hits(self, sessions: Iterable[UUID], each: int, *, width: int = 160) -> dict[UUID, list[Hit]]:
        """The newest hits in these sessions, at most ``each`` per session."""
        chosen: dict[UUID, list[int]] = {session_id: [] for session_id in sessions}
        for step_id, key in execute_sql(*self._steps("id, session_id")) if self else ():
            if (of_session := chosen.get(key if isinstance(key, UUID) else UUID(key))) is not None:
                of_session.append(step_id)
        newest = [step_id for ids in chosen.values() for step_id in sorted(ids, reverse=True)[:each]]
        found: dict[UUID, list[Hit]] = {}
        for hit in _hits(self._query, newest, self._user, width):
            found.setdefault(hit.session_id, []).append(hit)
        return found


def steps_of_all(text: str, limit: int) -> list[int]:
    """The newest steps of all users in which all words occur, for staff who may inspect everything."""
    query = SearchQuery(text)
    return _index().newest(query, None, limit) if query else []


def bound_to(user: User, *, apart_from: UUID | None = None) -> Callable[[str, int], list[HistoryHit]]:
    """The search function of an agent's tool, for any thread. It finds only steps of this user's other sessions."""

    def search(text: str, limit: int) -> list[HistoryHit]:
        hits = ask_patiently(find, user, text, limit, width=600, apart_from=apart_from, with_marks=True)
        return [
            {
                "session_id": str(hit.session_id),
                "session_title": hit.session_title,
                "step": hit.step,
                "type": hit.type,
                "date": hit.at,
                "excerpt": "".join(piece for piece, _ in hit.excerpt),
            }
            for hit in hits
        ]

    return search
