"""A run's frames, as clients of a session are sent them, written in short form."""

import itertools
from typing import Any
from uuid import UUID

from tests import wire_types

RUN = str(UUID(int=7))
OTHER = str(UUID(int=8))
USAGE = {"input_tokens": 10, "output_tokens": 4, "estimated": False, "cached_tokens": 3, "reasoning_tokens": 2}
_seq = itertools.count(1)

Frame = dict[str, Any]


def stored(kind: str, data: dict[str, Any], run_id: str = RUN) -> Frame:
    seq = next(_seq)
    frame = {"type": kind, "seq": seq, "id": str(UUID(int=seq)), "run_id": run_id, "data": data}
    return wire_types.checked(frame)


def step(kind: str, number: int, run_id: str = RUN, **data: Any) -> Frame:
    base = {"type": kind, "step": number, "content": "", "iteration": 1, "timestamp": 1.0}
    return stored("reasoning_step", {**base, **data}, run_id)


def thought(number: int, text: str) -> Frame:
    return step("thought", number, content=text, duration_ms=1)


def answer(number: int, text: str, run_id: str = RUN) -> Frame:
    return step("final_answer", number, run_id, content=text, duration_ms=1)


def call(number: int, call_id: str, name: str, arguments: Any) -> Frame:
    return step("tool_use", number, tool_name=name, tool_call_id=call_id, arguments=arguments)


def result(number: int, call_id: str, name: str, text: str, *, ok: bool = True, truncated: bool = False) -> Frame:
    fields = {"tool_name": name, "tool_call_id": call_id, "ok": ok, "truncated": truncated}
    return step("tool_result", number, content=text, duration_ms=1, content_length=len(text), **fields)


def delta(number: int, kind: str, offset: int, text: str, attempt: int = 1, run_id: str = RUN) -> Frame:
    data = {"step": number, "type": kind, "attempt": attempt, "offset": offset, "text": text}
    return wire_types.checked({"type": "reasoning_delta", "run_id": run_id, "data": data})


def failed(code: str, message: str) -> Frame:
    return stored("error", {"message": message, "code": code, "id": "0"})


def ended(status: str = "completed", run_id: str = RUN, **more: Any) -> Frame:
    data = {"status": status, "total_iterations": 1, "duration_ms": 2500, "usage": USAGE}
    return stored("reasoning_complete", {**data, **more}, run_id)
