"""The use case of steering words: send one to a running run, and withdraw it. Sockets and API call these.

A word is a row until the run's next model call reads it, in the transaction that stores its step. If the run ends before, the same
transaction puts it into the queue: see `state.finish`.
"""

import asyncio
from typing import NamedTuple
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.models import IS_LIVE, Act, Door, Origin, Run
from chat.runs import commands, publisher
from chat.runs import registry as run_registry
from chat.runs import state as run_state
from chat.runs.admission import Refused, check_access, check_message
from chat.runs.commands import Accepted
from chat.runtime import background, database
from chat.security import audit
from chat.store import steering

#: How many words may wait for one model call, and how many messages of the greatest length they may be in total.
MOST_PENDING = 100
_MOST_LENGTHS = 4


class _Steered(NamedTuple):
    """A word that was accepted; or the message that it has become, if no run is running."""

    accepted: Accepted
    number: int = 0
    reason: str = ""


async def steer(
    user: User,
    session_id: UUID,
    *,
    message: str,
    client_message_id: str | None = None,
    interrupt: bool = False,
    fallback_agent: str | None = None,
    origin: Origin = Origin.CHAT,
    door: Door = Door.API,
) -> Accepted:
    """Send a word to the session's running run, see `commands.Accepted.is_word`; if none is running, ask it. Raises `Refused`.

    The run's next model call reads it. ``interrupt``: what the run is writing or doing ends at once.
    """
    check_message(message)

    def write() -> _Steered:
        own_id = client_message_id or uuid4().hex
        return steer_atomically(user, session_id, message, own_id, interrupt, fallback_agent, origin, door)

    return (await run_registry.write_and_start(_notify, write)).accepted


@transaction.atomic
def steer_atomically(
    user: User,
    session_id: UUID,
    message: str,
    own_id: str,
    interrupt: bool,
    fallback_agent: str | None,
    origin: Origin,
    door: Door,
) -> _Steered:
    """The transaction of `steer`."""
    admission = check_access(session_id, user, own_id)
    if admission.is_word and (known := steering.find(session_id, user.pk, own_id)) is not None:
        if (known.message, known.interrupt) != (message, interrupt):
            raise commands.used_before()
        return _Steered(Accepted(session_id, known.run_id, own_id, 0, is_new=False, is_word=True))
    run = Run.objects.select_related("agent_version").filter(IS_LIVE, session_id=session_id).first()
    if admission.is_known or run is None or not _reads_words(run):
        asked = commands.ask_atomically(
            user,
            session_id,
            message=message,
            agent_name=None,
            fallback_agent=fallback_agent,
            enable_reasoning=True,
            client_message_id=own_id,
            origin=origin,
        )
        return _Steered(asked)
    _check_pending(run, message)
    number = steering.add(run, user.pk, own_id, message, interrupt=interrupt)
    if run.user_id != user.pk:
        audit.record_action(user.pk, Act.STEER, door, session_id=session_id, run_id=run.pk, subject_id=run.user_id)
    reason = run_state.interrupted_by(user.get_username()) if interrupt else ""
    return _Steered(Accepted(session_id, run.pk, own_id, 0, is_new=True, is_word=True), number, reason)


def _reads_words(run: Run) -> bool:
    """Whether a run reads steering words. An extension's agent decides itself what it sends to its model."""
    return run.agent_version is None or not run.agent_version.agent_class


def _check_pending(run: Run, message: str) -> None:
    waiting = steering.lengths_pending(run.pk)
    longest = _MOST_LENGTHS * settings.MAX_MESSAGE_CHARS
    if len(waiting) >= MOST_PENDING or 0 < longest < sum(waiting) + len(message):
        raise Refused(
            "queue_full",
            Sentence("Too many messages wait for the model already. Please wait until it has read them."),
        )


def _notify(steered: _Steered) -> "asyncio.Task[None] | None":
    """The word is committed: notify the run and the session's clients."""
    if not steered.accepted.is_word:
        return commands.start_accepted(steered.accepted)
    if steered.accepted.is_new:
        return background.spawn(_publish(steered), f"steer {steered.accepted.run_id}")
    return None


async def _publish(steered: _Steered) -> None:
    await run_registry.steer_run(steered.accepted.run_id, steered.number, steered.reason)
    await publisher.publish_queue(steered.accepted.session_id)


async def unsteer(user: User, session_id: UUID, client_message_id: str, door: Door = Door.API) -> UUID:
    """Withdraw a word that no model call has read. Returns the run that it was for. Raises `Refused`."""
    run_id = await database.write(withdraw_atomically, user, session_id, client_message_id, door)
    await publisher.publish_queue(session_id)
    return run_id


@transaction.atomic
def withdraw_atomically(user: User, session_id: UUID, client_message_id: str, door: Door) -> UUID:
    """The transaction of `unsteer`."""
    check_access(session_id, user, client_message_id)
    word = steering.take_back(session_id, user.pk, client_message_id)
    if word is None:
        raise Refused("nothing_to_cancel", Sentence("It was read already, or never said: it cannot be taken back."))
    if word.user_id != user.pk:
        audit.record_action(user.pk, Act.STOP, door, session_id=session_id, run_id=word.run_id, subject_id=word.user_id)
    return word.run_id
