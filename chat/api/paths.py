"""Looks up the objects in paths of the API, for users who may see them."""

from uuid import UUID

from django.http import HttpRequest

from agents.sentence import Sentence
from chat.api.bodies import user_of
from chat.models import Door, Run, Session
from chat.protocol import as_uuid
from chat.runs.admission import Refused
from chat.runtime import database
from chat.security import audit


async def visible_session(request: HttpRequest, session_id: str) -> Session:
    """The session in a path, if the user may see it. `runs` checks whether more is allowed."""
    key = as_uuid(session_id)
    found = await audit.open_session_async(user_of(request), key, Door.API) if key else None
    if found is None:
        raise Refused("not_found", Sentence("There is no such session."))
    return found[0]


def find_run(run_id: UUID) -> Run | None:
    """A run with what its answers show, whoever may see it."""
    return Run.objects.select_related("session", "cancelled_by", "agent_version").filter(pk=run_id).first()


async def visible_run(request: HttpRequest, run_id: str) -> Run:
    """The run in a path, if the user may see it."""
    key = as_uuid(run_id)
    run = await database.read(find_run, key) if key else None
    if run is None or await audit.open_session_async(user_of(request), run.session_id, Door.API) is None:
        raise Refused("not_found", Sentence("There is no such run."))
    return run
