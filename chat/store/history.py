"""A session's earlier turns as an agent gets them: as messages for a model, with tool calls and their results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import orjson
from django.db import connection

from agents.events import OriginData
from agents.history import WORD, ChatMessage, MessageToolCall, word_message
from agents.steps import FinalAnswerStep, SteerStep, ToolResultStep, ToolUseStep
from agents.tools.ask_agent import PREFIX as ASK_PREFIX
from chat.models import Run, RunStatus, Step
from chat.runtime.db_values import uuid_param

#: How many runs are read at a time for an agent's history, and its most characters. What fits the context is decided with the model.
_MEMORY_RUNS = 40
_MEMORY_CHARACTERS = 400_000
# Raw SQL, because the model is only asked after it: as querysets they took a quarter of the time to the first token.
_MEMORY_RUN_ROWS = """SELECT run.number, run.message, run.continues_id, run.id, run.files, along.messages FROM chat_run run
    LEFT JOIN chat_sentalong along ON along.run_id = run.id
    WHERE run.session_id = %s AND run.number < %s AND run.status <> %s AND run.parent_id IS NULL ORDER BY run.number DESC LIMIT %s"""
_MEMORY_STEP_ROWS = """SELECT run.number, step.body, full_content.content, origin.data
    FROM chat_run run JOIN chat_step step ON step.run_id = run.id
    LEFT JOIN chat_stepcontent full_content ON full_content.step_id = step.id
    LEFT JOIN chat_steporigin origin ON origin.step_id = step.id
    WHERE run.session_id = %s AND run.number BETWEEN %s AND %s AND run.parent_id IS NULL
    AND step.event = 'reasoning_step' AND step.type IN ('tool_use', 'tool_result', 'final_answer', 'steer')
    ORDER BY run.number, step.position"""
_MEMORY_THOUGHT_ROWS = """SELECT run.number, step.number, step.body FROM chat_run run JOIN chat_step step ON step.run_id = run.id
    WHERE run.session_id = %s AND run.number BETWEEN %s AND %s AND run.parent_id IS NULL
    AND step.event = 'reasoning_step' AND step.type = 'thought'"""


class _StepRow(NamedTuple):
    """A step that is part of the conversation."""

    data: ToolUseStep | ToolResultStep | FinalAnswerStep | SteerStep
    full_content: str | None
    origin: OriginData | None


@dataclass(slots=True)
class _Turn:
    """The messages that one run adds to the conversation."""

    messages: list[ChatMessage]
    #: Whether it continues the run before instead of beginning with a message.
    continues: bool
    #: Its answer, if that is incomplete.
    partial: ChatMessage | None = None
    #: Whether it was cut by the model's length limit: then the next run writes the rest; else it writes the whole answer again.
    is_cut: bool = False

    @property
    def has_answer(self) -> bool:
        return any(message["role"] == "assistant" and message["content"] for message in self.messages)

    def drop_partial(self) -> None:
        """Remove its incomplete answer, because a whole one follows."""
        if not self.is_cut:
            self.messages = [message for message in self.messages if message is not self.partial]


def conversation_history(session_id: UUID, before: int, *, unfinished_run: UUID | None = None) -> list[ChatMessage]:
    """The session's turns before a run's number, oldest first, as chat messages; the first is a message of the user.

    They are the user's messages, tool calls with their results, and answers. Thoughts are repeated only to the server that wants them back
    with its calls. An incomplete answer is left out if a later run wrote it again, or if it is that of ``unfinished_run`` (the run that
    is being continued now); one that was cut by the model's length limit stays, and its rest follows.
    """
    turns: list[_Turn] = []
    size = 0
    is_rewritten = False
    while before > 1 and (size <= _MEMORY_CHARACTERS or turns[-1].continues):
        batch = _turns(session_id, before, unfinished_run)
        for number, turn in batch:
            before = number
            size += sum(len(message["content"]) for message in turn.messages)
            if turns and size > _MEMORY_CHARACTERS and not turns[-1].continues:
                break
            if is_rewritten:
                turn.drop_partial()
            is_rewritten = turn.continues and (is_rewritten or turn.has_answer)
            turns.append(turn)
        if len(batch) < _MEMORY_RUNS:
            break
    return _joined(turns[::-1])


class UnfinishedCall(NamedTuple):
    """A question to another agent that a run has left unanswered; ``child_id`` is the run that was answering it, if there was one.

    ``answer``: the answer of that run, if it had ended and only the call's result was not stored.
    """

    tool_name: str
    arguments: str
    agent_name: str
    message: str
    child_id: UUID | None
    answer: str | None = None


def unfinished_calls(run_id: UUID, no_result: str) -> list[UnfinishedCall]:
    """The questions to other agents that an ended run has left unanswered, in order.

    These are calls of its last turn whose run was ended together with it, which had not begun, or whose answer was not stored yet: their
    result is ``no_result``, or is missing. A call whose run was stopped alone, or has failed, counts as answered. Questions that the run
    was to continue with, but had not reached, are taken from the run before it.
    """
    turn = _last_turn(run_id)
    children = {child.parent_call_id: child for child in Run.objects.filter(parent=run_id)} if turn.calls else {}
    before: list[UnfinishedCall] = []
    if not turn.has_begun or (turn.is_first and not turn.calls.keys() <= children.keys()):
        continued = Run.objects.filter(pk=run_id).values_list("continues_id", flat=True).first()
        before = unfinished_calls(continued, no_result) if continued is not None else []
    if not turn.has_begun:
        return before
    found = []
    for call_id, call in turn.calls.items():
        arguments, child = call["arguments"], children.get(call_id)
        if not call["tool_name"].startswith(ASK_PREFIX) or not isinstance(arguments, dict):
            continue
        has_result = turn.results.get(call_id, no_result) != no_result
        agent_name, message = call["tool_name"].removeprefix(ASK_PREFIX), str(arguments.get("message", ""))
        child_id, answer = None if child is None else child.pk, None
        if child is None:
            is_open = not has_result
            same = next((each for each in before if (each.agent_name, each.message) == (agent_name, message)), None)
            if is_open and same is not None:
                before.remove(same)
                child_id, answer = same.child_id, same.answer
        elif child.status == RunStatus.COMPLETED and not has_result:
            answer = _answer_within(child)
            is_open = answer is not None
        else:
            is_open = child.status in _BROKEN_OFF and child.cancel_requested_at is None
        if is_open:
            asked = orjson.dumps(arguments).decode()
            found.append(UnfinishedCall(call["tool_name"], asked, agent_name, message, child_id, answer))
    return found


@dataclass(slots=True)
class _LastTurn:
    """What a run was doing when it ended: the calls of its last turn, and the results of all calls."""

    calls: dict[str, ToolUseStep]
    results: dict[str, str]
    #: Whether it had made no calls before this turn, and whether it has done anything at all.
    is_first: bool = True
    has_begun: bool = False


def _last_turn(run_id: UUID) -> _LastTurn:
    kinds = ("iteration_start", "tool_use", "tool_result", "thought", "final_answer")
    steps = Step.objects.filter(run_id=run_id, type__in=kinds)
    turn = _LastTurn({}, {})
    for kind, body in steps.order_by("position").values_list("type", "body"):
        if kind == "iteration_start":
            turn.is_first = turn.is_first and not turn.calls
            turn.calls.clear()
            continue
        turn.has_begun = True
        if kind == "tool_use":
            data = orjson.loads(body)
            turn.calls[data["tool_call_id"]] = data
        elif kind == "tool_result":
            data = orjson.loads(body)
            turn.results[data["tool_call_id"]] = data["content"]
    return turn


def _answer_within(child: Run) -> str | None:
    """The answer of a run within another one, if it has one."""
    answers = Step.objects.filter(run=child.pk, event="child_step", type="final_answer")
    body = answers.order_by("-position").values_list("body", flat=True).first()
    return None if body is None else str(orjson.loads(body)["content"])


_BROKEN_OFF = (RunStatus.INTERRUPTED, RunStatus.CANCELLED)
_WITHIN_STEP_ROWS = """SELECT step.body, full_content.content, origin.data FROM chat_step step
    LEFT JOIN chat_stepcontent full_content ON full_content.step_id = step.id
    LEFT JOIN chat_steporigin origin ON origin.step_id = step.id
    WHERE step.run_id = %s AND step.event = 'child_step' AND step.type IN ('tool_use', 'tool_result', 'final_answer')
    ORDER BY step.position"""
_WITHIN_THOUGHT_ROWS = (
    "SELECT number, body FROM chat_step WHERE run_id = %s AND event = 'child_step' AND type = 'thought'"
)


def conversation_within(run: Run, *, has_begun: bool = False) -> list[ChatMessage]:
    """The history of a run within another one: its message, and the steps of the runs that it continues. Empty if it continues none.

    ``has_begun``: the run has waited, and continues itself.
    """
    chain: list[UUID] = [run.pk] if has_begun else []
    before = run.continues_id
    while before is not None:
        chain.append(before)
        before = Run.objects.filter(pk=before).values_list("continues_id", flat=True).first()
    if not chain:
        return []
    turns = [_Turn([{"role": "user", "content": run.message}], continues=False)]
    with connection.cursor() as cursor:
        for run_id in reversed(chain):
            cursor.execute(_WITHIN_STEP_ROWS, [uuid_param(run_id)])
            steps = [
                _StepRow(orjson.loads(body), full_content, None if origin is None else orjson.loads(origin))
                for body, full_content, origin in cursor.fetchall()
            ]
            cursor.execute(_WITHIN_THOUGHT_ROWS, [uuid_param(run_id)])
            thoughts = {number: orjson.loads(body)["content"] for number, body in cursor.fetchall()}
            turn = _turn(None, "", steps, thoughts)
            # A run that continues this one writes its incomplete answer again, unless it was cut by the model's length limit.
            turn.drop_partial()
            turns.append(turn)
    return _joined(turns)


def _joined(turns: Sequence[_Turn]) -> list[ChatMessage]:
    """The messages of turns, oldest first; the pieces of a cut answer are joined into one message."""
    messages: list[ChatMessage] = []
    cut: ChatMessage | None = None
    for turn in turns:
        rest = turn.messages
        if turn.continues and not rest:
            continue
        if cut is not None and turn.continues and rest[0].keys() == cut.keys():
            cut["content"] += rest[0]["content"]
            turn.partial = cut if turn.partial is rest[0] else turn.partial
            rest = rest[1:]
        messages += rest
        cut = turn.partial if turn.is_cut and messages and messages[-1] is turn.partial else None
    return messages


def _turns(session_id: UUID, before: int, unfinished_run: UUID | None) -> list[tuple[int, _Turn]]:
    """The turns of at most `_MEMORY_RUNS` runs before a number, newest first, each with its run's number."""
    session, unfinished = uuid_param(session_id), unfinished_run and uuid_param(unfinished_run)
    with connection.cursor() as cursor:
        cursor.execute(_MEMORY_RUN_ROWS, [session, before, RunStatus.QUEUED, _MEMORY_RUNS])
        runs = cursor.fetchall()
        if not runs:
            return []
        stretch = [session, runs[-1][0], runs[0][0]]
        cursor.execute(_MEMORY_STEP_ROWS, stretch)
        steps: dict[int, list[_StepRow]] = {}
        for number, body, full_content, origin in cursor.fetchall():
            row = _StepRow(orjson.loads(body), full_content, None if origin is None else orjson.loads(origin))
            steps.setdefault(number, []).append(row)
        wanted = any(row.origin and row.origin["thoughts"] for rows in steps.values() for row in rows)
        thoughts: dict[int, dict[int, str]] = {}
        if wanted:
            cursor.execute(_MEMORY_THOUGHT_ROWS, stretch)
            for number, step, body in cursor.fetchall():
                thoughts.setdefault(number, {})[step] = orjson.loads(body)["content"]
    found = []
    for number, message, continues, run_id, files, along in runs:
        begins = None if continues or not message else message
        turn = _turn(begins, files, steps.get(number, []), thoughts.get(number, {}))
        if along:
            turn.messages[:0] = orjson.loads(along)
        if run_id == unfinished:
            turn.drop_partial()
        found.append((number, turn))
    return found


def _turn(message: str | None, files: str, steps: Sequence[_StepRow], thoughts: Mapping[int, str]) -> _Turn:
    turn = _Turn([], continues=message is None)
    messages = turn.messages
    if message is not None:
        messages.append({"role": "user", "content": message, **({"files": orjson.loads(files)} if files else {})})
    asking: ChatMessage | None = None
    for step in steps:
        data = step.data
        if data["type"] == "tool_use":
            if asking is None:
                asking = {"role": "assistant", "content": "", "tool_calls": []}
                messages.append(asking)
            _add_call(asking, data, step.origin, thoughts)
            continue
        asking = None
        if data["type"] == "steer":
            _add_word(messages, data["content"])
            # The model was asked again because of the word, so this incomplete answer was not continued.
            turn.partial = None
        elif data["type"] == "tool_result":
            result: ChatMessage = {
                "role": "tool",
                "tool_call_id": data["tool_call_id"],
                "name": data["tool_name"],
                "content": data["content"] if step.full_content is None else step.full_content,
            }
            messages.append(result | {"files": data["files"]} if "files" in data else result)
        else:
            messages.append({"role": "assistant", "content": data["content"]})
            turn.partial = messages[-1] if data.get("partial") else None
            turn.is_cut = step.origin is not None and step.origin.get("is_cut", False)
    return turn


def _add_word(messages: list[ChatMessage], content: str) -> None:
    """Add a steering word. Words that were read by the same model call are one message, as they were sent then."""
    if messages and WORD in messages[-1]:
        content = f"{messages.pop()['content']}\n\n{content}"
    messages.append(word_message(content))


def _add_call(asking: ChatMessage, data: ToolUseStep, origin: OriginData | None, thoughts: Mapping[int, str]) -> None:
    """Add a tool call to the assistant's message, with the fields that its server wants back."""
    arguments = data["arguments"]
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    call: MessageToolCall = {
        "id": data["tool_call_id"],
        "type": "function",
        "function": {"name": data["tool_name"], "arguments": text},
    }
    if origin and origin["fields"]:
        call["origin"] = {"server": origin["server"], "fields": origin["fields"]}
    if origin and (fields := {**_thoughts_of(origin, thoughts), **origin.get("turn", {})}):
        asking["origin"] = {"server": origin["server"], "fields": fields}
    asking["tool_calls"].append(call)


def _thoughts_of(origin: OriginData, thoughts: Mapping[int, str]) -> dict[str, str]:
    """The thoughts of a call's turn, in the field that they came in."""
    place = origin["thoughts"]
    return {place["field"]: "\n\n".join(thoughts[at] for at in place["steps"] if at in thoughts)} if place else {}
