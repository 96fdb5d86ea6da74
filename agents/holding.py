"""Sorts the calls of a model's turn: which run at once, which are refused, and which wait for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agents.approval import PRIVATE, Gate, judge_call
from agents.json_types import JsonObject
from agents.steps import QuestionField
from agents.text import json_object
from agents.tools.ask_user import AskUserTool, fields_of
from agents.tools.runner import Job, ToolOutcome
from agents.tools.tool import Tool, ToolError

DENIED = "This installation's rules forbid this call. Nothing was run; go on without it."


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A call that waits for people. For a question, ``fields`` is the form."""

    id: str
    tool_name: str
    arguments: JsonObject
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The JSON schema of the arguments."""
    kind: Literal["approval", "question"] = "approval"
    rule: str = ""
    question: str = ""
    fields: Sequence[QuestionField] = ()


@dataclass(frozen=True, slots=True)
class DecidedCall:
    """A call that has waited for people, for the run that continues: it is made with these arguments, or has its outcome already.

    A call that had begun something that then waited is made again.
    """

    id: str
    name: str
    arguments: str
    outcome: ToolOutcome | None = None
    note: str = ""
    """Text to put before its result."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The state of a run that has waited: the numbers of its last model call and step, and the calls that people have decided."""

    iteration: int
    step: int
    calls: tuple[DecidedCall, ...]
    open: Mapping[str, str] = field(default_factory=dict)
    """Names of the turn's calls that still wait for people, by the calls' ids. If there are any, the run waits again once the decided
    calls have ended."""


@dataclass(slots=True)
class Turn:
    """A turn's calls, sorted."""

    ready: list[Job] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """A sentence about why a call is refused, by the call's id."""
    held: list[HeldCall] = field(default_factory=list)


def sort_calls(jobs: Sequence[Job], gate: Gate) -> Turn:
    """Sort a turn's calls. One with an unknown name or invalid arguments counts as ready: the runner reports the error."""
    turn = Turn()
    for job in jobs:
        arguments = json_object(job.arguments, None)
        if job.stop.is_decided or job.tool is None or arguments is None or _misfits(arguments, job.tool):
            turn.ready.append(job)
            continue
        try:
            held = _held(job, job.tool, arguments, gate)
        except ToolError as error:
            turn.refused[job.id] = str(error)
            continue
        if held is None:
            turn.ready.append(job)
        elif not (why := gate.why_no_wait()):
            turn.held.append(held)
        elif held.rule == PRIVATE or held.kind == "question":
            # The tool itself reports why it does nothing.
            turn.ready.append(job)
        else:
            turn.refused[job.id] = why
    return turn


def _misfits(arguments: JsonObject, tool: Tool) -> bool:
    from agents.tools.schemas import argument_problem  # noqa: PLC0415 - as in `agents.tools.runner`

    return bool(argument_problem(arguments, tool.parameters))


def _held(job: Job, tool: Tool, arguments: JsonObject, gate: Gate) -> HeldCall | None:
    """The call if it has to wait, else None. Raises `ToolError` if a policy forbids it."""
    verdict = judge_call(gate.policies, job.name, arguments)
    if verdict.decision == "deny":
        raise ToolError(DENIED)
    # An agent may be named “user”: then the tool that asks that agent is called `ask_user` as well.
    if job.name == AskUserTool.name and tool.parameters is AskUserTool.parameters:
        fields = fields_of(arguments)
        return HeldCall(job.id, job.name, arguments, {}, "question", question=str(arguments["question"]), fields=fields)
    if verdict.decision == "ask" and not gate.is_allowed(job.name, verdict.rule):
        return HeldCall(job.id, job.name, arguments, tool.parameters, rule=verdict.rule)
    is_private = getattr(tool, "is_private", None)
    if is_private is not None and is_private(arguments):
        return HeldCall(job.id, job.name, arguments, tool.parameters, rule=PRIVATE)
    return None
