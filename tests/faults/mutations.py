"""Each guard of the product can be switched off here, to see that a test of faults notices. ``tests.faults.mutated_settings`` does so."""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MethodType
from typing import Any
from uuid import UUID, uuid4

from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from django.db import connection, transaction
from django.utils import timezone
from markdown_it.rules_inline import StateInline

from agents import Allowance, history
from agents.models import ends, openai_stream, refusing
from agents.models.adapting import Asking
from agents.models.reply import Reply
from agents.models.scanner import TextScanner
from agents.tools import fetch_page, mcp_names
from agents.untrusted import markdown, trajectories
from agents.untrusted.pool import Pool
from chat import access
from chat.cases import set_runs
from chat.catalog import prices
from chat.exports import importing
from chat.live import connections
from chat.live.feed import Feed
from chat.live.subscriber import Subscriber
from chat.models import CaseResult, Run, Session, SetRun, SteeringWord, WaitingCall, WordState
from chat.rendering import markdown as rendering_markdown
from chat.runs import branching, children, dispatch, executor, publisher, recorder, toolbox, waiting
from chat.runs import commands as run_commands
from chat.runs import registry as run_registry
from chat.runs import state as run_state
from chat.runs.metering import RunMeter
from chat.runtime import clock, database
from chat.runtime.each_row import EachRow
from chat.runtime.groups import GroupSubscription
from chat.security import audit
from chat.store import drafts, steering, step_log
from chat.web import conversation
from config import login_limits, passwords
from config.login_gate import FairQueue
from config.static_files import HashedStaticFiles


def without_the_counter_row() -> None:
    """Event numbers come from a sequence of the database, which takes no lock; so do positions, which would collide without the lock."""
    owned_position = step_log._owned_position

    def number(sequence: str) -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT nextval('{sequence}')")
            last: int = cursor.fetchone()[0]
        return last

    # The product's own sequences are used, because the product does not need these meanwhile.
    def advance(session_id: UUID, count: int) -> int:
        return max((number("auth_group_id_seq") for _ in range(count)), default=0)

    def place(run_id: UUID, fence: int) -> int:
        owned_position(run_id, fence)
        return number("auth_permission_id_seq")

    step_log._advance = advance
    step_log._owned_position = place


def reading_before_joining() -> None:
    """A feed reads the log first and joins its group afterwards."""
    opening, join = Feed._open, GroupSubscription.open

    async def open_late(self: Feed) -> None:
        async def nothing(_: GroupSubscription) -> None:
            """Join later."""

        GroupSubscription.open = nothing  # type: ignore[method-assign]
        try:
            await opening(self)
        finally:
            GroupSubscription.open = join  # type: ignore[method-assign]
        await join(self._subscription)

    Feed._open = open_late  # type: ignore[method-assign]


def without_the_fence() -> None:
    """A write to a run does not check whether the process still owns the run."""
    step_log._OWNED = step_log._OWNED.replace("fence = %s AND", "(1 = 1 OR fence = %s) AND")


def without_unique_message_ids() -> None:
    """A message that is sent again makes a new run, although its answer has the id of the first one."""
    asking = run_commands.ask_atomically

    def ask(*args: Any, **options: Any) -> Any:
        accepted = asking(*args, **{**options, "client_message_id": uuid4().hex})
        return replace(accepted, client_message_id=options["client_message_id"])

    run_commands.ask_atomically = ask


def without_the_credit_window() -> None:
    """A client is sent everything, whether or not it has acknowledged anything."""
    Subscriber._has_credit = lambda _: True  # type: ignore[method-assign]


def without_the_finish_reason() -> None:
    """A model's answer that ends without a finish reason counts as complete."""
    reading = openai_stream._read

    async def read(response: Any, reply: Reply, *rest: Any) -> None:
        await reading(response, reply, *rest)
        if reply.finish_reason is None:
            reply.finish("stop")

    openai_stream._read = read


def counting_every_end_as_whole() -> None:
    """A model's answer counts as complete whatever its finish reason."""
    ends.classify_end = lambda _: "whole"


def taking_every_tag_for_a_thought() -> None:
    """A tag of thoughts opens a thought wherever it is, also where the text is about such tags."""
    TextScanner._is_thought_again = lambda _: True  # type: ignore[method-assign]


def distinguishing_calls_by_index_alone() -> None:
    """A piece of a call with a new index begins a call, even without a name and an id."""
    adding = Reply.add_call_delta

    def add(self: Reply, slot: int | None, *rest: Any) -> None:
        if slot is not None and slot not in self._slots:
            self._current = None
        adding(self, slot, *rest)

    Reply.add_call_delta = add  # type: ignore[method-assign]


def publishing_before_saving() -> None:
    """Events are published while the transaction that stores them is still open."""

    async def stored(run: Any, store: Callable[[], Any], _: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()

        @transaction.atomic
        def store_late() -> Any:
            result = store()
            events = result[0] if isinstance(result, tuple) else result
            asyncio.run_coroutine_threadsafe(publisher.publish_events(run.session_id, events), loop).result()
            # A slow commit, as on a slow disk: the pause is the fault itself, nothing is waited for.
            time.sleep(0.3)
            return result

        return await database.write(store_late)

    recorder._stored = stored


def starting_parted_from_accepting() -> None:
    """A run is started by the task that asked for it, after it was accepted: so not if that task is cancelled in between."""

    async def write_and_start(
        start: Callable[[Any], Any], function: Callable[..., Any], *args: Any, **options: Any
    ) -> Any:
        result = await database.write(function, *args, **options)
        start(result)
        return result

    run_registry.write_and_start = dispatch.write_and_start = write_and_start


def without_limits_of_logins() -> None:
    """Failed logins are counted for the pair of name and address only."""
    for counted in (("ip_address",), ("username",)):
        login_limits.LIMITS[counted] = 1_000_000


def reading_once() -> None:
    """What a run reads while it is executed is not read again after an error."""
    waited = recorder.with_retries

    async def once(run: Any, done: str, first: Callable[[], Any], again: Any = None) -> Any:
        return await (first() if done == "read" else waited(run, done, first, again))

    recorder.with_retries = executor.with_retries = once


def a_bad_row_ends_the_look() -> None:
    """An error for one row is an error for the rows after it too."""

    async def next_of(session_id: UUID) -> Any:
        claim = await run_registry.write_and_start(dispatch._start_if_claimed, dispatch.claim_next, session_id)
        return None if claim is None else claim.ended

    async def do(_: Any, rows: Any, act: Callable[[Any], Any]) -> list[Any]:
        return [await act(row) for row in rows]

    dispatch.claim_and_start_next = next_of
    EachRow.do = do  # type: ignore[method-assign]


def staff_without_permission() -> None:
    """Being staff is enough to see others' sessions."""

    def is_staff(user: Any, _: str) -> bool:
        return bool(user.is_active and user.is_staff)

    access.has_right = connections.has_right = is_staff


def noting_after_answering() -> None:
    """The audit entry of a look is written later, and not in the transaction."""
    note = audit._note

    def later(*entry: Any) -> None:
        # Far later than a busy machine takes to look for the entry.
        timer = threading.Timer(60, note, entry)
        timer.daemon = True
        timer.start()

    audit._note = later


def rendering_in_the_serving_process() -> None:
    """Markdown is rendered in the serving process, however long that takes."""

    def run_each(_: Pool, function: str, items: Sequence[Sequence[Any]], **__: Any) -> list[Any]:
        return [getattr(markdown, function.rpartition(".")[2])(*item) for item in items]

    rendering_markdown._pool.run_each = MethodType(run_each, rendering_markdown._pool)  # type: ignore[method-assign]


def decoding_with_any_codec() -> None:
    """Pages are decoded in the serving process, by any codec that Python has."""

    def run(_: Pool, function: str, body: bytes, charset: str | None, *rest: Any, **__: Any) -> Any:
        return body.decode(charset or "utf-8", errors="replace")[: rest[-1]]

    fetch_page._readers.run = MethodType(run, fetch_page._readers)  # type: ignore[method-assign]


def giving_up_tools_at_a_word() -> None:
    """Any error that mentions tools counts as the server not supporting tools."""
    refusing.REFUSING_TOOLS = re.compile("tool")


def leaving_turns_open() -> None:
    """A turn without an answer is sent without one."""
    making_valid = history.make_valid

    def make_valid(*args: Any) -> list[Any]:
        return [message for message in making_valid(*args) if message["content"] != history.NO_ANSWER]

    history.make_valid = make_valid


def sending_names_as_they_came() -> None:
    """Names of tools that the model has called are sent back unchanged."""
    history._ValidNames.put_in = lambda _, given: dict(given)  # type: ignore[method-assign]


def jumping_over_a_hole() -> None:
    """A feed that opens skips to the log's end, but keeps its old window."""
    opening = Feed._open

    async def open_and_jump(self: Feed) -> None:
        before = self.window
        await opening(self)
        before.last, self.window = max(before.last, self.window.last), before

    Feed._open = open_and_jump  # type: ignore[method-assign]
    # And it accepts group messages before it is open.
    Feed.is_open = property(lambda _: True)  # type: ignore[assignment,method-assign]


def without_a_second_try() -> None:
    """A client that is behind after an error is not sent the rest, neither at once nor by the poll of every second."""
    Subscriber.is_behind = property(lambda _: False)  # type: ignore[assignment,method-assign]
    sending = Subscriber._send_all

    async def send_once(self: Subscriber) -> None:
        try:
            await sending(self)
        except Exception:
            self._waked = False
            raise

    Subscriber._send_all = send_once  # type: ignore[method-assign]


def saving_drafts_after_the_end() -> None:
    """A text in progress is saved although its run has ended."""
    step_log._SAVE_DRAFT = step_log._SAVE_DRAFT.replace("AND status IN (%s, %s)", "AND %s <> %s")
    step_log._SHARE_RUN = ""


def leasing_by_ones_own_clock() -> None:
    """Whether a lease has expired is decided by the machine's own clock."""

    def own() -> datetime:
        return timezone.now()

    clock.read_database = own


def without_the_private_mark() -> None:
    """That a session has read private data is not stored for its next run."""
    toolbox.SessionRecord.mark = lambda _: None  # type: ignore[method-assign]


def with_names_that_collide() -> None:
    """Of two tools whose names become the same, the last one has the name."""

    def name_of(_: Any, server: str, tool: str) -> str:
        return re.sub(r"[^A-Za-z0-9_-]", "_", f"{server}-{tool}")[:64]

    mcp_names.ToolNames.name_of = name_of  # type: ignore[method-assign]


def without_the_guard_before_a_proxy() -> None:
    """Through an outgoing proxy, any address that a model names is fetched."""
    vetted = fetch_page.FetchPageTool._vetted

    def unguarded(self: Any, host: str, port: int, transfer: Any, *, is_proxied: bool) -> list[str]:
        return [] if is_proxied else vetted(self, host, port, transfer, is_proxied=False)

    fetch_page.FetchPageTool._vetted = unguarded  # type: ignore[method-assign]


def forgetting_what_an_attempt_has_read() -> None:
    """Words that were read by an attempt whose outcome is unknown are not found again."""
    reading = steering.read_by

    def read_by(run: Any, attempt: UUID) -> list[SteeringWord]:
        is_any = SteeringWord.objects.filter(run=run, state=WordState.PENDING).exists()
        return reading(run, attempt) if is_any else []

    steering.read_by = read_by


def leaving_words_with_their_run() -> None:
    """Words that a run has not read when it ends are not queued."""

    def leave(_: UUID) -> None:
        """Queue nothing."""

    run_state._queue_words = leave


def without_a_look_for_words_after_waiting() -> None:
    """A run that is resumed reads only the words that are said from then on."""

    async def look(*_: Any) -> None:
        """Find nothing."""

    executor._find_words = look


def copying_with_the_right_of_before() -> None:
    """The right to copy a session is checked before the copy is made, and not again before the copy becomes visible."""

    def lock(session_id: UUID, *_: Any) -> Session:
        return Session.objects.get(pk=session_id)

    branching.lock_session = lock


def counting_decided_calls_as_not_begun() -> None:
    """A run that is resumed does not store that the decided calls have begun."""
    spending = waiting.spend

    def spend(run: Run) -> Any:
        resumed = spending(run)
        ids = [call.id for call in resumed.calls]
        WaitingCall.objects.filter(run=run, tool_call_id__in=ids).update(spent_at=None)
        return resumed

    waiting.spend = spend


def beginning_calls_before_they_are_stored() -> None:
    """A tool with side effects does not wait until its call is in the log."""
    children.Delegation.wait_stored = lambda *_: None  # type: ignore[method-assign]


def asking_again_what_was_answered_within() -> None:
    """The answer of another agent is not found again where the result of the call was not stored."""
    find = children.Delegation._pop_unfinished

    def find_without_answer(self: Any, *asked: str) -> Any:
        found = find(self, *asked)
        return found and found._replace(answer=None)

    children.Delegation._pop_unfinished = find_without_answer  # type: ignore[method-assign]


def growing_what_is_stored() -> None:
    """A feed forgets which steps are stored, so a late text in progress of a stored step is shown."""
    Feed._settle = lambda *_: None  # type: ignore[method-assign]


def keeping_pages_for_whoever_comes() -> None:
    """The cached fragments of a run are shown to everybody, whatever their rights."""
    keeping, getting = conversation._kept.keep, conversation._kept.get
    conversation._kept.keep = lambda key, *rest: keeping(key[:2], *rest)  # type: ignore[method-assign,index]
    conversation._kept.get = lambda key: getting(key[:2])  # type: ignore[method-assign,index]


def making_the_same_copy_again() -> None:
    """The idempotency key of a copy is not looked up."""
    branching.find_made = branching.claim_key = lambda *_: None


def asking_sets_side_by_side() -> None:
    """Several processes ask the cases of a set at the same time."""
    SetRun.objects.select_for_update = lambda **_: SetRun.objects.all()  # type: ignore[method-assign]


def settling_whatever_has_become_of_it() -> None:
    """A verdict is stored even if its case is no longer being asked."""

    def settle(result_id: int, run: Run | None, judged: Any, **_: Any) -> bool:
        return bool(CaseResult.objects.filter(pk=result_id).update(verdict=judged.verdict, run=run))

    set_runs._settle = settle


def spending_without_an_end() -> None:
    """Budgets are counted, but limit nothing."""
    RunMeter.allow = lambda _: Allowance()  # type: ignore[method-assign]


def pricing_by_the_hour_of_reckoning() -> None:
    """A call is priced by the time at which its cost is calculated: here half a day after the call."""
    cost_of = prices.cost_of

    def reckon(*args: Any, asked_at: datetime, **options: Any) -> Any:
        return cost_of(*args, asked_at=asked_at + timedelta(hours=12), **options)

    prices.cost_of = reckon


def reading_documents_in_the_serving_process() -> None:
    """Uploaded files are read in the serving process, however long that takes."""

    def run(_: Pool, function: str, *arguments: Any, **__: Any) -> Any:
        return getattr(trajectories, function.rpartition(".")[2])(*arguments)

    importing._readers.run = MethodType(run, importing._readers)  # type: ignore[method-assign]


def keeping_thoughts_from_their_server() -> None:
    """A server's thoughts are not sent back to it with its calls."""
    Reply.fields = property(lambda self: self.details)  # type: ignore[assignment,method-assign]


def dropping_fields_of_calls() -> None:
    """Of a call, only the known fields are sent back to its server."""
    Reply.add_call_fields = lambda *_: None  # type: ignore[method-assign]


def insisting_on_refused_parts() -> None:
    """An optional part of a request that a server refuses is not left out."""
    Asking._refuses_part = lambda *_: False  # type: ignore[method-assign]


def keeping_an_end_whatever_follows() -> None:
    """A finish reason counts although text follows it."""
    Reply._resume = lambda *_: None  # type: ignore[method-assign]


def hashing_any_number_at_once() -> None:
    """However many passwords are sent, they are hashed at once."""
    passwords._slots = threading.BoundedSemaphore(1_000_000)


def letting_every_login_in() -> None:
    """Logins do not wait for one another before Django."""

    async def enter(*_: Any) -> None:
        """Let everybody in."""

    FairQueue.enter = enter  # type: ignore[method-assign]


def with_a_rule_that_reads_on() -> None:
    """One of our rules of Markdown reads the rest of the text at each of its marks."""

    def read_on(state: StateInline, _: bool) -> bool:
        return state.src[state.pos] == "[" and sum(mark == "]" for mark in state.src[state.pos :]) < 0

    for parser in (markdown._with_footnotes, markdown._without_footnotes):
        parser.inline.ruler.before("escape", "read_on", read_on)


def colouring_without_an_end() -> None:
    """The page waits for its worker, however long that takes to colour a block."""
    processing, name = HashedStaticFiles.post_process, "chat/lib/colouring.js"

    def post_process(self: Any, paths: Any, **options: Any) -> Any:
        storage, path = paths[name]
        with storage.open(path) as file:
            before, limit, after = file.read().decode().partition("}, patience);")
        assert limit
        changed = InMemoryStorage()
        changed.save(name, ContentFile(f"{before}}}, 1e9);{after}".encode()))
        yield from processing(self, {**paths, name: (changed, name)}, **options)

    HashedStaticFiles.post_process = post_process  # type: ignore[method-assign]


def saving_drafts_once() -> None:
    """A text in progress that could not be saved counts as saved."""
    saving = drafts._saved

    async def saved(rows: Sequence[Any]) -> set[UUID]:
        await saving(rows)
        return {row.run_id for row in rows}

    drafts._saved = saved


MUTATIONS = {
    change.__name__: change
    for change in (
        without_the_counter_row,
        reading_before_joining,
        without_the_fence,
        without_unique_message_ids,
        without_the_credit_window,
        without_the_finish_reason,
        counting_every_end_as_whole,
        taking_every_tag_for_a_thought,
        distinguishing_calls_by_index_alone,
        publishing_before_saving,
        starting_parted_from_accepting,
        without_limits_of_logins,
        reading_once,
        a_bad_row_ends_the_look,
        staff_without_permission,
        noting_after_answering,
        rendering_in_the_serving_process,
        decoding_with_any_codec,
        giving_up_tools_at_a_word,
        leaving_turns_open,
        sending_names_as_they_came,
        jumping_over_a_hole,
        without_a_second_try,
        saving_drafts_after_the_end,
        leasing_by_ones_own_clock,
        without_the_private_mark,
        with_names_that_collide,
        without_the_guard_before_a_proxy,
        forgetting_what_an_attempt_has_read,
        leaving_words_with_their_run,
        without_a_look_for_words_after_waiting,
        copying_with_the_right_of_before,
        counting_decided_calls_as_not_begun,
        beginning_calls_before_they_are_stored,
        asking_again_what_was_answered_within,
        growing_what_is_stored,
        keeping_pages_for_whoever_comes,
        making_the_same_copy_again,
        asking_sets_side_by_side,
        settling_whatever_has_become_of_it,
        spending_without_an_end,
        pricing_by_the_hour_of_reckoning,
        reading_documents_in_the_serving_process,
        keeping_thoughts_from_their_server,
        dropping_fields_of_calls,
        insisting_on_refused_parts,
        keeping_an_end_whatever_follows,
        hashing_any_number_at_once,
        letting_every_login_in,
        with_a_rule_that_reads_on,
        colouring_without_an_end,
        saving_drafts_once,
    )
}
