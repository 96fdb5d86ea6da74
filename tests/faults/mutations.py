"""The product with one of its guards switched off, to see that a fault test notices.

``tests.faults.mutated_settings`` puts it in place.
"""

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

from django.db import connection, transaction
from django.utils import timezone

from agents import Allowance, history
from agents.models import ends, openai_stream, refusing
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
from chat.store import steering, step_log
from chat.web import conversation
from config import login_limits


def without_the_counter_row() -> None:
    """Numbers come from a sequence of the database, which locks nothing; so do places, which would collide without the lock."""
    owned_position = step_log._owned_position

    def number(sequence: str) -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT nextval('{sequence}')")
            last: int = cursor.fetchone()[0]
        return last

    # The sequences are the product's own, which has no use for them meanwhile.
    def advance(session_id: UUID, count: int) -> int:
        return max((number("auth_group_id_seq") for _ in range(count)), default=0)

    def place(run_id: UUID, fence: int) -> int:
        owned_position(run_id, fence)
        return number("auth_permission_id_seq")

    step_log._advance = advance
    step_log._owned_position = place


def reading_before_joining() -> None:
    """A feed reads the log, and joins its group afterwards."""
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
    """Who writes to a run is not asked whether it is still theirs."""
    step_log._OWNED = step_log._OWNED.replace("fence = %s AND", "(1 = 1 OR fence = %s) AND")


def without_unique_message_ids() -> None:
    """A message that comes again is a new one, though it is answered as the one it is."""
    asking = run_commands.ask_atomically

    def ask(*args: Any, **options: Any) -> Any:
        accepted = asking(*args, **{**options, "client_message_id": uuid4().hex})
        return replace(accepted, client_message_id=options["client_message_id"])

    run_commands.ask_atomically = ask


def without_the_credit_window() -> None:
    """A client is sent everything, whether it has read anything or not."""
    Subscriber._has_credit = lambda _: True  # type: ignore[method-assign]


def without_the_finish_reason() -> None:
    """A model's answer that ends without saying why counts as whole."""
    reading = openai_stream._read

    async def read(response: Any, reply: Reply, *rest: Any) -> None:
        await reading(response, reply, *rest)
        if reply.finish_reason is None:
            reply.finish("stop")

    openai_stream._read = read


def counting_every_end_as_whole() -> None:
    """A model's answer is whole whatever its server gives as the reason for its end."""
    ends.classify_end = lambda _: "whole"


def taking_every_tag_for_a_thought() -> None:
    """A tag of thoughts counts wherever it stands, also where it is spoken of."""
    TextScanner._is_thought_again = lambda _: True  # type: ignore[method-assign]


def telling_calls_apart_by_index_alone() -> None:
    """A piece of a call whose index is new is a call, though it has neither name nor id."""
    adding = Reply.add_call_delta

    def add(self: Reply, slot: int | None, *rest: Any) -> None:
        if slot is not None and slot not in self._slots:
            self._current = None
        adding(self, slot, *rest)

    Reply.add_call_delta = add  # type: ignore[method-assign]


def telling_before_saving() -> None:
    """Events are told while the transaction that stores them is still open."""

    async def stored(run: Any, store: Callable[[], Any], _: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()

        @transaction.atomic
        def store_late() -> Any:
            result = store()
            events = result[0] if isinstance(result, tuple) else result
            asyncio.run_coroutine_threadsafe(publisher.publish_events(run.session_id, events), loop).result()
            # A commit that takes its time, as on a slow disk: nothing is waited for, this is the fault.
            time.sleep(0.3)
            return result

        return await database.write(store_late)

    recorder._stored = stored


def starting_parted_from_accepting() -> None:
    """A run is started by who asked for it, once they hear that it was accepted: not where they have gone away."""

    async def write_and_start(
        start: Callable[[Any], Any], function: Callable[..., Any], *args: Any, **options: Any
    ) -> Any:
        result = await database.write(function, *args, **options)
        start(result)
        return result

    run_registry.write_and_start = dispatch.write_and_start = write_and_start


def without_limits_of_logins() -> None:
    """Guesses are counted by name and address together alone."""
    for counted in (("ip_address",), ("username",)):
        login_limits.LIMITS[counted] = 1_000_000


def reading_once() -> None:
    """What a run reads on its way is not asked for again."""
    waited = recorder.with_retries

    async def once(run: Any, done: str, first: Callable[[], Any], again: Any = None) -> Any:
        return await (first() if done == "read" else waited(run, done, first, again))

    recorder.with_retries = executor.with_retries = once


def a_bad_row_ends_the_look() -> None:
    """What fails for one row fails for those after it."""

    async def next_of(session_id: UUID) -> Any:
        claim = await run_registry.write_and_start(dispatch._start_if_claimed, dispatch.claim_next, session_id)
        return None if claim is None else claim.ended

    async def do(_: Any, rows: Any, act: Callable[[Any], Any]) -> list[Any]:
        return [await act(row) for row in rows]

    dispatch.claim_and_start_next = next_of
    EachRow.do = do  # type: ignore[method-assign]


def staff_without_permission() -> None:
    """Being staff is enough."""

    def is_staff(user: Any, _: str) -> bool:
        return bool(user.is_active and user.is_staff)

    access.has_right = connections.has_right = is_staff


def noting_after_answering() -> None:
    """A look is noted by and by."""
    note = audit._note

    def later(*entry: Any) -> None:
        # Far later than a machine that is busy takes to look for the note.
        timer = threading.Timer(60, note, entry)
        timer.daemon = True
        timer.start()

    audit._note = later


def rendering_in_the_serving_process() -> None:
    """Markdown is rendered where it is asked for, for as long as that takes."""

    def run_each(_: Pool, function: str, items: Sequence[Sequence[Any]], **__: Any) -> list[Any]:
        return [getattr(markdown, function.rpartition(".")[2])(*item) for item in items]

    rendering_markdown._pool.run_each = MethodType(run_each, rendering_markdown._pool)  # type: ignore[method-assign]


def decoding_with_any_codec() -> None:
    """Pages are decoded where they are fetched, by whatever codec Python has."""

    def run(_: Pool, function: str, body: bytes, charset: str | None, *rest: Any, **__: Any) -> Any:
        return body.decode(charset or "utf-8", errors="replace")[: rest[-1]]

    fetch_page._readers.run = MethodType(run, fetch_page._readers)  # type: ignore[method-assign]


def giving_up_tools_at_a_word() -> None:
    """Whatever error mentions tools means that the server takes none."""
    refusing.REFUSING_TOOLS = re.compile("tool")


def leaving_turns_open() -> None:
    """A turn without an answer is sent as it is."""
    making_valid = history.make_valid

    def make_valid(*args: Any) -> list[Any]:
        return [message for message in making_valid(*args) if message["content"] != history.NO_ANSWER]

    history.make_valid = make_valid


def sending_names_as_they_came() -> None:
    """Names of tools that the model has called are sent back as they are."""
    history._ValidNames.put_in = lambda _, given: dict(given)  # type: ignore[method-assign]


def jumping_over_a_hole() -> None:
    """A feed that opens goes to the log's head, and keeps what it has read before."""
    opening = Feed._open

    async def open_and_jump(self: Feed) -> None:
        before = self.window
        await opening(self)
        before.last, self.window = max(before.last, self.window.last), before

    Feed._open = open_and_jump  # type: ignore[method-assign]
    # And it takes what it is told before it is open.
    Feed.is_open = property(lambda _: True)  # type: ignore[assignment,method-assign]


def without_a_second_try() -> None:
    """Who is behind because something has failed is not seen to again, neither at once nor by the poll of every second."""
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
    """A text in progress is saved whatever has become of its run."""
    step_log._SAVE_DRAFT = step_log._SAVE_DRAFT.replace("AND status IN (%s, %s)", "AND %s <> %s")
    step_log._SHARE_RUN = ""


def leasing_by_ones_own_clock() -> None:
    """What has fallen silent is told by the machine's own clock."""

    def own() -> datetime:
        return timezone.now()

    clock.read_database = own


def without_the_private_mark() -> None:
    """That a session has read private things is not kept for its next run."""
    toolbox.SessionRecord.mark = lambda _: None  # type: ignore[method-assign]


def with_names_that_collide() -> None:
    """Of two tools whose names become one, the last has it."""

    def name_of(_: Any, server: str, tool: str) -> str:
        return re.sub(r"[^A-Za-z0-9_-]", "_", f"{server}-{tool}")[:64]

    mcp_names.ToolNames.name_of = name_of  # type: ignore[method-assign]


def without_the_guard_before_a_proxy() -> None:
    """Where a proxy leads out, it is asked for whatever address a model names."""
    vetted = fetch_page.FetchPageTool._vetted

    def unguarded(self: Any, host: str, port: int, line: Any, *, is_proxied: bool) -> list[str]:
        return [] if is_proxied else vetted(self, host, port, line, is_proxied=False)

    fetch_page.FetchPageTool._vetted = unguarded  # type: ignore[method-assign]


def forgetting_what_an_attempt_has_read() -> None:
    """Words that were read by an attempt whose outcome nobody has heard of are not found again."""
    reading = steering.read_by

    def read_by(run: Any, attempt: UUID) -> list[SteeringWord]:
        is_any = SteeringWord.objects.filter(run=run, state=WordState.PENDING).exists()
        return reading(run, attempt) if is_any else []

    steering.read_by = read_by


def leaving_words_with_their_run() -> None:
    """What a run has not read when it ends, ends with it."""

    def leave(_: UUID) -> None:
        """Queue nothing."""

    run_state._queue_words = leave


def without_a_look_for_words_after_waiting() -> None:
    """A run that goes on is told of what is said from then on alone."""

    async def look(*_: Any) -> None:
        """Find nothing."""

    executor._find_words = look


def copying_with_the_right_of_before() -> None:
    """Who may copy a session is asked before it is copied, and not again before the copy is shown."""

    def lock(session_id: UUID, *_: Any) -> Session:
        return Session.objects.get(pk=session_id)

    branching.lock_session = lock


def counting_decided_calls_as_not_begun() -> None:
    """A run that goes on does not keep that the calls which were decided are begun from then on."""
    spending = waiting.spend

    def spend(run: Run) -> Any:
        resumed = spending(run)
        ids = [call.id for call in resumed.calls]
        WaitingCall.objects.filter(run=run, tool_call_id__in=ids).update(spent_at=None)
        return resumed

    waiting.spend = spend


def beginning_calls_before_they_are_stored() -> None:
    """A tool that changes something outside does not wait until its call is in the log."""
    children.Delegation.wait_stored = lambda *_: None  # type: ignore[method-assign]


def asking_again_what_was_answered_within() -> None:
    """What another agent had answered is not known where its call's result was not kept."""
    taking = children.Delegation._take_unfinished

    def take(self: Any, *asked: str) -> Any:
        found = taking(self, *asked)
        return found and found._replace(answer=None)

    children.Delegation._take_unfinished = take  # type: ignore[method-assign]


def growing_what_is_stored() -> None:
    """A feed forgets which steps are stored: what others still tell of them is shown."""
    Feed._settle = lambda *_: None  # type: ignore[method-assign]


def keeping_pages_for_whoever_comes() -> None:
    """What is made once of a run is shown to whoever reads it, whatever they may do."""
    keeping, getting = conversation._kept.keep, conversation._kept.get
    conversation._kept.keep = lambda key, *rest: keeping(key[:2], *rest)  # type: ignore[method-assign,index]
    conversation._kept.get = lambda key: getting(key[:2])  # type: ignore[method-assign,index]


def making_the_same_copy_again() -> None:
    """A key says nothing of the copy that was made with it."""
    branching.find_made = branching.claim_key = lambda *_: None


def asking_sets_side_by_side() -> None:
    """Whoever looks asks a set, also while another process does."""
    SetRun.objects.select_for_update = lambda **_: SetRun.objects.all()  # type: ignore[method-assign]


def settling_whatever_has_become_of_it() -> None:
    """A verdict counts, whether its case is still asked or not."""

    def settle(result_id: int, run: Run | None, judged: Any, **_: Any) -> bool:
        return bool(CaseResult.objects.filter(pk=result_id).update(verdict=judged.verdict, run=run))

    set_runs._settle = settle


def spending_without_an_end() -> None:
    """Budgets are counted, and nothing comes of it."""
    RunMeter.allow = lambda _: Allowance()  # type: ignore[method-assign]


def pricing_by_the_hour_of_reckoning() -> None:
    """A call is priced by when its cost is reckoned: here half a day after it was asked."""
    cost_of = prices.cost_of

    def reckon(*args: Any, asked_at: datetime, **options: Any) -> Any:
        return cost_of(*args, asked_at=asked_at + timedelta(hours=12), **options)

    prices.cost_of = reckon


def reading_documents_in_the_serving_process() -> None:
    """What somebody sends in is read where it came in, for as long as that takes."""

    def run(_: Pool, function: str, *arguments: Any, **__: Any) -> Any:
        return getattr(trajectories, function.rpartition(".")[2])(*arguments)

    importing._readers.run = MethodType(run, importing._readers)  # type: ignore[method-assign]


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
        telling_calls_apart_by_index_alone,
        telling_before_saving,
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
    )
}
