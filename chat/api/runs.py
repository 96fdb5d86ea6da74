"""Runs: started, read, stopped, continued."""

from typing import Annotated
from uuid import UUID

from django.http import HttpRequest
from ninja import Router, Status
from pydantic import BaseModel, Field, StrictBool

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from chat import protocol
from chat.api.auth import ASK, READ
from chat.api.bodies import read_body, takes_body, user_of
from chat.api.paths import visible_run, visible_session
from chat.models import Door, Origin, Run
from chat.protocol import ClientMessageId
from chat.protocol.frame_data import AcceptedData, Parent, Usage
from chat.runs import commands as run_commands
from chat.runs import events as run_events
from chat.runs import state as run_state
from chat.runs import steering
from chat.runtime import database
from chat.store import selectors

router = Router()


class Stop(BaseModel):
    """Stop one run, or with ``all`` also those in the session's queue."""

    all: StrictBool = False


class ContinueIn(BaseModel):
    """Continue after a run."""

    client_message_id: ClientMessageId | None = None


class RunOut(TypedDict):
    """A run."""

    id: UUID
    session_id: UUID
    status: str
    queued: Annotated[int, Field(description="Place in the queue; 0 once it runs.")]
    agent_name: str
    agent_version: Annotated[int | None, Field(description="The agent's version that it uses; null before it begins.")]
    model: str
    provider: Annotated[str, Field(description="The name of the model's server.")]
    enable_reasoning: bool
    message: str
    client_message_id: str
    origin: str
    continues: UUID | None
    parent: Annotated[
        Parent | None, Field(description="For a run within a run: which call of which run has started it.")
    ]
    created_at: float
    started_at: float | None
    ended_at: float | None
    duration_ms: Annotated[int | None, Field(description="Without the time for which it waited for people.")]
    waited_ms: Annotated[int, Field(description="How long it has waited for people; until now, if it is waiting.")]
    iterations: Annotated[int, Field(description="Model calls so far.")]
    usage: Usage
    code: str | None
    cancelled_by: str | None


class StoppedOut(TypedDict):
    """The run that is being stopped, or that the command was about."""

    run_id: UUID


def _run_out(run: Run) -> RunOut:
    lasted = run.ended_at - run.started_at if run.ended_at and run.started_at else None
    waited_ms = run_state.waited_ms(run)
    return {
        "id": run.pk,
        "session_id": run.session_id,
        "status": run.status,
        "queued": selectors.queue_position(run),
        "agent_name": run.agent_name,
        "agent_version": run.agent_version.number if run.agent_version is not None else None,
        "model": run.model,
        "provider": run.provider,
        "enable_reasoning": run.enable_reasoning,
        "message": run.message,
        "client_message_id": run.client_message_id,
        "origin": run.origin,
        "continues": run.continues_id,
        "parent": None if run.parent_id is None else selectors.parent_of(run),
        "created_at": run.created_at.timestamp(),
        "started_at": run.started_at.timestamp() if run.started_at else None,
        "ended_at": run.ended_at.timestamp() if run.ended_at else None,
        "duration_ms": None if lasted is None else max(0, round(lasted.total_seconds() * 1000) - waited_ms),
        "waited_ms": waited_ms,
        "iterations": _iterations(run),
        "usage": run_events.usage_of(run),
        "code": run.code or None,
        "cancelled_by": run.cancelled_by.get_username() if run.cancelled_by else None,
    }


def _iterations(run: Run) -> int:
    """How many model calls it has begun. For a running run that is read from its last step, because its row is only updated at its end."""
    if run.ended_at is not None or run.started_at is None:
        return run.iterations
    return max(run.iterations, run.steps.order_by("-position").values_list("iteration", flat=True).first() or 0)


def _accepted(accepted: run_commands.Accepted) -> Status[AcceptedData]:
    data: AcceptedData = {
        "run_id": str(accepted.run_id),
        "queued": accepted.queued,
        "client_message_id": accepted.client_message_id,
    }
    if accepted.is_word:
        data["steer"] = True
    return Status(202, data)


@router.post(
    "sessions/{session_id}/messages/", auth=ASK, response={202: AcceptedData}, openapi_extra=takes_body(protocol.Chat)
)
async def send_message(request: HttpRequest, session_id: str) -> Status[AcceptedData]:
    """Ask: start a run, or queue it. The same `client_message_id` again gets the same answer, and has no further effect."""
    session = await visible_session(request, session_id)
    chat = read_body(request, protocol.Chat)
    accepted = await run_commands.ask(
        user_of(request),
        session.pk,
        message=chat.message,
        agent_name=chat.agent_name,
        enable_reasoning=chat.enable_reasoning,
        client_message_id=chat.client_message_id,
        origin=Origin.API,
        files=chat.files,
    )
    return _accepted(accepted)


@router.post(
    "sessions/{session_id}/steer/", auth=ASK, response={202: AcceptedData}, openapi_extra=takes_body(protocol.Steer)
)
async def steer_run(request: HttpRequest, session_id: str) -> Status[AcceptedData]:
    """Send a steering word to the running run: its next model call reads it, with `interrupt` at once. If none is running, ask it.

    The same `client_message_id` again gets the same answer. If the run ends before, the word is queued under that identifier.
    Agents of extensions read no steering words: these are queued.
    """
    session = await visible_session(request, session_id)
    word = read_body(request, protocol.Steer)
    accepted = await steering.steer(
        user_of(request),
        session.pk,
        message=word.message,
        client_message_id=word.client_message_id,
        interrupt=word.interrupt,
        origin=Origin.API,
        door=Door.API,
    )
    return _accepted(accepted)


@router.post(
    "sessions/{session_id}/unsteer/", auth=ASK, response={202: StoppedOut}, openapi_extra=takes_body(protocol.Unsteer)
)
async def unsteer_run(request: HttpRequest, session_id: str) -> Status[StoppedOut]:
    """Withdraw a steering word that no model call has read; `run_id` is the run that it was for."""
    session = await visible_session(request, session_id)
    own_id = read_body(request, protocol.Unsteer).client_message_id
    return Status(202, {"run_id": await steering.unsteer(user_of(request), session.pk, own_id, Door.API)})


@router.get("runs/{run_id}/", auth=READ, response=RunOut)
async def get_run(request: HttpRequest, run_id: str) -> RunOut:
    """Show a run."""
    run = await visible_run(request, run_id)
    return await database.read(_run_out, run)


@router.post("runs/{run_id}/cancel/", auth=ASK, response={202: StoppedOut}, openapi_extra=takes_body(Stop))
async def cancel_run(request: HttpRequest, run_id: str) -> Status[StoppedOut]:
    """Stop a run."""
    run = await visible_run(request, run_id)
    stop = read_body(request, Stop)
    await run_commands.cancel(user_of(request), run.session_id, run.pk, everything=stop.all, door=Door.API)
    return Status(202, {"run_id": run.pk})


@router.post("runs/{run_id}/continue/", auth=ASK, response={202: AcceptedData}, openapi_extra=takes_body(ContinueIn))
async def continue_run(request: HttpRequest, run_id: str) -> Status[AcceptedData]:
    """Continue after the session's latest run, as a new run, whose identifier is in the answer."""
    run = await visible_run(request, run_id)
    onward = read_body(request, ContinueIn)
    accepted = await run_commands.continue_run(user_of(request), run.session_id, run.pk, onward.client_message_id)
    return _accepted(accepted)
