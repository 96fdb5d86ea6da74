"""The use case for clients that keep the conversation themselves, and send all of it with each question.

If a session of the account has the same conversation, it is continued; else a new session begins, and stores the rest as sent along.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import orjson
from django.db import transaction

from agents import PICTURES
from agents.history import ChatMessage
from agents.sentence import Sentence
from chat.accounts.models import User
from chat.models import Origin, Run, SentAlong
from chat.protocol import as_uuid
from chat.runs import commands, uploads
from chat.runs.admission import Refused, check_agent, check_files, check_message
from chat.runs.request_keys import AskedKey, claim_key, settle_key
from chat.runs.sessions import unsaved_session
from chat.runtime import database
from chat.store import files as session_files
from chat.store import history, selectors, sent_along
from chat.store.sent_along import Place, next_digest


@dataclass(frozen=True, slots=True)
class EarlierMessage:
    """An earlier message, in OpenAI's format, and its pictures."""

    data: ChatMessage
    images: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientTurn:
    """The question, and the earlier conversation as the client sent it."""

    agent_name: str
    message: str
    images: tuple[bytes, ...] = ()
    pictures: tuple[str, ...] = ()
    """The pictures' digests."""
    earlier: tuple[EarlierMessage, ...] = ()
    earlier_digest: str = ""
    instructions: str = ""
    session_id: str | None = None
    """The session to continue, if the client names one; it has the earlier messages itself."""
    previous: UUID | None = None
    """The run to continue from, if the client names one."""
    key: AskedKey | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The run that was started by this request, or by the same one before; its events have numbers above ``after``."""

    session_id: UUID
    run_id: UUID
    created: int
    after: int


@dataclass(frozen=True, slots=True)
class _Found:
    """Where a question belongs. Without a ``session_id``: in a new session, after ``history``."""

    session_id: UUID | None
    before: str | None
    """The digest of the whole earlier conversation; None if there is none."""
    history: Sequence[ChatMessage] | None = None


class _Elsewhere(Exception):
    """What was found before the pictures were stored does not exist any more."""


async def ask_for_client(user: User, turn: ClientTurn) -> Asked:
    """Ask in the session where the turn belongs; the same ``key`` again returns the same run. Raises `Refused`."""
    check_message(turn.message)
    kept = await _keep(user, turn.images)
    earlier: list[list[UUID]] | None = None
    while True:
        if earlier is None and any(message.images for message in turn.earlier) and await _is_new(user, turn):
            earlier = [await _keep(user, message.images) for message in turn.earlier]
        try:
            accepted = await commands.accept_run(_ask, user, turn, kept, earlier)
        except _Elsewhere:
            continue
        if accepted.claim is not None:
            run, after = accepted.claim.run, accepted.claim.events[0].seq - 1
        else:
            run, after = await database.read(_begins_after, accepted.run_id)
        return Asked(accepted.session_id, accepted.run_id, int(run.created_at.timestamp()), after)


def _begins_after(run_id: UUID) -> tuple[Run, int]:
    run = Run.objects.select_related("session").get(pk=run_id)
    return run, selectors.begins_after(run)


async def _keep(user: User, images: Sequence[bytes]) -> list[UUID]:
    check_files([str(uuid4()) for _ in images])
    kept = []
    for number, image in enumerate(images, 1):
        if not image:
            raise Refused("unsupported_media", Sentence("“%(name)s” is empty.", name=f"image-{number}"))
        file = await uploads.store_file(user, io.BytesIO(image), len(image), name=f"image-{number}")
        if file.media_type not in PICTURES:
            raise Refused("unsupported_media", Sentence("“%(name)s” is no picture.", name=f"image-{number}"))
        kept.append(file.pk)
    return kept


async def _is_new(user: User, turn: ClientTurn) -> bool:
    return (await database.read(_find, user, turn)).session_id is None


@transaction.atomic
def _ask(user: User, turn: ClientTurn, file_ids: list[UUID], earlier: list[list[UUID]] | None) -> commands.Accepted:
    if (made := claim_key(user.pk, turn.key)) is not None and made.run_id is not None:
        known = Run.objects.get(id=made.run_id)
        place = selectors.queue_position(known)
        return commands.Accepted(known.session_id, known.pk, known.client_message_id, place, is_new=False)
    check_agent(turn.agent_name, user.pk)
    found = _find(user, turn)
    along = SentAlong(owner=user, agent_name=turn.agent_name, instructions=turn.instructions)
    session_id = found.session_id
    if session_id is None:
        new = unsaved_session(user, turn.agent_name, "", True)
        new.save(force_insert=True)
        session_id = new.pk
    if found.history is not None:
        along.messages = _messages(user, session_id, found.history, turn, earlier)
    if found.before is not None:
        along.asked = next_digest(found.before, "user", turn.message, turn.pictures)
    accepted = commands.ask_atomically(
        user,
        session_id,
        message=turn.message,
        agent_name=turn.agent_name,
        fallback_agent=None,
        enable_reasoning=True,
        client_message_id=uuid4().hex,
        origin=Origin.OPENAI,
        file_ids=file_ids,
        along=along,
    )
    settle_key(user.pk, turn.key, accepted.session_id, accepted.run_id)
    return accepted


def _find(user: User, turn: ClientTurn) -> _Found:
    messages = [message.data for message in turn.earlier]
    if turn.previous is not None:
        return _from_run(user, turn.previous)
    if turn.session_id is not None:
        session_id = as_uuid(turn.session_id)
        if session_id is None:
            raise Refused("not_found", Sentence("There is no such session."))
        latest = sent_along.latest_in(session_id)
        if latest is None:
            return _Found(session_id, None, messages)
        is_same = latest != "" and latest == turn.earlier_digest
        return _Found(session_id, turn.earlier_digest if is_same else None)
    if messages and (known := sent_along.find_conversation(user.pk, turn.agent_name, turn.earlier_digest)):
        return _Found(known, turn.earlier_digest)
    return _Found(None, turn.earlier_digest, messages)


def _from_run(user: User, run_id: UUID) -> _Found:
    """Where to continue from a run: in its session, or in a new one if that was already continued."""
    place: Place | None = sent_along.find_run(user.pk, run_id)
    if place is None:
        raise no_such_response()
    before = place.answered or None
    if place.is_latest:
        return _Found(place.session_id, before)
    return _Found(None, before, history.conversation_history(place.session_id, place.run.number + 1))


def no_such_response() -> Refused:
    """The refusal for a run that does not exist, or is not the user's."""
    return Refused("not_found", Sentence("There is no such response."))


def _messages(
    user: User,
    session_id: UUID,
    turns: Sequence[ChatMessage],
    turn: ClientTurn,
    earlier: list[list[UUID]] | None,
) -> str:
    """What is sent along, as JSON, with the pictures as files of the session."""
    if not turns:
        return ""
    if turn.previous is not None or not any(message.images for message in turn.earlier):
        return orjson.dumps(turns).decode()
    if earlier is None:
        raise _Elsewhere
    messages = []
    for message, file_ids in zip(turns, earlier, strict=True):
        files = orjson.loads(session_files.attach(session_id, user.pk, file_ids)) if file_ids else []
        messages.append({**message, "files": files} if files else message)
    return orjson.dumps(messages).decode()
