"""Messages that API clients send along: given to the model with their run, and recognised only if everything is the same."""

import json

import pytest

from chat.accounts.models import User
from chat.models import Origin, Run, RunStatus, SentAlong, Session
from chat.runs import executor
from chat.runs import state as run_state
from chat.runs.state import End
from chat.store import sent_along
from chat.store.sent_along import next_digest
from tests.chat import making

pytestmark = pytest.mark.django_db
ASKED = next_digest("", "user", "Why?")
ANSWERED = next_digest(ASKED, "assistant", "So.")
EARLIER = [{"role": "user", "content": "Before?"}, {"role": "assistant", "content": "Before."}]


@pytest.fixture
def ada() -> User:
    return making.user("ada")


def asked(owner: User, session: Session | None = None, **along: str) -> Run:
    """A run at work that an API client has requested."""
    session = session or making.session(owner)
    run = making.run(session, origin=Origin.OPENAI)
    sent_along.add(SentAlong(owner=owner, agent_name=session.agent_name, asked=ASKED, **along), run)
    return run


def answered(owner: User) -> Run:
    run = asked(owner)
    making.append(run, making.step("final_answer", "So.", step=1))
    making.end(run)
    sent_along.record_answer(run.pk, " So.\n")
    return run


def test_a_conversation_is_found_while_nothing_else_came(ada: User) -> None:
    run = answered(ada)
    assert sent_along.find_conversation(ada.pk, "researcher", ANSWERED) == run.session_id
    assert sent_along.latest_in(run.session_id) == ANSWERED
    other = making.user("bo")
    assert sent_along.find_conversation(other.pk, "researcher", ANSWERED) is None
    assert sent_along.find_conversation(ada.pk, "writer", ANSWERED) is None
    # What was removed from the queue has changed nothing; what has begun, has.
    waiting = making.run(run.session, owned_by="")
    run_state.finish(waiting.pk, run.session_id, End(RunStatus.CANCELLED))
    assert sent_along.find_conversation(ada.pk, "researcher", ANSWERED) is not None
    making.run(run.session)
    assert sent_along.find_conversation(ada.pk, "researcher", ANSWERED) is None
    assert sent_along.latest_in(run.session_id) == ""
    later = sent_along.find_run(ada.pk, run.pk)
    assert later is not None
    assert not later.is_latest


def test_a_session_is_known_by_its_latest_run_alone(ada: User) -> None:
    session = making.session(ada)
    assert sent_along.latest_in(session.pk) is None
    run = asked(ada, session)
    assert sent_along.latest_in(session.pk) == ""
    sent_along.record_answer(run.pk, "So.")
    assert sent_along.latest_in(session.pk) == ANSWERED
    kept = SentAlong.objects.get(run=run)
    assert (kept.owner, kept.agent_name, kept.asked, kept.request_key) == (ada, session.agent_name, ASKED, None)


def test_the_newer_of_two_equal_conversations_is_continued(ada: User) -> None:
    older, newer = answered(ada), answered(ada)
    assert newer.session_id != older.session_id
    assert sent_along.find_conversation(ada.pk, "researcher", ANSWERED) == newer.session_id
    Session.objects.filter(pk=newer.session_id).update(deleted_at=newer.created_at)
    assert sent_along.find_conversation(ada.pk, "researcher", ANSWERED) == older.session_id


def test_messages_sent_along_come_before_the_message_in_later_turns_too(ada: User) -> None:
    run = asked(ada, messages=json.dumps(EARLIER), instructions="Be brief.")
    assert executor.load_history(run) == EARLIER
    assert sent_along.instructions_of(run) == "Be brief."
    making.append(run, making.step("final_answer", "So.", step=1))
    making.end(run)
    later = making.run(run.session, message="And?")
    messages = [(message["role"], message["content"]) for message in executor.load_history(later)]
    assert messages == [("user", "Before?"), ("assistant", "Before."), ("user", "Why?"), ("assistant", "So.")]
    assert sent_along.instructions_of(later) == ""


def test_a_run_that_goes_on_has_the_instructions_of_the_first(ada: User) -> None:
    run = asked(ada, instructions="Be brief.")
    making.end(run, RunStatus.CANCELLED)
    onward = making.run(run.session, continues=run, origin=Origin.CONTINUE)
    assert sent_along.instructions_of(onward) == "Be brief."
