"""All data of one account as one archive, made piece by piece while it is sent.

Each piece is made on the calling thread with short queries: so the data are never all in memory, and no thread is blocked.
"""

import re
import zipfile
from collections.abc import Iterator
from itertools import chain
from typing import IO, Any, cast

import orjson
from django.db.models import Model, Q, QuerySet

from agents.json_types import JsonObject
from chat.accounts.models import User
from chat.models import (
    ApiToken,
    AuditEntry,
    Case,
    CaseResult,
    CaseSet,
    Comment,
    DailyUsage,
    File,
    FileChunk,
    ImportedDocument,
    Mail,
    ModelCall,
    Occurrence,
    OwnerOffer,
    Run,
    Schedule,
    SentAlong,
    Session,
    SessionFile,
    SetShare,
    Share,
    SteeringWord,
    Step,
    StepContent,
    Thread,
    Verdict,
)
from chat.models.webhooks import Webhook

#: How many rows are read at a time, and the fewest bytes of a piece.
ROWS = 200
PIECE = 64 * 1024
#: Characters that are replaced in file names of the archive.
_UNSAFE = re.compile(r"[^\w .()-]+")
_README = """Everything that is kept of your account.

account.json    what you have said about yourself, your groups, and your settings
sessions/       each of your sessions as JSON, with every step and model call, and as Markdown, for reading
files/          the files that you have sent, and that tools have made for you
sets.json       your sets of cases, what is expected of each, and what came of them
schedules.json  your schedules, and what became of them
shares.json     with whom you share sessions, and which are shared with you
tokens.json     your tokens, without the secrets, of which none is kept
verdicts.json   what you have said about runs, in your sessions and in others'
comments.json   and about steps
steering.json   what you have said to runs at work
webhooks.json   addresses of yours that are told of runs
mails.json      what you were mailed: when, and about which run
usage.json      tokens and costs, by day
audit.json      what you did that is noted, and what others did to what is yours
"""


class _Sink:
    """The file that the archive's writer writes to; keeps the bytes until they are taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self.size += len(piece)
        return len(piece)

    def flush(self) -> None:
        pass

    def drain(self) -> bytes:
        data, self._pieces, self.size = b"".join(self._pieces), [], 0
        return data


def archive(user: User) -> Iterator[bytes]:
    """The pieces of the archive. Each uses a database connection only while it is made."""
    sink = _Sink()
    with zipfile.ZipFile(cast(IO[bytes], sink), "w", zipfile.ZIP_DEFLATED) as archived:
        for name, parts in _members(user):
            with archived.open(zipfile.ZipInfo(name, _moment(user)), "w", force_zip64=True) as member:
                for part in parts:
                    member.write(part)
                    if sink.size >= PIECE:
                        yield sink.drain()
            yield sink.drain()
    yield sink.drain()


def _moment(user: User) -> tuple[int, int, int, int, int, int]:
    # The date of the archive's members; zip has no dates before 1980.
    return (max(1980, user.date_joined.year), 1, 1, 0, 0, 0)


def _members(user: User) -> Iterator[tuple[str, Iterator[bytes]]]:
    yield "README.txt", iter([_README.encode()])
    yield "account.json", iter([_json(_account(user))])
    for session in _each(Session.objects.filter(owner=user)):
        yield f"sessions/{session.pk}.json", _session_json(session)
        yield f"sessions/{session.pk}.md", _session_markdown(session)
    for file in _each(File.objects.filter(owner=user, is_whole=True)):
        name = _UNSAFE.sub("_", file.name).strip(". ") or "file"
        yield f"files/{file.pk}/{name}", _content(file)
    yield "schedules.json", _list(_schedule(schedule) for schedule in _each(Schedule.objects.filter(owner=user)))
    yield "sets.json", _list(_case_set(each) for each in _each(CaseSet.objects.filter(owner=user)))
    yield "tokens.json", _list(_values(ApiToken.objects.filter(user=user), without=("digest", "user_id")))
    shares = Share.objects.filter(Q(session__owner=user) | Q(user=user))
    of_sets = SetShare.objects.filter(Q(case_set__owner=user) | Q(user=user))
    offers = OwnerOffer.objects.filter(Q(session__owner=user) | Q(user=user))
    yield "shares.json", _list(chain(_values(shares, without=("link_hash",)), _values(of_sets), _values(offers)))
    verdicts = Verdict.objects.filter(user=user).exclude(word="")
    yield "verdicts.json", _list(_values(verdicts, without=("id", "user_id", "version")))
    comments = Comment.objects.filter(user=user, deleted_at=None)
    yield "comments.json", _list(_values(comments, without=("user_id", "version", "deleted_at")))
    words = SteeringWord.objects.filter(user=user)
    yield "steering.json", _list(_values(words, without=("id", "user_id", "event_id", "reading")))
    yield "webhooks.json", _list(_values(Webhook.objects.filter(owner=user), without=("owner_id", "fingerprint")))
    yield "mails.json", _list(_values(Mail.objects.filter(user=user), without=("user_id",)))
    yield "usage.json", _list(_used(row) for row in _each(DailyUsage.objects.filter(user=user)))
    about = AuditEntry.objects.filter(Q(actor_id=user.pk) | Q(subject_id=user.pk))
    yield "audit.json", _list(_entry(entry, user) for entry in _each(about))


def _account(user: User) -> JsonObject:
    fields = (
        "username",
        "first_name",
        "last_name",
        "email",
        "language",
        "mail_waiting",
        "mail_failures",
        "retention_days",
        "date_joined",
        "last_login",
    )
    return {**{name: getattr(user, name) for name in fields}, "groups": [group.name for group in user.groups.all()]}


def _each(rows: QuerySet[Any]) -> Iterator[Any]:
    """Rows by their primary keys, read in batches."""
    after: Any = None
    while True:
        later = rows if after is None else rows.filter(pk__gt=after)
        some = list(later.order_by("pk")[:ROWS])
        yield from some
        if len(some) < ROWS:
            return
        after = some[-1].pk


def _json(value: Any) -> bytes:
    return orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2)


def _list(items: Iterator[Any]) -> Iterator[bytes]:
    """A JSON list, item by item."""
    between = b"[\n"
    for item in items:
        yield between + orjson.dumps(item, default=str)
        between = b",\n"
    yield b"\n]\n" if between != b"[\n" else b"[]\n"


def _values(rows: QuerySet[Any], without: tuple[str, ...] = ()) -> Iterator[JsonObject]:
    """Rows as their columns."""
    return (_columns(row, without) for row in _each(rows))


def _columns(row: Model, without: tuple[str, ...]) -> JsonObject:
    names = (field.attname for field in row._meta.concrete_fields)
    return {name: getattr(row, name) for name in names if name not in without}


def _used(row: DailyUsage) -> JsonObject:
    """A row of daily usage. An unknown cost is null."""
    return _columns(row, ("id", "user_id")) | ({} if row.currency else {"cost": None})


#: Columns about how a run is executed.
_OF_PROCESSES = ("owner", "fence", "heartbeat_at", "user_id", "session_id", "cancelled_by_id")
#: Columns for recognising repeated requests.
_OF_REQUESTS = ("owner_id", "asked", "answered", "request_key", "request_digest")
#: Columns of a model call with what was sent: the same as the steps, and instructions that the user may not see.
_AS_SENT = ("session_id", "parameters", "tool_names", "tools_id", "base_id", "depth", "messages", "contents")


def _session_json(session: Session) -> Iterator[bytes]:
    head = _columns(session, ("owner_id", "creation_key", "creation_digest", "deleted_at"))
    yield orjson.dumps(head, default=str)[:-1] + b',"files":'
    used = SessionFile.objects.filter(session=session).values_list("file_id", flat=True)
    yield orjson.dumps([str(pk) for pk in used]) + b',"runs":'
    yield from _list(_values(Run.objects.filter(session=session), _OF_PROCESSES))
    yield b',"threads":'
    yield from _list(iter(Thread.objects.filter(session=session).values_list("name", flat=True)))
    yield b',"imported_from":'
    yield from _list(iter(ImportedDocument.objects.filter(session=session).values_list("document", flat=True)))
    yield b',"sent_along":'
    yield from _list(_values(SentAlong.objects.filter(run__session=session), _OF_REQUESTS))
    yield b',"calls":'
    yield from _list(_values(ModelCall.objects.filter(session=session), _AS_SENT))
    yield b',"events":'
    yield from _list(_event(step) for step in _each(Step.objects.filter(session=session)))
    yield b"}\n"


def _event(step: Step) -> JsonObject:
    event = {
        "type": step.event,
        "seq": step.seq,
        "id": step.event_id,
        "run_id": step.run_id,
        "created_at": step.created_at,
        "data": orjson.Fragment(step.body),
    }
    whole = StepContent.objects.filter(step=step).values_list("content", flat=True).first()
    return event if whole is None else {**event, "full_content": whole}


def _session_markdown(session: Session) -> Iterator[bytes]:
    """The questions and answers as Markdown; the steps between them are in the JSON file."""
    yield f"# {session.title or session.pk}\n".encode()
    for run in _each(Run.objects.filter(session=session, parent=None)):
        yield f"\n## {run.created_at:%Y-%m-%d %H:%M}, {run.agent_name}\n\n".encode()
        yield "\n".join(f"> {line}" for line in run.message.splitlines()).encode(errors="replace") + b"\n"
        for answer in Step.objects.filter(run=run, type="final_answer").order_by("position"):
            yield f"\n{orjson.loads(answer.body).get('content', '')}\n".encode(errors="replace")


def _content(file: File) -> Iterator[bytes]:
    number = 0
    while (chunk := FileChunk.objects.filter(file=file, number=number).first()) is not None:
        yield bytes(chunk.data)
        number += 1


def _schedule(schedule: Schedule) -> JsonObject:
    outcomes = Occurrence.objects.filter(schedule=schedule)
    return {**_columns(schedule, ("owner_id",)), "occurrences": list(_values(outcomes, ("schedule_id",)))}


def _case_set(case_set: CaseSet) -> JsonObject:
    cases, results = Case.objects.filter(case_set=case_set), CaseResult.objects.filter(set_run__case_set=case_set)
    return {
        **_columns(case_set, ("owner_id",)),
        "cases": list(_values(cases, ("case_set_id",))),
        "runs": list(_values(case_set.runs.all(), ("case_set_id",))),
        "results": list(_values(results, ("id",))),
    }


def _entry(entry: AuditEntry, user: User) -> JsonObject:
    """An audit entry, without the names of staff."""
    by = (
        "you"
        if entry.actor_id == user.pk
        else "the installation, or somebody unknown"
        if not entry.actor_id
        else "staff"
    )
    return {**_columns(entry, ("actor_id", "subject_id", "window")), "by": by, "yours": entry.subject_id == user.pk}
