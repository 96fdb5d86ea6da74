"""Copies of sessions: exact, complete or not there at all, and counted nowhere."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from agents import CallBegun, ModelRequest
from chat import access
from chat.accounts.models import User
from chat.models import (
    AuditEntry,
    DailyUsage,
    Door,
    File,
    ModelCall,
    Run,
    RunStatus,
    SentAlong,
    Session,
    SessionFile,
    Share,
    Step,
    StepContent,
    WebhookDelivery,
)
from chat.protocol.frames import StoredFrame
from chat.runs import branching, commands, erasure, retention, sharing
from chat.runs import registry as run_registry
from chat.runs.admission import Refused, load_for_update
from chat.runs.branching import Branch, Made, make_branch
from chat.runs.sharing import ShareTarget
from chat.runtime import database
from chat.store import (
    branches,
    call_reader,
    files,
    history,
    own_data,
    run_figures,
    search,
    selectors,
    sent_along,
    session_lists,
    step_log,
)
from chat.store.calls import CallWriter
from chat.store.step_log import Entry
from chat.traces import cursor
from tests import wire_types
from tests.chat import making
from tests.chat.exports import stock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nothing_runs_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs stay queued: no model is called."""
    monkeypatch.setattr(run_registry, "executes_runs", lambda: False)
    yield
    database.close()


@pytest.fixture
def ada() -> User:
    return making.user("ada")


@pytest.fixture
def bo() -> User:
    return making.user("bo")


def make(user: User, source: Session, after_seq: int | None = None, **more: Any) -> Made:
    return async_to_sync(make_branch)(user, Branch(source.pk, after_seq, **more), Door.API)


def copied(user: User, source: Session, after_seq: int | None = None, **more: Any) -> Session:
    return Session.objects.get(pk=make(user, source, after_seq, **more).session_id)


def frames(session: Session) -> list[StoredFrame]:
    return selectors.frames_between(session.pk, 1, session.last_seq)


def comparable_log(session: Session) -> list[Any]:
    """A log without what differs in each copy."""
    runs: dict[str, int] = {}

    def named(run_id: str) -> int:
        return runs.setdefault(run_id, len(runs))

    events: list[Any] = []
    for frame in frames(session):
        data = orjson.loads(orjson.dumps(frame["data"]))
        if "parent" in data:
            data["parent"]["run_id"] = named(data["parent"]["run_id"])
        if "continues" in data:
            data["continues"] = named(data["continues"])
        events.append((frame["type"], frame["seq"], named(frame["run_id"]), data))
    return events


def comparable_rows(session: Session) -> list[Any]:
    columns = ("number", "depth", "message", "agent_name", "user", "origin", "status", "created_at", "started_at")
    more = ("ended_at", "iterations", "input_tokens", "output_tokens", "cost", "code", "files", "enable_reasoning")
    return list(session.runs.order_by("number", "depth", "created_at").values_list(*columns, *more))


def ends_of(session: Session) -> list[int]:
    ends = Step.objects.filter(session=session, event="reasoning_complete").order_by("seq")
    return [seq for seq in ends.values_list("seq", flat=True) if seq is not None]


def test_a_copy_has_the_same_log_with_identifiers_of_its_own(on_each_database: None) -> None:
    ada, bo = making.user("ada"), making.user("bo")
    source = stock.fill(ada)
    sharing.make_share(ada, source.pk, ShareTarget(user="bo"), access.Role.WATCHER, None, Door.API)
    before = frames(source)
    copy = copied(bo, source)
    assert (copy.owner, copy.title, copy.last_seq, copy.status) == (bo, source.title, source.last_seq, "completed")
    assert comparable_log(copy) == comparable_log(source)
    assert comparable_rows(copy) == comparable_rows(source)
    theirs = frames(copy)
    assert [frame["copied_from"] for frame in theirs] == [frame["id"] for frame in before]
    assert {frame["id"] for frame in theirs}.isdisjoint(frame["id"] for frame in before)
    assert {frame["run_id"] for frame in theirs}.isdisjoint(frame["run_id"] for frame in before)
    for stored in selectors.stored_after(copy.pk, 0, 1_000):
        wire_types.checked(orjson.loads(stored.frame))
    # Steps without a number, and whole texts, are copied too; the old log is unchanged.
    assert Step.objects.filter(session=copy).count() == Step.objects.filter(session=source).count()
    kept = Step.objects.filter(session=copy, seq=None).order_by("pk")
    assert [step.body for step in kept] == [
        step.body for step in Step.objects.filter(session=source, seq=None).order_by("pk")
    ]
    wholes = StepContent.objects.filter(step__session=copy).values_list("step__seq", "content")
    assert list(wholes) == list(StepContent.objects.filter(step__session=source).values_list("step__seq", "content"))
    assert frames(source) == before
    source.refresh_from_db()
    assert source.family == copy.family is not None


def test_the_agents_memory_of_a_copy_is_the_copied_turns(ada: User) -> None:
    source = stock.fill(ada)
    first, second, _third = ends_of(source)
    assert history.conversation_history(copied(ada, source).pk, 9) == history.conversation_history(source.pk, 9)
    branch = copied(ada, source, second)
    third = source.runs.filter(parent=None).latest("number")
    assert history.conversation_history(branch.pk, 9) == history.conversation_history(source.pk, third.number)
    assert history.conversation_history(copied(ada, source, 0).pk, 4) == []
    # A copy of a copy names the session it was made from; a run, the one that was executed.
    again = copied(ada, branch, first)
    assert [frame["copied_from"] for frame in frames(again)] == [frame["id"] for frame in frames(branch)[:first]]
    sources = {run.copied_from for run in again.runs.all()}
    assert sources == set(source.runs.filter(number=1).values_list("pk", flat=True))


def at_work(ada: User) -> Session:
    """Two ended runs, the second one while the first was at work; then one at work, during which another one was removed from the queue."""
    session = making.session(ada, title="Busy")
    first = making.run(session)
    stock.begun(first)
    commands.ask_atomically(ada, session.pk, message="never", client_message_id="n", **ASKED)
    commands.cancel_atomically(ada, session.pk, session.runs.get(number=2).pk, everything=False)
    stock.ended(first)
    live = making.run(session)
    stock.begun(live)
    making.append(live, making.thought("so"))
    commands.ask_atomically(ada, session.pk, message="nor this", client_message_id="o", **ASKED)
    commands.cancel_atomically(ada, session.pk, session.runs.get(number=4).pk, everything=False)
    session.refresh_from_db()
    return session


ASKED: Any = {
    "agent_name": None,
    "fallback_agent": None,
    "enable_reasoning": True,
    "origin": "chat",
}


def test_a_run_at_work_is_not_copied(ada: User) -> None:
    source = at_work(ada)
    assert [frame["type"] for frame in frames(source)] == [
        *("reasoning_start", "reasoning_start", "reasoning_complete", "reasoning_complete"),
        *("reasoning_start", "reasoning_step", "reasoning_start", "reasoning_complete"),
    ]
    copy = copied(ada, source)
    assert copy.last_seq == 4
    assert sorted(copy.runs.values_list("number", "status")) == [(1, "completed"), (2, "cancelled")]
    assert selectors.session_view(copy.pk).run is None  # type: ignore[union-attr]


def test_an_open_request_is_never_copied(ada: User) -> None:
    """A run that waits has not ended: none of it is copied, its request for a decision neither."""
    source = stock.fill(ada)
    end = source.last_seq
    waiting = making.run(source)
    stock.begun(waiting)
    call: dict[str, Any] = {"tool_name": "python", "tool_call_id": "call_1", "arguments": {}}
    fields = {"type": "approval_request", "content": "", "iteration": 1, "timestamp": 1.0, "deadline": 1.0}
    request = Entry("reasoning_step", {**fields, **call, "unanswered": "deny"})  # type: ignore[typeddict-item]
    making.append(waiting, making.step("tool_use", step=1, **call), request)
    Run.objects.filter(pk=waiting.pk).update(status=RunStatus.WAITING)
    source.refresh_from_db()
    copy = copied(ada, source)
    assert copy.last_seq == end
    assert not Step.objects.filter(session=copy, type="approval_request").exists()
    assert RunStatus.WAITING not in copy.runs.values_list("status", flat=True)
    for inside in (source.last_seq, source.last_seq - 1):
        with pytest.raises(Refused) as refused:
            make(ada, source, inside)
        assert refused.value.code == "bad_seq"


@pytest.mark.parametrize(
    ("after_seq", "is_end"), [(0, True), (4, True), (1, False), (3, False), (8, False), (9, False)]
)
def test_a_log_is_parted_only_where_no_run_is_under_way(ada: User, after_seq: int, is_end: bool) -> None:
    source = at_work(ada)
    if is_end:
        assert copied(ada, source, after_seq).last_seq == after_seq
        return
    with pytest.raises(Refused) as refused:
        make(ada, source, after_seq)
    assert refused.value.code == "bad_seq"
    assert Session.everything.count() == 1


def test_a_branch_goes_on_with_its_message(ada: User) -> None:
    source = stock.fill(ada)
    first, *_ = ends_of(source)
    notes = making.file(ada, "tea", source)
    made = make(ada, source, first, message="And now?", agent_name="writer", files=(str(notes.pk),))
    run = Run.objects.get(pk=made.run_id)
    assert (run.session_id, run.number, run.message, run.agent_name) == (made.session_id, 2, "And now?", "writer")
    assert orjson.loads(run.files)[0]["id"] == str(notes.pk)
    assert Session.objects.get(pk=made.session_id).agent_name == "writer"
    assert not source.runs.filter(message="And now?").exists()


REFUSED = {
    "an empty message": ({"message": " "}, "empty_message"),
    "one that is too long": ({"message": "x" * 40_000}, "too_large"),
    "an agent that is none": ({"agent_name": "nobody"}, "unknown_agent"),
    "a file of nobody's": ({"message": "Why?", "files": (str(uuid4()),)}, "not_found"),
    "no end of a run": ({"after_seq": 2}, "bad_seq"),
    "behind the log": ({"after_seq": 10**15}, "bad_seq"),
}


@pytest.mark.parametrize("odd", REFUSED)
def test_a_refused_copy_leaves_nothing(ada: User, odd: str) -> None:
    source = stock.fill(ada)
    more, code = REFUSED[odd]
    with pytest.raises(Refused) as refused:
        make(ada, source, **{"after_seq": 0, **more})
    assert refused.value.code == code
    assert Session.objects.get() == source
    while erasure.erase_batch(erasure.Pace()) is not None:
        pass
    assert Session.everything.get() == source
    source.refresh_from_db()
    assert source.family is None


@pytest.mark.parametrize(("name", "code"), [("cy", "not_found"), ("staff", "not_allowed")])
def test_strangers_and_staff_copy_nothing(ada: User, name: str, code: str) -> None:
    source = stock.fill(ada)
    reader = making.staff(access.VIEW_SESSIONS, access.STOP_RUNS) if name == "staff" else making.user(name)
    with pytest.raises(Refused) as refused:
        make(reader, source)
    assert refused.value.code == code
    assert Session.everything.count() == 1


def test_a_long_log_is_refused(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    source = stock.fill(ada)
    monkeypatch.setattr(branches, "MOST_STEPS", Step.objects.filter(session=source).count() - 1)
    with pytest.raises(branching.TooLong):
        make(ada, source)
    assert Session.everything.count() == 1


def test_an_interrupted_copy_is_invisible_and_swept(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    source = stock.fill(ada)

    def die(*_: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(branching, "_EVENTS", 5)
    monkeypatch.setattr(branching, "_show_whole", die)
    # As where a process is killed, which cleans up nothing.
    monkeypatch.setattr(branching, "_discard", lambda _: None)
    with pytest.raises(RuntimeError):
        make(ada, source)
    left = Session.everything.exclude(pk=source.pk).get()
    assert Step.objects.filter(session=left).count() == Step.objects.filter(session=source).count()
    assert list(session_lists.past_sessions(ada)) == [source]
    assert access.role_in(ada, left) is None
    assert selectors.session_view(left.pk) is None
    assert load_for_update(left.pk, ada.pk, "m") is None
    assert erasure.erase_batch(erasure.Pace()) is None, "it may still be in the making"
    Session.everything.filter(pk=left.pk).update(deleted_at=timezone.now())
    while erasure.erase_batch(erasure.Pace()) is not None:
        pass
    assert Session.everything.get() == source
    assert Step.objects.exclude(session=source).count() == 0


def test_a_copy_of_a_share_withdrawn_meanwhile_is_not_shown(
    ada: User, bo: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = stock.fill(ada)
    share, _ = sharing.make_share(ada, source.pk, ShareTarget(user="bo"), access.Role.WATCHER, None, Door.API)
    before = branching._show_whole

    def withdraw_first(*given: Any) -> None:
        sharing.withdraw_share(ada, share.pk, Door.API)
        before(*given)

    monkeypatch.setattr(branching, "_show_whole", withdraw_first)
    refused = ""
    try:
        make(bo, source)
    except Refused as refusal:
        refused = refusal.code
    assert refused == "not_found", "what was withdrawn meanwhile was copied"
    assert Session.objects.get() == source


def test_the_same_key_gets_the_same_session_and_run(ada: User) -> None:
    source = stock.fill(ada)
    choices: list[dict[str, Any]] = [{"key": "c"}, {"after_seq": 0, "message": "Why?", "key": "b"}]
    for given in choices:
        first = make(ada, source, **given)
        again = make(ada, source, **given)
        assert (first.session_id, first.run_id) == (again.session_id, again.run_id), "the same was made twice"
        with pytest.raises(Refused) as refused:
            make(ada, source, **{**given, "after_seq": ends_of(source)[0]})
        assert refused.value.code == "conflict"
    assert Session.objects.count() == 3
    # The key is deleted with the session.
    erasure.hide_session(first.session_id)
    assert make(ada, source, **given).session_id != first.session_id


# Counted nowhere


def test_nothing_of_a_copy_is_counted_or_found(ada: User, bo: User) -> None:
    source = stock.fill(ada)
    run = source.runs.get(number=1, parent=None)
    asked = ModelRequest("m", [{"role": "user", "content": "Which tea?"}])
    CallWriter(run, provider="default").write([CallBegun(1, 1, 1.5, asked)])
    sharing.make_share(ada, source.pk, ShareTarget(user="bo"), access.Role.DRIVER, None, Door.API)
    counted = figures(ada)
    kept = [table.objects.count() for table in (ModelCall, DailyUsage, File, WebhookDelivery)]
    copies = [copied(ada, source), copied(bo, source)]
    assert figures(ada) == counted
    assert [table.objects.count() for table in (ModelCall, DailyUsage, File, WebhookDelivery)] == kept
    # Model calls are read in the session where they were made, by those who may see it: here both, its owner and a driver.
    its = copies[1].runs.get(number=1, parent=None)
    assert call_reader.rows_of(its) == []
    assert len(call_reader.calls_of(branches.executed_run(bo, its))) == 1
    Share.objects.update(role="watcher")
    assert branches.executed_run(bo, its) == its
    # Otherwise a search would find the same words twice.
    for copy in copies:
        assert not [hit for hit in search.find(copy.owner, "tea", 100) if hit.session_id == copy.pk]
    noted = AuditEntry.objects.filter(action="copy").order_by("id")
    assert [(entry.actor_id, entry.subject_id, entry.session_id) for entry in noted] == [
        (ada.pk, ada.pk, source.pk),
        (bo.pk, ada.pk, source.pk),
    ]


def figures(user: User) -> dict[str, Any]:
    """All figures that count runs by user, and all that export them."""
    admission = load_for_update(making.session(user).pk, user.pk, "m")
    assert admission is not None
    return {
        "messages of the last minute": admission.recent,
        "runs at work": admission.at_work,
        "found": len(search.find(user, "tea", 100)),
        "handed to traces": cursor.ended_roots().count(),
        "figures for staff": run_figures.figures_of(Run.objects.all()).runs,
    }


def test_files_are_used_by_reference_and_only_those_of_what_was_copied(ada: User, bo: User) -> None:
    source = making.session(ada)
    early, late = making.file(ada, "early", source, name="early.txt"), making.file(ada, "late", source, name="late.txt")
    for number, file in enumerate((early, late), 1):
        described: list[Any] = [files.describe(file)]
        run = making.run(source, files=orjson.dumps(described).decode())
        stock.begun(run)
        making.append(run, making.step("tool_use"), making.step("tool_result", "ok", step=2, files=described))
        stock.ended(run)
        assert run.number == number
    sharing.make_share(ada, source.pk, ShareTarget(user="bo"), access.Role.WATCHER, None, Door.API)
    copy = copied(bo, source, ends_of(source)[0])
    assert list(SessionFile.objects.filter(session=copy).values_list("file", flat=True)) == [early.pk]
    assert copy.has_files
    # When the original is deleted, the copy still has it.
    erasure.hide_session(source.pk)
    while erasure.erase_batch(erasure.Pace()) is not None:
        pass
    assert set(File.objects.values_list("pk", flat=True)) == {early.pk}


@pytest.mark.parametrize("mark", ["has_read_private", "imported_at"])
def test_marks_pass_on(ada: User, mark: str) -> None:
    source = stock.fill(ada)
    moment = timezone.now()
    Session.objects.filter(pk=source.pk).update(**{mark: True if mark == "has_read_private" else moment})
    copy = copied(ada, source)
    assert getattr(copy, mark) == (True if mark == "has_read_private" else moment)
    if mark == "imported_at":
        with pytest.raises(Refused) as refused:
            make(ada, source, 0, message="Why?")
        assert refused.value.code == "not_allowed"


def test_messages_sent_along_are_copied_and_found_by_nobody(ada: User) -> None:
    source = making.session(ada)
    run = making.run(source, origin="openai")
    messages = [{"role": "user", "content": "before"}]
    digest = sent_along.next_digest("", "user", "before")
    along = SentAlong(
        owner=ada, agent_name="researcher", messages=orjson.dumps(messages).decode(), instructions="Be brief."
    )
    along.asked = digest
    sent_along.add(along, run)
    SentAlong.objects.filter(run=run).update(answered=digest)
    stock.begun(run)
    stock.ended(run)
    copy = copied(ada, source)
    its = copy.runs.get()
    assert sent_along.instructions_of(its) == "Be brief."
    assert history.conversation_history(copy.pk, 2) == history.conversation_history(source.pk, 2)
    assert sent_along.find_conversation(ada.pk, "researcher", digest) == source.pk


def test_a_copy_has_its_own_time_and_end(ada: User, settings: Any) -> None:
    settings.RETENTION_DAYS = 30
    source = stock.fill(ada)
    Session.objects.filter(pk=source.pk).update(active_at=timezone.now() - timezone.timedelta(days=31))
    copy = copied(ada, source)
    expired, _ = retention.expired_sessions(0, timezone.now())
    assert expired == [source.pk]
    erasure.hide_session(source.pk)
    while erasure.erase_batch(erasure.Pace()) is not None:
        pass
    assert len(frames(copy)) == copy.last_seq
    family = branches.branches_of(ada, [copy.pk])[copy.pk]
    assert (family["of"], family["number"], family["count"]) == (None, 1, 1)


def archived(user: User) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(b"".join(own_data.archive(user))))


def test_ones_own_data_have_a_copy_as_a_session_and_nothing_twice(ada: User) -> None:
    source = stock.fill(ada)
    making.file(ada, "tea", source)
    before = set(archived(ada).namelist())
    copy = copied(ada, source)
    after = archived(ada)
    assert set(after.namelist()) - before == {f"sessions/{copy.pk}.json", f"sessions/{copy.pk}.md"}
    exported = orjson.loads(after.read(f"sessions/{copy.pk}.json"))
    assert exported["calls"] == []
    assert {run["copied_from"] for run in exported["runs"]} == {
        str(pk) for pk in source.runs.values_list("pk", flat=True)
    }
    assert UUID(exported["copied_from"]) == source.pk


# Families


def test_families_tell_each_reader_what_that_one_sees(ada: User, bo: User) -> None:
    root = stock.fill(ada)
    first, second, _third = ends_of(root)
    assert branches.branches_of(ada, [root.pk]) == {}
    sharing.make_share(ada, root.pk, ShareTarget(user="bo"), access.Role.WATCHER, None, Door.API)
    theirs = copied(bo, root, first)
    assert branches.branches_of(ada, [root.pk]) == {}, "of a copy of somebody else's nothing is told"
    b, c = copied(ada, root, first), copied(ada, root, second)
    # Where a branch point lies in the copied part, the branch belongs to the log that was copied.
    d, e = copied(ada, b, first), copied(ada, c, first)
    families = branches.branches_of(ada, [root.pk, b.pk, c.pk, d.pk, e.pk])
    places = {pk: (data["of"], data["after_seq"], data["number"], data["count"]) for pk, data in families.items()}
    assert places == {
        root.pk: (None, None, 1, 5),
        b.pk: (str(root.pk), first, 2, 4),
        c.pk: (str(root.pk), second, 2, 2),
        d.pk: (str(b.pk), first, 3, 4),
        e.pk: (str(c.pk), first, 4, 4),
    }
    assert {data["family"] for data in families.values()} == {str(theirs.family)}
    assert branches.branches_of(bo, [theirs.pk])[theirs.pk]["count"] == 2
    assert root.pk in branches.branches_of(bo, [root.pk, b.pk])
    assert [
        (place.after_seq, place.number, [member.pk for member in place.members])
        for place in branches.places_in(ada, Session.objects.get(pk=c.pk))
    ] == [(first, 1, [root.pk, b.pk, d.pk, e.pk]), (second, 2, [root.pk, c.pk])]
    assert [place.number for place in branches.places_in(ada, Session.objects.get(pk=e.pk))] == [4]
    assert [place.number for place in branches.places_in(ada, Session.objects.get(pk=root.pk))] == [1, 1]


def test_new_runs_in_a_copy_count(ada: User) -> None:
    source = stock.fill(ada)
    made = make(ada, source, message="Green tea?")
    run = Run.objects.get(pk=made.run_id)
    assert run.status == RunStatus.QUEUED
    assert run.copied_from is None
    Run.objects.filter(pk=run.pk).update(status=RunStatus.RUNNING, fence=1, owner="p")
    run.refresh_from_db()
    step_log.append(run, [making.thought("Lapsang is smoked")])
    assert [hit.session_id for hit in search.find(ada, "lapsang")] == [made.session_id]
    counted = load_for_update(made.session_id, ada.pk, "m")
    assert counted is not None
    assert counted.recent == load_for_update(source.pk, ada.pk, "m").recent  # type: ignore[union-attr]
