"""Messages to runs at work: read once or queued once, whatever happens meanwhile; each row of the table is an order of events."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError

from agents import ModelSettings, read_policy
from chat.access import Role
from chat.models import Act, AuditEntry, Door, Run, RunStatus, SteeringWord, Step, WaitingCall
from chat.runs import commands, deciding, recorder, sharing, steering
from chat.runs import registry as run_registry
from chat.runs.admission import Refused
from chat.runs.deciding import Approval
from chat.runtime import database
from chat.store import selectors
from chat.store import steering as words
from tests.chat import making
from tests.faults.here import ENDS_WITHIN_S, Here, here
from tests.model_server import Call, ModelServer, Script

__all__ = ["here"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]

STORY = "Once upon a time there was a king. " * 30


@pytest.fixture
def model_side(transactional_db: None, settings: Any) -> Iterator[ModelServer]:
    with ModelServer() as server:
        settings.AGENT_MODEL = ModelSettings(server.url, "stub", timeout_s=20.0)
        yield server


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(ENDS_WITHIN_S):
        while not await database.read(condition):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)


async def begun(here: Here, server: ModelServer, *scripts: Script) -> UUID:
    """A run whose model was called once, and has not answered."""
    server.enqueue(*scripts)
    accepted = await commands.ask(here.user, here.session.pk, message="Tell me.", agent_name="writer")
    await server.until(lambda: bool(server.requests))
    return accepted.run_id


async def steer(here: Here, message: str, **fields: Any) -> commands.Accepted:
    return await steering.steer(here.user, here.session.pk, message=message, client_message_id=message, **fields)


def read_words(here: Here) -> list[str]:
    steps = Step.objects.filter(session=here.session, type="steer").order_by("pk")
    return [selectors.step_data(step)["content"] for step in steps]


def asked(here: Here) -> list[str]:
    return list(Run.objects.filter(session=here.session).order_by("number").values_list("message", flat=True))


async def test_an_interrupting_message_cuts_the_answer_and_is_sent_to_the_model(
    here: Here, model_side: ModelServer
) -> None:
    run_id = await begun(here, model_side, Script(STORY, every_s=0.02), Script("As you like."))
    accepted = await steer(here, "Be brief.", interrupt=True)
    assert (accepted.run_id, accepted.is_word, accepted.queued) == (run_id, True, 0)
    assert await here.all_ended()
    assert await database.read(read_words, here) == ["Be brief."]
    assert await database.read(asked, here) == ["Tell me."]
    assert model_side.requests[1].body["messages"][-1] == {"role": "user", "content": "Be brief."}
    again = await steer(here, "Be brief.", interrupt=True)
    assert (again.run_id, again.is_word, again.is_new) == (run_id, True, False)
    for other in ({"interrupt": False}, {"message": "Be long."}):
        with pytest.raises(Refused, match="another message"):
            await steering.steer(
                here.user,
                here.session.pk,
                **{"message": "Be brief.", "interrupt": True, "client_message_id": "Be brief.", **other},
            )
    with pytest.raises(Refused, match="another message"):
        await commands.ask(here.user, here.session.pk, message="Be brief.", client_message_id="Be brief.")


async def test_a_message_is_asked_next_past_limits_where_the_run_ends_first(
    here: Here, model_side: ModelServer, settings: Any
) -> None:
    settings.MAX_QUEUED_RUNS = 1
    await begun(here, model_side, Script("Done.", every_s=0.05), Script("Again."), Script("And again."))
    for word in ("One.", "Two."):
        await steer(here, word)
    assert await here.all_ended()
    assert await database.read(read_words, here) == []
    assert await database.read(asked, here) == ["Tell me.", "One.", "Two."]
    # The same message again has the same answer, and nothing more is queued.
    assert (await steer(here, "One.")).is_word
    assert len(await database.read(asked, here)) == 3


async def test_a_message_where_nothing_is_at_work_makes_a_run(here: Here, model_side: ModelServer) -> None:
    model_side.enqueue(Script("Yes."))
    accepted = await steer(here, "Hello.")
    assert not accepted.is_word
    assert await here.all_ended()
    assert (await steer(here, "Hello.")).run_id == accepted.run_id
    assert await database.read(asked, here) == ["Hello."]


async def test_a_message_can_be_taken_back_until_it_was_read(here: Here, model_side: ModelServer) -> None:
    await begun(here, model_side, Script(STORY, every_s=0.02), Script("Yes."))
    await steer(here, "Be brief.")
    (word,) = (await database.read(selectors.pending_messages, here.session.pk))[1]
    assert word == {"client_message_id": "Be brief.", "user": here.user.get_username(), "message": "Be brief."}
    await steering.unsteer(here.user, here.session.pk, "Be brief.")
    await steer(here, "Be kind.", interrupt=True)
    assert await here.all_ended()
    assert await database.read(read_words, here) == ["Be kind."]
    for gone in ("Be brief.", "Be kind.", "Never said."):
        with pytest.raises(Refused) as refused:
            await steering.unsteer(here.user, here.session.pk, gone)
        assert refused.value.code == "nothing_to_cancel"


async def test_stopping_all_takes_messages_back_too(here: Here, model_side: ModelServer) -> None:
    await begun(here, model_side, Script(STORY, every_s=0.02))
    await steer(here, "Be brief.")
    await commands.cancel(here.user, here.session.pk, everything=True)
    assert await here.all_ended()
    assert await database.read(asked, here) == ["Tell me."]


async def test_two_at_once_and_a_thousand_are_each_taken_once_or_refused(here: Here, model_side: ModelServer) -> None:
    await begun(here, model_side, Script(STORY * 10, every_s=0.02), Script("Yes."))
    results = await asyncio.gather(*(steer(here, f"Word {n}.") for n in range(150)), return_exceptions=True)
    accepted = [result for result in results if not isinstance(result, BaseException)]
    refusals = {result.code for result in results if isinstance(result, Refused)}
    assert (len(accepted), refusals) == (steering.MOST_PENDING, {"queue_full"})
    with pytest.raises(Refused, match="wait for the model"):
        await steer(here, "Now.", interrupt=True)
    await run_registry.steer_run(accepted[0].run_id, await database.read(newest), "Interrupted by a test.")
    assert await here.all_ended()
    assert sorted(await database.read(read_words, here)) == sorted(result.client_message_id for result in accepted)
    assert await database.read(asked, here) == ["Tell me."]


def newest() -> int:
    return int(SteeringWord.objects.order_by("-pk").values_list("pk", flat=True)[0])


async def test_the_longest_is_taken(here: Here, model_side: ModelServer, settings: Any) -> None:
    await begun(here, model_side, Script(STORY, every_s=0.02), Script("Yes."))
    longest = "x" * settings.MAX_MESSAGE_CHARS
    await steering.steer(here.user, here.session.pk, message=longest, interrupt=True)
    assert await here.all_ended()
    assert await database.read(read_words, here) == [longest]
    with pytest.raises(Refused) as refused:
        await steering.steer(here.user, here.session.pk, message=f"{longest}x")
    assert refused.value.code == "too_large"


async def test_a_commit_that_nobody_heard_of_is_not_made_twice(
    here: Here, model_side: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begun(here, model_side, Script(STORY, every_s=0.02), Script("Yes."))
    original = recorder._append_words
    tries: list[int] = []

    def forgetful(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        tries.append(1)
        if len(tries) == 1:
            raise DatabaseError("The connection was lost.")
        return result

    monkeypatch.setattr(recorder, "_append_words", forgetful)
    await steer(here, "Be brief.", interrupt=True)
    assert await here.all_ended()
    assert len(tries) == 2
    assert await database.read(read_words, here) == ["Be brief."]
    last = model_side.requests[1].body["messages"][-1]["content"]
    assert last == "Be brief.", "the model was not told what the log says that it has read"
    seqs = await database.read(
        lambda: list(Step.objects.filter(session=here.session).order_by("seq").values_list("seq", flat=True))
    )
    assert seqs == list(range(1, len(seqs) + 1))


async def test_steering_another_users_run_is_in_the_audit(here: Here, model_side: ModelServer) -> None:
    driver = await database.write(making.user, "driver")
    await database.write(
        sharing.make_share, here.user, here.session.pk, sharing.ShareTarget(user="driver"), Role.DRIVER, None, Door.API
    )
    run_id = await begun(here, model_side, Script(STORY, every_s=0.02), Script("Yes."))
    await steering.steer(driver, here.session.pk, message="Be brief.", interrupt=True)
    assert await here.all_ended()
    notes = await database.read(
        lambda: list(AuditEntry.objects.filter(action=Act.STEER).values_list("actor_id", "run_id", "subject_id"))
    )
    assert notes == [(driver.pk, run_id, here.user.pk)]


async def test_a_later_run_is_told_what_was_said(here: Here, model_side: ModelServer) -> None:
    await begun(here, model_side, Script(STORY, every_s=0.02), Script("As you like."), Script("You said so."))
    await steer(here, "Be brief.", interrupt=True)
    assert await here.all_ended()
    await commands.ask(here.user, here.session.pk, message="What did I say?", agent_name="writer")
    assert await here.all_ended()
    user_texts = [
        message["content"] for message in model_side.requests[-1].body["messages"] if message["role"] == "user"
    ]
    assert user_texts == ["Tell me.", "Be brief.", "What did I say?"]


# While the run waits for a decision: messages stay pending until the run is resumed, or ends.


async def allow(here: Here, run_id: UUID) -> None:
    await deciding.approve(here.user, here.session.pk, run_id, Approval("call_1", "allow"), Door.API)


async def deny(here: Here, run_id: UUID) -> None:
    await deciding.approve(here.user, here.session.pk, run_id, Approval("call_1", "deny", reason="No."), Door.API)


async def stop(here: Here, run_id: UUID) -> None:
    await commands.cancel(here.user, here.session.pk, run_id)


async def stop_all(here: Here, _: UUID) -> None:
    await commands.cancel(here.user, here.session.pk, everything=True)


async def take_back(here: Here, run_id: UUID) -> None:
    await steering.unsteer(here.user, here.session.pk, "Be brief.")
    await allow(here, run_id)


#: What ends the waiting, and where the message is then: read by the run, queued after it, or neither.
AFTER_WAITING: dict[str, tuple[Callable[[Here, UUID], Any], list[str], list[str]]] = {
    "allowed": (allow, ["Be brief."], []),
    "denied": (deny, ["Be brief."], []),
    "stopped": (stop, [], ["Be brief."]),
    "all stopped": (stop_all, [], []),
    "taken back, and allowed": (take_back, [], []),
}


@pytest.mark.parametrize("interrupt", [False, True], ids=["next", "now"])
@pytest.mark.parametrize("end", AFTER_WAITING)
async def test_a_message_to_a_run_that_waits_stays_pending(
    here: Here, model_side: ModelServer, settings: Any, end: str, interrupt: bool
) -> None:
    settings.APPROVAL_POLICY = read_policy([{"tool": "python", "decision": "ask"}])
    act, read, queued = AFTER_WAITING[end]
    model_side.enqueue(Script(calls=[Call("python", {"code": "6*7"})]), Script("Done."))
    run_id = (await commands.ask(here.user, here.session.pk, message="Go.", agent_name="developer")).run_id
    await until(lambda: Run.objects.filter(pk=run_id, status=RunStatus.WAITING).exists())
    await until(lambda: not run_registry.running_ids())
    accepted = await steer(here, "Be brief.", interrupt=interrupt)
    assert (accepted.run_id, accepted.is_word) == (run_id, True)
    view = await database.read(selectors.session_view, here.session.pk)
    assert view is not None
    assert [word["message"] for word in view.steering] == ["Be brief."]
    # The message decides nothing, and no run is at work.
    assert await database.read(WaitingCall.objects.filter(run=run_id).count) == 1
    assert (await database.read(Run.objects.get, pk=run_id)).status == RunStatus.WAITING
    await act(here, run_id)
    assert await here.all_ended()
    assert await database.read(read_words, here) == read, "what was said while it waited was not read"
    assert await database.read(asked, here) == ["Go.", *queued]
    if read:
        roles = [message["role"] for message in model_side.requests[1].body["messages"]]
        assert roles[-3:] == ["tool", "assistant", "user"], "a word stands behind the call's result"


async def test_a_message_that_came_too_late_is_marked_in_the_queue(here: Here, model_side: ModelServer) -> None:
    """The page marks a queued message as one that was sent to a run which has ended meanwhile: also after a reload."""
    run_id = await begun(here, model_side, Script(STORY, every_s=0.02), Script(STORY, every_s=0.02), Script("Two."))
    await commands.ask(here.user, here.session.pk, message="Asked.", client_message_id="Asked.")
    for word in ("One.", "Two."):
        await steer(here, word)
    await commands.cancel(here.user, here.session.pk, run_id)
    await until(lambda: Run.objects.filter(message="Asked.", status=RunStatus.RUNNING).exists())
    queue = await database.read(selectors.queue, here.session.pk)
    assert await database.read(words.queued_among, here.session.pk, queue) == ["One.", "Two."]
    assert await database.read(words.queued_among, here.session.pk, []) == []
    await commands.cancel(here.user, here.session.pk, everything=True)
    assert await here.all_ended()
