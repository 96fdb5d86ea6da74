"""What a run gives its tools: search in the user's history, the record of private data that the session has read, and settings."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import orjson
from django.conf import settings
from django.db import Error as DatabaseError

import agents
from agents.tools.tool import HistoryHit
from chat.access import is_shared
from chat.models import IS_ROOT, Run, Session, Step
from chat.runs.tool_files import FilesOfSession
from chat.runtime.database import ask_patiently
from chat.store import search

P = ParamSpec("P")
T = TypeVar("T")

#: How many of the latest messages and pages are searched for addresses.
_MESSAGES = 1_000
_PAGES = 200


def toolbox_for(
    run: Run, extra: Sequence[agents.Tool] = (), mcp_servers: Mapping[str, Any] | None = None
) -> agents.Toolbox:
    """The toolbox of the run's agent, with ``extra`` tools of this run. ``mcp_servers``: None for those of the environment."""
    return agents.Toolbox(
        search_history=_history_of(run),
        mcp_servers=settings.MCP_SERVERS if mcp_servers is None else mcp_servers,
        privacy=SessionRecord(run.session_id),
        hosts=settings.FETCH_HOSTS,
        extra=extra,
        is_asked_by_person=run.parent_id is None,
        files=FilesOfSession(run),
    )


def _in_a_tools_thread(method: Callable[P, T]) -> Callable[P, T]:
    """Wait for a database that does not answer for a moment; if it stays so, the model gets that as the call's error."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return ask_patiently(method, *args, **kwargs)
        except DatabaseError as error:
            message = (
                "This was not done, because it could not be looked up now whether the session has read private things."
            )
            raise agents.ToolError(message) from error

    return call


def _history_of(run: Run) -> Callable[[str, int], list[HistoryHit]] | None:
    """The search in the user's own sessions. It refuses if others can see this session: they would see those sessions' texts through it."""
    user, session_id = run.user, run.session_id
    if user is None:
        return None
    # The session's own past is already in the agent's history.
    look = search.bound_to(user, apart_from=session_id)

    def look_alone(query: str, limit: int) -> list[HistoryHit]:
        if _is_seen_by_others(session_id, user.pk):
            message = "Others can see this session, so earlier conversations, which are one person's alone, are not searched here."
            raise agents.ToolError(message)
        return look(query, limit)

    return look_alone


@_in_a_tools_thread
def _is_seen_by_others(session_id: UUID, user_id: int) -> bool:
    return is_shared(session_id) or not Session.objects.filter(pk=session_id, owner=user_id).exists()


class SessionRecord:
    """A session's mark that it has read private data, and the addresses that may be requested all the same. Stored in the database."""

    def __init__(self, session_id: UUID) -> None:
        self._session_id = session_id

    @_in_a_tools_thread
    def is_marked(self) -> bool:
        """Whether this or an earlier run has read private data."""
        return Session.objects.filter(pk=self._session_id, has_read_private=True).exists()

    @_in_a_tools_thread
    def mark(self) -> None:
        """Store that the session has read private data, also for later runs."""
        Session.objects.filter(pk=self._session_id, has_read_private=False).update(has_read_private=True)

    @_in_a_tools_thread
    def person_texts(self) -> Iterable[str]:
        """The messages that people wrote in this session, newest first; those of runs within runs were written by agents."""
        runs = Run.objects.filter(IS_ROOT, session_id=self._session_id).order_by("-number")
        return list(runs.values_list("message", flat=True)[:_MESSAGES])

    @_in_a_tools_thread
    def page_texts(self) -> Iterable[str]:
        """The pages that were read in this session, newest first."""
        read = Step.objects.filter(
            session_id=self._session_id, type="tool_result", tool_name=agents.PAGE_READER, ok=True
        ).order_by("-id")
        rows: list[tuple[str, str | None]] = list(read.values_list("body", "full_content__content")[:_PAGES])
        return [orjson.loads(body)["content"] if whole is None else whole for body, whole in rows]
