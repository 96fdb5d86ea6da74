"""Messages whose client names the conversation itself: `Thread` maps that name to a session."""

from uuid import UUID

from django.db import IntegrityError, transaction

from chat.accounts.models import User
from chat.models import Origin, Thread
from chat.protocol import as_uuid
from chat.runs.admission import check_agent, check_message
from chat.runs.commands import Accepted, accept_run, ask_atomically
from chat.runs.sessions import unsaved_session
from chat.security import audit


async def ask_in_thread(user: User, thread: str, *, message: str, agent_name: str, client_message_id: str) -> Accepted:
    """`commands.ask` in the session of a client's ``thread``. Raises `Refused`.

    The identifier of a session that the user may see means that session. Any other text, of at most 256 characters, names a session
    of the user's own, which is created with its first message.
    """
    check_message(message)
    return await accept_run(_ask, user, thread, message, agent_name, client_message_id)


@transaction.atomic
def _ask(user: User, thread: str, message: str, agent_name: str, client_message_id: str) -> Accepted:
    key = as_uuid(thread)
    is_session = key is not None and audit.find_session(user, key) is not None
    return ask_atomically(
        user,
        key if key is not None and is_session else _own_session(user, thread, agent_name),
        message=message,
        agent_name=agent_name,
        fallback_agent=None,
        enable_reasoning=True,
        client_message_id=client_message_id,
        origin=Origin.API,
    )


def _own_session(user: User, thread: str, agent_name: str) -> UUID:
    named = Thread.objects.select_related("session").filter(owner=user, name=thread)
    known = named.first()
    if known is not None and known.session.deleted_at is None:
        return known.session_id
    check_agent(agent_name, user.pk)
    # The name of a session that is being deleted is free again.
    named.delete()
    new = unsaved_session(user, agent_name, "", enable_reasoning=True)
    try:
        with transaction.atomic():
            new.save(force_insert=True)
            Thread.objects.create(owner=user, name=thread, session=new)
    except IntegrityError:
        # The same request came twice at once, and the other one was first.
        return named.get().session_id
    return new.pk
