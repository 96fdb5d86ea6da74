"""Errors that end an agent's run before its answer, each with a code of the protocol and a message for people."""

import asyncio
import logging
import traceback
import uuid

from agents.sentence import Sentence

log = logging.getLogger(__name__)


class AgentError(Exception):
    """The run failed. ``str()`` is a sentence for people: no key, no address with a secret, no traceback."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        """The message; a `Sentence` if it can be translated."""


class ModelError(AgentError):
    """The model or its server failed: ``code`` is one of the wire's ``model_…``."""

    def __init__(self, message: str, code: str = "model_error") -> None:
        super().__init__(code, message)


class UnknownAgent(ValueError):
    """No agent has that name."""


class Stopped(Exception):
    """Unwinds an agent's thread after a stop. Never leaves this package."""


class LimitReached(Exception):
    """Unwinds an agent's thread when the allowed model calls are used up. Never leaves this package."""


def clear_traceback_frames(error: BaseException) -> None:
    """Drop what a handled exception's frames refer to, so that it no longer keeps their objects in memory.

    A run and its model's connection would be held by it, and it by them, until the garbage collector comes, which may be minutes.
    """
    behind: BaseException | None = error
    seen: set[int] = set()  # an exception may be its own context
    while behind is not None and id(behind) not in seen:
        seen.add(id(behind))
        traceback.clear_frames(behind.__traceback__)
        behind = behind.__cause__ or behind.__context__


def error_of(task: "asyncio.Task[None]") -> BaseException | None:
    """The exception that a task has ended with; `Stopped` for a cancelled one."""
    try:
        return task.exception()
    except asyncio.CancelledError as cancelled:
        clear_traceback_frames(cancelled)
        return Stopped()


def internal_error(error: BaseException) -> AgentError:
    """Log an unexpected error, and return the error for people, with an id by which it is found in the log."""
    number = uuid.uuid4().hex[:8]
    log.error("Agent run failed (%s)", number, exc_info=error)
    return AgentError("internal", Sentence("Something went wrong on our side (error %(id)s).", id=number))
