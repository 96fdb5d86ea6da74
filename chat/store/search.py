"""Full-text search over what was asked, thought, called, returned and answered; its hits are steps.

Words are cut here, not by the database, so that SQLite and PostgreSQL find the same: case and accents don't count, a run of Chinese,
Japanese or Korean becomes its pairs of characters. All words of a query must occur in a step; the last one may be the
beginning of a word. Each entry also names its owner and session as words of its own, so that the index itself leaves out what
is someone else's. An entry leaves with its step, by a trigger.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Left

from chat.models import Session, Step, StepContent
from chat.runtime.database import ask_patiently
from chat.strip_markdown import strip_markdown

#: So much of one step's text is found; more would hold up the transaction that stores it.
_INDEXED_CHARACTERS = 100_000
_LONGEST_WORD = 64
_MOST_WORDS = 24
_QUERY_CHARACTERS = 1_000
#: A last word of at least this many letters stands for all that begin with it.
_SHORTEST_BEGINNING = 4
#: A list of sessions comes from so many hits, the newest; a word with more tells little.
_MOST_HITS = 5_000
#: Titles are read, not looked up: those of so many sessions, the latest. One that its first message gave is found by that anyway.
_MOST_TITLES = 5_000
#: On PostgreSQL the newest steps of an owner that are looked through before the index is asked for all, and how many where the
#: words turn out to be common.
_RECENT = 5_000
_RECENT_FOR_COMMON = 25_000

#: What models write as Markdown, and how many times the width of an excerpt is read on either side of a word: much of it may be marks.
MARKDOWN = ("thought", "final_answer", "response")
_AROUND = 4

# Marks before the owner's and the session's word: characters for private use, which no word of a text can hold.
_OWNER = "\ue000"
_SESSION = "\ue001"

#: Scripts written without spaces between words: Han, kana, bopomofo, hangul, and their iteration marks.
_UNSPACED = "\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff"
_LETTER = f"[^\\W_{_UNSPACED}]"
_WORDS = re.compile(f"[{_UNSPACED}]+|{_LETTER}+")
_UNSPACED_WORD = re.compile(f"[{_UNSPACED}]")
_ASCII_WORDS = re.compile("[a-z0-9]+")
_SPACE = re.compile(r"\s+")


class _Folding(dict[int, str]):
    """What each character becomes before words are compared, worked out when it is first met."""

    def __init__(self, *, keep_length: bool = False) -> None:
        super().__init__()
        self._keep_length = keep_length

    def __missing__(self, code: int) -> str:
        char = chr(code)
        folded = "" if 0x300 <= code <= 0x36F else unicodedata.normalize("NFKC", char).casefold()
        base = unicodedata.normalize("NFD", folded)[:1]
        if base and base < "\u0400":
            # Latin and Greek lose their accents; elsewhere what would be taken off may be half of a letter.
            folded = "".join(c for c in unicodedata.normalize("NFD", folded) if not unicodedata.combining(c))
        if self._keep_length and len(folded) != 1:
            folded = char
        self[code] = folded
        return folded


_folding = _Folding()
_folding_in_place = _Folding(keep_length=True)


def _words(text: str) -> list[str]:
    if text.isascii():
        return _ASCII_WORDS.findall(text.lower())
    return _WORDS.findall(text.translate(_folding))


def _is_unspaced(word: str) -> bool:
    return _UNSPACED_WORD.match(word) is not None


def _pairs(run: str) -> list[str]:
    """The run's pairs of characters, and its last one alone: so each character of it begins one of these."""
    return [run[at : at + 2] for at in range(len(run))]


def _terms(text: str) -> Iterable[str]:
    found: dict[str, None] = {}
    for word in dict.fromkeys(_words(text[:_INDEXED_CHARACTERS])):
        if _is_unspaced(word):
            found.update(dict.fromkeys(_pairs(word)))
        else:
            found[word[:_LONGEST_WORD]] = None
    return found


class _Query:
    """What someone looks for: words as the index has them, and how to find them again in a text."""

    def __init__(self, text: str) -> None:
        text = text[:_QUERY_CHARACTERS].rstrip()
        words = list(dict.fromkeys(_words(text)))[:_MOST_WORDS]
        #: Whole words, and beginnings of words.
        self.whole: list[str] = []
        self.beginnings: list[str] = []
        self._patterns: list[str] = []
        for at, word in enumerate(words):
            if _is_unspaced(word):
                self._add_run(word)
                continue
            open_end = at == len(words) - 1 and len(word) >= _SHORTEST_BEGINNING and text[-1].isalnum()
            (self.beginnings if open_end else self.whole).append(word[:_LONGEST_WORD])
            end = f"{_LETTER}*" if open_end or len(word) > _LONGEST_WORD else f"(?!{_LETTER})"
            self._patterns.append(f"(?<!{_LETTER}){word[:_LONGEST_WORD]}{end}")
        self.whole = self.whole[:_MOST_WORDS]

    def _add_run(self, run: str) -> None:
        pairs = list(dict.fromkeys(_pairs(run)[:-1]))
        if pairs:
            self.whole += pairs
        else:
            self.beginnings.append(run)
        self._patterns.append("|".join([run, *pairs]))

    def __bool__(self) -> bool:
        return bool(self.whole or self.beginnings)

    @cached_property
    def _each(self) -> list[re.Pattern[str]]:
        return [re.compile(pattern) for pattern in self._patterns]

    @cached_property
    def _any(self) -> re.Pattern[str]:
        return re.compile("|".join(self._patterns))

    def occurs_in(self, text: str) -> bool:
        """Whether all its words occur in a text."""
        folded = text.translate(_folding_in_place)
        return all(pattern.search(folded) for pattern in self._each)

    def stands_in(self, text: str) -> bool:
        """Whether any of its words stands in a text."""
        return self._any.search(text.translate(_folding_in_place)) is not None

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where its words stand in a text."""
        return (match.span() for match in self._any.finditer(text.translate(_folding_in_place)))


# What of a step is found


def _text(event: str, kind: str, body: str, numbered: bool, full_content: str | None = None) -> str:
    """The words of a step that people would look for; empty where it has none."""
    if event == "reasoning_start":
        data = orjson.loads(body)
        return "" if data.get("continues") else str(data["message"])
    if event == "response":
        return str(orjson.loads(body)["content"])
    if event != "reasoning_step":
        return ""
    if kind == "tool_use":
        data = orjson.loads(body)
        return f"{data['tool_name']} {_flat(data.get('arguments'))}"
    # The answer of a run asked without reasoning is found as its `response`.
    if kind in ("thought", "tool_result") or (kind == "final_answer" and numbered):
        return full_content if full_content is not None else str(orjson.loads(body)["content"])
    return ""


def _flat(value: Any) -> str:
    """Arguments as words: JSON text would hold line breaks as letters."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_flat(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_flat(item) for item in value)
    return "" if value is None else str(value)


# The index

_Key = Literal["bigint", "uuid"]


class _SQLite:
    """FTS5. It hands out entries newest first, so common words cost no more than rare ones."""

    def add(self, session_id: UUID, entries: Sequence[tuple[int, Iterable[str]]]) -> None:
        values = ", ".join(["(%s, %s)"] * len(entries))
        rows = [value for step_id, terms in entries for value in (step_id, " ".join(terms))]
        _execute(
            f"""INSERT INTO chat_search_new (step_id, terms)
            SELECT entry.column1, ' {_OWNER}' || owner_id || ' {_SESSION}' || id || ' ' || entry.column2 || ' '
            FROM (VALUES {values}) AS entry, chat_session WHERE id = %s""",  # noqa: S608 - placeholders
            [*rows, session_id.hex],
        )

    def forget(self, step_ids: Sequence[int]) -> None:
        # One by one, as the trigger does it, each would be a statement of its own.
        these, value = self.listed(step_ids, "bigint")
        _execute(f"DELETE FROM chat_search_new WHERE step_id IN ({these})", [value])  # noqa: S608 - our own names
        _execute(f"DELETE FROM chat_search WHERE rowid IN ({these})", [value])  # noqa: S608

    def newest(self, query: _Query, owner_id: int | None, limit: int, apart_from: UUID | None = None) -> list[int]:
        whole = query.whole if owner_id is None else [f"{_OWNER}{owner_id}", *query.whole]
        not_here = f"{_SESSION}{apart_from.hex if apart_from else '-'}"
        match = " AND ".join([f'"{word}"' for word in whole] + [f'"{word}"*' for word in query.beginnings])
        # What has not moved into FTS5 yet is a few hundred entries at most.
        words = [f" {word} " for word in whole] + [f" {word}" for word in query.beginnings]
        occur = " AND ".join(["instr(terms, %s)"] * len(words))
        rows = _execute(
            f"""SELECT * FROM (
                SELECT rowid AS found FROM chat_search WHERE chat_search MATCH %s ORDER BY rowid DESC LIMIT %s
            ) UNION ALL SELECT step_id FROM chat_search_new WHERE NOT instr(terms, %s) AND {occur}
            ORDER BY found DESC LIMIT %s""",  # noqa: S608 - placeholders
            [f'({match}) NOT "{not_here}"', limit, not_here, *words, limit],
        )
        return [step_id for (step_id,) in rows]

    def listed(self, keys: Sequence[int] | Sequence[UUID], kind: _Key) -> tuple[str, str]:
        """A subquery that yields these keys, and its one parameter."""
        stored = [key.hex if isinstance(key, UUID) else key for key in keys]
        return "SELECT value FROM json_each(%s)", orjson.dumps(stored).decode()


class _PostgreSQL:
    """`tsvector` with GIN. That finds rare words at once, and all the entries of a common one: so the newest are looked through first."""

    def add(self, session_id: UUID, entries: Sequence[tuple[int, Iterable[str]]]) -> None:
        values = ", ".join(["(%s::bigint, %s::text[])"] * len(entries))
        rows = [value for step_id, terms in entries for value in (step_id, list(terms))]
        _execute(
            f"""INSERT INTO chat_search (step_id, owner_id, terms)
            SELECT entry.step_id, owner_id,
                array_to_tsvector(entry.terms || ('{_OWNER}' || owner_id) || ('{_SESSION}' || replace(id::text, '-', '')))
            FROM (VALUES {values}) AS entry (step_id, terms), chat_session WHERE id = %s""",  # noqa: S608 - placeholders
            [*rows, session_id],
        )

    def forget(self, step_ids: Sequence[int]) -> None:
        """The trigger does that: here it is called once for all that one statement deletes."""

    def newest(self, query: _Query, owner_id: int | None, limit: int, apart_from: UUID | None = None) -> list[int]:
        words = self._words(query)
        if apart_from is not None:
            words += f" & !'{_SESSION}{apart_from.hex}'"
        found = self._recent(words, owner_id, limit, _RECENT)
        if len(found) >= limit:
            return found
        if len(found) > _RECENT // 20:
            return self._recent(words, owner_id, limit, _RECENT_FOR_COMMON)
        # Adding 0 keeps the planner from walking the primary key instead, in the hope of an early hit.
        rows = _execute(
            "SELECT step_id FROM chat_search WHERE terms @@ %s::tsquery ORDER BY step_id + 0 DESC LIMIT %s",
            [words if owner_id is None else f"'{_OWNER}{owner_id}' & {words}", limit],
        )
        return [step_id for (step_id,) in rows]

    def listed(self, keys: Sequence[int] | Sequence[UUID], kind: _Key) -> tuple[str, list[str]]:
        """A subquery that yields these keys, and its one parameter."""
        return f"SELECT unnest(%s::{kind}[])", [str(key) for key in keys]

    def _recent(self, words: str, owner_id: int | None, limit: int, among: int) -> list[int]:
        theirs, owner = ("", []) if owner_id is None else ("WHERE owner_id = %s", [owner_id])
        rows = _execute(
            f"""SELECT step_id FROM (
                SELECT step_id, terms FROM chat_search {theirs} ORDER BY step_id DESC LIMIT %s
            ) AS recent WHERE terms @@ %s::tsquery ORDER BY step_id DESC LIMIT %s""",  # noqa: S608 - our own condition
            [*owner, among, words, limit],
        )
        return [step_id for (step_id,) in rows]

    def _words(self, query: _Query) -> str:
        return " & ".join([f"'{word}'" for word in query.whole] + [f"'{word}':*" for word in query.beginnings])


def _execute(sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else []


def _index() -> _SQLite | _PostgreSQL:
    return _SQLite() if connection.vendor == "sqlite" else _PostgreSQL()


class Indexed(NamedTuple):
    """What of a stored step is made findable. ``is_sent``: it has a number, so clients have been told of it."""

    step_id: int
    event: str
    type: str
    body: str
    is_sent: bool
    full_content: str | None = None


def index(session_id: UUID, steps: Iterable[Indexed]) -> None:
    """Make stored steps of a session findable; called in the transaction that stores them."""
    entries = [
        (step.step_id, terms)
        for step in steps
        if (terms := _terms(_text(step.event, step.type, step.body, step.is_sent, step.full_content)))
    ]
    if entries:
        _index().add(session_id, entries)


def forget(step_ids: Sequence[int]) -> None:
    """Take steps that are about to be deleted out of the index, all in one go; those deleted otherwise leave it by a trigger."""
    _index().forget(step_ids)


# Finding


@dataclass(frozen=True, slots=True)
class Hit:
    """A step in which all the words occur. ``seq`` is empty for what is kept with its run but never sent."""

    session_id: UUID
    session_title: str
    run_id: UUID
    seq: int | None
    step: int | None
    type: str
    tool_name: str
    at: datetime
    #: Pieces of the text around the first word, each with whether it is one of the words looked for.
    excerpt: list[tuple[str, bool]]


class _Found(NamedTuple):
    """What is read of a step that was found."""

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
    """The newest steps of the user's own sessions in which all words of the text occur.

    ``with_marks``: excerpts are Markdown as it was written, for a model; people are shown the words.
    """
    query = _Query(text)
    if not query or limit < 1:
        return []
    ids = _index().newest(query, user.pk, limit, apart_from)
    return _hits(query, ids, user, width, () if with_marks else MARKDOWN)


def _hits(query: _Query, ids: Sequence[int], user: User, width: int, stripped: Sequence[str] = MARKDOWN) -> list[Hit]:
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


def _texts(query: _Query, steps: Sequence[_Found]) -> list[tuple[_Found, str]]:
    """Each step with the text in which the words occur: that of its event or, where that one is cut before them, the whole, in one look."""
    texts = {step.pk: _text(step.event, step.type, step.body, numbered=True)[:_INDEXED_CHARACTERS] for step in steps}
    cut = [step.pk for step in steps if step.type == "tool_result" and not query.stands_in(texts[step.pk])]
    if cut:
        whole = StepContent.objects.filter(pk__in=cut).values_list("pk", Left("content", _INDEXED_CHARACTERS))
        texts.update(whole)
    return [(step, texts[step.pk]) for step in steps]


def _readable(query: _Query, text: str, width: int) -> str:
    """The words of a Markdown text around the first that is looked for; the text itself where that one lies in a mark, as in an address."""
    first = next(query.spans(text), (0, 0))[0]
    begin = max(0, first - _AROUND * width)
    words = strip_markdown(text[begin : first + _AROUND * width])
    return words if query.stands_in(words) else text


def _excerpt(query: _Query, text: str, width: int) -> list[tuple[str, bool]]:
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
        # What matches may be one word as long as the text.
        pieces += [(text[at:begin], False), (text[begin : min(stop, end)], True)]
        at = stop
    pieces.append((text[at:end], False))
    if end < len(text):
        pieces.append(("…", False))
    return [(_SPACE.sub(" ", piece), marked) for piece, marked in pieces if piece]


class Search:
    """One user's search among their own sessions; the index is asked once, whatever is wanted of it. False without words."""

    def __init__(self, user: User, text: str) -> None:
        self._user = user
        self._query = _Query(text)

    def __bool__(self) -> bool:
        return bool(self._query)

    @cached_property
    def _ids(self) -> list[int]:
        return _index().newest(self._query, self._user.pk, _MOST_HITS) if self else []

    def _steps(self, columns: str) -> tuple[str, list[Any]]:
        # Handed over as one value: thousands in a condition of their own cost more than the search.
        ids, value = _index().listed(self._ids, "bigint")
        return f"SELECT {columns} FROM chat_step WHERE id IN ({ids})", [value]  # noqa: S608 - our own names

    def sessions(self, among: QuerySet[Session]) -> QuerySet[Session]:
        """Those in one of whose steps all the words occur, or, of the latest of them, in whose title."""
        if not self:
            return among.none()
        latest = among.order_by("-active_at", "-id").values_list("pk", "title")[:_MOST_TITLES]
        titled = [pk for pk, title in latest if self._query.occurs_in(title)]
        named, keys = _index().listed(titled, "uuid")
        return among.filter(Q(pk__in=RawSQL(*self._steps("session_id"))) | Q(pk__in=RawSQL(named, [keys])))  # noqa: S611

    def hits(self, sessions: Iterable[UUID], each: int, *, width: int = 160) -> dict[UUID, list[Hit]]:
        """The newest hits in these sessions, so many in each."""
        chosen: dict[UUID, list[int]] = {session_id: [] for session_id in sessions}
        for step_id, key in _execute(*self._steps("id, session_id")) if self else ():
            if (of_session := chosen.get(key if isinstance(key, UUID) else UUID(key))) is not None:
                of_session.append(step_id)
        newest = [step_id for ids in chosen.values() for step_id in sorted(ids, reverse=True)[:each]]
        found: dict[UUID, list[Hit]] = {}
        for hit in _hits(self._query, newest, self._user, width):
            found.setdefault(hit.session_id, []).append(hit)
        return found


def steps_of_all(text: str, limit: int) -> list[int]:
    """The newest steps of everyone in which all words of the text occur: for those who may inspect everything."""
    query = _Query(text)
    return _index().newest(query, None, limit) if query else []


def bound_to(user: User, *, apart_from: UUID | None = None) -> Callable[[str, int], list[dict[str, Any]]]:
    """The search that an agent's tool may use, in the tool's own thread: it sees this user's other sessions alone."""

    def search(text: str, limit: int) -> list[dict[str, Any]]:
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
